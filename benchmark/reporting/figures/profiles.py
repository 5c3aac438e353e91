"""Loss and accuracy along a line through the weights, method by method."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.measured import members, paged
from benchmark.reporting.figures.style import Look
from benchmark.reporting.kinds.layouts.sharpness import PARTS
from benchmark.reporting.kinds.measured import Sheet, sheets
from benchmark.reporting.request import Wanted

if TYPE_CHECKING:  # takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

Array = NDArray[np.float64]
METHODS = 6
"""The most in one figure."""


@dataclass(frozen=True)
class Profile:
    """Values at some places of a line, each [T]."""

    at: Sequence[float]
    loss: Sequence[float | None]
    accuracy: Sequence[float]


Find = Callable[[Mapping[str, Any], str], Mapping[str, Profile]]
"""Finds the profiles of a run on a part, by what tells several of them apart."""


@dataclass(frozen=True)
class Family:
    """What the figures of one analysis show."""

    analysis: str
    title: str
    axis: str
    text: str
    """What is shown, for the caption."""
    profiles: Find


def _perturbed(values: Mapping[str, Any], part: str) -> Mapping[str, Profile]:
    of = values[part]
    moved = list(of["random"].values())
    return {
        "": Profile(
            [0.0, *map(float, of["random"])],
            [of["loss"], *(point["loss"] for point in moved)],
            [of["accuracy"], *(point["accuracy"] for point in moved)],
        )
    }


def _middle(values: Mapping[str, Any], part: str) -> Mapping[str, Profile]:
    axis, of = values["axis"], values[part]
    row = len(axis) // 2
    return {"": Profile(axis, of["loss"][row], of["accuracy"][row])}


def _between(values: Mapping[str, Any], part: str) -> Mapping[str, Profile]:
    told = {"linear": "statistics interpolated", "reset": "statistics computed anew"}
    return {
        text: Profile(values["alphas"], values[part][kind]["loss"], values[part][kind]["accuracy"])
        for kind, text in told.items()
    }


FAMILIES = (
    Family(
        "sharpness",
        "Random perturbation of the weights",
        "radius, relative to filters",
        "Cross-entropy and accuracy of the fused prediction after a random perturbation of the "
        "weights that moves every filter by the radius times its length, means over directions",
        _perturbed,
    ),
    Family(
        "landscape",
        "Loss along a random direction",
        "distance, relative to filters",
        "Cross-entropy and accuracy of the fused prediction along one random filter-normalised "
        "direction through the trained weights, the same for every run",
        _middle,
    ),
    Family(
        "interpolation",
        "The line between two seeds",
        "place on the line",
        "Cross-entropy and accuracy of the fused prediction between the weights of a seed (0) and "
        "those of one other seed (1), with batch-norm statistics interpolated or computed anew",
        _between,
    ),
)


def profiles(wanted: Wanted, looks: Mapping[str, Look]) -> list[Figure]:
    """Return the figures of every analysis that looks along a line, in pages of methods."""
    return [
        figure
        for family in FAMILIES
        for sheet in sheets(family.analysis, wanted)
        for figure in _figures(family, sheet, looks)
    ]


def _figures(family: Family, sheet: Sheet, looks: Mapping[str, Look]) -> list[Figure]:
    runs = {
        method: [sheet.of[record.spec.id].values for record in records]
        for method, records in members(sheet).items()
    }
    text = (
        f"{family.text}. Lines are means over runs of all targets and seeds; bands, of whole "
        "lines, go from the lowest to the highest run."
    )
    return paged(
        sheet,
        family.analysis,
        family.title,
        text,
        style.pages(list(runs), METHODS),
        lambda page: partial(
            _draw, family=family, of={method: runs[method] for method in page}, looks=looks
        ),
    )


def _draw(
    canvas: "Canvas",
    family: Family,
    of: Mapping[str, Sequence[Mapping[str, Any]]],
    looks: Mapping[str, Look],
) -> None:
    from matplotlib.lines import Line2D

    axes = style.panels(canvas, 4, 2, 1.9, share_y=False)
    kinds = dict.fromkeys(k for runs in of.values() for k in family.profiles(runs[0], "val"))
    strokes: dict[str, Any] = dict(zip(kinds, style.STROKES, strict=False))
    for (losses, accuracies), part in zip(zip(axes[:2], axes[2:], strict=True), PARTS, strict=True):
        for method, runs in of.items():
            found = [family.profiles(values, part) for values in runs]
            for kind, stroke in strokes.items():
                one = [profile[kind] for profile in found]
                rises = np.array([p.loss for p in one], float)
                shares = 100 * np.array([p.accuracy for p in one], float)
                _line(losses, one[0].at, rises, looks[method], stroke)
                _line(accuracies, one[0].at, shares, looks[method], stroke)
        losses.set_title(PARTS[part])
        if losses.dataLim.y0 > 0:
            losses.set_yscale("log")
    for pair in (axes[:2], axes[2:]):  # a scale for losses, and one for accuracies
        pair[1].sharey(pair[0])
        pair[0].autoscale()
    axes[0].set_ylabel("cross-entropy")
    axes[2].set_ylabel("accuracy (%)")
    for ax in axes[2:]:
        ax.set_xlabel(family.axis)
    handles = [Line2D([], [], color=looks[m].color, marker=looks[m].marker, label=m) for m in of]
    if len(kinds) > 1:
        handles += [
            Line2D([], [], color=style.GREY, linestyle=stroke, label=kind)
            for kind, stroke in strokes.items()
        ]
    style.legend_below(canvas, handles)


def _line(ax: "Axes", at: Sequence[float], values: Array, look: Look, stroke: Any) -> None:
    """Draw the mean over runs [R, T], with a band where the line is whole."""
    first = stroke == style.STROKES[0]
    if first:
        low, high = values.min(axis=0), values.max(axis=0)
        ax.fill_between(at, low, high, color=look.color, alpha=0.13, linewidth=0)
    ax.plot(at, values.mean(axis=0), color=look.color, linestyle=stroke,
            marker=look.marker if first else None, markersize=3.5)  # fmt: skip
