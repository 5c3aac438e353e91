"""Accuracy against the hyper-parameter `beta` of a component, the decay of an average in most."""

from collections.abc import Mapping, Sequence
from functools import partial
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Any

from benchmark.records.read import Record
from benchmark.reporting import conditions
from benchmark.reporting.conditions import column_of
from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import averages, listed, notes, slug
from benchmark.reporting.request import Wanted

if TYPE_CHECKING:  # takes a second
    from matplotlib.figure import Figure as Canvas

NAME, BEST_VAL = "beta", "best-val"
Place = tuple[str, str, tuple[str, ...], str, str]
"""Dataset, setting, modalities, method and the component that has the hyper-parameter."""
Curve = Mapping[float, Sequence[float]]
"""By value of beta, the average accuracy in percent of each seed."""


def beta_curves(wanted: Wanted) -> list[Figure]:
    """Return a figure for each place where runs differ in beta and are equal otherwise."""
    found: dict[Place, dict[str, dict[float, list[Record]]]] = {}
    for record in wanted.records:
        # Runs that a search chose differ in beta for a reason.
        if record.result is None or record.tried > 1:
            continue
        spec = record.spec
        for component, values in spec.hyperparameters.items():
            if isinstance(value := values.get(NAME), float):
                place = (spec.dataset, spec.setting, spec.modalities, spec.method, component)
                line = conditions.key(_facts(record, component))
                lines = found.setdefault(place, {})
                lines.setdefault(line, {}).setdefault(value, []).append(record)
    figures = []
    for place, lines in sorted(found.items()):
        several = [by_value for by_value in lines.values() if len(by_value) > 1]
        figures += _figure(place, several, wanted) if several else []
    return figures


def _facts(record: Record, component: str) -> conditions.Facts:
    """Return all in which runs of one line agree: their condition and other settings."""
    own = {
        (part, name): value
        for part, values in record.spec.hyperparameters.items()
        for name, value in values.items()
        if (part, name) != (component, NAME)
    }
    # Whatever the rule: the one that compares scripts leaves protocol and recipe out.
    return {**conditions.facts(record.spec, BEST_VAL), **own}


def _figure(
    place: Place, lines: Sequence[Mapping[float, Sequence[Record]]], wanted: Wanted
) -> list[Figure]:
    dataset, setting, modalities, method, component = place
    every = [record for line in lines for members in line.values() for record in members]
    targets = sorted({column_of(record.spec) for record in every})
    percent = wanted.results.percent("target", "accuracy")
    told = conditions.distinctions([_facts(next(iter(x.values()))[0], component) for x in lines])
    curves: dict[str, Curve] = {}
    for words, line in sorted(zip(told, lines, strict=True), key=lambda pair: pair[0]):
        values = {beta: averages(runs, targets, percent) for beta, runs in sorted(line.items())}
        curve = {beta: seeds for beta, seeds in values.items() if seeds}
        if len(curve) > 1:
            curves[", ".join(words) or method] = curve
    if not curves:
        return []
    text = (
        f"Accuracy of {method}, averaged over the targets {listed(targets)}, against beta of "
        f"{component} (values evenly spaced); error bars are the sample standard deviation over "
        "seeds. Runs of one line differ in nothing else."
    )
    where = (dataset, setting, "+".join(modalities), method)
    return [
        Figure(
            f"beta-{slug(*where, component)}",
            f"Accuracy against beta: {', '.join(where)}",
            " ".join([text, *notes(every[0].spec, wanted.view.rule)]),
            partial(_draw, curves=curves, label=f"beta of {component}"),
        )
    ]


def _draw(canvas: "Canvas", curves: Mapping[str, Curve], label: str) -> None:
    (ax,) = style.panels(canvas, 1, 1, 2.2)
    betas = sorted({beta for curve in curves.values() for beta in curve})
    handles: list[Any] = []
    shades = style.shades(len(curves))
    for i, ((name, curve), (color, stroke)) in enumerate(zip(curves.items(), shades, strict=True)):
        # Side by side, so that the bars of different lines can be told apart.
        shift = 0.06 * (i - (len(curves) - 1) / 2)
        x = [betas.index(beta) + shift for beta in curve]
        means = [fmean(values) for values in curve.values()]
        bars = [stdev(values) if len(values) > 1 else 0.0 for values in curve.values()]
        handles.append(
            ax.errorbar(
                x, means, bars, color=color, linestyle=stroke, capsize=2, elinewidth=0.8,
                marker=style.MARKERS[i % len(style.MARKERS)], label=name,
            )
        )  # fmt: skip
    ax.set_xticks(range(len(betas)), [f"{beta:g}" for beta in betas])
    ax.set_xlabel(label)
    ax.set_ylabel("target accuracy (%)")
    if len(curves) > 1:
        style.legend_below(canvas, handles)
