"""Corruptions of depth images [B, C, T, H, W], in the units in which a dataset loads them."""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.analysis.corruptions.base import Corruption, uniform
from benchmark.analysis.corruptions.signals import NOISE
from benchmark.analysis.corruptions.video import pixelated


def holed(x: Tensor, share: float, drawn: Tensor) -> Tensor:
    """Lose a share of the pixels: those with the smallest draws become 0, not measured."""
    return torch.where(drawn < share, 0.0, x)


DEPTH: Mapping[str, Corruption] = {
    "gaussian_noise": NOISE,
    "holes": Corruption(
        (0.05, 0.1, 0.2, 0.3, 0.4),
        lambda x, level, drawn, _: holed(x, level, drawn),
        lambda shape, generator: uniform(torch.Size([1, *shape[1:]]), generator),
    ),
    "pixelate": Corruption((0.6, 0.5, 0.4, 0.3, 0.25), lambda x, level, *_: pixelated(x, level)),
}
