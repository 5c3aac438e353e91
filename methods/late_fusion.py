"""Late fusion: independent branches whose class probabilities are averaged.

    L = Σ_k CE(u_k, y),    prediction: mean_k softmax(u_k)

The classical ensemble of unimodal classifiers (Kittler et al., On Combining Classifiers, TPAMI
1998). Probabilities are averaged rather than logits, because branches differ in the scale of
their logits and a sum would be decided by the most confident one.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from methods import register
from methods.base import Batch, Mask, Method
from methods.shared import masks
from methods.shared.losses import unimodal_cross_entropy


@register("late_fusion")
class LateFusion(Method):
    """Unimodal cross-entropies in training, the mean of the probabilities in prediction."""

    family = "baseline"
    paper = "Kittler et al., TPAMI 1998"
    trains_unimodal = True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(u_k, y)."""
        embeddings = self.model.embed(batch.features)
        return unimodal_cross_entropy(self.model.unimodal(embeddings), batch.labels)

    def combined(self, own: Mapping[str, Tensor], present: Mask | None) -> Tensor:
        """Return log mean_k softmax(u_k), over the modalities that a sample has."""
        probabilities = torch.stack([u.softmax(dim=1) for u in own.values()])
        weights = masks.presence(present, own)
        mean = (weights * probabilities).sum(0) / weights.sum(0).clamp_min(1)
        return mean.clamp_min(torch.finfo(mean.dtype).tiny).log()
