"""The space of the embeddings: a plane to look at, and what neighbours tell."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.analysis import register
from benchmark.analysis.base import Analysis
from benchmark.analysis.finished import FinishedRun
from benchmark.training import seeds
from datasets.base import Sample
from methods.hyperparameters import hyper

NEIGHBOURS = 5
DECIMALS = 3
"""Of the stored coordinates."""


@dataclass(frozen=True)
class Settings:
    """See the fields."""

    samples: int = hyper(
        500, "samples, half of them of the sources' validation part and half of the target", low=4
    )
    perplexity: float = hyper(
        30.0, "perplexity of t-SNE, at most a third of the samples", low=1.0, high=1e6
    )
    each: bool = hyper(False, "a plane for each modality's embedding, too")


@register("embedding")
class Embedding(Analysis):
    """Do embeddings group by class, or by domain?

    The embeddings are those after the neck, of all modalities concatenated and of each. A probe
    predicts the class and the domain of every sample from its nearest neighbours among all others,
    in the full space. The plane is t-SNE's (van der Maaten and Hinton, JMLR 2008).
    """

    about = "t-SNE of the embeddings, and how well their neighbours tell classes and domains."
    Settings = Settings
    packages = ("sklearn",)

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return the samples' classes and domains, and each space's accuracies and plane."""
        half = self.settings.samples // 2
        samples = [*run.samples("val", half), *run.samples("target", half)]
        names = tuple(dict.fromkeys((*run.spec.sources, run.spec.target)))
        domains = [names.index(sample.domain) for sample in samples]
        labels = [sample.label for sample in samples]
        spaces = self._spaces(run, samples)
        return {
            "labels": labels,
            "domains": domains,
            "domain_names": list(names),
            "largest_domain": max(Counter(domains).values()) / len(domains),
            "all": self._of(torch.cat(list(spaces.values()), dim=1), labels, domains, True),
            "modalities": {
                k: self._of(x, labels, domains, self.settings.each) for k, x in spaces.items()
            },
        }

    @torch.no_grad()
    def _spaces(self, run: FinishedRun, samples: Sequence[Sample]) -> dict[str, Tensor]:
        embeddings, _ = run.embeddings(samples)
        necks = {k: run.model.branch(k)[1] for k in run.modalities}
        return {k: necks[k](z).double().cpu() for k, z in embeddings.items()}

    def _of(
        self, x: Tensor, labels: Sequence[int], domains: Sequence[int], drawn: bool
    ) -> dict[str, Any]:
        near = neighbours(x, NEIGHBOURS)
        return {
            "class_knn": knn_accuracy(near, labels),
            "domain_knn": knn_accuracy(near, domains),
            "points": plane(x.numpy(), self.settings.perplexity) if drawn else None,
        }


def neighbours(x: Tensor, most: int) -> list[list[int]]:
    """Return for each of N points [N, D] the nearest others, at most so many, nearest first."""
    mode = "donot_use_mm_for_euclid_dist"  # which is exact for equal points
    distance = torch.cdist(x, x, compute_mode=mode).fill_diagonal_(torch.inf)
    near: list[list[int]] = distance.argsort(dim=1, stable=True)[
        :, : min(most, len(x) - 1)
    ].tolist()
    return near


def knn_accuracy(near: Sequence[Sequence[int]], labels: Sequence[int]) -> float:
    """Return how often the majority of a point's neighbours has its label (leave-one-out).

    Of labels with equally many neighbours the one with the nearest counts.
    """
    hits = 0
    for label, of in zip(labels, near, strict=True):
        votes = Counter(labels[i] for i in of)  # in the order of the neighbours
        hits += max(votes, key=votes.__getitem__) == label
    return hits / len(labels)


def plane(x: NDArray[np.float64], perplexity: float) -> list[list[float]] | None:
    """Return N points [N, D] in the plane of t-SNE, [N, 2]; None where all are the same point.

    Args:
        x: the points.
        perplexity: at most a third of the other points.
    """
    from sklearn.manifold import TSNE  # type: ignore[import-untyped]
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    if (x == x[0]).all():
        return None
    tsne = TSNE(
        perplexity=min(perplexity, (len(x) - 1) / 3),
        init="pca",
        random_state=seeds.stream(0, "analysis", "embedding") % 2**32,
    )
    with threadpool_limits(1):  # several threads add up in any order
        points: NDArray[np.float32] = tsne.fit_transform(x)
    return [[round(float(value), DECIMALS) for value in point] for point in points]
