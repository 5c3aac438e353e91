"""MIRO: encoders that keep the information of the pre-trained ones.

Cha, Lee, Park and Chun, Domain Generalization by Mutual-Information Regularization with
Pre-trained Models, ECCV 2022, algorithm 1.

    L = CE(f, y) + λ Σ_k ½ mean_ic [ (z_k,ic - z⁰_k,ic)² / σ²_k,c + log σ²_k,c ]
    σ²_k,c = softplus(b_k,c) + 10⁻⁵

z⁰_k is the embedding from a frozen copy of the encoders as they were before training, in eval mode;
the variance σ²_k of each channel is learned with 10 times the learning rate, from 0.1 on. The mean
encoder is the identity, as in the paper's experiments.

The term means something only where training starts from pre-trained encoders. With encoders that
start from random weights, as the small ones of this suite do, it holds them to arbitrary ones.

A modality without trained encoder stays as it is and has no term. Differences from public code:
- kakaobrain/miro taps several layers of one image encoder. Here every modality is tapped once, at
  its embedding before neck and heads, the only place that all encoders have.
- It freezes batch norm. Here that of the trained stages goes on training, as in every method.
- MMDG-Bench (qszhan) compares one fused feature, and has log(σ² + 1) for log σ², with which small
  variances are learned too large and hold too little.
"""

import math
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import LogUniform, hyper
from methods.shared.averaging import AveragedModel

INITIAL_VARIANCE = 0.1
EPSILON = 1e-5
LR_FACTOR = 10.0


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    weight: float = hyper(
        0.1,
        "weight λ of staying near the initial encoders; of no use where these start from random",
        search=LogUniform(1e-3, 1.0),
        low=0.0,
    )


@register("miro")
class MIRO(Method):
    """ERM whose embeddings stay predictable from those of the initial encoders."""

    family = "domain generalization"
    paper = "Cha et al., ECCV 2022"
    Hyperparameters = Hyperparameters

    def setup(self, model: Model, run: Run) -> None:
        """Copy the initial model, and make a variance for each channel of each embedding."""
        super().setup(model, run)
        self.reference = AveragedModel(model)
        start = math.log(math.expm1(INITIAL_VARIANCE - EPSILON))
        self.raw_variances = nn.ParameterDict(
            {
                k: nn.Parameter(torch.full((dim,), start))
                for k, dim in model.dims.items()
                if model.tail_parameters(k)
            }
        )

    def param_groups(self) -> list[dict[str, Any]]:
        """Give the variances their own learning rate."""
        variances = list(self.raw_variances.values())
        own = {id(p) for p in variances}
        (group,) = super().param_groups()
        rest = [p for p in group["params"] if id(p) not in own]
        return [{"params": rest}, {"params": variances, "lr_factor": LR_FACTOR}]

    def variance(self, modality: str) -> Tensor:
        """Return σ²_k [D_k]."""
        return F.softplus(self.raw_variances[modality]) + EPSILON

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y), and for each modality how far its embedding is from the initial one."""
        z = self.model.embed(batch.features)
        with torch.no_grad():
            initial = self.reference.model.embed(batch.features)
        terms = {FUSED: F.cross_entropy(self.model.fuse(z), batch.labels)}
        for k in self.raw_variances:
            variance = self.variance(k)
            distance = (z[k] - initial[k]).square() / variance + variance.log()
            terms[f"miro/{k}"] = self.hp.weight * distance.mean() / 2
        return terms
