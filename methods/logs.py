"""What a method says about its steps: losses and other named values, averaged per validation."""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor


class NonFiniteLossError(RuntimeError):
    """A loss term became NaN or infinite; the message names the step and every term."""


class Logs:
    """Named values, averaged until `flush`.

    Values stay where they were computed until `settle`: to read one from a GPU waits for all that
    was asked of it before.
    """

    def __init__(self) -> None:
        self.sums: dict[str, float] = {}
        self.counts: dict[str, int] = {}
        self.enabled = True
        """Whether values count. Losses are checked in any case."""
        self._values: dict[str, list[float | Tensor]] = {}
        self._losses: list[tuple[int, bool, dict[str, Tensor]]] = []

    def add(self, name: str, value: float | Tensor) -> None:
        """Count one value of `name`, a number or a tensor of one element."""
        if self.enabled:
            value = value.detach() if isinstance(value, Tensor) else value
            self._values.setdefault(name, []).append(value)

    def add_losses(self, step: int, terms: Mapping[str, Tensor]) -> None:
        """Count the loss terms of a step, each as `loss/<name>`."""
        held = {name: term.detach() for name, term in terms.items()}
        self._losses.append((step, self.enabled, held))

    def settle(self) -> None:
        """Read all values so far.

        Raises:
            NonFiniteLossError: a loss term was NaN or infinite; the first such step is told.
        """
        losses, self._losses = self._losses, []
        numbers = iter(_numbers([term for _, _, terms in losses for term in terms.values()]))
        for step, enabled, terms in losses:
            values = {name: next(numbers) for name in terms}
            if not all(map(math.isfinite, values.values())):
                parts = ", ".join(f"{name}={value:g}" for name, value in values.items())
                raise NonFiniteLossError(f"the loss is not finite at step {step}: {parts}")
            for name, value in values.items() if enabled else ():
                self._count(f"loss/{name}", value)
        held, self._values = self._values, {}
        for name, several in held.items():
            for value in _numbers(several):
                self._count(name, value)

    def _count(self, name: str, value: float) -> None:
        self.sums[name] = self.sums.get(name, 0.0) + value
        self.counts[name] = self.counts.get(name, 0) + 1

    def flush(self) -> dict[str, float]:
        """Return the averages and forget them; see `settle`."""
        self.settle()
        means = {name: total / self.counts[name] for name, total in self.sums.items()}
        self.sums, self.counts = {}, {}
        return means

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint holds; see `settle`."""
        self.settle()
        return {"sums": self.sums, "counts": self.counts}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state` returned."""
        self.sums, self.counts = state["sums"], state["counts"]


def _numbers(values: list[float | Tensor] | list[Tensor]) -> list[float]:
    """Return values as numbers; tensors are read together."""
    tensors = [value.reshape(()) for value in values if isinstance(value, Tensor)]
    read = iter(torch.stack(tensors).tolist() if tensors else ())
    return [float(next(read)) if isinstance(value, Tensor) else value for value in values]
