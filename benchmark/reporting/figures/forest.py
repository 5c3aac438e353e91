"""The gain of every method over ERM with its intervals: a forest plot, the largest gain on top."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from benchmark.reporting import statistics
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import notes
from benchmark.reporting.figures.style import COLUMN, GREY, Look
from benchmark.reporting.kinds import gains
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.kinds.gains import Gain
from benchmark.reporting.request import Wanted

if TYPE_CHECKING:  # takes a second
    from matplotlib.figure import Figure as Canvas

ROW = 0.17
"""The height of a row, in inches."""
AROUND = 0.55
"""That of the axis below the rows."""


def forest(wanted: Wanted, looks: Mapping[str, Look]) -> list[Figure]:
    """Return the figure of the gains over ERM, where there is one."""
    (told, part), *others = gains.by_protocol(wanted)
    found, best = gains.collect(part)
    if not found:
        return []
    specs = {record.spec.dataset: record.spec for record in part.records}
    said = dict.fromkeys(n for spec in specs.values() for n in notes(spec, wanted.view.rule))
    if others:
        left_out = "; ".join(name for name, _ in others)
        said[f"Protocol: {told}. Left out: {left_out}."] = None
    return [gain_figure(found, best, looks, list(said))]


def gain_figure(
    found: Sequence[Gain],
    best: Mapping[str, bool],
    looks: Mapping[str, Look],
    said: Sequence[str] = (),
) -> Figure:
    """Return the forest plot of gains, in their order from the top; `said` ends its caption."""
    several = any(gain.new.error is not None for gain in found)
    text = (
        f"Gain over {BASELINE} in points, datasets weighted equally. Thick bars: 95 % intervals "
        "for other seeds and other test samples of the same targets, Holm-corrected over the "
        "methods."
    )
    if several:
        text += " Thin bars: 95 % intervals for other datasets; some may leave the figure."
    if best:
        text += (
            " Filled marks may be the best; hollow ones are significantly worse or lack targets."
        )
    draw = partial(_draw, found=found, best=best, looks=looks)
    return Figure("gains", f"Gain over {BASELINE}", " ".join([text, *said]), draw)


def _draw(
    canvas: "Canvas", found: Sequence[Gain], best: Mapping[str, bool], looks: Mapping[str, Look]
) -> None:
    canvas.set_size_inches(COLUMN, AROUND + ROW * len(found))
    canvas.set_layout_engine("constrained")
    ax = canvas.subplots()
    here = statistics.adjusted([gain.here for gain in found])
    ends = [0.0]
    for i, (gain, (_, interval)) in enumerate(zip(found, here, strict=True)):
        look = looks.get(gain.method, Look("black", "o"))
        value = 100 * gain.here.value
        ends.append(value)
        if new := gain.new.interval():
            ax.plot([100 * x for x in new], [i, i], color=look.color, linewidth=0.8, label="_new")
        if interval:
            ends += [100 * x for x in interval]
            ax.plot(
                [100 * x for x in interval], [i, i], color=look.color, linewidth=2.2, label="_here"
            )
        face = look.color if best.get(gain.method) else "white"
        ax.plot(value, i, look.marker, color=look.color, markerfacecolor=face, markersize=4.5)
    ax.axvline(0, color=GREY, linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(found)), [gain.method for gain in found])
    ax.set_ylim(len(found) - 0.5, -0.5)
    # Intervals of few datasets are so wide that they would hide all else.
    margin = 0.25 * (max(ends) - min(ends)) or 1.0
    ax.set_xlim(min(ends) - margin, max(ends) + margin)
    ax.set_xlabel(f"points above {BASELINE}")
