"""The figures of a report: `make` says which there are, `save` writes one.

Matplotlib and seaborn are imported when a figure is drawn, so that other reports do not wait.
"""

from benchmark.reporting.figures import (
    beta,
    confusion,
    curvature,
    curves,
    dropping,
    embedding,
    forest,
    groups,
    landscape,
    profiles,
    reliability,
    robustness,
    scores,
    style,
)
from benchmark.reporting.figures.canvas import Figure, drawn, png_bytes, save
from benchmark.reporting.figures.style import looks
from benchmark.reporting.request import Wanted

__all__ = [
    "Figure",
    "drawn",
    "looks",
    "make",
    "png_bytes",
    "save",
]


def make(wanted: Wanted) -> list[Figure]:
    """Return every figure for which the records have data, ready to be drawn.

    Runs that differ in anything but the seed, and where a figure averages over them the target, are
    never put together; of a method with several settings the default is shown, or without it the
    one with the most runs.
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
    return [
        *forest.forest(wanted, looks),
        *figures,
        *beta.beta_curves(wanted),
        *reliability.reliability(wanted),
        *robustness.robustness(wanted, looks),
        *dropping.against_shapley(wanted, looks),
        *embedding.embeddings(wanted),
        *profiles.profiles(wanted, looks),
        *landscape.contours(wanted),
        *curvature.scatter(wanted, looks),
    ]
