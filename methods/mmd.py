"""MMD: the same distribution of the embeddings in every source domain, as a kernel sees it.

Li, Pan, Wang and Kot, Domain Generalization with Adversarial Feature Learning, CVPR 2018, with the
kernel and without the autoencoder, as in Gulrajani and Lopez-Paz, ICLR 2021.

    L = CE(f, y) + γ mean_{d<d'} [ mean k(Z_d, Z_d) + mean k(Z_d', Z_d') - 2 mean k(Z_d, Z_d') ]
    k(a, b) = Σ_g exp(-g ‖a - b‖²),   g = 10⁻³, 10⁻², ..., 10³

Z_d are the samples z = [z_1; ..; z_M] of domain d in the batch (see `Alignment`). This is the
biased estimate of the squared distance, which is never negative, and the kernel of
facebookresearch/DomainBed. Differences from public code:
- DomainBed draws equally many samples of each domain, here batches mix them at random.
- MMDG-Bench (qszhan) normalises the embeddings to length 1; its function's default bandwidths make
  every kernel value about 1 and so the term about 0.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

from methods import register
from methods.hyperparameters import LogUniform, hyper
from methods.shared.alignment import Alignment

SCALES = (1e-3, 1e-2, 1e-1, 1.0, 1e1, 1e2, 1e3)


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    weight: float = hyper(
        1.0, "weight γ of the distance between domains", search=LogUniform(0.1, 10.0), low=0.0
    )


@register("mmd")
class MMD(Alignment):
    """ERM with the domains pulled together by maximum mean discrepancy."""

    paper = "Li et al., CVPR 2018"
    Hyperparameters = Hyperparameters

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the biased estimate of the squared maximum mean discrepancy."""
        return _mean_kernel(a, a) + _mean_kernel(b, b) - 2 * _mean_kernel(a, b)


def _mean_kernel(a: Tensor, b: Tensor) -> Tensor:
    # Not by ‖a‖² + ‖b‖² - 2⟨a, b⟩, whose rounding error the narrow kernels would magnify.
    squared = (a.unsqueeze(1) - b.unsqueeze(0)).square().sum(2)
    return torch.stack([torch.exp(-scale * squared) for scale in SCALES]).sum(0).mean()
