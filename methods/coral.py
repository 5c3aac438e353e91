"""CORAL: the same mean and covariance of the embeddings in every source domain.

Sun and Saenko, Deep CORAL: Correlation Alignment for Deep Domain Adaptation, ECCV Workshops 2016;
as a method of domain generalization in Gulrajani and Lopez-Paz, ICLR 2021.

    L = CE(f, y) + γ mean_{d<d'} [ mean_i (μ_d - μ_d')_i² + mean_ij (C_d - C_d')_ij² ]

μ_d and C_d (unbiased) are the mean and covariance of z = [z_1; ..; z_M] over the batch's samples
of domain d (see `Alignment`). As in the public code (facebookresearch/DomainBed) there is a term
for the means, and the covariances' distance is a mean over their D² entries where the paper has
1/(4D²). Differences from that code:
- Batches mix the domains at random; DomainBed draws equally many samples of each.
- The covariances' distance is computed from n × n matrices of inner products, which gives the
  same value without the D × D matrices.
"""

import math
from dataclasses import dataclass

from torch import Tensor

from methods import register
from methods.hyperparameters import LogUniform, hyper
from methods.shared.alignment import Alignment


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    weight: float = hyper(
        1.0, "weight γ of the distance between domains", search=LogUniform(0.1, 10.0), low=0.0
    )


@register("coral")
class CORAL(Alignment):
    """ERM with the first two moments of the domains pulled together."""

    paper = "Sun and Saenko, ECCV Workshops 2016"
    Hyperparameters = Hyperparameters

    def distance(self, a: Tensor, b: Tensor) -> Tensor:
        """Return the mean squared differences of the means and of the covariances."""
        means = (a.mean(0) - b.mean(0)).square().mean()
        a, b = (_root_of_covariance(x) for x in (a, b))
        # ‖AᵀA - BᵀB‖² = ‖AAᵀ‖² + ‖BBᵀ‖² - 2 ‖ABᵀ‖²: there are fewer samples than dimensions.
        covariances = _squares(a @ a.T) + _squares(b @ b.T) - 2 * _squares(a @ b.T)
        return means + covariances / a.shape[1] ** 2


def _root_of_covariance(x: Tensor) -> Tensor:
    """Return the matrix A [n, D] for which AᵀA is the covariance of x [n, D]."""
    return (x - x.mean(0)) / math.sqrt(len(x) - 1)


def _squares(x: Tensor) -> Tensor:
    return x.square().sum()
