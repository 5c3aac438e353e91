"""Drop rates against what modalities are worth: does adaptive dropout hit the dominant one?"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.records.read import Record
from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import metrics, notes
from benchmark.reporting.figures.style import Look
from benchmark.reporting.kinds.measured import Sheet, sheets
from benchmark.reporting.request import Wanted

if TYPE_CHECKING:  # takes a second
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure as Canvas

NAME = "drop-rate-against-shapley"
ROWS = 4
"""The most in one figure."""
NAMED = 8
"""Modalities up to which each has a colour."""
DRAWS, LEAST_RUNS = 2000, 3
"""Of the bootstrap, and the fewest runs that it is over."""
WORTHS = {"shapley": "Shapley value (points)", "alone": "accuracy from it alone (%)"}
"""What a modality is worth, as the analysis `shapley` names it, and in words."""
Array = NDArray[np.float64]


@dataclass(frozen=True)
class Group:
    """The runs of one method under one condition."""

    label: str
    method: str
    rates: Array
    """[R, M] mean drop rate of every modality in every run, in percent."""
    worth: Mapping[str, Array]
    """[R, M] in percent, by the keys of `WORTHS`."""


@dataclass(frozen=True)
class Place:
    """A row of panels: a condition."""

    title: str
    modalities: Sequence[str]
    groups: Sequence[Group]


def against_shapley(wanted: Wanted, looks: Mapping[str, Look]) -> list[Figure]:
    """Return the scatter of drop rates, where runs log some that differ between modalities."""
    found: dict[int, Sheet] = {}
    for sheet in sheets("shapley", wanted):
        found.setdefault(id(sheet.block), sheet)
    places = [place for place in map(_place, found.values()) if place.groups]
    if not places:
        return []
    specs = {sheet.block.spec.dataset: sheet.block.spec for sheet in found.values()}
    said = dict.fromkeys(note for spec in specs.values() for note in notes(spec, wanted.view.rule))
    pages = style.pages(places, ROWS)
    return [
        Figure(
            NAME if len(pages) == 1 else f"{NAME}-{number}",
            "Drop rate against the worth of a modality",
            " ".join([*_caption(page), *said]),
            partial(_draw, places=page, looks=looks),
        )
        for number, page in enumerate(pages, 1)
    ]


def _place(sheet: Sheet) -> Place:
    block = sheet.block
    words = (block.spec.dataset, block.spec.setting, block.modalities, *block.told)
    groups = [group for line in block.lines if (group := _group(line.label, line.records, sheet))]
    return Place(", ".join(words), block.spec.modalities, groups)


def _group(label: str, records: Sequence[Record], sheet: Sheet) -> Group | None:
    runs = []
    for record in records:
        if record.spec.id in sheet.of and (rates := mean_rates(record)):
            runs.append((rates, sheet.of[record.spec.id].values["target"]["zero"]))
    if not any(len(set(rates)) > 1 for rates, _ in runs):  # of a fixed rate there is no question
        return None
    modalities = records[0].spec.modalities
    worth = {name: [[of[name][k] for k in modalities] for _, of in runs] for name in WORTHS}
    return Group(
        label,
        records[0].spec.method,
        100 * np.array([rates for rates, _ in runs]),
        {name: 100 * np.array(rows) for name, rows in worth.items()},
    )


def mean_rates(record: Record) -> list[float] | None:
    """Return each modality's drop rate, averaged over validations; None where it is not logged."""
    lines = [line.get("train") for line in metrics(record)]
    means = []
    for k in record.spec.modalities:
        logged = [line.get(f"drop_rate/{k}") for line in lines if isinstance(line, Mapping)]
        there = [float(value) for value in logged if value is not None]
        if not there:
            return None
        means.append(fmean(there))
    return means


def correlation(x: Array, y: Array) -> float | None:
    """Return Spearman's rank correlation of two arrays; None where one of them is constant."""
    value = float(_correlations(x.reshape(1, -1), y.reshape(1, -1))[0])
    return None if np.isnan(value) else value


def interval(x: Array, y: Array) -> tuple[float, float] | None:
    """Return the 95 % interval of the rank correlation, from a bootstrap over runs.

    Args:
        x: [R, M] by run and modality: the modalities of a run are drawn together.
        y: the same.

    Returns:
        None for fewer than three runs.
    """
    if len(x) < LEAST_RUNS:
        return None
    drawn = np.random.default_rng(0).integers(len(x), size=(DRAWS, len(x)))
    values = _correlations(*(of[drawn].reshape(DRAWS, -1) for of in (x, y)))
    if np.isnan(values).all():
        return None
    low, high = np.nanpercentile(values, [2.5, 97.5])
    return float(low), float(high)


def _correlations(x: Array, y: Array) -> Array:
    """Return the rank correlation of each row of two arrays [B, N], [B]."""
    from scipy import stats

    ranks = [stats.rankdata(values, axis=1) - (x.shape[1] + 1) / 2 for values in (x, y)]
    one, other = ranks
    lengths = np.sqrt((one**2).sum(axis=1) * (other**2).sum(axis=1))
    with np.errstate(invalid="ignore"):
        return np.asarray((one * other).sum(axis=1) / lengths)


def _caption(places: Sequence[Place]) -> Iterator[str]:
    yield (
        "Does adaptive dropout fire for the modality that dominates, and spare the weak one? Each "
        "point is a modality of one run: its drop rate, averaged over training, against its "
        "Shapley value on the target and against the accuracy of the fused prediction from it "
        "alone. Rank correlations (Spearman) with both, with 95 % intervals of a bootstrap over "
        f"runs, for which {LEAST_RUNS} are needed:"
    )
    said = [
        f"{place.title}, {group.label} ({len(group.rates)} runs): "
        + " and ".join(_said(group.worth[name], group.rates) for name in WORTHS)
        for place in places
        for group in place.groups
    ]
    yield "; ".join(said) + "."


def _said(worth: Array, rates: Array) -> str:
    value = correlation(worth, rates)
    if value is None:
        return "none"
    ends = interval(worth, rates)
    return f"{value:+.2f}" + (f" ({ends[0]:+.2f} to {ends[1]:+.2f})" if ends else "")


def _draw(canvas: "Canvas", places: Sequence[Place], looks: Mapping[str, Look]) -> None:
    from matplotlib.lines import Line2D

    columns = len(WORTHS)
    axes = style.panels(canvas, columns * len(places), columns, 2.2, share_x=False, share_y=False)
    for i, place in enumerate(places):
        row = axes[columns * i : columns * (i + 1)]
        colors = _colors(place.modalities)
        for ax, (name, label) in zip(row, WORTHS.items(), strict=True):
            for group in place.groups:
                _points(ax, group, name, colors, looks)
            ax.set_xlabel(label)
            ax.set_ylim(bottom=min(0, ax.get_ylim()[0]))
        row[0].set_ylabel("mean drop rate (%)")
        row[0].set_title(place.title, loc="left")
        if len(place.modalities) <= NAMED:
            handles = [
                Line2D([], [], color=color, marker="o", linestyle="", label=k)
                for k, color in zip(place.modalities, colors, strict=True)
            ]
            row[-1].legend(handles=handles, loc="center left", bbox_to_anchor=(1, 0.5),
                           handletextpad=0.1)  # fmt: skip
    methods = dict.fromkeys(group.method for place in places for group in place.groups)
    if len(methods) > 1:
        style.legend_below(canvas, [
            Line2D([], [], color=style.GREY, marker=looks[m].marker, linestyle="", label=m)
            for m in methods
        ])  # fmt: skip


def _colors(modalities: Sequence[str]) -> list[Any]:
    if len(modalities) > NAMED:
        return [style.GREY] * len(modalities)
    return [color for color, _ in style.shades(len(modalities))]


def _points(
    ax: "Axes", group: Group, name: str, colors: Sequence[Any], looks: Mapping[str, Look]
) -> None:
    for k, color in enumerate(colors):
        ax.plot(group.worth[name][:, k], group.rates[:, k], looks[group.method].marker,
                color=color, markersize=4, alpha=0.8, markeredgewidth=0)  # fmt: skip
