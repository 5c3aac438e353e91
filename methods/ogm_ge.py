"""OGM-GE: on-the-fly gradient modulation with generalization enhancement.

Peng, Wei, Deng, Wang and Hu, Balanced Multimodal Learning via On-the-fly Gradient Modulation,
CVPR 2022, equations 8-12.

    s_k = Σ_i softmax(u_k)[i, y_i]        ρ_k = s_k / mean_{j≠k} s_j
    κ_k = 1 - tanh(α ρ_k) if ρ_k > 1 else 1
    ∇_{θ_k} ← κ_k ∇_{θ_k} + ε,   ε ~ N(0, std(∇_{θ_k})²) per tensor

Differences from the public code (GeWu-Lab/OGM-GE_CVPR2022, main.py):
- The published u_k splits a linear fusion head. The fusion head here is not linear, so u_k is
  the fused prediction with every other modality masked, of the training pass's embeddings but
  with the head in eval mode, and without gradient.
- The paper has two modalities; ρ_k compares with the mean of the others.
- Gradients are modulated in the first `epochs` epochs, 50. The script's range is 0 to 50, both
  included; BalanceBenchmark's is 10 to 80.
- Every tensor of an encoder is modulated, not only the four-dimensional ones, so that the
  direction of an encoder's gradient is kept.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method
from methods.hyperparameters import Uniform, hyper
from methods.shared.imbalance import confidence, damping, fused_logits, relative


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    alpha: float = hyper(0.3, "strength of the modulation", search=Uniform(0.1, 1.0), low=0.0)
    ge: bool = hyper(True, "add the Gaussian noise of generalization enhancement")
    epochs: int = hyper(50, "modulate during this many first epochs", low=0)


@register("ogm_ge")
class OGMGE(Method):
    """ERM whose dominant encoders learn more slowly."""

    family = "balancing"
    paper = "Peng et al., CVPR 2022"
    Hyperparameters = Hyperparameters
    min_modalities = 2

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y)."""
        embeddings = self.model.embed(batch.features)
        self._embeddings = {k: z.detach() for k, z in embeddings.items()}
        return {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels)}

    def compute_grads(self, batch: Batch) -> None:
        """Scale every encoder's gradient by κ_k and add the noise."""
        super().compute_grads(batch)
        if self.run.epoch >= self.hp.epochs:
            return
        for k, kappa in coefficients(self._scores(batch.labels), self.hp.alpha).items():
            self.log(f"kappa/{k}", kappa)
            for parameter in self.model.tail_parameters(k).values():
                if parameter.grad is not None:
                    modulate(parameter.grad, kappa, noise=self.hp.ge)

    def _scores(self, labels: Tensor) -> dict[str, float]:
        names = self.run.modalities
        alone = fused_logits(self.model, self._embeddings, [(k,) for k in names])
        return {k: confidence(u, labels) for k, u in zip(names, alone, strict=True)}


def coefficients(scores: Mapping[str, float], alpha: float) -> dict[str, float]:
    """Return κ_k from the scores s_k of at least two modalities."""
    return {k: damping(ratio, alpha) for k, ratio in relative(scores).items()}


def modulate(gradient: Tensor, kappa: float, noise: bool) -> None:
    """Scale a gradient in place; the noise has the deviation of the unscaled gradient."""
    spread = gradient.std() if noise and gradient.numel() > 1 else None
    gradient.mul_(kappa)
    if spread is not None:
        gradient.add_(torch.randn_like(gradient) * spread)
