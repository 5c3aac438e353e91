"""The figures of a report, from records: `make` says which there are, `save` writes one.

Matplotlib and seaborn are imported when a figure is drawn, so that other reports do not wait.
"""

from collections.abc import Mapping, Sequence

from benchmark.records.read import Record
from benchmark.reporting.figures import beta, confusion, curves, groups, scores, style
from benchmark.reporting.figures.canvas import Figure, drawn, png_bytes, save
from benchmark.reporting.figures.ranks import critical_difference, rank_figure
from benchmark.reporting.figures.style import looks

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


def make(
    records: Sequence[Record], rule: str, classes: Mapping[str, Sequence[str]] | None = None
) -> list[Figure]:
    """Return every figure for which the records have data, ready to be drawn.

    Runs that differ in anything but the seed, and where a figure averages over them the target, are
    never put together; of a method with several settings the one with the most runs is shown.

    Args:
        records: runs in any state; those that are not done are left out.
        rule: the selection rule asked for.
        classes: names of the classes by dataset, where known.
    """
    done = [record for record in records if record.result is not None]
    looks = style.looks(record.spec.method for record in done)
    figures: list[Figure] = []
    for panel in groups.panels(done, rule):
        figures += scores.heat_map(panel, looks)
        figures += scores.cost(panel, looks)
        figures += curves.accuracies(panel, looks)
        figures += confusion.confusion(panel, (classes or {}).get(panel.spec.dataset, ()))
        figures += curves.logs(panel)
    return [*figures, *beta.beta_curves(done, rule)]
