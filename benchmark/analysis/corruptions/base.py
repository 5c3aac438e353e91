"""One way to spoil a modality, and what every way has in common."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

SEVERITIES = (1, 2, 3, 4, 5)

Draw = Callable[[torch.Size, torch.Generator], Tensor]
"""Makes what is random in one sample of a shape, on the CPU."""
Apply = Callable[[Tensor, Any, Tensor, Tensor], Tensor]
"""Makes corrupted samples [B, ...] of clean ones, a level, what was drawn of each sample [B, ...],
and the deviation of each channel, which broadcasts over a sample."""


def nothing(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw nothing."""
    return torch.empty(0)


def normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw a standard normal number for each of a sample."""
    return torch.randn(shape, generator=generator)


def uniform(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw a number from 0 to 1 for each of a sample."""
    return torch.rand(shape, generator=generator)


@dataclass(frozen=True)
class Corruption:
    """A corruption of five severities; what is drawn of a sample is the same in all of them."""

    levels: Sequence[Any]
    """What `apply` takes for each severity."""
    apply: Apply
    draw: Draw = nothing


def sampled_in_time(x: Tensor, index: Tensor) -> Tensor:
    """Return x [B, C, T, ...] at other moments, by their numbers [B, T]."""
    shape = (len(x), 1, x.shape[2], *[1] * (x.ndim - 3))
    return x.gather(2, index.view(shape).expand_as(x))
