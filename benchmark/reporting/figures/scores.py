"""Accuracy by method: against the cost of training, and by target."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean, stdev
from typing import TYPE_CHECKING

import numpy as np

from benchmark.records.read import Record
from benchmark.records.result import conditions
from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import Panel, listed
from benchmark.reporting.figures.style import COLUMN, FONT, PAGE, Look
from benchmark.reporting.rows import by_split
from mmdg_common import AVERAGE

if TYPE_CHECKING:  # takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

BASELINE = "erm"
"""The method whose training time is 1."""
FEW, MANY = 6, 12
"""Methods up to which a column is wide enough, and from which error bars step back."""


@dataclass(frozen=True)
class Point:
    """A method's average accuracy (percent), its deviation over seeds, and its mean seconds."""

    mean: float
    deviation: float | None
    seconds: float


def cost(panel: Panel, looks: Mapping[str, Look]) -> list[Figure]:
    """Return accuracy against training time, where two methods or more have both."""
    points = {}
    for method, group in panel.groups.items():
        if (point := _point(group.records, panel)) is not None:
            points[method] = point
    if len(points) < 2:
        return []
    baseline = points.get(BASELINE)
    unit = "relative to ERM's" if baseline else "in seconds"
    left_out = [method for method in panel.groups if method not in points]
    text = (
        f"Accuracy averaged over the targets {listed(panel.targets)} against training time "
        f"{unit}, validations included; error bars are the sample standard deviation over seeds."
    )
    if left_out:
        text += f" No seed of {listed(left_out)} has every target."
    done = (r.result for m in points for r in panel.groups[m].records if r.result is not None)
    if len({one for result in done for one in conditions(result, "device", "threads")}) > 1:
        text += " Runs come from several devices or thread counts, which blurs the times."
    return [
        Figure(
            f"cost-{panel.name}",
            f"Accuracy against cost: {panel.where}",
            panel.caption(text, points),
            partial(
                _draw_cost, points=points, looks=looks, base=baseline.seconds if baseline else None
            ),
        )
    ]


def _point(records: Sequence[Record], panel: Panel) -> Point | None:
    values = panel.averages(records)
    seconds = [
        float(record.result["provenance"]["wall_s"])
        for record in records
        if record.result and record.result["provenance"].get("wall_s")
    ]
    if not values or not seconds:
        return None
    deviation = stdev(values) if len(values) > 1 else None
    return Point(fmean(values), deviation, fmean(seconds))


def _draw_cost(
    canvas: "Canvas", points: Mapping[str, Point], looks: Mapping[str, Look], base: float | None
) -> None:
    (ax,) = style.panels(canvas, 1, 1, 2.6)
    if len(points) > FEW:
        canvas.set_size_inches(PAGE, 2.9 + 0.07 * len(points))
    faint = 0.6 if len(points) <= MANY else 0.35
    at, bars = {}, []
    for method, point in points.items():
        x, spread = point.seconds / (base or 1), point.deviation or 0.0
        color, marker = looks[method].color, looks[method].marker
        ax.errorbar(
            x, point.mean, point.deviation, color=color, elinewidth=0.7, capsize=1.5, alpha=faint
        )
        ax.plot(x, point.mean, marker, color=color, markersize=5, label=method, zorder=3)
        at[method] = (x, point.mean)
        bars.append((x, point.mean - spread, point.mean + spread))
    _set_scale(ax, [x for x, _ in at.values()], "×" if base else " s")
    ax.margins(y=0.06)
    ax.set_xlabel(f"training time, {'ERM = 1×' if base else 'seconds'}")
    ax.set_ylabel("target accuracy (%)")
    style.settle(canvas)
    style.label_points(ax, at, bars, looks)


def cost_scale(values: Sequence[float]) -> tuple[float, float, list[float]]:
    """Return ends and ticks of a logarithmic axis, a few ticks even where values are close."""
    low, high = min(values), max(values)
    widen = max(math.sqrt(2.2 / (high / low)), 1.15)
    low, high = low / widen, high * widen * 1.05
    steps = (1, 2, 5) if high / low > 5 else (1, 1.5, 2, 3, 4, 5, 6, 8)
    ticks = [s * 10.0**e for e in range(-4, 8) for s in steps if low <= s * 10.0**e <= high]
    return low, high, ticks


def _set_scale(ax: "Axes", values: Sequence[float], unit: str) -> None:
    """Give the axis a logarithmic scale with plain numbers."""
    low, high, ticks = cost_scale(values)
    ax.set_xscale("log")
    ax.set_xlim(low, high)
    ax.set_xticks(ticks, [f"{tick:g}{unit}" for tick in ticks])
    ax.set_xticks([], minor=True)


def heat_map(panel: Panel, looks: Mapping[str, Look]) -> list[Figure]:
    """Return mean accuracies by method and target; methods best first, by their average."""
    rows = {}
    counts = set()
    for method, group in panel.groups.items():
        values = by_split(group.records, panel.values)
        counts |= {len(seeds) for seeds in values.values()}
        row = [fmean(v.values()) if (v := values.get(t)) else math.nan for t in panel.targets]
        seeds = panel.averages(group.records)
        rows[method] = [*row, fmean(seeds) if seeds else math.nan]
    order = sorted(rows, key=lambda m: (math.isnan(rows[m][-1]), -rows[m][-1], m))
    number = "-".join(map(str, sorted({min(counts), max(counts)})))
    text = (
        f"Target accuracy in percent, mean over {number} seed{'s' * (number != '1')} (no spread is "
        "shown); the average takes the seeds that have every target."
    )
    columns = (*panel.targets, AVERAGE)
    draw = partial(draw_heat, names=order, columns=columns, rows=[rows[m] for m in order])
    title = f"Accuracy by target: {panel.where}"
    return [Figure(f"heatmap-{panel.name}", title, panel.caption(text, order), draw)]


def draw_heat(
    canvas: "Canvas",
    names: Sequence[str],
    columns: Sequence[str],
    rows: Sequence[Sequence[float]],
    apart: int = 1,
) -> None:
    """Draw percentages as a heat map with a row for each name, the last columns set apart."""
    import seaborn as sns  # type: ignore[import-untyped]

    values = np.array(rows)
    longest = max(map(len, columns))
    # Names that a cell is too narrow for stand upright.
    upright = longest > 7 or len(columns) > 10
    top = 0.2 + (0.065 * longest if upright else 0.1)
    wide = len(columns) > 6 or max(map(len, names)) > 20
    canvas.set_size_inches(PAGE if wide else COLUMN, top + 0.175 * len(names) + 0.1)
    canvas.set_layout_engine("constrained")
    ax = canvas.subplots()
    digits = 0 if len(columns) > 16 else 1
    texts = np.array([[f"{v:.{digits}f}" if v == v else "—" for v in row] for row in rows])
    sns.heatmap(
        values, annot=texts, fmt="", cmap="Blues", cbar=False, ax=ax, linewidths=0.4,
        xticklabels=list(columns), yticklabels=list(names), annot_kws={"size": FONT},
    )  # fmt: skip
    # seaborn leaves out what is not a number, so that nothing stands where runs are missing.
    for y, x in zip(*np.nonzero(np.isnan(values)), strict=True):
        ax.text(x + 0.5, y + 0.5, "—", ha="center", va="center", color=style.GREY)
    ax.axvline(len(columns) - apart, color="white", linewidth=3)
    ax.tick_params(length=0, top=False, bottom=False, labeltop=True, labelbottom=False)
    ax.tick_params(axis="x", labelrotation=90 if upright else 0)
    ax.tick_params(axis="y", labelrotation=0)
