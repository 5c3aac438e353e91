"""ERM: empirical risk minimisation on the fused prediction.

Vapnik, Statistical Learning Theory, 1998; the baseline of every domain-generalization table
(Gulrajani and Lopez-Paz, In Search of Lost Domain Generalization, ICLR 2021).

    L = CE(f, y)

Public MMDG code differs: MMDG_Benchmark re-creates Adam at every step on HUST motor, and on
HAC and EPIC-Kitchens leaves the audio layer4 at random initial weights. Here ERM gets the
optimizer, neck and heads that every method gets.
"""

from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method


@register("erm")
class ERM(Method):
    """Cross-entropy of the fused prediction."""

    family = "baseline"

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y)."""
        embeddings = self.model.embed(batch.features)
        return {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels)}
