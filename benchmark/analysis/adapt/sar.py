"""SAR: Tent on reliable samples alone, at the worst weights nearby, and started anew in time.

Niu, Wu, Zhang, Wen, Chen, Zhao and Tan, Towards Stable Test-Time Adaptation in Dynamic Wild World,
ICLR 2023.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from benchmark.analysis.adapt.settings import Settings
from benchmark.analysis.adapt.tent import Tent
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Features, Logits, Method
from methods.shared.gradients import gradients, norm
from methods.shared.losses import entropy
from methods.shared.sharpness import EPSILON

INERTIA = 0.9
"""Of the moving average of the loss."""


class SAR(Tent):
    """L = mean H(softmax f) at θ + ρ g / ‖g‖, over samples with H < 0.4 ln C there and at θ.

    g is the gradient at θ over the samples with H < 0.4 ln C at θ. Where no sample is reliable
    nothing is updated. Where the moving average of L falls below 0.2 nats, a constant that was made
    for 1000 classes, the weights, the optimizer and the average are those of the start again. The
    paper's optimizer is SGD; here it is Adam, as for the other evaluators. Adapted is what Tent
    adapts.
    """

    def __init__(self, method: Method, model: MultimodalModel, settings: Settings) -> None:
        super().__init__(method, model, settings)
        self.start = [p.detach().clone() for p in self.adapted]
        self.average: float | None = None
        self.resets = 0

    def update(self, features: Mapping[str, Features], logits: Logits) -> None:
        """Make one step with the gradient at the perturbed weights; start anew where it is due."""
        reliable = self._reliable(logits[FUSED])
        if not reliable.any():
            return
        first = gradients(self.loss({FUSED: logits[FUSED][reliable]}), self.adapted, keep=False)
        scale = self.settings.sar_radius / (norm(first) + EPSILON)
        before = [p.detach().clone() for p in self.adapted]
        with torch.no_grad():
            for p, g in zip(self.adapted, first, strict=True):
                p.add_(scale * g)
        second = self.logits(features)[FUSED]
        still = reliable & self._reliable(second)
        if still.any():
            loss = self.loss({FUSED: second[still]})
            for p, g in zip(self.adapted, gradients(loss, self.adapted, keep=False), strict=True):
                p.grad = g
        self._set(before)
        if still.any():
            self.optimizer.step()
            self._follow(float(loss.detach()))

    def facts(self) -> dict[str, Any]:
        """Return also how often it started anew."""
        return {**super().facts(), "resets": self.resets}

    def _reliable(self, logits: Tensor) -> Tensor:
        return entropy(logits) < self.settings.sar_margin * math.log(logits.shape[1])

    def _follow(self, loss: float) -> None:
        past = loss if self.average is None else self.average
        self.average = INERTIA * past + (1 - INERTIA) * loss
        if self.average < self.settings.sar_reset:
            self._set(self.start)
            self.optimizer = self.new_optimizer()
            self.average = None
            self.resets += 1

    @torch.no_grad()
    def _set(self, values: list[Tensor]) -> None:
        for p, value in zip(self.adapted, values, strict=True):
            p.copy_(value)
