"""SAGM: sharpness-aware gradient matching.

Wang, Zhang, Lei and Zhang, Sharpness-Aware Gradient Matching for Domain Generalization, CVPR 2023,
equations 8-10.

    δ = (ρ / ‖g‖₂ - α) g,   g = ∇L(θ);    update θ with ½ (∇L(θ) + ∇L(θ + δ))

With α = 0 the update is the mean of the gradient and SAM's; with ρ = 0 the second gradient is taken
a step of α ahead. No difference from the public code (Wang-pengfei/SAGM) but that the second pass
repeats the dropout of the first.
"""

from dataclasses import dataclass

from torch import Tensor

from methods import register
from methods.hyperparameters import LogUniform, hyper
from methods.shared.sharpness import EPSILON, SharpnessWrapper


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    rho: float = hyper(0.05, "radius of the perturbation", search=LogUniform(0.01, 0.5), low=0.0)
    alpha: float = hyper(
        1e-3, "step that is taken back along the gradient", search=LogUniform(5e-4, 1e-2), low=0.0
    )


@register("sagm")
class SAGM(SharpnessWrapper):
    """Any method, updated with the mean of the gradients here and at worse weights nearby."""

    Hyperparameters = Hyperparameters
    family = "sharpness"
    paper = "Wang et al., CVPR 2023"

    def scale(self, length: float) -> float:
        """Return ρ / ‖g‖ - α."""
        return float(self.hp.rho / (length + EPSILON) - self.hp.alpha)

    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the mean of both gradients."""
        return (first + second) / 2
