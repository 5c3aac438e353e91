"""The critical-difference diagram: average ranks, and which are too close to tell apart.

Demsar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006.
"""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.style import COLUMN, GREY, PAGE, Look

if TYPE_CHECKING:  # takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

LEVEL = 0.5
"""The distance of two bars, in rows of names."""
ROW = 0.165
"""The height of a row of names, in inches."""
ABOVE = 2.6
"""The rows above the axis: its numbers, and the critical difference."""


def rank_figure(
    stem: str,
    cases: str,
    names: Sequence[str],
    ranks: Sequence[float],
    cd: float,
    groups: Sequence[Sequence[int]],
    looks: Mapping[str, Look] | None = None,
) -> Figure:
    """Return a critical-difference diagram as a figure.

    Args:
        stem: of its files, after `ranks-`.
        cases: over what ranks are averaged, e.g. `12 targets`.
        names: of at least two methods.
        ranks: the average rank of each, 1 the best.
        cd: the critical difference, in ranks.
        groups: the bars, as indices of methods that are not told apart.
        looks: of the methods, as the report's other figures have them.
    """
    text = (
        f"Average ranks over {cases} (1 is best); no spread is shown. A bar joins methods whose "
        f"ranks differ by less than the critical difference of {cd:.2f} (Nemenyi, level 0.05)."
    )
    draw = partial(_draw, names=names, ranks=ranks, cd=cd, groups=groups, looks=looks)
    return Figure(f"ranks-{stem}", f"Average ranks over {cases}", text, draw)


def _draw(
    canvas: "Canvas",
    names: Sequence[str],
    ranks: Sequence[float],
    cd: float,
    groups: Sequence[Sequence[int]],
    looks: Mapping[str, Look] | None,
) -> None:
    rows = math.ceil(len(names) / 2) + LEVEL * len(_levels(ranks, groups)) + ABOVE + 0.5
    canvas.set_size_inches(PAGE if len(names) > 6 else COLUMN, rows * ROW)
    canvas.set_layout_engine("constrained")
    critical_difference(canvas.subplots(), names, ranks, cd, groups, looks)


def critical_difference(
    ax: "Axes",
    names: Sequence[str],
    ranks: Sequence[float],
    cd: float,
    groups: Sequence[Sequence[int]],
    looks: Mapping[str, Look] | None = None,
) -> None:
    """Draw a critical-difference diagram: the best on the left, from the top.

    The horizontal axis is the rank; one down is a row of names, which stand left and right of `ax`.

    Args:
        ax: empty axes, about 0.17 inches high for each row of names.
        names: of at least two methods.
        ranks: the average rank of each, 1 the best.
        cd: the critical difference, in ranks.
        groups: the bars, as indices of methods that are not told apart.
        looks: of the methods; without them all are black.
    """
    low, high = math.floor(min(ranks)), math.ceil(max(ranks))
    high = max(high, low + math.ceil(cd), low + 1)
    levels = _levels(ranks, groups)
    first = -(0.9 + LEVEL * len(levels))
    _axis(ax, low, high, cd)
    for level, bars in enumerate(levels):
        for start, end in bars:
            y = -0.5 - LEVEL * level
            ax.plot([start, end], [y, y], color="black", linewidth=2.6, solid_capstyle="butt",
                    label="_group")  # fmt: skip
    order = sorted(range(len(names)), key=lambda i: (ranks[i], names[i]))
    half = math.ceil(len(order) / 2)
    sides = (order[:half], low, "right", -4), (order[half:][::-1], high, "left", 4)
    for members, edge, align, pad in sides:
        for row, i in enumerate(members):
            y = first - row
            look = looks[names[i]] if looks else Look("black", "o")
            ax.plot([ranks[i], ranks[i], edge], [0, y, y], color=GREY, linewidth=0.6, zorder=1)
            ax.plot(ranks[i], 0, look.marker, color=look.color, markersize=4, clip_on=False)
            ax.plot(edge, y, look.marker, color=look.color, markersize=4, clip_on=False)
            text = f"{names[i]} {ranks[i]:.2f}" if edge == low else f"{ranks[i]:.2f} {names[i]}"
            ax.annotate(text, (edge, y), xytext=(pad, 0), textcoords="offset points",
                        ha=align, va="center", annotation_clip=False)  # fmt: skip
    ax.set_xlim(low, high)
    ax.set_ylim(first - half + 0.4, ABOVE)
    ax.set_axis_off()


def _axis(ax: "Axes", low: int, high: int, cd: float) -> None:
    """Draw the ranks' axis at height 0 and above it the length of the critical difference."""
    step = max(math.ceil((high - low) / 10), 1)
    ax.plot([low, high], [0, 0], color="black", linewidth=0.8, zorder=2)
    for rank in range(low, high + 1, step):
        ax.plot([rank, rank], [0, 0.25], color="black", linewidth=0.8)
        ax.text(rank, 0.4, str(rank), ha="center", va="bottom")
    ax.plot([low, low + cd], [1.75, 1.75], color="black", linewidth=1.2, marker="|", label="_cd")
    ax.text(low + cd, 1.75, f"  CD = {cd:.2f}", ha="left", va="center")


def _levels(
    ranks: Sequence[float], groups: Sequence[Sequence[int]]
) -> list[list[tuple[float, float]]]:
    """Return the bars from rank to rank, in as few levels as keep them apart."""
    levels: list[list[tuple[float, float]]] = []
    spans = sorted((min(ranks[i] for i in group), max(ranks[i] for i in group)) for group in groups)
    gap = 0.02 * (max(ranks) - min(ranks))
    for start, end in spans:
        free = next((level for level in levels if level[-1][1] + gap < start), None)
        if free is None:
            levels.append(free := [])
        free.append((start, end))
    return levels
