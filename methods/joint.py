"""Joint training: the fused and every unimodal prediction, each with its own cross-entropy.

    L = CE(f, y) + Σ_k CE(u_k, y)

A plain multi-task baseline without a paper of its own. It is exactly what MBCD becomes with
dropout, gradient consistency and distillation off, and so the baseline that shows what those
parts add.
"""

from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method
from methods.shared.losses import unimodal_cross_entropy


@register("joint")
class Joint(Method):
    """Cross-entropy of the fused and of every unimodal prediction."""

    family = "baseline"
    trains_unimodal = True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y) and CE(u_k, y)."""
        embeddings = self.model.embed(batch.features)
        own = unimodal_cross_entropy(self.model.unimodal(embeddings), batch.labels)
        return {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels), **own}
