"""RNA-Net: relative norm alignment.

Planamente, Plizzari, Alberti and Caputo, Domain Generalization through Audio-Visual Relative Norm
Alignment in First Person Action Recognition, WACV 2022.

    n_k = mean_i ‖z_k,i‖₂
    L = CE(f, y) + α mean_{a<b} (n_a / n_b - 1)²

The norms are those of the raw embeddings, before the neck; both have a gradient, and they are means
over the batch, not per class or domain, as in the ports of MMDG_Benchmark. One modality: ERM.
- The paper has two modalities. For more, the mean runs over pairs a < b in the dataset's order:
  video/flow, video/audio and flow/audio on HAC and EPIC-Kitchens, as in the port for these.
- (r - 1)² is not (1/r - 1)²: a numerator twice too long costs four times what a denominator does.
  So the loss depends on the order; `symmetric` takes the mean of both orders.
- Denominators are at least 1e-6; the ports divide by whatever is there.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method
from methods.hyperparameters import LogUniform, hyper

EPSILON = 1e-6


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    alpha: float = hyper(
        1.0, "weight of the norm alignment", search=LogUniform(0.01, 10.0), low=0.0
    )
    symmetric: bool = hyper(False, "mean of both orders of every pair, not the dataset's alone")


@register("rna_net")
class RNANet(Method):
    """ERM with embeddings of all modalities of the same mean norm."""

    family = "MMDG"
    paper = "Planamente et al., WACV 2022"
    Hyperparameters = Hyperparameters

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y) and the alignment of the norms, absent for one modality."""
        embeddings = self.model.embed(batch.features)
        terms = {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels)}
        norms = mean_norms(embeddings)
        for k, norm in norms.items():
            self.log(f"norm/{k}", norm.detach())
        if self.hp.alpha and len(norms) > 1:
            terms["alignment"] = self.hp.alpha * misalignment(norms, self.hp.symmetric)
        return terms


def mean_norms(embeddings: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the mean length of each modality's embeddings [B, D_k]."""
    return {k: torch.linalg.vector_norm(z, dim=1).mean() for k, z in embeddings.items()}


def misalignment(norms: Mapping[str, Tensor], symmetric: bool = False) -> Tensor:
    """Return the mean of (n_a / n_b - 1)² over pairs a before b, of at least two scalars."""
    pairs = list(combinations(norms.values(), 2))
    if symmetric:
        pairs += [(b, a) for a, b in pairs]
    return torch.stack([(a / b.clamp_min(EPSILON) - 1) ** 2 for a, b in pairs]).mean()
