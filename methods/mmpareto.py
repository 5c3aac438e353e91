"""MMPareto: unimodal losses that help the shared encoders without hurting the fused prediction.

Wei and Hu, MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance, ICML 2024.

    L = CE(f, y) + Σ_k CE(u_k, y),    per encoder: g_m = ∇ CE(f, y),  g_u = ∇ CE(u_k, y)
    no conflict, ⟨g_m, g_u⟩ ≥ 0:   h = g_m + g_u
    conflict:   c = argmin_{0≤c≤1} ‖c g_m + (1-c) g_u‖,    h ∝ c g_m + (1-c) g_u,
                with the length ‖g_m + g_u‖, which the shortest combination lacks
    update of the encoder: γ h;    of neck and heads: the plain sum

c has a closed form. In a conflict 0 < c < 1, and h makes equal, non-negative progress on both
losses. Where g_m and g_u cancel out there is no such direction, and the encoder rests.

Differences from the public code (GeWu-Lab/MMPareto_ICML2024, code/MMPareto.py):
- Both decide "conflict" and c for an encoder as a whole. The public code then takes twice the
  shortest combination and lengthens each tensor of it that is shorter than the sum's, so that h
  turns away from the shortest direction; `per=tensor` does so. By default the encoder's gradient as
  a whole gets the length of the sum.
- c is not clipped to 0.001..0.999. That only matters where one gradient vanishes, and then the sum
  is taken.
- BalanceBenchmark's port has the other losses in the "fused" gradient, and gives NaN in a conflict.

Under Adam γ, which multiplies the encoders' gradients alone, all but cancels out.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method
from methods.hyperparameters import Choice, Uniform, hyper
from methods.shared.gradients import add_to_grads, gradients, inner_product, min_norm_weight, norm
from methods.shared.losses import unimodal_cross_entropy


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    gamma: float = hyper(
        1.5, "factor γ on the encoders' gradients", search=Uniform(1.0, 2.5), low=0.0
    )
    per: str = hyper(
        "encoder",
        "over what the length is recovered after a conflict; tensor: as the public code does",
        search=Choice(("encoder", "tensor")),
    )


@register("mmpareto")
class MMPareto(Method):
    """Fused and unimodal losses whose gradients never contradict in an encoder."""

    family = "balancing"
    paper = "Wei and Hu, ICML 2024"
    Hyperparameters = Hyperparameters
    trains_unimodal = True

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y) and CE(u_k, y)."""
        embeddings = self.model.embed(batch.features)
        own = unimodal_cross_entropy(self.model.unimodal(embeddings), batch.labels)
        return {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels), **own}

    def compute_grads(self, batch: Batch) -> None:
        """Leave γ h in the encoders and the sum of all gradients elsewhere."""
        self.zero_grad(set_to_none=True)
        terms = self.loss(batch)
        self.total(terms)
        terms[FUSED].backward(retain_graph=True)  # type: ignore[no-untyped-call]
        for k in self.run.modalities:
            encoder: list[Tensor] = list(self.model.tail_parameters(k).values())
            shared = {id(p) for p in encoder}
            branch = [p for m in self.model.branch(k) for p in m.parameters() if p.requires_grad]
            others: list[Tensor] = [p for p in branch if id(p) not in shared]
            own = gradients(terms[k], encoder + others)
            add_to_grads(others, own[len(encoder) :])
            if encoder:  # it may be frozen throughout
                self._combine(k, encoder, own[: len(encoder)])

    def _combine(self, k: str, encoder: list[Tensor], own: list[Tensor]) -> None:
        """Put γ h in the place of the encoder's gradient of the fused loss."""
        fused = [torch.zeros_like(p) if p.grad is None else p.grad for p in encoder]
        self.log(f"conflict/{k}", inner_product(fused, own) < 0)
        for p, h in zip(encoder, pareto(fused, own, self.hp.per == "tensor"), strict=True):
            p.grad = self.hp.gamma * h


def pareto(
    fused: Sequence[Tensor], own: Sequence[Tensor], per_tensor: bool = False
) -> list[Tensor]:
    """Return h of two gradients, each a list of tensors that counts as one long vector.

    With `per_tensor` the length of the sum is recovered tensor by tensor, where it is lacking.
    """
    total = [g_m + g_u for g_m, g_u in zip(fused, own, strict=True)]
    if inner_product(fused, own) >= 0:
        return total
    c = min_norm_weight(fused, own)
    combined = [2 * (c * g_m + (1 - c) * g_u) for g_m, g_u in zip(fused, own, strict=True)]
    length = norm(combined)
    # What is left of opposite gradients is rounding, not a direction.
    rounding = 2 * torch.finfo(length.dtype).eps * (norm(fused) + norm(own))
    if length <= rounding:
        return [torch.zeros_like(g) for g in total]
    if per_tensor:
        return [_lengthened(h, g, rounding) for h, g in zip(combined, total, strict=True)]
    return [h * (norm(total) / length) for h in combined]


def _lengthened(h: Tensor, total: Tensor, rounding: Tensor) -> Tensor:
    """Return h, as long as the sum where it is shorter."""
    length, wanted = norm([h]), norm([total])
    return h * (wanted / length) if rounding < length < wanted else h
