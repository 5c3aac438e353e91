"""DSU: feature statistics as uncertain quantities; noise on them in training.

Li et al., Uncertainty Modeling for Out-of-Distribution Generalization, ICLR 2022, equations 1-6.

For a feature map x [B, C, ...], with μ and σ the mean and deviation of each sample and channel,
and Σ_μ, Σ_σ the deviations of μ and σ over the batch:

    β = μ + ε_μ Σ_μ,    γ = σ + ε_σ Σ_σ,    ε ~ N(0, 1)
    x ← γ (x - μ) / σ + β    with probability p, in training only

Where: at what the frozen stages hand to the trained one, and at what is about to be pooled, the
two places that MMDG_Benchmark edits for MBCD. One coin decides for all tensors of a place (the two
pathways of SlowFast). An encoder without maps has its embedding [B, D] edited, with one mean and
deviation per sample. Differences from that port:
- The coin comes from torch's random stream instead of Python's, which nobody seeds per worker.
- A second pass over a batch that repeats the dropout of the first (the look-ahead of MBCD, SAM)
  repeats its noise too; the port's second pass has none.
- A batch of one sample, or a map of one value, has no deviation and is left as it is.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from methods import register
from methods.base import Batch, Features
from methods.hyperparameters import Uniform, hyper
from methods.wrapper import Wrapper

EPSILON = 1e-6


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    p: float = hyper(
        0.5, "probability of noise at each place", search=Uniform(0.1, 0.9), low=0.0, high=1.0
    )


@register("dsu")
class DSU(Wrapper):
    """Any method, with noise on the statistics of its feature maps in training."""

    family = "domain generalization"
    paper = "Li et al., ICLR 2022"
    Hyperparameters = Hyperparameters

    def compute_grads(self, batch: Batch) -> None:
        """Compute the inner method's gradients on noisy maps."""
        with self.model.features_edited(self._edit):
            self.inner.compute_grads(batch)

    def step(self, batch: Batch, update: Callable[[], None]) -> None:
        """Make the inner method's step on noisy maps."""
        with self.model.features_edited(self._edit):
            self.inner.step(batch, update)

    def _edit(self, features: Features) -> Features:
        if not self.model.training or float(torch.rand(())) >= self.hp.p:
            return features
        if isinstance(features, Tensor):
            return perturbed(features)
        return tuple(perturbed(x) for x in features)


def perturbed(x: Tensor) -> Tensor:
    """Return a feature map [B, C, ...], or vectors [B, D], with noise on its statistics."""
    axes = tuple(range(2, x.ndim)) or (1,)
    if len(x) < 2 or x[0].flatten().numel() == 1 or all(x.shape[axis] == 1 for axis in axes):
        return x
    mean = x.mean(axes, keepdim=True)
    deviation = _root(x.var(axes, keepdim=True))
    shift = mean + torch.randn_like(mean) * _root(mean.var(0, keepdim=True))
    scale = deviation + torch.randn_like(deviation) * _root(deviation.var(0, keepdim=True))
    return scale * (x - mean) / deviation + shift


def _root(variance: Tensor) -> Tensor:
    return (variance + EPSILON).sqrt()
