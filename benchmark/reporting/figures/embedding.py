"""The plane of the embeddings, coloured by class and by domain: a figure for each method."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.records.read import Record
from benchmark.reporting.conditions import column_of
from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import notes, slug
from benchmark.reporting.kinds.measured import Sheet, of_line, sheets
from benchmark.reporting.request import Wanted

if TYPE_CHECKING:  # takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAMED = 30
"""Classes up to which a legend names them."""
MOST = 4
"""Modalities up to which each has panels of its own."""
Points = NDArray[np.float64]


def embeddings(wanted: Wanted) -> list[Figure]:
    """Return the plane of one run of each method: the lowest seed on the first target."""
    figures = []
    for sheet in sheets("embedding", wanted):
        for line in sheet.block.lines:
            if measured := of_line(line, sheet.of):
                figures += _figure(min(measured, key=_order), line.label, sheet, wanted)
    return figures


def _order(record: Record) -> tuple[int, str]:
    return record.spec.seed, column_of(record.spec)


def _figure(record: Record, label: str, sheet: Sheet, wanted: Wanted) -> list[Figure]:
    values, spec = sheet.of[record.spec.id].values, record.spec
    each = values["modalities"] if len(values["modalities"]) <= MOST else {}
    spaces = {"all modalities": values["all"], **each}
    planes = {k: np.array(space["points"]) for k, space in spaces.items() if space["points"]}
    if not planes:
        return []
    classes = (record.result or {}).get("classes", [])
    names = [f"{name} (target)" if name == spec.target else name for name in values["domain_names"]]
    shares = values["all"]
    text = (
        f"t-SNE of the embeddings after the neck, one run: target {column_of(spec)}, seed "
        f"{spec.seed}. Samples of the sources' validation part and of the target, coloured by "
        "class and by domain. In the full space the five nearest neighbours tell the class in "
        f"{100 * shares['class_knn']:.0f} % and the domain in {100 * shares['domain_knn']:.0f} % "
        f"of the samples; the largest domain is {100 * values['largest_domain']:.0f} %. "
        "Sizes of groups and distances between them mean nothing."
    )
    told = (*sheet.block.told, *sheet.told)
    where = (spec.dataset, spec.setting, "+".join(spec.modalities), *told, label)
    draw = partial(
        _draw, planes=planes, labels=values["labels"], domains=values["domains"],
        classes=classes, names=names,
    )  # fmt: skip
    caption = " ".join([text, *notes(spec, wanted.view.rule)])
    return [Figure(f"embedding-{slug(*where)}", f"Embeddings: {', '.join(where)}", caption, draw)]


def _draw(
    canvas: "Canvas",
    planes: Mapping[str, Points],
    labels: Sequence[int],
    domains: Sequence[int],
    classes: Sequence[str],
    names: Sequence[str],
) -> None:
    axes = style.panels(canvas, 2 * len(planes), 2, 2.6, share_x=False, share_y=False)
    for i, (name, points) in enumerate(planes.items()):
        by_class, by_domain = axes[2 * i : 2 * i + 2]
        _scatter(by_class, points, labels, classes)
        _scatter(by_domain, points, domains, names)
        for ax, what in ((by_class, "class"), (by_domain, "domain")):
            ax.set_title(f"{name}, by {what}" if len(planes) > 1 else f"by {what}")
            ax.set_xticks([])
            ax.set_yticks([])
            ax.spines[:].set_visible(True)
    width, height = canvas.get_size_inches()
    rows = [_legend(ax) for ax, of in ((axes[-2], labels), (axes[-1], domains))
            if len(set(of)) <= NAMED]  # fmt: skip
    canvas.set_size_inches(width, height + 0.1 + max(rows, default=0) * 1.4 * style.FONT / 72)


def _scatter(ax: "Axes", points: Points, groups: Sequence[int], names: Sequence[str]) -> None:
    of = np.array(groups)
    for group in sorted(set(groups)):
        here = points[of == group]
        look: dict[str, Any] = {
            "color": style.PALETTE[group % len(style.PALETTE)],
            "marker": style.MARKERS[group % len(style.MARKERS)],
        }
        name = names[group] if group < len(names) else str(group)
        ax.scatter(here[:, 0], here[:, 1], s=9, linewidths=0, alpha=0.75, label=name, **look)


def _legend(ax: "Axes") -> int:
    """Put the legend of a panel below it, no wider than the panel; return its rows."""
    names = [str(name) for name in ax.get_legend_handles_labels()[1]]
    # An estimate: a letter is half as wide as it is high, a handle takes four letters.
    each = (max(map(len, names)) + 4) * 0.55 * style.FONT / 72
    columns = max(min(int(0.48 * style.PAGE / each), len(names)), 1)
    ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.02), ncols=columns,
              handletextpad=0.1, columnspacing=0.8)  # fmt: skip
    return math.ceil(len(names) / columns)
