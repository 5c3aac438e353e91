"""ReconBoost: modalities take turns, and each fits the residual of the others.

Hua, Xu, Bao, Yang and Huang, ReconBoost: Boosting Can Achieve Modality Reconcilement, ICML 2024.

    stages go round the modalities; in the stage of modality k
    first, only encoder, neck and head of k are trained:
        L = mean_i w_1/C (1 - ρ q_i) CE_i(u_k) + α MSE(p_k, p_j)
        q_i = softmax(Σ_{l≠k} u_l)[i, y_i],   p = softmax(u),   j: the modality of the stage before
    then all branches together:   L = CE(Σ_k u_k, y)
    prediction: Σ_k u_k over the modalities that a sample has

A sample that the others already predict (q near 1) counts less; w_1 = 5 and ρ = 0.2 are the public
code's w_1 and w_2/w_1. Tensors of the other branches get no gradient in the first part and so stay
as they are bit for bit, also under Adam and weight decay; their batch norm and dropout are in eval
mode. The first stage of a run has no second term, as nothing has been trained before it.

Public code read: huacong/ReconBoost (train.py), GeWu-Lab/BalanceBenchmark (ReconBoost_trainer.py).
- There both sides of the MSE are detached, so that the term has no gradient. Here p_k has.
- There a stage is 4 + 4 epochs of a long training. Here it is 1 + 1, so that the 20 epochs of HAC
  and EPIC-Kitchens go three times round three modalities, and UTD-MHAD's 30 five times. With an
  even number of epochs the last one is joint.
- There every part of a stage has a fresh SGD and the sum a learned scale. Here one optimizer and
  the plain sum serve throughout. The heads are the model's unimodal heads, not a shared one.
"""

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Mask, Method, Model, Run
from methods.hyperparameters import Choice, Uniform, hyper
from methods.shared import masks
from methods.shared.imbalance import evaluating


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    fit: float = hyper(5.0, "w_1, the weight of the labels", search=Uniform(1.0, 10.0), low=0.0)
    residual: float = hyper(
        0.2,
        "ρ, how far samples fitted by others are spared",
        search=Uniform(0.0, 1.0),
        low=0,
        high=1,
    )
    agreement: float = hyper(
        0.5, "α, weight of agreeing with the modality before", search=Uniform(0.0, 1.0), low=0.0
    )
    alone_epochs: int = hyper(
        1, "epochs of a stage that train one modality", search=Choice((1, 2, 4)), low=1
    )
    joint_epochs: int = hyper(
        1, "epochs of a stage that train all together", search=Choice((1, 2, 4)), low=0
    )


@register("reconboost")
class ReconBoost(Method):
    """Alternating boosting of unimodal branches, with joint epochs in between."""

    family = "balancing"
    paper = "Hua et al., ICML 2024"
    Hyperparameters = Hyperparameters
    trains_unimodal = True

    def setup(self, model: Model, run: Run) -> None:
        """Train all together until an epoch begins a stage."""
        super().setup(model, run)
        self.alone: str | None = None
        self.before: str | None = None

    def epoch_start(self) -> None:
        """Find the stage that this epoch belongs to, and its part."""
        length = self.hp.alone_epochs + self.hp.joint_epochs
        stage, epoch = divmod(self.run.epoch, length)
        modalities = self.run.modalities
        turn = [modalities[i % len(modalities)] for i in (stage, stage - 1)]
        self.alone = turn[0] if epoch < self.hp.alone_epochs else None
        self.before = turn[1] if stage > 0 and len(modalities) > 1 else None

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the terms of one modality's part of a stage, or CE(Σ_k u_k, y)."""
        if self.alone is None:
            own = self.model.unimodal(self.model.embed(batch.features))
            return {FUSED: F.cross_entropy(torch.stack(list(own.values())).sum(0), batch.labels)}
        waiting = [k for k in self.run.modalities if k != self.alone]
        with ExitStack() as stack:
            for part in (part for k in waiting for part in self.model.branch(k)):
                stack.enter_context(evaluating(part))
            own = self.model.unimodal(self.model.embed(batch.features))
        logits = own.pop(self.alone)
        others = {k: u.detach() for k, u in own.items()}
        weights = 1 - self.hp.residual * fitted(others, batch.labels, logits)
        per_sample = weights * F.cross_entropy(logits, batch.labels, reduction="none")
        terms = {self.alone: self.hp.fit / self.run.classes * per_sample.mean()}
        if self.before is not None:
            distance = F.mse_loss(logits.softmax(dim=1), others[self.before].softmax(dim=1))
            terms["agreement"] = self.hp.agreement * distance
        return terms

    def combined(self, own: Mapping[str, Tensor], present: Mask | None) -> Tensor:
        """Return Σ_k u_k over the modalities that a sample has."""
        kept = torch.stack(list(own.values())) * masks.presence(present, own)
        return kept.sum(dim=0)

    def get_extra_state(self) -> dict[str, Any]:
        """Return the stage."""
        return {"alone": self.alone, "before": self.before}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.alone, self.before = state["alone"], state["before"]


def fitted(others: Mapping[str, Tensor], labels: Tensor, like: Tensor) -> Tensor:
    """Return q [B]: how probable the sum of the other modalities' logits makes each label.

    Without others it is 1/C; `like` is [B, C].
    """
    total = torch.stack([torch.zeros_like(like), *others.values()]).sum(dim=0).detach()
    return total.softmax(dim=1).gather(1, labels.unsqueeze(1)).squeeze(1)
