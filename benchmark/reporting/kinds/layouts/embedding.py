"""The table of the space of embeddings."""

from collections.abc import Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values


def _columns(found: Sequence[Values]) -> list[Column]:
    modalities = list(found[0]["modalities"])
    return [
        Column(f"{label} kNN{f' {place[-1]}' if len(place) > 1 else ''}", (*place, name), True)
        for label, name in (("class", "class_knn"), ("domain", "domain_knn"))
        for place in (("all",), *(("modalities", k) for k in modalities))
    ] + [Column("largest domain", ("largest_domain",), True)]


LAYOUT = Layout(
    _columns,
    (
        "How often the class and the domain of a sample are those of most of its five nearest "
        "neighbours, in the space of the embeddings after the neck: concatenated, and of each "
        "modality. Samples are of the sources' validation part and of the target, at most half "
        "of each; largest domain: how often always naming the most frequent domain would be right. "
        "A domain kNN not far above that means that domains are mixed.",
    ),
)
