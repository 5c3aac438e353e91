"""Averages of a model's trained tensors."""

import copy
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

import torch
from torch import Tensor, nn

from methods.base import Method, Model
from methods.wrapper import Wrapper


def trained(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained tensors of a model by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


def frozen_buffers(model: nn.Module) -> set[int]:
    """Return the ids of the buffers that nothing changes."""
    stages = model.frozen_stages() if isinstance(model, Model) else ()
    return {id(buffer) for stage in stages for buffer in stage.buffers()}


M = TypeVar("M", bound=nn.Module)


def copied(model: M) -> M:
    """Return a copy of a model that shares its frozen stages and all frozen parameters."""
    shared: dict[int, Any] = {id(p): p for p in model.parameters() if not p.requires_grad}
    if isinstance(model, Model):
        shared |= {id(stage): stage for stage in model.frozen_stages()}
    return copy.deepcopy(model, shared)


@dataclass
class _Pairs:
    """Tensors of an average, and beside them those of the student that they follow."""

    own: list[Tensor] = field(default_factory=list)
    theirs: list[Tensor] = field(default_factory=list)

    def add(self, own: Tensor, theirs: Tensor) -> None:
        self.own.append(own)
        self.theirs.append(theirs)


class AveragedModel(nn.Module):
    """A copy of a model that holds an average of its weights and always stays in eval mode.

    What is frozen when the average is made is shared with the original, not copied.
    """

    def __init__(self, model: Model, average_bn: str = "averaged") -> None:
        """Copy the model; `average_bn` is the rule for floating buffers, `averaged` or `copied`."""
        super().__init__()
        self.average_bn = average_bn
        self.model = copied(model)
        self._trained = list(trained(model))
        self.model.requires_grad_(False).eval()
        self._averaged: _Pairs | None = None
        self._copied = _Pairs()

    def train(self, mode: bool = True) -> "AveragedModel":
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def move_towards(self, student: Model, weight: float) -> None:
        """Set every trained tensor to (1-weight)·average + weight·student.

        So are floating buffers, unless they are `copied`; integer buffers always are. `lerp` is
        exact for weight 0 and 1 and for equal values. It is always the same student.
        """
        # Looked up once: in a deep network that takes longer than to average them.
        if self._averaged is None:
            self._averaged = self._pair(student)
        if self._averaged.own:
            torch._foreach_lerp_(self._averaged.own, self._averaged.theirs, weight)
        if self._copied.own:
            torch._foreach_copy_(self._copied.own, self._copied.theirs)

    def _pair(self, student: Model) -> _Pairs:
        averaged = _Pairs()
        own, theirs = dict(self.model.named_parameters()), dict(student.named_parameters())
        for name in self._trained:
            averaged.add(own[name], theirs[name])
        frozen = frozen_buffers(student)
        for mine, value in zip(self.model.buffers(), student.buffers(), strict=True):
            if id(value) not in frozen:
                follows = self.average_bn == "averaged" and mine.is_floating_point()
                (averaged if follows else self._copied).add(mine, value)
        return averaged

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace trained tensors by name."""
        own = dict(self.model.named_parameters())
        for name, value in tensors.items():
            own[name].copy_(value)


class _CountingAverage(AveragedModel):
    """An average that knows how many updates it has seen."""

    def __init__(self, model: Model, average_bn: str = "averaged") -> None:
        super().__init__(model, average_bn)
        # A number and no buffer: to read one from a GPU would wait for it at every step.
        self.updates = 0

    def get_extra_state(self) -> int:
        """Return the number of updates."""
        return self.updates

    def set_extra_state(self, state: int) -> None:
        """Restore what `get_extra_state` returned."""
        self.updates = state


class ExponentialAverage(_CountingAverage):
    """θ̄ ← β_t θ̄ + (1-β_t) θ after every step, from the initial weights on.

    With `warmup`, β_t = min(β, (1+t)/(10+t)) after t updates, so that the initial weights are
    forgotten however short the run is.
    """

    def __init__(
        self, model: Model, beta: float, warmup: bool, average_bn: str = "averaged"
    ) -> None:
        super().__init__(model, average_bn)
        self.beta = beta
        self.warmup = warmup

    def update(self, student: Model) -> None:
        """Take in the student's weights after one more step."""
        self.updates += 1
        t = self.updates
        beta = min(self.beta, (1 + t) / (10 + t)) if self.warmup else self.beta
        self.move_towards(student, 1 - beta)


class SimpleAverage(_CountingAverage):
    """A copy of the student before step `start`, from there on the mean of its weights.

    After update t ≥ start it is mean(θ_{start-1}, ..., θ_t).
    """

    def __init__(self, model: Model, start: int, average_bn: str = "averaged") -> None:
        super().__init__(model, average_bn)
        self.start = start

    @property
    def averaging(self) -> bool:
        """Whether the average is more than a copy of the student."""
        return self.updates >= self.start

    def update(self, student: Model) -> None:
        """Take in the student's weights after one more step."""
        self.updates += 1
        count = self.updates - self.start + 2
        self.move_towards(student, 1 / max(count, 1))


class UniformMean:
    """The mean of the sets of tensors it was given."""

    def __init__(self, mean: Mapping[str, Tensor] | None = None, count: int = 0) -> None:
        self.mean = dict(mean or {})
        self.count = count

    @torch.no_grad()
    def add(self, tensors: Mapping[str, Tensor]) -> None:
        """Count one more set with the weight of each earlier one."""
        self.count += 1
        if self.count == 1:
            self.mean = {name: value.clone() for name, value in tensors.items()}
            return
        own = list(self.mean.values())
        torch._foreach_lerp_(own, [tensors[name] for name in self.mean], 1 / self.count)


class AveragingWrapper(Wrapper):
    """A wrapper that evaluates an average of the inner method's student."""

    outermost = True

    @classmethod
    def refuses(cls, inner: type[Method]) -> str | None:
        """Refuse a second average, and methods that pick their own weights at the end."""
        if issubclass(inner, AveragingWrapper):
            return f"{cls.name} and {inner.name} both average the weights; keep one of them"
        if cls.evaluates_average and inner.evaluates_average and not inner.is_wrapper:
            return (
                f"{inner.name} already evaluates an average of its student; use {inner.name} alone"
            )
        if inner.own_rule:
            return f"{inner.name} selects its own weights after training, so {cls.name} would not"
        return super().refuses(inner)
