"""AGM: adaptive gradient modulation.

Li, Li, Hu, Lei, Li and Zhang, Boosting Multi-modal Model Performance with Adaptive Gradient
Modulation, ICCV 2023.

    φ_k = Σ_{S ∌ k} |S|! (M-|S|-1)! / M! · (f(S ∪ k) - f(S)) + f(∅)/M,    Σ_k φ_k = f
    q_k = CE(φ_k, y)                      R_k = exp(mean_{j≠k} q_j - q_k)
    R*_k = the same from the running means of all q so far
    κ_k = exp(α min(R*_k - R_k, 10)),     ∇_{θ_k} CE(f, y) ← κ_k ∇_{θ_k} CE(f, y)

f(S) are the fused logits of the modalities in S; φ_k is the part that modality k has in f, its
exact Shapley value with an equal share of what the fusion head says without any modality. For two
modalities this is the paper's ½ (f(a,v) - f(v) + f(a)). A modality further ahead of the others
than it usually was (R_k > R*_k) is slowed, one that fell behind is sped up. The first batch has
nothing to compare with: κ = 1.

Differences from the public code (lihong2303/AGM_ICCV2023):
- f(S) masks embeddings after the neck. The public code puts zeros in the place of inputs, which
  standardised signals, spectrograms or tokens do not take for "nothing". One pass of the encoders
  and 2^M of the fusion head, in eval mode and without gradient, give every f(S).
- φ_k are scores, and κ_k scales the gradient of encoder k; necks and heads are left alone. The
  public code scales the gradient where it enters φ_k, which also reaches the fusion head.
- The cap of 10 is that of its script for two modalities; the one for three has 7.
- BalanceBenchmark's port turns the sign round and so speeds up the modality that leads.
With one modality κ = 1, and AGM is ERM.
"""

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method
from methods.hyperparameters import LogUniform, hyper
from methods.shared.imbalance import fused_logits, of_others

CAP = 10.0
LARGEST_LEAD = 50.0  # in nats, beyond which exp would overflow in the end


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    alpha: float = hyper(
        1.0, "strength of the modulation", search=LogUniform(0.1, 2.5), low=0.0, high=4.0
    )


@register("agm")
class AGM(Method):
    """ERM whose encoders are slowed or sped up as their part in the prediction runs ahead."""

    family = "balancing"
    paper = "Li et al., ICCV 2023"
    Hyperparameters = Hyperparameters

    def __init__(self, hyperparameters: Any = None) -> None:
        super().__init__(hyperparameters)
        self.usual: dict[str, float] = {}
        self.batches = 0

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return CE(f, y)."""
        embeddings = self.model.embed(batch.features)
        self._embeddings = {k: z.detach() for k, z in embeddings.items()}
        return {FUSED: F.cross_entropy(self.model.fuse(embeddings), batch.labels)}

    def compute_grads(self, batch: Batch) -> None:
        """Scale every encoder's gradient by κ_k."""
        super().compute_grads(batch)
        parts = shapley(self._predictions())
        self._now = {k: float(F.cross_entropy(phi, batch.labels)) for k, phi in parts.items()}
        for k, kappa in coefficients(self._now, self.usual or self._now, self.hp.alpha).items():
            self.log(f"kappa/{k}", kappa)
            for parameter in self.model.tail_parameters(k).values():
                if parameter.grad is not None:
                    parameter.grad.mul_(kappa)

    def _predictions(self) -> dict[frozenset[str], Tensor]:
        """Return the fused logits of every subset of the modalities."""
        names = self.run.modalities
        subsets = [
            frozenset(s) for n in range(len(names) + 1) for s in itertools.combinations(names, n)
        ]
        return dict(zip(subsets, fused_logits(self.model, self._embeddings, subsets), strict=True))

    def after_step(self) -> None:
        """Take this batch's q into the running means."""
        self.batches += 1
        for k, q in self._now.items():
            before = self.usual.get(k, q)
            self.usual[k] = before + (q - before) / self.batches

    def get_extra_state(self) -> dict[str, Any]:
        """Return the running means."""
        return {"usual": dict(self.usual), "batches": self.batches}

    def set_extra_state(self, state: dict[str, Any]) -> None:
        """Restore what `get_extra_state` returned."""
        self.usual, self.batches = dict(state["usual"]), state["batches"]


def shapley(values: Mapping[frozenset[str], Tensor]) -> dict[str, Tensor]:
    """Return φ_k from f(S) of every subset S; the φ_k sum to f of all modalities."""
    everything = max(values, key=len)
    size = len(everything)
    parts = {}
    for k in sorted(everything):
        part = values[frozenset()] / size
        for subset, value in values.items():
            if k not in subset:
                share = 1 / (size * math.comb(size - 1, len(subset)))
                part = part + share * (values[subset | {k}] - value)
        parts[k] = part
    return parts


def coefficients(
    now: Mapping[str, float], usual: Mapping[str, float], alpha: float
) -> dict[str, float]:
    """Return κ_k from the q of this batch and their running means."""
    leads, usual_leads = _leads(now), _leads(usual)
    return {k: math.exp(alpha * min(usual_leads[k] - leads[k], CAP)) for k in now}


def _leads(q: Mapping[str, float]) -> dict[str, float]:
    return {k: math.exp(min(other - q[k], LARGEST_LEAD)) for k, other in of_others(q).items()}
