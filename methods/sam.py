"""SAM: sharpness-aware minimisation.

Foret, Kleiner, Mobahi and Neyshabur, Sharpness-Aware Minimization for Efficiently Improving
Generalization, ICLR 2021, equations 2-3.

    ε = ρ g / ‖g‖₂,   g = ∇L(θ);    update θ with ∇L(θ + ε)

The norm is over all trained tensors of the method. Public code of the field: CMRF's perturbs some
tensors only and leaves auxiliary losses out of the second pass; here both passes are the inner
method's whole gradient.
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


@register("sam")
class SAM(SharpnessWrapper):
    """Any method, updated with the gradient at the worst weights nearby."""

    Hyperparameters = Hyperparameters
    family = "sharpness"
    paper = "Foret et al., ICLR 2021"

    def scale(self, length: float) -> float:
        """Return ρ / ‖g‖."""
        return float(self.hp.rho / (length + EPSILON))

    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the second gradient."""
        return second
