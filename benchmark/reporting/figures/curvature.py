"""The largest eigenvalue of the Hessian against accuracy on the target, run by run."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from benchmark.reporting.conditions import column_of
from benchmark.reporting.correlation import LEAST
from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.measured import paged
from benchmark.reporting.figures.style import Look
from benchmark.reporting.kinds.curvature import (
    ANALYSIS,
    NAME,
    Point,
    correlated,
    points,
    top,
)
from benchmark.reporting.kinds.measured import Sheet, sheets
from benchmark.reporting.request import Wanted

if TYPE_CHECKING:  # takes a second
    from matplotlib.figure import Figure as Canvas

PART = "val"
"""Whose loss is looked at: nothing of the target enters that."""
PANELS = 12
"""The most in one figure."""


def scatter(wanted: Wanted, looks: Mapping[str, Look]) -> list[Figure]:
    """Return for each condition that was measured the runs in a panel per target."""
    found = []
    for sheet in sheets(ANALYSIS, wanted):
        of = [p for p in points(sheet, wanted) if (top(p.values[PART]) or 0) > 0]
        if len(of) > 2:
            found += _figures(sheet, of, looks)
    return found


def _figures(sheet: Sheet, of: Sequence[Point], looks: Mapping[str, Look]) -> list[Figure]:
    targets = sorted({column_of(point.record.spec) for point in of})
    text = (
        "Largest eigenvalue of the Hessian by the trained weights, of the loss on the sources' "
        f"validation part, against accuracy on the target; a mark is a run. {_said(of)}"
    )
    return paged(
        sheet,
        NAME,
        "Curvature and accuracy",
        text,
        style.pages(targets, PANELS, row=3),
        lambda page: partial(_draw, of=of, targets=page, looks=looks),
    )


def _said(of: Sequence[Point]) -> str:
    found = correlated(of, PART, top)
    if found is None:
        return ""
    begin = f"Spearman's rank correlation within targets is {found.value:+.2f}"
    if found.interval is None:
        return f"{begin}, without an interval: for one there must be {LEAST} methods."
    low, high = found.interval
    return f"{begin} (95 % interval for other methods: {low:+.2f} to {high:+.2f})."


def _draw(
    canvas: "Canvas", of: Sequence[Point], targets: Sequence[str], looks: Mapping[str, Look]
) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.ticker import LogLocator

    axes = style.panels(canvas, len(targets), 2 if len(targets) in (2, 4) else 3, 1.9,
                        share_y=False)  # fmt: skip
    here = [p for p in of if column_of(p.record.spec) in targets]
    for point in here:
        ax = axes[targets.index(column_of(point.record.spec))]
        look = looks[point.record.spec.method]
        x = top(point.values[PART]) or 0.0
        ax.plot(x, point.accuracy, look.marker, color=look.color, alpha=0.8, markeredgewidth=0)
    for ax, target in zip(axes, targets, strict=True):
        ax.set_title(target)
        ax.set_xscale("log")
        ax.xaxis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        ax.xaxis.set_major_formatter("{x:g}")
        ax.xaxis.set_minor_formatter("")
    style.axis_labels(axes, "largest eigenvalue", "target accuracy (%)")
    methods = sorted({point.record.spec.method for point in of})
    style.legend_below(
        canvas,
        [
            Line2D([], [], color=looks[m].color, marker=looks[m].marker, linestyle="", label=m)
            for m in methods
        ],
    )
