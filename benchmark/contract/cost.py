"""The cost of a method: passes through the encoders, counted on a toy model in units of ERM's."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import torch

from benchmark.contract.case import Case
from benchmark.contract.toys import VECTORS, Loop, make_batch, make_method, tiny_model
from benchmark.training.passes import PassCounter, Passes

BATCH = 8


@dataclass(frozen=True)
class Cost:
    """The passes per training step, and those of the epoch hooks per batch of the train part."""

    step: Passes
    epoch: Passes

    def __str__(self) -> str:
        extra = f" ({self.epoch} per epoch)" if self.epoch != Passes(0, 0) else ""
        return f"{self.step}{extra}"


def measure(composition: str) -> Cost:
    """Train a toy model with two modalities on one batch, and count the second step.

    Copies of the model, such as teachers, count as the model does, in proportion to the
    samples and modalities that pass. Work that a method does only later or sometimes is not seen.
    """
    modalities = Case(composition, Path()).toys(*VECTORS)
    model, batch = tiny_model(modalities), make_batch(modalities, BATCH)
    counter = PassCounter(model)
    method = make_method(composition, model, batches=[batch])
    loop = Loop(method)
    torch.manual_seed(0)
    before = _counted(counter, method.epoch_start)
    loop.train([batch])  # the first step of an epoch may measure something
    step = _counted(counter, lambda: loop.train([batch]))
    after = _counted(counter, method.epoch_end)
    epoch = Passes(before.forward + after.forward, before.backward + after.backward)
    return Cost(step, epoch)


def _counted(counter: PassCounter, what: Callable[[], None]) -> Passes:
    counter.clear()
    with counter.counting(BATCH):
        what()
    passes = counter.mean()
    assert passes is not None  # of one batch
    return passes
