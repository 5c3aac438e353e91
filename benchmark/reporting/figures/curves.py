"""Curves over training: accuracies, and the values that methods log."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from benchmark.reporting.conditions import column_of
from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import Panel, metrics
from benchmark.reporting.figures.style import Look

if TYPE_CHECKING:  # takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Array = NDArray[np.float64]
Lines = Sequence[Mapping[str, Any]]
"""The metrics of one run."""
METHODS, PANELS = 6, 12
"""The most in one figure."""


@dataclass(frozen=True)
class Log:
    """Values that runs log by modality."""

    label: str
    """Their name in words, which fits beside an axis."""
    of: str = ""
    """What more a title says of them."""
    comparable: bool = False
    """Whether they are measured in one way for all methods, on the same samples."""
    scale: Literal["linear", "log"] = "linear"

    @property
    def name(self) -> str:
        """Return the name in a title."""
        return f"{self.label}{self.of}".capitalize()


LOGS = {
    "speed": Log("modality speed"),
    "drop_rate": Log("drop rate"),
    "gradient_norm": Log("gradient norm", " of the fused loss", True, "log"),
    "unimodal_gradient_norm": Log("gradient norm", " of the unimodal loss", True, "log"),
    "gradient_cosine": Log("cosine", " of fused and unimodal gradient", True),
}
"""By the first part of the name under which values are logged, as in `speed/<modality>`."""
HOW_MEASURED = {
    True: "measured at each {step} on the same samples of the sources' train part for all methods, "
    "in evaluation mode, by the trained tensors of each modality's encoder",
    False: "averaged within each {step}; methods define it in their own ways, so the panels' "
    "scales differ",
}


@dataclass(frozen=True)
class Course:
    """Mean, lowest and highest value of several runs at each validation, [T]."""

    mean: Array
    low: Array
    high: Array


def course(runs: Sequence[Lines], look: Callable[[Mapping[str, Any]], float | None]) -> Course:
    """Return how a value goes over the runs that have it; `look` finds it in one line."""
    length = max(map(len, runs))
    values = np.full((len(runs), length), np.nan)
    for row, lines in zip(values, runs, strict=True):
        found = [look(line) for line in lines]
        row[: len(lines)] = [np.nan if value is None else value for value in found]
    there = ~np.isnan(values).all(axis=0)
    mean, low, high = (np.full(length, np.nan) for _ in range(3))
    mean[there] = np.nanmean(values[:, there], axis=0)
    low[there] = np.nanmin(values[:, there], axis=0)
    high[there] = np.nanmax(values[:, there], axis=0)
    return Course(mean, low, high)


def step_of(runs: Sequence[Lines]) -> str:
    """Return what one step to the right is."""
    each_epoch = all(line["epoch"] == i for lines in runs for i, line in enumerate(lines))
    return "epoch" if each_epoch else "validation"


def accuracies(panel: Panel, looks: Mapping[str, Look]) -> list[Figure]:
    """Return validation and target accuracy over training, in pages of methods and of targets."""
    runs: dict[str, dict[str, list[Lines]]] = {}
    for method, group in panel.groups.items():
        for record in group.records:
            if lines := metrics(record):
                place = runs.setdefault(method, {}).setdefault(column_of(record.spec), [])
                place.append(lines)
    if not runs:
        return []
    every = [lines for targets in runs.values() for found in targets.values() for lines in found]
    columns = [name for name in panel.targets if any(name in targets for targets in runs.values())]
    found = {
        (method, name, part): course(members, partial(accuracy, part=part))
        for method, targets in runs.items()
        for name, members in targets.items()
        for part in ("target", "val")
    }
    limits = _limits([each for key, each in found.items()])
    cut = style.pages(columns, PANELS, row=3)
    cuts = [(m, t) for m in style.pages(list(runs), METHODS) for t in cut]
    step = step_of(every)
    text = (
        f"Accuracy after each {step}, one panel per target: solid on the target, dashed on the "
        "sources' validation part. Lines are means over seeds; bands, of the target alone, go from "
        "the lowest to the highest seed."
    )
    return [
        Figure(
            f"curves-{panel.name}{_page(i, len(cuts))}",
            f"Accuracy over training: {panel.where}{_of(i, len(cuts))}",
            panel.caption(text, methods, selected=False),
            partial(
                _draw_accuracies, found=found, methods=methods, targets=targets, looks=looks,
                step=step, limits=limits,
            ),
        )
        for i, (methods, targets) in enumerate(cuts)
    ]  # fmt: skip


def accuracy(line: Mapping[str, Any], part: str) -> float | None:
    """Return the fused accuracy on a part in percent, where a line of metrics has it."""
    value = line.get(part, {}).get("fused", {}).get("accuracy")
    return None if value is None else 100 * float(value)


def _limits(courses: Sequence[Course]) -> tuple[float, float]:
    """Return limits of the vertical axis that hold in all pages of a figure."""
    low = min(np.nanmin(each.low) for each in courses)
    high = max(np.nanmax(each.high) for each in courses)
    margin = 0.04 * max(high - low, 1)
    return float(low - margin), float(high + margin)


def _draw_accuracies(
    canvas: "Canvas",
    found: Mapping[tuple[str, str, str], Course],
    methods: Sequence[str],
    targets: Sequence[str],
    looks: Mapping[str, Look],
    step: str,
    limits: tuple[float, float],
) -> None:
    from matplotlib.lines import Line2D

    axes = style.panels(canvas, len(targets), 2 if len(targets) in (2, 4) else 3, 1.9)
    for ax, name in zip(axes, targets, strict=True):
        for method in methods:
            for part, stroke in (("val", "--"), ("target", "-")):
                if (one := found.get((method, name, part))) is not None:
                    _line(ax, one, looks[method], stroke, band=part == "target")
        ax.set_title(name)
        ax.set_ylim(limits)
    _epochs(axes, step, "accuracy (%)")
    handles = [
        Line2D([], [], color=looks[m].color, marker=looks[m].marker, label=m) for m in methods
    ]
    kinds = [Line2D([], [], color=style.GREY, label="target")]
    kinds += [Line2D([], [], color=style.GREY, linestyle="--", label="validation")]
    style.legend_below(canvas, [*handles, *kinds])


def _line(ax: "Axes", one: Course, look: Look, stroke: Any, band: bool) -> None:
    x = np.arange(1, len(one.mean) + 1)
    every = max(len(x) // 8, 1)
    if band:
        ax.fill_between(x, one.low, one.high, color=look.color, alpha=0.13, linewidth=0)
    marker = look.marker if band else None
    ax.plot(x, one.mean, color=look.color, linestyle=stroke, marker=marker, markevery=every,
            markersize=3.5, linewidth=1.2 if band else 0.9)  # fmt: skip


def _epochs(axes: Sequence["Axes"], step: str, label: str) -> None:
    from matplotlib.ticker import MaxNLocator

    for ax in axes:
        ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, steps=[1, 2, 5, 10]))
    style.axis_labels(axes, step, label)


def logs(panel: Panel) -> list[Figure]:
    """Return what is logged by modality over training, one panel per method that logs it."""
    runs = {
        method: [lines for record in group.records if (lines := metrics(record))]
        for method, group in panel.groups.items()
    }
    figures = []
    for family, log in LOGS.items():
        found = {method: _logged(members, family, panel) for method, members in runs.items()}
        methods = [method for method, courses in found.items() if courses]
        if not methods:
            continue
        step = step_of([lines for method in methods for lines in runs[method]])
        text = (
            f"{log.name}, {HOW_MEASURED[log.comparable].format(step=step)}. Lines "
            "are means over seeds and targets; bands go from the lowest to the highest run."
        )
        cuts = style.pages(methods, PANELS)
        for i, page in enumerate(cuts):
            draw = partial(
                _draw_logs, found={m: found[m] for m in page}, order=panel.spec.modalities,
                step=step, log=log,
            )  # fmt: skip
            name = f"{family.replace('_', '-')}-{panel.name}{_page(i, len(cuts))}"
            title = f"{log.name} over training: {panel.where}"
            title += _of(i, len(cuts))
            figures.append(Figure(name, title, panel.caption(text, page, False), draw))
    return figures


def _logged(runs: Sequence[Lines], family: str, panel: Panel) -> dict[str, Course]:
    names = {k: f"{family}/{k}" for k in panel.spec.modalities}
    logged = {name for lines in runs for line in lines for name in line.get("train", {})}
    return {
        k: course(runs, partial(_train, name=name)) for k, name in names.items() if name in logged
    }


def _train(line: Mapping[str, Any], name: str) -> float | None:
    value = line.get("train", {}).get(name)
    return None if value is None else float(value)


def _draw_logs(
    canvas: "Canvas",
    found: Mapping[str, Mapping[str, Course]],
    order: Sequence[str],
    step: str,
    log: Log,
) -> None:
    from matplotlib.lines import Line2D

    columns = 3 if len(found) > 2 else 2
    axes = style.panels(canvas, len(found), columns, 1.9, share_y=log.comparable)
    shades = dict(zip(order, style.shades(len(order)), strict=True))
    for ax, (method, courses) in zip(axes, found.items(), strict=True):
        for modality, one in courses.items():
            color, stroke = shades[modality]
            x = np.arange(1, len(one.mean) + 1)
            ax.fill_between(x, one.low, one.high, color=color, alpha=0.13, linewidth=0)
            ax.plot(x, one.mean, color=color, linestyle=stroke, label=modality)
        ax.set_title(method)
        ax.set_yscale(log.scale)
    _epochs(axes, step, log.label)
    handles = [Line2D([], [], color=c, linestyle=s, label=k) for k, (c, s) in shades.items()]
    style.legend_below(canvas, handles)


def _page(index: int, number: int) -> str:
    return f"-{index + 1}" if number > 1 else ""


def _of(index: int, number: int) -> str:
    return f" ({index + 1} of {number})" if number > 1 else ""
