"""The base of SAM and SAGM: a second gradient, at weights moved along the first one."""

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor

from methods.base import Batch, Method
from methods.shared.gradients import RandomState, norm
from methods.wrapper import Wrapper

EPSILON = 1e-12


class SharpnessWrapper(Wrapper):
    """Computes the inner method's gradient twice per batch: at θ and at θ + scale · g.

    Both passes draw the same dropout, masks and mixing weights. Batch-norm statistics, logs and
    whatever methods keep for `after_step` are those of the first pass, and the weights are put back
    bit for bit before the update.
    """

    @classmethod
    def refuses(cls, inner: type[Method]) -> str | None:
        """Refuse methods that make several updates per batch, and a second perturbation."""
        if inner.several_updates:
            return (
                f"{inner.name} makes several updates per batch, so {cls.name} has no gradient of "
                f"the batch to perturb along; use {inner.name} alone"
            )
        if issubclass(inner, SharpnessWrapper):
            return f"{cls.name} and {inner.name} both perturb the weights; keep one of them"
        return super().refuses(inner)

    @abstractmethod
    def scale(self, length: float) -> float:
        """Return the factor on the gradient, given its length, that moves the weights."""

    @abstractmethod
    def combine(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the gradient to update with, from those at θ and at the moved weights."""

    def step(self, batch: Batch, update: Callable[[], None]) -> None:
        """Make one update with this wrapper's gradient."""
        self.compute_grads(batch)
        update()

    def compute_grads(self, batch: Batch) -> None:
        """Leave the combined gradient in the parameters."""
        streams = RandomState.now(batch.labels)
        own = self.run.generator.get_state()
        self.inner.compute_grads(batch)
        moved = [p for p in self.parameters() if p.grad is not None]
        first = [p.grad.clone() for p in moved if p.grad is not None]
        scale = self.scale(float(norm(first)))
        with self._moved(moved, [scale * g for g in first]), streams.replayed(), self._second(own):
            self.inner.compute_grads(batch)
        for p, g in zip(moved, first, strict=True):
            p.grad = self.combine(g, torch.zeros_like(g) if p.grad is None else p.grad)

    @contextmanager
    def _moved(self, parameters: Sequence[Tensor], by: Sequence[Tensor]) -> Iterator[None]:
        before = [p.detach().clone() for p in parameters]
        with torch.no_grad():
            for p, change in zip(parameters, by, strict=True):
                p.add_(change)
        yield
        with torch.no_grad():
            for p, value in zip(parameters, before, strict=True):
                p.copy_(value)

    @contextmanager
    def _second(self, stream: Tensor) -> Iterator[None]:
        """Draw from the method's stream once more; keep statistics, logs and attributes."""
        after = self.run.generator.get_state()
        buffers = [b for m in self.modules() if m.training for b in m.buffers(recurse=False)]
        held = [b.clone() for b in buffers]
        parts = [dict(vars(m)) for m in self._methods()]
        self.run.generator.set_state(stream)
        logging, self.run.logs.enabled = self.run.logs.enabled, False
        yield
        self.run.logs.enabled = logging
        self.run.generator.set_state(after)
        for buffer, value in zip(buffers, held, strict=True):
            buffer.copy_(value)
        for method, attributes in zip(self._methods(), parts, strict=True):
            vars(method).update(attributes)

    def _methods(self) -> list[Method]:
        return [m for m in self.modules() if isinstance(m, Method)]
