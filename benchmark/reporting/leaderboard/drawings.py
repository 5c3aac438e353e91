"""The drawings of the page, as SVG without texts that a narrow window would shrink.

Widths that follow the window are in percent, everything else in pixels; colours are the style's.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape

from benchmark.reporting.figures.curves import Array
from benchmark.reporting.figures.scores import cost_scale
from benchmark.reporting.model import Interval

WIDTH, HEIGHT = 170, 28
"""Of an interval in a row."""
TALL = 300
"""The height of a scatter plot."""
COURSE = (150, 56)
"""Width and height of a course."""
MOST = 60
"""Points of a course; longer ones are thinned out."""


@dataclass(frozen=True)
class Scale:
    """A linear axis."""

    low: float
    high: float
    ticks: Sequence[float]

    def at(self, value: float, length: float) -> float:
        """Return where a value lies on an axis of some length."""
        return length * (value - self.low) / (self.high - self.low)


def scale(values: Sequence[float], margin: float, wanted: int) -> Scale:
    """Return an axis that holds all values, with about as many ticks as wanted."""
    low, high = min(values), max(values)
    around = margin * (high - low) or 1.0
    low, high = low - around, high + around
    raw = (high - low) / wanted
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(s * power for s in (1, 2, 5, 10) if s * power >= raw)
    first, last = math.ceil(low / step), math.floor(high / step)
    return Scale(low, high, [i * step for i in range(first, last + 1)])


def _n(value: float) -> str:
    """Return a coordinate: a tenth of a pixel is enough."""
    return f"{value:.1f}".removesuffix(".0")


def axis(of: Scale) -> str:
    """Return the ticks above intervals in rows."""
    texts = "".join(
        f'<text x="{_n(of.at(tick, WIDTH))}" y="11">{_tick(tick)}</text>' for tick in of.ticks
    )
    return f'<svg class="axis" width="{WIDTH}" height="14" aria-hidden="true">{texts}</svg>'


def _tick(value: float) -> str:
    return f"{value:+g}" if value else "0"


def forest(value: float, here: Interval | None, new: Interval | None, of: Scale, best: bool) -> str:
    """Return a mean with its intervals, thick for these targets and thin for new datasets."""
    sure = here is not None and (here.low > 0 or here.high < 0)
    kind = f"{'sure ' * sure}{'best' * best}".strip()
    return (
        f'<svg class="forest {kind}" width="{WIDTH}" height="{HEIGHT}" aria-hidden="true">'
        f'<path class="zero" d="M{_n(of.at(0, WIDTH))} -4V{HEIGHT + 4}"/>'
        f"{_bar('here', here, of)}{_bar('new', new, of)}"
        f'<circle cx="{_n(of.at(value, WIDTH))}" cy="{HEIGHT // 2}" r="4"/></svg>'
    )


def _bar(kind: str, ends: Interval | None, of: Scale) -> str:
    """Return an interval; it ends with an arrow where it goes on outside the picture."""
    if ends is None:
        return ""
    y = HEIGHT // 2
    left, right = (_n(min(max(of.at(x, WIDTH), 0), WIDTH)) for x in (ends.low, ends.high))
    arrows = f"M{left} {y}l5 -4m0 8l-5 -4" if ends.low < of.low else ""
    arrows += f"M{right} {y}l-5 -4m0 8l5 -4" if ends.high > of.high else ""
    drawn = f'<path class="{kind}" d="M{left} {y}H{right}"/>'
    return f'{drawn}<path class="arrow" d="{arrows}"/>' if arrows else drawn


@dataclass(frozen=True)
class Point:
    """A method in a scatter plot."""

    across: float
    up: float
    family: int
    said: str
    """Its name and numbers, in words."""
    attributes: str
    """What the script knows it by."""


def scatter(points: Sequence[Point], unit: str, title: str) -> str:
    """Return a scatter plot, its horizontal axis logarithmic.

    Args:
        points: two or more.
        unit: behind the ticks of the horizontal axis.
        title: what a reader who does not see it is told.
    """
    low, high, ticks = cost_scale([point.across for point in points])
    up = scale([point.up for point in points], 0.08, 5)

    def x(value: float) -> str:
        return f"{_n(100 * math.log(value / low) / math.log(high / low))}%"

    def y(value: float) -> str:
        return _n(TALL - up.at(value, TALL))

    lines = [
        *(
            f'<line class="grid" x1="{x(t)}" x2="{x(t)}" y2="{TALL}"/>'
            f'<text class="across" x="{x(t)}" y="{TALL + 18}">{t:g}{escape(unit)}</text>'
            for t in ticks
        ),
        *(
            f'<line class="grid" x2="100%" y1="{y(t)}" y2="{y(t)}"/>'
            f'<text class="up" x="-8" y="{y(t)}" dy="4">{t:g}</text>'
            for t in up.ticks
        ),
    ]
    marks = [
        f'<g class="point f{p.family}" tabindex="0" role="img"{p.attributes}>'
        f'<title>{escape(p.said)}</title><circle cx="{x(p.across)}" cy="{y(p.up)}" r="5"/></g>'
        for p in points
    ]
    return (
        f'<svg class="scatter" width="100%" height="{TALL}" role="group" '
        f'aria-label="{escape(title)}">{"".join([*lines, *marks])}</svg>'
    )


def course(lines: Sequence[tuple[str, Array]], of: Scale) -> str:
    """Return curves over training; `lines` are their kinds and values, of the same length."""
    width, height = COURSE
    drawn = "".join(
        f'<path class="{kind}" d="{_path(values, of, width, height)}"/>' for kind, values in lines
    )
    return f'<svg class="course" width="{width}" height="{height}" aria-hidden="true">{drawn}</svg>'


def _path(values: Array, of: Scale, width: int, height: int) -> str:
    last = max(len(values) - 1, 1)
    kept = range(0, len(values), math.ceil(len(values) / MOST))
    places = [
        f"{_n(width * i / last)} {_n(height - of.at(float(values[i]), height))}"
        for i in dict.fromkeys([*kept, len(values) - 1])
        if not math.isnan(values[i])
    ]
    # A single point has no length: a round end shows it.
    return "M" + "L".join([*places, places[0]] if len(places) == 1 else places)
