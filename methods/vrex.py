"""VREx: the same loss in every source domain.

Krueger et al., Out-of-Distribution Generalization via Risk Extrapolation, ICML 2021, V-REx.

    L = mean_d ℓ_d + λ_t mean_d (ℓ_d - mean_d' ℓ_d')²

ℓ_d is CE(f, y) over the batch's samples of domain d. λ_t is 1 in the first steps, then λ, and the
optimizer starts anew in between (see `InvariancePenalty`). Differences from public code
(facebookresearch/DomainBed):
- The step of the jump is a share of the run, with the ratio of DomainBed's 500 in 5000 steps.
- Batches mix the domains at random. As in the paper every domain counts the same in the loss,
  however many samples it has in the batch; those with one sample have no part in the variance.
"""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.hyperparameters import LogUniform, hyper
from methods.shared.invariance import Annealing, Block, InvariancePenalty


@dataclass(frozen=True)
class Hyperparameters(Annealing):
    """See the fields."""

    weight: float = hyper(
        10.0, "weight λ of the variance after the jump", search=LogUniform(0.1, 1e3), low=0.0
    )


@register("vrex")
class VREx(InvariancePenalty):
    """Mean domain loss with a penalty on the variance of the domain losses."""

    paper = "Krueger et al., ICML 2021"
    Hyperparameters = Hyperparameters

    def penalty(self, blocks: list[Block]) -> Tensor:
        """Return the variance of the domains' losses."""
        return torch.stack([F.cross_entropy(f, y) for f, y in blocks]).var(correction=0)
