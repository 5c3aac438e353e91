"""The figures of a report: `make` says which there are, `save` writes one.

Matplotlib and seaborn are imported when a figure is drawn, so that other reports do not wait.
"""

from collections.abc import Mapping

from benchmark.reporting import statistics
from benchmark.reporting.figures import beta, confusion, curves, groups, scores, style
from benchmark.reporting.figures.canvas import Figure, drawn, png_bytes, save
from benchmark.reporting.figures.ranks import critical_difference, rank_figure
from benchmark.reporting.figures.style import Look, looks
from benchmark.reporting.kinds import ranks
from benchmark.reporting.request import Wanted

__all__ = [
    "Figure",
    "critical_difference",
    "drawn",
    "looks",
    "make",
    "png_bytes",
    "rank_figure",
    "save",
]


def make(wanted: Wanted) -> list[Figure]:
    """Return every figure for which the records have data, ready to be drawn.

    Runs that differ in anything but the seed, and where a figure averages over them the target, are
    never put together; of a method with several settings the one with the most runs is shown.
    """
    methods = {record.spec.method for record in wanted.records if record.result is not None}
    looks = style.looks(methods)
    figures: list[Figure] = []
    for panel in groups.panels(wanted):
        figures += scores.heat_map(panel, looks)
        figures += scores.cost(panel, looks)
        figures += curves.accuracies(panel, looks)
        figures += confusion.confusion(panel)
        figures += curves.logs(panel)
    return [*figures, *beta.beta_curves(wanted), *_ranks(wanted, looks)]


def _ranks(wanted: Wanted, looks: Mapping[str, Look]) -> list[Figure]:
    """Return the diagram of ranks over all targets, where there are enough to rank."""
    found = ranks.collect(wanted)
    result = statistics.friedman(found.values)
    if result is None:
        return []
    cases, known = f"{len(found.values)} targets", set(found.methods) <= looks.keys()
    return [
        rank_figure(
            *("all", cases, found.methods, result.ranks, result.critical, result.groups),
            looks if known else None,
        )
    ]
