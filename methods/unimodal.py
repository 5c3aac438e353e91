"""Unimodal training: every modality on its own, all branches side by side in one run.

    L = Σ_k CE(u_k, y)

The branches share no parameter, and Adam treats each tensor by itself, so one run equals M
separate ones but for the dropout masks that are drawn. Each branch keeps the weights of its own
best source validation; the fused prediction is that of the branch with the best validation
accuracy. A baseline of every modality-imbalance paper (e.g. Wang, Tran and Feiszli, CVPR 2020);
MMDG_Benchmark has no single-modality training at all.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from methods import register
from methods.base import Batch, HeadStats, Mask, Method, Validation
from methods.shared.losses import unimodal_cross_entropy


@register("unimodal")
class Unimodal(Method):
    """Independent branches, each selected on its own validation accuracy."""

    family = "baseline"
    paper = "Wang et al., CVPR 2020"
    trains_unimodal = True
    own_rule = True

    def __init__(self, hyperparameters: Any = None) -> None:
        super().__init__(hyperparameters)
        self.best: dict[str, HeadStats] = {}
        self.weights: dict[str, list[dict[str, Tensor]]] = {}

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(u_k, y)."""
        embeddings = self.model.embed(batch.features)
        return unimodal_cross_entropy(self.model.unimodal(embeddings), batch.labels)

    def validated(self, stats: Validation) -> bool:
        """Keep the weights of every branch that has just had its best validation."""
        for k in self.run.modalities:
            if k not in self.best or _rank(stats.student[k]) > _rank(self.best[k]):
                self.best[k] = stats.student[k]
                self.weights[k] = [
                    {name: value.clone() for name, value in part.state_dict().items()}
                    for part in self.model.branch(k)
                ]
        return False

    def finalize(self) -> None:
        """Put every branch back to its best validation."""
        for k, states in self.weights.items():
            for part, state in zip(self.model.branch(k), states, strict=True):
                part.load_state_dict(state)

    def combined(self, own: Mapping[str, Tensor], present: Mask | None) -> Tensor:
        """Return the prediction of the best branch among those a sample has."""
        ranked = sorted(own, key=lambda k: _rank(self.best[k]) if self.best else (0.0, 0.0))
        fused = torch.zeros_like(own[ranked[0]])
        for k in ranked:
            if present is None or k not in present:
                fused = own[k]
            else:
                fused = torch.where(present[k].to(fused.device).unsqueeze(1), own[k], fused)
        return fused

    def prediction_state(self) -> dict[str, Any]:
        """Return the best validations, which rank the branches."""
        return {"best": {k: (stats.loss, stats.accuracy) for k, stats in self.best.items()}}

    def set_prediction_state(self, state: dict[str, Any]) -> None:
        """Restore what `prediction_state` returned."""
        self.best = {k: HeadStats(*values) for k, values in state["best"].items()}

    def get_extra_state(self) -> dict[str, Any]:
        """Return the best validations and their weights."""
        return {**self.prediction_state(), "weights": self.weights}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.set_prediction_state(state)
        self.weights = state["weights"]


def _rank(stats: HeadStats) -> tuple[float, float]:
    return stats.accuracy, -stats.loss
