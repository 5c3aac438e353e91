"""What a finished run predicts from some of its modalities, the others being absent."""

from collections.abc import Iterable, Mapping, Sequence
from itertools import combinations
from typing import Literal

import torch
from torch import Tensor

from benchmark.analysis.finished import FinishedRun
from datasets.base import Role

Absence = Literal["zero", "mean"]
ABSENCES: tuple[Absence, ...] = ("zero", "mean")
"""What stands for an absent modality: zeros after the neck, as in modality dropout, or the mean
embedding of the sources' train part, before the neck."""
EXACT = 8
"""Modalities up to which every subset is looked at."""
Present = tuple[str, ...]


def name(present: Iterable[str]) -> str:
    """Return a subset as records name it."""
    return "+".join(present)


def some(modalities: Sequence[str]) -> list[Present]:
    """Return the subsets to report: all but the empty one.

    Of more than eight modalities these are each modality alone, all but each, and all.
    """
    m = len(modalities)
    sizes = range(1, m + 1) if m <= EXACT else (1, m - 1, m)
    return [subset for size in sizes for subset in combinations(modalities, size)]


class Subsets:
    """The accuracy on one part from any subset of modalities, each computed once.

    No modality at all counts as chance, one in C.
    """

    def __init__(self, run: FinishedRun, part: Role, absence: Absence) -> None:
        self.run = run
        self._z, self._labels = run.embeddings(run.samples(part))
        self._stand_in = _means(run) if absence == "mean" else None
        self._known: dict[Present, float] = {(): 1 / len(run.dataset.card.classes)}

    def accuracy(self, present: Iterable[str]) -> float:
        """Return the accuracy (0..1) of the fused prediction from these modalities."""
        wanted = set(present)
        subset = tuple(k for k in self.run.modalities if k in wanted)
        if subset not in self._known:
            right = self._logits(subset).argmax(dim=1) == self._labels
            self._known[subset] = right.double().mean().item()
        return self._known[subset]

    def _logits(self, subset: Present) -> Tensor:
        if self._stand_in is None:
            return self.run.classified(self._z, subset)
        z = {
            k: own if k in subset else self._stand_in[k].expand_as(own)
            for k, own in self._z.items()
        }
        return self.run.classified(z, self.run.modalities)


@torch.no_grad()
def _means(run: FinishedRun) -> Mapping[str, Tensor]:
    z, _ = run.embeddings(run.samples("train"))
    return {k: own.mean(dim=0, keepdim=True) for k, own in z.items()}
