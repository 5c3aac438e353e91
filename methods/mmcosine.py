"""MMCosine: the fused logits are a sum of cosines, one per modality.

Xu, Feng, Zhang and Hu, MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual
Fine-Grained Learning, ICASSP 2023.

    u_k[c] = s cos(z_k, W_k[c]),    f = Σ_k u_k,    L = CE(f, y)

Neither the length of an embedding nor that of its class weights can let one modality decide, and
|u_k| ≤ s. There is no bias. The head replaces the model's fusion head, works on the embeddings
after the neck, and is linear in the cosines; a masked or missing modality is a zero vector, whose
cosines are 0.

Public code read: GeWu-Lab/BalanceBenchmark, balancemm/trainer/MMCosine_trainer.py. It computes the
cosines in the trainer, and so needs a second validation loop to predict with them; here they are
the model. Its scale is 15; the paper's, 10, is the default here.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import LogUniform, hyper


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    scale: float = hyper(
        10.0, "s, the largest logit of one modality", search=LogUniform(5.0, 40.0), low=1e-3
    )


class CosineHead(nn.Module):
    """s Σ_k cos(z_k, W_k) of concatenated embeddings [B, Σ_k D_k]; the sizes D_k are given."""

    def __init__(self, dims: Iterable[int], classes: int, scale: float) -> None:
        super().__init__()
        self.classifiers = nn.ModuleList(nn.Linear(dim, classes, bias=False) for dim in dims)
        self.scale = scale

    def forward(self, joint: Tensor) -> Tensor:
        """Return the fused logits [B, C]."""
        return torch.stack(self.parts(joint)).sum(dim=0)

    def parts(self, joint: Tensor) -> list[Tensor]:
        """Return the logits u_k [B, C] of each modality."""
        weights = [cast(nn.Linear, classifier).weight for classifier in self.classifiers]
        pieces = torch.split(joint, [weight.shape[1] for weight in weights], dim=1)
        return [
            self.scale * F.linear(F.normalize(z, dim=1), F.normalize(weight, dim=1))
            for z, weight in zip(pieces, weights, strict=True)
        ]


@register("mmcosine")
class MMCosine(Method):
    """ERM with a fusion head of cosines."""

    family = "balancing"
    paper = "Xu et al., ICASSP 2023"
    Hyperparameters = Hyperparameters

    def setup(self, model: Model, run: Run) -> None:
        """Replace the fusion head."""
        super().setup(model, run)
        model.replace_heads(CosineHead(model.dims.values(), run.classes, self.hp.scale))

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y)."""
        embeddings = self.model.embed(batch.features)
        return {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels)}
