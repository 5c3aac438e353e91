"""The loss of a finished run as a function of its trained weights, and directions among them.

The model itself is never changed: other weights are lent to it for the length of a call.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple, cast

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn import functional as F

from benchmark.analysis.finished import FinishedRun
from benchmark.training import seeds
from datasets.base import Role
from methods.base import FUSED, Batch, Features, Method, Model
from methods.hyperparameters import hyper
from methods.shared.averaging import trained
from methods.shared.gradients import gradients

Weights = Mapping[str, Tensor]
"""Tensors by name: trained ones, a direction among them, or buffers."""
PARTS: tuple[Role, ...] = ("val", "target")
"""The parts on which losses are looked at."""


def sampled() -> Any:
    """Declare the setting of how many samples a loss is the mean over."""
    return hyper(256, "samples that are drawn of each part; 0: all", low=0)


class Point(NamedTuple):
    """The surface at some weights."""

    loss: float
    """The mean cross-entropy in nats; infinite or not a number where the model overflows."""
    accuracy: float
    """0..1."""


class Fused(nn.Module):
    """A model that returns what its method reports: features by modality to [B, C]."""

    def __init__(self, method: Method, model: Model) -> None:
        super().__init__()
        self.model = model
        self._classify = method.classify  # the method itself would bring its tensors along

    def forward(self, features: Mapping[str, Features]) -> Tensor:
        """Return the fused logits, where no modality is missing."""
        return self._classify(self.model.embed(features), None, self.model)[FUSED]


class Surface:
    """Loss and accuracy of a model on a few batches at any weights.

    Args:
        model: turns the features of a batch into logits [B, C]; in evaluation mode.
        batches: what the loss is the mean over; held, so that they are computed once.
    """

    def __init__(self, model: nn.Module, batches: Iterable[Batch]) -> None:
        self.model = model
        self.batches = list(batches)
        self.size = sum(len(batch.labels) for batch in self.batches)

    @classmethod
    def of(cls, run: FinishedRun, part: Role, most: int) -> "Surface":
        """Return the surface of a run on at most so many samples of a part."""
        return cls(Fused(run.method, run.model), run.batches(run.samples(part, most)))

    @property
    def centre(self) -> dict[str, Tensor]:
        """The run's own trained tensors by name, as they are; frozen stages have none."""
        return trained(self.model)

    @torch.no_grad()
    def at(self, weights: Weights) -> Point:
        """Return the surface at other weights; tensors that are not named are the model's own."""
        logits = torch.cat([self._logits(batch, weights) for batch in self.batches])
        labels = torch.cat([batch.labels for batch in self.batches])
        accuracy = (logits.argmax(dim=1) == labels).double().mean()
        return Point(F.cross_entropy(logits, labels).item(), accuracy.item())

    def shares(self, weights: Weights) -> Iterator[Tensor]:
        """Yield what each batch adds to the loss at weights, to be differentiated."""
        for batch in self.batches:
            logits = self._logits(batch, weights)
            yield F.cross_entropy(logits, batch.labels, reduction="sum") / self.size

    def gradient(self, weights: Weights) -> tuple[float, dict[str, Tensor]]:
        """Return the loss at weights and its gradient by each of them, zeros where it has none."""
        leaves = leaves_of(weights)
        found = {name: torch.zeros_like(w) for name, w in weights.items()}
        total = 0.0
        for share in self.shares(leaves):
            total += share.item()
            parts = gradients(share, list(leaves.values()), keep=False)
            for whole, part in zip(found.values(), parts, strict=True):
                whole += part
        return total, found

    def _logits(self, batch: Batch, weights: Weights) -> Tensor:
        logits = functional_call(self.model, dict(weights), (batch.features,))
        return cast(Tensor, logits).double()  # differences of losses are small


def leaves_of(weights: Weights) -> dict[str, Tensor]:
    """Return copies of weights to differentiate by."""
    return {name: w.detach().clone().requires_grad_() for name, w in weights.items()}


def moved(weights: Weights, along: Sequence[tuple[Weights, float]]) -> dict[str, Tensor]:
    """Return weights moved along some directions by so much each."""
    found = {name: w.detach().clone() for name, w in weights.items()}
    for direction, amount in along:
        for name, w in found.items():
            w.add_(direction[name], alpha=amount)
    return found


def direction(weights: Weights, number: int) -> dict[str, Tensor]:
    """Return a random filter-normalised direction; the same tensor always draws the same one."""
    drawn = {
        name: torch.randn(w.shape, generator=seeds.generator(0, "analysis", number, name)).to(w)
        for name, w in weights.items()
    }
    return filter_normalised(drawn, weights)


def filter_normalised(drawn: Weights, weights: Weights) -> dict[str, Tensor]:
    """Return a direction with each filter as long as the same filter of the weights.

    Li et al., Visualizing the Loss Landscape of Neural Nets, NeurIPS 2018, section 4: so a step of
    0.1 changes every filter by a tenth of its length, however the network is scaled. A filter is
    all that makes one output: a slice along the first axis of a tensor of two axes or more. Biases
    and the parameters of norm layers, which have one axis, stay where they are.
    """
    return {
        name: drawn[name] * (_lengths(w) / _lengths(drawn[name])) if w.ndim > 1 else 0 * w
        for name, w in weights.items()
    }


def _lengths(tensor: Tensor) -> Tensor:
    """Return the length of each filter, [n, 1, ...]."""
    axes = tuple(range(1, tensor.ndim))
    lengths = torch.linalg.vector_norm(tensor, dim=axes, keepdim=True)
    return cast(Tensor, lengths)
