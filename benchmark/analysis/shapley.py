"""The share of each modality in the accuracy: Shapley values, alone, and left out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from math import comb, sqrt
from statistics import fmean, stdev
from typing import Any

import torch

from benchmark.analysis import register, subsets
from benchmark.analysis.base import Analysis
from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.subsets import ABSENCES, EXACT, Subsets
from benchmark.training import seeds
from methods.hyperparameters import hyper

Worth = Callable[[Sequence[str]], float]
"""The value of a set of players, the empty one included."""


@dataclass(frozen=True)
class Settings:
    """See the field."""

    permutations: int = hyper(
        100, f"orders of the modalities that are drawn where there are more than {EXACT}", low=2
    )


@register("shapley")
class Shapley(Analysis):
    """How much of the accuracy is each modality's doing?

    The Shapley value of a modality is its mean contribution when modalities are added one by one,
    over all orders; the values sum to the accuracy from all modalities less chance. Up to eight
    modalities it is exact, over all 2^M subsets; above, over permutations that are drawn (Castro et
    al. 2009), with the standard error.
    """

    about = "Shapley value of every modality, accuracy from each alone and from all but each."
    Settings = Settings

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return the values on the target and on the sources' validation part."""
        return {
            part: {absence: self._of(Subsets(run, part, absence)) for absence in ABSENCES}
            for part in ("target", "val")
        }

    def _of(self, of: Subsets) -> dict[str, Any]:
        modalities = of.run.modalities
        errors: Mapping[str, float] | None = None
        if len(modalities) <= EXACT:
            values = exact(modalities, of.accuracy)
        else:
            drawn = seeds.generator(0, "analysis", "shapley")
            orders = [
                [modalities[i] for i in torch.randperm(len(modalities), generator=drawn)]
                for _ in range(self.settings.permutations)
            ]
            values, errors = sampled(orders, of.accuracy)
        return {
            "all": of.accuracy(modalities),
            "none": of.accuracy(()),
            "shapley": dict(values),
            "error": errors,
            "alone": {k: of.accuracy([k]) for k in modalities},
            "without": {k: of.accuracy([j for j in modalities if j != k]) for k in modalities},
            "subsets": {subsets.name(s): of.accuracy(s) for s in subsets.some(modalities)},
        }


def exact(players: Sequence[str], worth: Worth) -> dict[str, float]:
    """Return φ_k = Σ_S |S|! (M - |S| - 1)! / M! [v(S ∪ k) - v(S)] over all S without k."""
    values = {}
    for k in players:
        others = [j for j in players if j != k]
        values[k] = sum(
            (worth([*subset, k]) - worth(subset)) / (len(players) * comb(len(others), size))
            for size in range(len(players))
            for subset in combinations(others, size)
        )
    return values


def sampled(
    orders: Sequence[Sequence[str]], worth: Worth
) -> tuple[dict[str, float], dict[str, float]]:
    """Return the mean contribution of each player over orders, at least two, and its error."""
    gains: dict[str, list[float]] = {k: [] for k in sorted(orders[0])}
    for order in orders:
        for i, k in enumerate(order):
            gains[k].append(worth(order[: i + 1]) - worth(order[:i]))
    values = {k: fmean(of) for k, of in gains.items()}
    return values, {k: stdev(of) / sqrt(len(of)) for k, of in gains.items()}
