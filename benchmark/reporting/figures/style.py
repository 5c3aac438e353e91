"""One look for all figures: colours, markers, fonts, sizes, panels and labels.

The seven dark colours of Okabe and Ito, "Color Universal Design", 2008, which people with any
common colour blindness can tell apart. More than seven methods share colours, never the marker too.
"""

import math
import textwrap
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:  # takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

T = TypeVar("T")
Array = NDArray[Any]

COLUMN, PAGE = 3.3, 6.9
"""Widths of one column and of a page of a paper, in inches."""
FONT = 8.0
"""Points; nothing in a figure is smaller."""
DPI = 150
PALETTE = ("#0072B2", "#E69F00", "#009E73", "#D55E00", "#56B4E9", "#000000", "#CC79A7")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">", "*")
"""Their number and that of the colours have no common factor, so 70 methods look different."""
STROKES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (4, 1, 1, 1)), (0, (2, 1, 1, 1, 1, 1)))
GREY = "0.55"


@dataclass(frozen=True)
class Look:
    """How a method is drawn in every figure."""

    color: str
    marker: str


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return the look of each method; those next to each other in the alphabet differ most."""
    return {
        method: Look(PALETTE[i % len(PALETTE)], MARKERS[i % len(MARKERS)])
        for i, method in enumerate(sorted(set(methods)))
    }


def shades(number: int) -> list[tuple[Any, Any]]:
    """Return colour and line style of things that are no methods, such as modalities."""
    import matplotlib

    scale = matplotlib.colormaps["viridis"]
    # The last fifth of the scale is too light for a line on white.
    return [(scale(0.8 * i / max(number - 1, 1)), STROKES[i % len(STROKES)]) for i in range(number)]


def applied() -> AbstractContextManager[None]:
    """Return a context in which whatever is drawn has the suite's style."""
    import matplotlib
    import seaborn as sns  # type: ignore[import-untyped]

    sizes = ("font.size", "axes.labelsize", "axes.titlesize", "xtick.labelsize", "ytick.labelsize")
    own: Any = {
        **dict.fromkeys((*sizes, "legend.fontsize", "legend.title_fontsize"), FONT),
        "font.sans-serif": ["DejaVu Sans"],  # comes with matplotlib: the same on every machine
        "figure.dpi": DPI,
        "savefig.dpi": DPI,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.linewidth": 0.6,
        "axes.titlepad": 4.0,
        "lines.linewidth": 1.2,
        "lines.markersize": 4.0,
        "legend.frameon": False,
        "legend.handlelength": 2.2,
        "mathtext.default": "regular",
        "pdf.fonttype": 42,  # real text, which journals ask for
        "figure.constrained_layout.w_pad": 0.03,
        "figure.constrained_layout.h_pad": 0.03,
    }
    return matplotlib.rc_context(
        {**sns.axes_style("ticks"), **sns.plotting_context("paper"), **own}
    )


def pages(things: Sequence[T], most: int, row: int = 1) -> list[Sequence[T]]:
    """Return the things in pages of about the same length, whole rows and at most `most`."""
    if not things:
        return []
    number = math.ceil(len(things) / most)
    length = row * math.ceil(len(things) / number / row)
    return [things[i : i + length] for i in range(0, len(things), length)]


def panels(
    canvas: "Canvas",
    number: int,
    columns: int,
    height: float,
    share_x: bool = True,
    share_y: bool = True,
) -> list["Axes"]:
    """Return axes in a grid, `height` inches each, that share their scales unless told otherwise.

    A figure of one panel is as wide as a column, any other as a page.
    """
    columns = min(columns, number)
    rows = math.ceil(number / columns)
    canvas.set_size_inches(COLUMN if number == 1 else PAGE, rows * height)
    canvas.set_layout_engine("constrained")
    grid = canvas.subplots(rows, columns, sharex=share_x, sharey=share_y, squeeze=False)
    axes: list[Axes] = list(grid.flat)
    for spare in axes[number:]:
        spare.remove()
    for above in axes[max(number - columns, 0) : number]:
        above.tick_params(labelbottom=True)  # where a spare one is below
    return axes[:number]


def axis_labels(axes: Sequence["Axes"], x: str, y: str) -> None:
    """Label the lowest and the leftmost of the panels that `panels` made.

    The figure's own labels would be where a legend below the panels is.
    """
    first = axes[0].get_subplotspec()
    columns = first.get_gridspec().ncols if first else 1
    for i, ax in enumerate(axes):
        if i % columns == 0:
            ax.set_ylabel(y)
        if i + columns >= len(axes):
            ax.set_xlabel(x)


def legend_below(canvas: "Canvas", handles: Sequence[Any]) -> None:
    """Put one legend for the whole figure below its panels, and make room for it.

    Names that are longer than the figure is wide take several lines.
    """
    width, height = canvas.get_size_inches()
    # An estimate: a letter is half as wide as it is high, a handle takes seven letters.
    letter = 0.55 * FONT / 72
    names = [textwrap.fill(str(h.get_label()), int(width / letter) - 7) for h in handles]
    lines = [name.splitlines() or [""] for name in names]
    each = (max(len(line) for name in lines for line in name) + 7) * letter
    columns = max(min(int(width / each), len(handles)), 1)
    rows = math.ceil(sum(map(len, lines)) / columns)
    canvas.set_size_inches(width, height + 0.1 + rows * 1.4 * FONT / 72)
    canvas.legend(list(handles), names, loc="outside lower center", ncols=columns)


def settle(canvas: "Canvas") -> None:
    """Lay the figure out once and keep every panel where it is then."""
    canvas.draw_without_rendering()
    canvas.set_layout_engine("none")


def label_points(
    ax: "Axes",
    points: Mapping[str, tuple[float, float]],
    bars: Sequence[tuple[float, float, float]],
    looks: Mapping[str, Look],
) -> None:
    """Write each point's name near it, over no other name and no point.

    The layout must be settled. Names are placed one after the other, the most crowded first, each
    at the nearest free place, with a thin line to a point that is further off.

    Args:
        ax: where the points are drawn.
        points: by name, in data coordinates.
        bars: error bars as (x, low, high), which names avoid where they can.
        looks: the colours of the lines.
    """
    at = {name: ax.transData.transform(point) for name, point in points.items()}
    scale = DPI / 72
    reach = 3.5 * scale
    taken = [(x - reach, y - reach, x + reach, y + reach) for x, y in at.values()]
    ends = [ax.transData.transform([(x, low), (x, high)]).ravel() for x, low, high in bars]
    avoided = np.array(ends).reshape(-1, 4) + np.array([-1, 0, 1, 0]) * 1.5 * scale
    centres = np.array(list(at.values()))
    crowd = {n: -np.sum(np.hypot(*(centres - p).T) < 40 * scale) for n, p in at.items()}
    for name in sorted(at, key=lambda n: (crowd[n], n)):
        text = ax.annotate(name, points[name], va="bottom", ha="left", fontsize=FONT)
        size = text.get_window_extent()
        others = np.array([point for other, point in at.items() if other != name])
        x, y, distance = _free(
            ax, at[name], (size.width, size.height), np.array(taken), avoided, others
        )
        text.set_position(tuple(ax.transData.inverted().transform((x, y))))
        taken.append((x - 3 * scale, y, x + size.width + 3 * scale, y + size.height))
        if distance > 5 * scale:
            near = np.clip(at[name], (x, y), (x + size.width, y + size.height))
            (x0, y0), (x1, y1) = ax.transData.inverted().transform([at[name], near])
            color = looks[name].color
            ax.plot([x0, x1], [y0, y1], color=color, linewidth=0.5, zorder=1, label="_leader")


def _free(
    ax: "Axes",
    point: Array,
    size: tuple[float, float],
    taken: Array,
    avoided: Array,
    others: Array,
) -> tuple[float, float, float]:
    """Return the nearest free lower left corner of a box [w, h], and how far off it is; pixels."""
    scale = DPI / 72
    area = ax.get_window_extent()
    # A grid that has the place right beside the point.
    start = np.array([4.5 * scale, -size[1] / 2]) + point - (area.x0, area.y0)
    left, low = (area.x0, area.y0) + start % (4 * scale, 3 * scale)
    xs = np.arange(left, area.x1 - size[0], 4 * scale)
    ys = np.arange(low, area.y1 - size[1], 3 * scale)
    corners = np.stack(np.meshgrid(xs, ys), axis=-1).reshape(-1, 2)
    boxes = np.hstack([corners, corners + size])
    distance = _distance(boxes, point[None])[:, 0]
    # Beside the point is better than above it.
    centre = corners + np.array(size) / 2 - point
    cost = distance + 0.02 * np.abs(centre[:, 0] - size[0] / 2) + 0.2 * np.abs(centre[:, 1])
    # Across an error bar, or nearer to another point, is worse than further off.
    cost += 15 * scale * _overlap(boxes, avoided).sum(axis=1)
    cost += 15 * scale * (_distance(boxes, others) < distance[:, None] + 2 * scale).sum(axis=1)
    cost += 1e6 * _overlap(boxes, taken).any(axis=1)
    best = int(np.argmin(cost))
    return float(corners[best, 0]), float(corners[best, 1]), float(distance[best])


def _distance(boxes: Array, points: Array) -> Array:
    """Return how far points [M, 2] are from boxes [N, 4], corners low and high, as [N, M]."""
    x0, y0, x1, y1 = (side[:, None] for side in boxes.T)
    x, y = points.T
    beside = np.maximum(np.maximum(x0 - x, x - x1), 0)
    above = np.maximum(np.maximum(y0 - y, y - y1), 0)
    return np.asarray(np.hypot(beside, above))


def _overlap(boxes: Array, others: Array) -> Array:
    """Return whether boxes [N, 4] and [M, 4], corners low and high, overlap, as [N, M]."""
    x0, y0, x1, y1 = (side[:, None] for side in boxes.T)
    left, low, right, high = others.T
    return np.asarray((x0 <= right) & (left <= x1) & (y0 <= high) & (low <= y1))
