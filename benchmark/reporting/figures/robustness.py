"""What is left of the accuracy: over the severity of corruptions, and where modalities lack."""

import math
from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING

from benchmark.reporting.figures import scores, style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.measured import paged
from benchmark.reporting.figures.style import Look
from benchmark.reporting.kinds import measured
from benchmark.reporting.kinds.layouts.layout import Column
from benchmark.reporting.kinds.layouts.robustness import NAME, corrupted, subsets
from benchmark.reporting.kinds.measured import Sheet
from benchmark.reporting.request import Wanted
from benchmark.reporting.rows import Line

if TYPE_CHECKING:  # takes a second
    from matplotlib.figure import Figure as Canvas

METHODS, PANELS = 6, 12
"""The most in one figure."""
Curve = Mapping[int, float]
"""Accuracy in percent by severity; 0 is clean."""
Panel = tuple[str, str]
"""Modality and corruption."""


def robustness(wanted: Wanted, looks: Mapping[str, Look]) -> list[Figure]:
    """Return the figures of every condition, set of modalities and settings that were measured."""
    figures: list[Figure] = []
    for sheet in measured.sheets(NAME, wanted):
        figures += [*_severities(sheet, looks), *_missing(sheet)]
    return figures


def _severities(sheet: Sheet, looks: Mapping[str, Look]) -> list[Figure]:
    every = [(k, name) for k, names in corrupted(sheet.values).items() for name in names]
    lines = _lines(sheet)
    text = (
        "Accuracy on the target with one modality corrupted and the others clean, over the "
        "severity of the corruption; 0 is clean. Means over seeds and the targets "
        f"{', '.join(sheet.splits)}; no spread is shown."
    )
    cuts = [(m, p) for m in style.pages(lines, METHODS) for p in style.pages(every, PANELS, 4)]

    def drawing(page: tuple[Sequence[Line], Sequence[Panel]]) -> "partial[None]":
        methods, panels = page
        return partial(
            _draw,
            curves={line.label: {panel: _curve(line, sheet, panel) for panel in panels}
                    for line in methods},
            panels=panels,
            looks={line.label: looks[line.records[0].spec.method] for line in methods},
        )  # fmt: skip

    return paged(sheet, NAME, "Accuracy under corruption", text, cuts, drawing)


def _missing(sheet: Sheet) -> list[Figure]:
    whole, *others = reversed(subsets(sheet.values))
    places = [("zero", whole), *((a, s) for a in ("zero", "mean") for s in reversed(others))]
    if not others:
        return []
    columns = [Column(s, ("missing", absence, s), percent=True) for absence, s in places]
    lines = _lines(sheet)
    rows = [[_mean(line, sheet, column) for column in columns] for line in lines]
    text = (
        "Accuracy on the target from all modalities, and from those named alone: what is "
        "absent is zeros after the neck, or (mean) the mean embedding of the sources' train part. "
        "Means in percent over seeds and targets; no spread is shown."
    )
    draw = partial(
        scores.draw_heat, names=[line.label for line in lines], apart=len(others), rows=rows,
        columns=["all", *(s if a == "zero" else f"{s}, mean" for a, s in places[1:])],
    )  # fmt: skip
    title = "Accuracy with missing modalities"
    return paged(sheet, "missing", title, text, [lines], lambda _: draw)


def _lines(sheet: Sheet) -> list[Line]:
    """Return the rows of which any run was measured."""
    return [line for line in sheet.block.lines if measured.of_line(line, sheet.of)]


def _curve(line: Line, sheet: Sheet, panel: Panel) -> Curve:
    modality, name = panel
    # All that a sheet holds was measured with one choice of settings, so of the same severities.
    severities = sheet.values[0]["corrupted"][modality]["by"][name]["severity"]
    place = ("corrupted", modality, "by", name, "severity")
    columns = {int(s): Column("", (*place, s), percent=True) for s in severities}
    columns = {0: Column("", ("clean",), percent=True), **columns}
    return {severity: _mean(line, sheet, column) for severity, column in columns.items()}


def _mean(line: Line, sheet: Sheet, column: Column) -> float:
    found = measured.score(measured.of_line(line, sheet.of), sheet, column)
    return found.mean if found.n else math.nan


def _draw(
    canvas: "Canvas",
    curves: Mapping[str, Mapping[Panel, Curve]],
    panels: Sequence[Panel],
    looks: Mapping[str, Look],
) -> None:
    from matplotlib.lines import Line2D

    axes = style.panels(canvas, len(panels), 4, 1.6)
    for ax, panel in zip(axes, panels, strict=True):
        for label, of in curves.items():
            look = looks[label]
            x, y = list(of[panel]), list(of[panel].values())
            ax.plot(x, y, color=look.color, marker=look.marker, markersize=3.5)
        ax.set_title("\n".join([panel[0], panel[1].replace("_", " ")]))
        ax.set_xticks(sorted({s for of in curves.values() for s in of[panel]}))
    style.axis_labels(axes, "severity", "accuracy (%)")
    style.legend_below(canvas, [
        Line2D([], [], color=look.color, marker=look.marker, label=label)
        for label, look in looks.items()
    ])  # fmt: skip
