"""Steps of ERM and MBCD as public code makes them, as points of reference.

That of MBCD is the step of the public port for HAC and EPIC-Kitchens. It computes the loss of
`methods/mbcd.py` with `consistency=first`, in the port's way:
- Student, look-ahead and teacher each run the frozen stages on the inputs.
- The look-ahead is one differentiable step away from the student, found by a gradient for each
  encoder, and runs from the inputs on.
- The average runs over whole state dicts, frozen stages included, and is loaded as one.

What moves numbers but costs nothing is as in the suite, so that the losses can be compared: trained
layer norm, in the average too; no feature noise; batch norm of the look-ahead on throw-away
statistics. The port also clones the frozen stages at every step, which is left out here.
"""

import copy
import math

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.training.loader import Inputs
from benchmark.training.model import MultimodalModel


class PublishedERM:
    """Trains a model by the cross-entropy of the fused prediction, with Adam as torch has it.

    Args:
        model: the model, in train mode.
        lr: learning rate.
        weight_decay: of Adam.
    """

    def __init__(self, model: MultimodalModel, lr: float, weight_decay: float) -> None:
        self.model = model
        self.optimizer = torch.optim.Adam(model.parameters(), lr=lr, weight_decay=weight_decay)

    def train_on(self, inputs: Inputs) -> None:
        """Make one training step on a batch."""
        self.optimizer.zero_grad()
        self.loss(inputs).backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()

    def loss(self, inputs: Inputs) -> Tensor:
        """Return the loss, a scalar."""
        features = self.model.stem(inputs.tensors, training=True)
        return F.cross_entropy(self.model.fuse(self.model.embed(features)), inputs.labels)


class PublishedMBCD:
    """Trains a model step by step.

    Args:
        model: the student, in train mode.
        optimizer: of the student's trained tensors.
        generator: draws which samples lose which modality.
        alpha: step size of the look-ahead.
        beta: decay of the teacher's average per step, from the first step on.
    """

    def __init__(
        self,
        model: MultimodalModel,
        optimizer: torch.optim.Optimizer,
        generator: torch.Generator,
        alpha: float,
        beta: float,
    ) -> None:
        self.model, self.optimizer, self.generator = model, optimizer, generator
        self.alpha, self.beta = alpha, beta
        self.teacher = copy.deepcopy(model).requires_grad_(False).eval()

    def train_on(self, inputs: Inputs) -> None:
        """Make one training step on a batch."""
        self.optimizer.zero_grad()
        total = torch.stack(list(self.loss(inputs).values())).sum()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimizer.step()
        self.average()

    def loss(self, inputs: Inputs) -> dict[str, Tensor]:
        """Return the terms of the loss, scalars under the names of `methods/mbcd.py`."""
        x, y, model = inputs.tensors, inputs.labels, self.model
        unimodal = model.unimodal(model.embed(model.stem(x, training=True)))
        own = {k: F.cross_entropy(u, y) for k, u in unimodal.items()}
        ahead = model.embed(model.stem(x, training=True), self._look_ahead(own))
        fused = model.fuse(ahead, self._mask(unimodal))
        with torch.no_grad():
            teacher = self.teacher
            target = teacher.fuse(teacher.embed(teacher.stem(x, training=False))).softmax(dim=1)
        terms = {"fused": F.cross_entropy(fused, y), **own, "distill": _divergence(target, fused)}
        return terms | {f"distill/{k}": _divergence(target, u) for k, u in unimodal.items()}

    @torch.no_grad()
    def average(self) -> None:
        """Let the teacher follow the student; unimodal heads, which teach nothing, do not."""
        student = self.model.state_dict()
        averaged = {
            name: value
            if name.startswith("heads.")
            else self.beta * value + (1 - self.beta) * student[name]
            for name, value in self.teacher.state_dict().items()
        }
        self.teacher.load_state_dict(averaged)

    def _look_ahead(self, own: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
        ahead = {}
        for k, loss in own.items():
            theta = self.model.tail_parameters(k)
            if not theta:  # an encoder may be frozen throughout
                continue
            gradients = torch.autograd.grad(loss, list(theta.values()), retain_graph=True)
            pairs = zip(theta.items(), gradients, strict=True)
            ahead[k] = {name: p - self.alpha * g for (name, p), g in pairs}
        return ahead

    @torch.no_grad()
    def _mask(self, unimodal: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return [B] of bool by modality: whether a sample keeps it.

        No sample loses all of them, as the least confident modality is never dropped.
        """
        scores = {k: float(u.softmax(dim=1).max(dim=1).values.sum()) for k, u in unimodal.items()}
        rates = []
        for k, score in scores.items():
            others = [score / other for j, other in scores.items() if j != k]
            ratio = sum(others) / len(others) if others else 1.0
            rates.append(math.tanh(max(ratio - 1, 0.0)))
        size = len(next(iter(unimodal.values())))
        draws = torch.rand(len(rates), size, generator=self.generator, dtype=torch.float64)
        return {k: u < 1 - rate for k, u, rate in zip(unimodal, draws, rates, strict=True)}


def _divergence(target: Tensor, logits: Tensor) -> Tensor:
    """Return KL(target ‖ softmax(logits)), averaged over the batch; both [B, C]."""
    return F.kl_div(F.log_softmax(logits, dim=1), target.clamp_min(1e-12), reduction="batchmean")
