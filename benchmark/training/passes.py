"""Passes of batches through a model's encoders, counted as they happen."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from torch import Tensor, nn

from benchmark.training.model import MultimodalModel


@dataclass(frozen=True)
class Passes:
    """Forward and backward passes of a batch through all encoders' trained stages; ERM has 1."""

    forward: float
    backward: float

    def __str__(self) -> str:
        return f"{self.forward:.3g} + {self.backward:.3g}"


class PassCounter:
    """Counts the samples that pass an encoder while `counting`, also in copies of the model.

    Whichever part of the samples or of the modalities passes, it counts as that part. Copies made
    before this counter do not count.
    """

    def __init__(self, model: MultimodalModel) -> None:
        self._modalities = len(model.modalities)
        self._on = False
        self._forward = self._backward = 0
        self._batches = 0.0
        for k in model.modalities:
            self._watch(model.encoder(k).tail)

    @contextmanager
    def counting(self, samples: int) -> Iterator[None]:
        """Count the passes inside the block as those of one batch of so many samples."""
        self._on = True
        yield
        self._on = False
        self._batches += samples * self._modalities

    def mean(self) -> Passes | None:
        """Return the passes a batch counted so far; None where there was no batch."""
        if not self._batches:
            return None
        return Passes(self._forward / self._batches, self._backward / self._batches)

    @property
    def counts(self) -> tuple[int, int, float]:
        """The counts so far, to be saved and restored."""
        return self._forward, self._backward, self._batches

    @counts.setter
    def counts(self, counts: tuple[int, int, float]) -> None:
        self._forward, self._backward, self._batches = counts

    def clear(self) -> None:
        """Start anew."""
        self._forward = self._backward = 0
        self._batches = 0.0

    def _watch(self, tail: nn.Module) -> None:
        # Functions, as a copy of a model copies bound methods with what they are bound to.
        samples = 0
        fresh = False

        def enter(_: nn.Module, inputs: tuple[Tensor | tuple[Tensor, ...]]) -> None:
            nonlocal samples, fresh
            (features,) = inputs
            samples = len(features if isinstance(features, Tensor) else features[0])
            fresh = True
            self._forward += samples * self._on

        def first_layer(_: nn.Module, __: object, output: object) -> None:
            nonlocal fresh
            if fresh and isinstance(output, Tensor) and output.requires_grad:
                count = samples

                def backward(_: Tensor) -> None:
                    self._backward += count * self._on

                output.register_hook(backward)  # type: ignore[no-untyped-call]
            fresh = False  # a layer that one pass uses twice is still one pass

        tail.register_forward_pre_hook(enter)
        # Behind the first trained layer: a gradient that only reaches the embedding, or later
        # layers, is no pass.
        for layer in tail.modules():
            if any(p.requires_grad for p in layer.parameters(recurse=False)):
                layer.register_forward_hook(first_layer)
                return
