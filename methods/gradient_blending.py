"""Gradient blending: the loss of every head, weighted by how it generalises and overfits.

Wang, Tran and Feiszli, What Makes Training Multi-Modal Classification Networks Hard?, CVPR 2020.

    L = Σ_j w_j CE_j over the fused prediction and every modality's own,    Σ_j w_j = 1
    w_j ∝ G_j / O_j²
    G_j = L_val,j(before) - L_val,j(now)                            generalisation
    O_j = (L_val,j - L_train,j)(now) - (L_val,j - L_train,j)(before)    overfitting

`before` and `now` are consecutive source validations of the run itself, so that the first two
train with equal weights. The paper measures G and O by training a probe of every head for some
epochs, from scratch (offline) or from the weights of each super-epoch (online). Neither is
implemented: probes cost several trainings of the model. The estimate without probes is that of
qszhan/MMDG-Bench (GBL); it is noisy, which three guards answer:
- G is cut off at 0: a head that gets worse has no weight, and where all do the weights are equal.
- O² has a floor, as an O near 0 would give a head everything by chance.
- The weights move towards the new ones by momentum.
Every loss is a mean per sample, of the student in eval mode, on all of a part; the training part
therefore costs one more evaluation pass per validation.

Public code read: MMDG-Bench, and GeWu-Lab/BalanceBenchmark (GBlending_trainer.py). Both take |G|,
which rewards a head for getting worse, and the latter compares sums over parts of different size.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run, Validation
from methods.hyperparameters import LogUniform, Uniform, hyper
from methods.shared.imbalance import evaluating
from methods.shared.losses import unimodal_cross_entropy


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    momentum: float = hyper(
        0.5,
        "share of the old weights that a validation keeps",
        search=Uniform(0.0, 0.9),
        low=0.0,
        high=1,
    )
    floor: float = hyper(
        0.01,
        "overfitting, in nats, below which |O| is noise",
        search=LogUniform(1e-3, 0.1),
        low=1e-6,
    )


@dataclass(frozen=True)
class Losses:
    """The mean cross-entropy of one head on the train part and in source validation."""

    train: float
    val: float


@register("gradient_blending")
class GradientBlending(Method):
    """Joint training whose heads are weighted by their overfitting-to-generalisation ratio."""

    family = "balancing"
    paper = "Wang et al., CVPR 2020"
    Hyperparameters = Hyperparameters
    trains_unimodal = True

    def setup(self, model: Model, run: Run) -> None:
        """Start with equal weights."""
        super().setup(model, run)
        self.weights = _equal((FUSED, *run.modalities))
        self.before: dict[str, Losses] = {}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return w_j CE_j of every head."""
        terms = {}
        for head, cross_entropy in self._cross_entropies(batch).items():
            self.log(f"weight/{head}", self.weights[head])
            terms[head] = self.weights[head] * cross_entropy
        return terms

    def _cross_entropies(self, batch: Batch) -> dict[str, Tensor]:
        embeddings = self.model.embed(batch.features)
        fused = F.cross_entropy(self.model.fuse(embeddings), batch.labels)
        own = unimodal_cross_entropy(self.model.unimodal(embeddings), batch.labels)
        return {FUSED: fused, **own}

    def validated(self, stats: Validation) -> bool:
        """Blend anew from what has changed since the validation before."""
        train = self._train_losses()
        now = {head: Losses(train[head], stats.student[head].loss) for head in self.weights}
        if self.before:
            blended = blend(self.before, now, self.hp.floor)
            kept = self.hp.momentum
            self.weights = {j: kept * w + (1 - kept) * blended[j] for j, w in self.weights.items()}
        self.before = now
        return False

    @torch.no_grad()
    def _train_losses(self) -> dict[str, float]:
        sums, count = dict.fromkeys(self.weights, 0.0), 0
        with evaluating(self.model):
            for batch in self.run.train_loader():
                count += len(batch.labels)
                for head, mean in self._cross_entropies(batch).items():
                    sums[head] += float(mean) * len(batch.labels)
        return {head: total / max(count, 1) for head, total in sums.items()}

    def get_extra_state(self) -> dict[str, Any]:
        """Return the weights and the losses they will be compared with."""
        before = {head: (losses.train, losses.val) for head, losses in self.before.items()}
        return {"weights": self.weights, "before": before}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.weights = state["weights"]
        self.before = {head: Losses(*losses) for head, losses in state["before"].items()}


def blend(
    before: Mapping[str, Losses], now: Mapping[str, Losses], floor: float
) -> dict[str, float]:
    """Return the weights w_j of the heads from two measurements of their losses."""
    ratios = {}
    for head, new in now.items():
        old = before[head]
        generalisation = max(old.val - new.val, 0.0)
        overfitting = (new.val - new.train) - (old.val - old.train)
        ratios[head] = generalisation / max(overfitting**2, floor**2)
    total = sum(ratios.values())
    return {j: ratio / total for j, ratio in ratios.items()} if total > 0 else _equal(ratios)


def _equal(heads: Any) -> dict[str, float]:
    return dict.fromkeys(heads, 1 / len(heads))
