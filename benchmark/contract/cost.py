"""What a method costs: passes through the encoders, counted on a toy model in units of ERM's."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from benchmark.contract.case import Case
from benchmark.contract.toys import VECTORS, Loop, make_batch, make_method, tiny_model
from benchmark.model import MultimodalModel

BATCH = 8


@dataclass(frozen=True)
class Passes:
    """Forward and backward passes of a batch through all encoders' trained stages; ERM has 1."""

    forward: float
    backward: float

    def __str__(self) -> str:
        return f"{self.forward:.3g} + {self.backward:.3g}"


@dataclass(frozen=True)
class Cost:
    """The passes of a training step, and those of its epoch hooks for each batch of the part."""

    step: Passes
    epoch: Passes

    def __str__(self) -> str:
        extra = f" ({self.epoch} an epoch)" if self.epoch != Passes(0, 0) else ""
        return f"{self.step}{extra}"


def measure(composition: str) -> Cost:
    """Train a toy model with two modalities on one batch, and count the second step.

    Copies of the model, such as teachers, count as the model does, whichever part of the samples
    or of the modalities passes. What a method does later in a run, or at times, is not seen.
    """
    modalities = Case(composition, Path()).toys(*VECTORS)
    model, batch = tiny_model(modalities), make_batch(modalities, BATCH)
    seen = _counted(model)
    method = make_method(composition, model, batches=[batch])
    loop = Loop(method)
    torch.manual_seed(0)
    method.epoch_start()
    before = _taken(seen, len(modalities))
    loop.train([batch])  # the first step of an epoch may measure something
    seen.clear()
    loop.train([batch])
    step = _taken(seen, len(modalities))
    method.epoch_end()
    after = _taken(seen, len(modalities))
    epoch = Passes(before.forward + after.forward, before.backward + after.backward)
    return Cost(step, epoch)


def _counted(model: MultimodalModel) -> Counter[str]:
    """Count the samples that pass an encoder from now on, also in copies of the model."""
    seen: Counter[str] = Counter()

    def backward(gradient: Tensor) -> None:
        seen["backward"] += len(gradient)

    def forward(_: object, inputs: object, output: Tensor) -> None:
        seen["forward"] += len(output)
        if output.requires_grad:
            output.register_hook(backward)  # type: ignore[no-untyped-call]

    for k in model.modalities:
        # Behind the first layer: a gradient that only reaches the embedding is not counted.
        first = next(layer for layer in model.encoder(k).tail.children())
        first.register_forward_hook(forward)
    return seen


def _taken(seen: Counter[str], modalities: int) -> Passes:
    """Return the passes counted so far, and start anew."""
    one = BATCH * modalities
    passes = Passes(seen["forward"] / one, seen["backward"] / one)
    seen.clear()
    return passes
