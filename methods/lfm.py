"""LFM: learning to fit labels and to close the gap between modalities, in changing proportions.

Yang, Wan, Jiang and Xu, Facilitating Multimodal Classification via Dynamically Learning Modality
Gap, NeurIPS 2024.

    L = (1-a) [CE(f, y) + Σ_k CE(u_k, y)] + a J,    J = mean_{j<k} JS(softmax u_j ‖ softmax u_k)

The paper's point: modalities drift apart because they fit labels at different speeds; a term
without labels that aligns them holds this up, and its share a in the loss has to change over
training. Two ways to change it, both as in the paper's idea, with numbers of our own:
- `schedule=linear`: from `start` to `end` over the run, alignment first, labels last.
- `schedule=learned`: a starts at `start`; once per epoch it moves against the slope of the source
  validation loss after one step of gradient descent on L,
      d/da L_val(θ - η ∇L) = -η ⟨∇L_val, ∇J - ∇L_labels⟩,    L_val = CE(f, y),
  exact to first order in η, as L is linear in a. The inner product is divided by both lengths, so
  that `rate` is the largest change per epoch, and a stays in 0.05..0.95.

u_k are the own heads, so each needs its own cross-entropy to mean something; without J this is
`joint`. With one modality there is nothing to align: a = 0, and LFM is `joint`.

Differences from BalanceBenchmark (LFM_trainer.py), the code we know:
- J there is ½ KL(m ‖ p) + ½ KL(m ‖ q), the arguments of both KL exchanged. It is not the
  Jensen-Shannon divergence and has no upper bound; here it is in 0..ln 2.
- u_k there split a linear fusion head, and the whole loss is doubled.
- a there starts at its lower limit and moves by a product of Hessian and gradient on a part of one
  validation batch, averaged over the first tensor alone: not the derivative of anything.
The paper itself aligns embeddings with a contrastive loss.
"""

import itertools
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods import register
from methods.base import FUSED, Batch, Method, Model, Run
from methods.hyperparameters import Choice, Uniform, hyper
from methods.shared.gradients import gradients, inner_product, norm
from methods.shared.imbalance import evaluating
from methods.shared.losses import js_divergence, unimodal_cross_entropy

LIMITS = (0.05, 0.95)


@dataclass(frozen=True)
class Hyperparameters:
    """See the fields."""

    start: float = hyper(
        0.5, "share a of the alignment at the start", search=Uniform(0.1, 0.9), low=0.0, high=1.0
    )
    end: float = hyper(
        0.05, "share a at the end of a linear schedule", search=Uniform(0.0, 0.5), low=0.0, high=1.0
    )
    schedule: str = hyper(
        "linear", "how the share changes in training", search=Choice(("linear", "learned"))
    )
    rate: float = hyper(
        0.05, "largest change of a learned share per epoch", search=Uniform(0.01, 0.2), low=0.0
    )


@register("lfm")
class LFM(Method):
    """Supervised losses and the divergence between the modalities' predictions."""

    family = "balancing"
    paper = "Yang et al., NeurIPS 2024"
    Hyperparameters = Hyperparameters
    trains_unimodal = True
    share: Tensor

    def setup(self, model: Model, run: Run) -> None:
        """Start with the first share."""
        super().setup(model, run)
        self.register_buffer("share", torch.tensor(float(self.hp.start)))
        self._due = False

    def epoch_start(self) -> None:
        """Learn the share anew on the first batch."""
        self._due = self.hp.schedule == "learned" and len(self.run.modalities) > 1

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return (1-a) CE(f, y), (1-a) CE(u_k, y) and a J."""
        supervised, alignment = self._losses(batch)
        if alignment is None:
            return supervised
        share = self.current_share()
        self.log("share", share)
        weighted = {name: (1 - share) * term for name, term in supervised.items()}
        return {**weighted, "alignment": share * alignment}

    def _losses(self, batch: Batch) -> tuple[dict[str, Tensor], Tensor | None]:
        """Return the cross-entropies, and J where there is more than one modality."""
        z = self.model.embed(batch.features)
        unimodal = self.model.unimodal(z)
        supervised = {
            FUSED: F.cross_entropy(self.model.fuse(z), batch.labels),
            **unimodal_cross_entropy(unimodal, batch.labels),
        }
        return supervised, gap(unimodal) if len(unimodal) > 1 else None

    def current_share(self) -> float:
        """Return a."""
        if self.hp.schedule == "learned":
            return float(self.share)
        done = min(self.run.step / self.run.total_steps, 1.0)
        return float(self.hp.start + (self.hp.end - self.hp.start) * done)

    def compute_grads(self, batch: Batch) -> None:
        """Leave the gradient of the loss; measure the slope by the share where it is due."""
        super().compute_grads(batch)
        self._slope = self.slope(batch) if self._due else None

    def slope(self, batch: Batch) -> float:
        """Return the normalised slope of the validation loss by a: -1..1, in eval mode."""
        parameters = [p for p in self.model.parameters() if p.requires_grad]
        with evaluating(self.model):
            supervised, alignment = self._losses(batch)
            assert alignment is not None
            labels = torch.stack(list(supervised.values())).sum()
            by_share = gradients(alignment - labels, parameters, keep=False)
            validation = [torch.zeros_like(p) for p in parameters]
            for part in self.run.val_loader():
                loss = self._losses(part)[0][FUSED] * len(part.labels)
                for total, g in zip(validation, gradients(loss, parameters, False), strict=True):
                    total += g
        lengths = norm(validation) * norm(by_share)
        tiny = torch.finfo(lengths.dtype).tiny
        return float(-inner_product(validation, by_share) / lengths.clamp_min(tiny))

    def after_step(self) -> None:
        """Move a learned share against the slope."""
        if self._slope is not None:
            self.log("slope", self._slope)
            self.share.sub_(self.hp.rate * self._slope).clamp_(*LIMITS)
        self._due = False


def gap(unimodal: Mapping[str, Tensor]) -> Tensor:
    """Return the mean Jensen-Shannon divergence over all pairs of predictions."""
    pairs = itertools.combinations(unimodal.values(), 2)
    return torch.stack([js_divergence(a, b) for a, b in pairs]).mean()
