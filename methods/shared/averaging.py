"""Averages of a model's trained tensors."""

import copy
from collections.abc import Mapping

import torch
from torch import Tensor, nn

from methods.base import Method, Model
from methods.wrapper import Wrapper


def trained(model: nn.Module) -> dict[str, Tensor]:
    """Return the trained tensors of a model by name."""
    return {name: p.detach() for name, p in model.named_parameters() if p.requires_grad}


class AveragedModel(nn.Module):
    """A copy of a model that holds an average of its weights and always stays in eval mode.

    Frozen parameters are shared with the original, not copied.
    """

    def __init__(self, model: Model, average_bn: str = "averaged") -> None:
        """Copy the model; `average_bn` is the rule for floating buffers, `averaged` or `copied`."""
        super().__init__()
        self.average_bn = average_bn
        frozen = {id(p): p for p in model.parameters() if not p.requires_grad}
        self.model = copy.deepcopy(model, frozen).requires_grad_(False).eval()

    def train(self, mode: bool = True) -> "AveragedModel":
        """Stay in eval mode."""
        return super().train(False)

    @torch.no_grad()
    def move_towards(self, student: Model, weight: float) -> None:
        """Set every trained tensor to (1-weight)·average + weight·student.

        So are floating buffers, unless they are `copied`; integer buffers always are. `lerp` is
        exact for weight 0 and 1 and for equal values.
        """
        own = dict(self.model.named_parameters())
        for name, value in trained(student).items():
            own[name].lerp_(value, weight)
        for mine, value in zip(self.model.buffers(), student.buffers(), strict=True):
            if self.average_bn == "averaged" and mine.is_floating_point():
                mine.lerp_(value, weight)
            else:
                mine.copy_(value)

    @torch.no_grad()
    def load(self, tensors: Mapping[str, Tensor]) -> None:
        """Replace trained tensors by name."""
        own = dict(self.model.named_parameters())
        for name, value in tensors.items():
            own[name].copy_(value)


class ExponentialAverage(AveragedModel):
    """θ̄ ← β_t θ̄ + (1-β_t) θ after every step, from the initial weights on.

    With `warmup`, β_t = min(β, (1+t)/(10+t)) after t updates, so that the initial weights are
    forgotten however short the run is.
    """

    updates: Tensor

    def __init__(
        self, model: Model, beta: float, warmup: bool, average_bn: str = "averaged"
    ) -> None:
        super().__init__(model, average_bn)
        self.beta = beta
        self.warmup = warmup
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    def update(self, student: Model) -> None:
        """Take in the student's weights after one more step."""
        self.updates += 1
        t = int(self.updates)
        beta = min(self.beta, (1 + t) / (10 + t)) if self.warmup else self.beta
        self.move_towards(student, 1 - beta)


class SimpleAverage(AveragedModel):
    """A copy of the student before step `start`, from there on the mean of its weights.

    After update t ≥ start it is mean(θ_{start-1}, ..., θ_t).
    """

    updates: Tensor

    def __init__(self, model: Model, start: int, average_bn: str = "averaged") -> None:
        super().__init__(model, average_bn)
        self.start = start
        self.register_buffer("updates", torch.zeros((), dtype=torch.int64))

    @property
    def averaging(self) -> bool:
        """Whether the average is more than a copy of the student."""
        return int(self.updates) >= self.start

    def update(self, student: Model) -> None:
        """Take in the student's weights after one more step."""
        self.updates += 1
        count = int(self.updates) - self.start + 2
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
        for name, value in tensors.items():
            if self.count == 1:
                self.mean[name] = value.clone()
            else:
                self.mean[name].lerp_(value, 1 / self.count)


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
