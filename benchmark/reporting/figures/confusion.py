"""Confusion matrices: one per method, of true and predicted classes."""

from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from benchmark.records.read import Record
from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import Panel, listed
from benchmark.reporting.figures.style import FONT

if TYPE_CHECKING:  # takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Counts = NDArray[np.int64]
MOST = 6
"""Methods in a figure: those with the most runs."""
ANNOTATED = 7
"""Classes up to which every cell has its number, and every class its label."""
LONGEST = 12
"""Letters of a class's name that a label shows."""


def confusion(panel: Panel) -> list[Figure]:
    """Return the confusion matrices on the target, where predictions are stored."""
    runs = {
        method: [record for record in group.records if record.has_predictions]
        for method, group in panel.groups.items()
    }
    chosen = sorted(sorted(runs, key=lambda m: (-len(runs[m]), m))[:MOST])
    counted = {m: counts(runs[m], panel.rule) for m in chosen}
    found = {m: matrix for m, matrix in counted.items() if matrix is not None}
    if not found:
        return []
    text = (
        "Share of each true class (row, percent) that is predicted as each class (column), counts "
        f"summed over all seeds and the targets {listed(panel.targets)}; no spread is shown."
    )
    if len(found) < len(panel.groups):
        text += f" The {len(found)} of {len(panel.groups)} methods with the most runs."
    matrices = {method: rates(matrix) for method, matrix in found.items()}
    draw = partial(_draw, matrices=matrices, classes=_classes(panel))
    title = f"Confusion of classes: {panel.where}"
    return [Figure(f"confusion-{panel.name}", title, panel.caption(text, found), draw)]


def _classes(panel: Panel) -> Sequence[str]:
    """Return the names of the classes; none where the records are older than that."""
    results = (r.result for group in panel.groups.values() for r in group.records if r.result)
    return next((names for result in results if (names := result.get("classes"))), ())


def counts(records: Iterable[Record], rule: str) -> Counts | None:
    """Return how often class i (row) was predicted as j (column), summed over runs, [C, C].

    None where no predictions can be read.
    """
    total: Counts | None = None
    for record in records:
        found = record.predicted(rule)
        if found is None:
            continue
        if total is None:
            total = np.zeros((found.size,) * 2, dtype=np.int64)
        np.add.at(total, (found.labels, found.classes), 1)
    return total


def rates(matrix: Counts) -> NDArray[np.float64]:
    """Return the rows of [C, C] counts as percent; a class without samples is not a number."""
    rows = matrix.sum(axis=1, keepdims=True).astype(np.float64)
    rows[rows == 0] = np.nan
    return np.asarray(100 * matrix / rows)


def _draw(
    canvas: "Canvas", matrices: Mapping[str, NDArray[np.float64]], classes: Sequence[str]
) -> None:
    # Two matrices side by side have room to be larger.
    height = 3.0 if len(matrices) == 2 else 2.35
    axes = style.panels(canvas, len(matrices), 3, height, share_x=False, share_y=False)
    for (method, matrix), ax in zip(matrices.items(), axes, strict=True):
        _matrix(ax, matrix, classes)
        ax.set_title(method)
    style.axis_labels(axes, "predicted class", "true class")
    bar = canvas.colorbar(axes[0].collections[0], ax=axes, shrink=0.7, aspect=30, pad=0.02)
    bar.set_label("share of row (%)")
    bar.outline.set_visible(False)


def _short(name: str) -> str:
    return name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"


def _matrix(ax: "Axes", matrix: NDArray[np.float64], classes: Sequence[str]) -> None:
    import seaborn as sns  # type: ignore[import-untyped]

    few = len(matrix) <= ANNOTATED
    named = len(classes) == len(matrix)
    step = 1 if few else int(np.ceil(len(matrix) / 7))
    sns.heatmap(
        matrix, vmin=0, vmax=100, cmap="Blues", cbar=False, ax=ax, square=True, annot=few,
        fmt=".0f", annot_kws={"size": FONT}, linewidths=0.3 if few else 0,
    )  # fmt: skip
    at = np.arange(0, len(matrix), step)
    names = [_short(classes[int(i)]) if named else str(i) for i in at]
    ax.set_xticks(at + 0.5, names, rotation=90 if named else 0)
    ax.set_yticks(at + 0.5, names, rotation=0)
    ax.tick_params(length=0)
