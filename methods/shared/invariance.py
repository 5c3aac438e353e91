"""The base of IRM and VREx: the domains' own losses, and a penalty that sets in late."""

from abc import abstractmethod
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from methods.base import FUSED, Batch, Method
from methods.hyperparameters import LogUniform, hyper
from methods.shared.losses import by_domain

Block = tuple[Tensor, Tensor]
"""Fused logits [n, C] and labels [n] of a batch's samples of one domain."""


@dataclass(frozen=True)
class Annealing:
    """The point of the run at which the penalty gets its weight."""

    anneal: float = hyper(
        0.1,
        "share of the run after which the penalty's weight jumps from 1 to its value",
        search=LogUniform(0.01, 0.5),
        low=0.0,
        high=1.0,
    )


class InvariancePenalty(Method):
    """Minimises the mean of the domains' losses, and a penalty on how the domains differ.

        L = mean_d ℓ_d + λ_t · penalty,   λ_t = 1 in the first steps, then λ

    ℓ_d is CE(f, y) over the batch's samples of domain d. For the penalty only domains with two
    samples or more count, and without two of those it is absent. Where λ_t jumps the optimizer
    starts anew, as Adam's moments do not suit the other size of the gradients.
    """

    family = "domain generalization"

    @abstractmethod
    def penalty(self, blocks: list[Block]) -> Tensor:
        """Return the penalty for two domains or more."""

    def loss(self, batch: Batch) -> dict[str, Tensor]:
        """Return the mean of the domains' losses, and the weighted penalty."""
        logits = self.model.fuse(self.model.embed(batch.features))
        groups = by_domain(batch.domains, least=1)
        blocks = [(logits[group], batch.labels[group]) for group in groups]
        terms = {FUSED: torch.stack([F.cross_entropy(*block) for block in blocks]).mean()}
        blocks = [(f, y) for f, y in blocks if len(y) > 1]
        if len(blocks) > 1:
            penalty = self.penalty(blocks)
            self.log("penalty", penalty.detach())
            terms[self.name] = self._weight() * penalty
        return terms

    def after_step(self) -> None:
        """Start the optimizer anew between the last step of one weight and the first of the next.

        The step number alone decides it, so that a resumed run neither repeats nor misses it.
        """
        jumps = len(self.run.domains) > 1 and self.hp.weight != 1
        if jumps and self.run.step == self._last_step_at_one():
            self.run.reset_optimizer()

    def _weight(self) -> float:
        return float(self.hp.weight) if self.run.step > self._last_step_at_one() else 1.0

    def _last_step_at_one(self) -> int:
        return int(self.hp.anneal * self.run.total_steps)
