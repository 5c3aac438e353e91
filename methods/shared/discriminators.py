"""Adversaries: gradient reversal, and small networks that guess a domain or a modality."""

from typing import Any

import torch
from torch import Tensor, nn

from methods.shared.projections import BatchNorm

WIDTH = 128


class _Reversal(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor, strength: float) -> Tensor:
        ctx.strength = strength
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        return -ctx.strength * gradient, None


def reversed_gradient(x: Tensor, strength: float) -> Tensor:
    """Return x; its gradient is multiplied by -strength (Ganin et al., JMLR 2016)."""
    result: Tensor = _Reversal.apply(x, strength)  # type: ignore[no-untyped-call]
    return result


def projection(dim: int) -> nn.Sequential:
    """Return Linear-ReLU-Dropout from [B, dim] to [B, 128]."""
    return nn.Sequential(nn.Linear(dim, WIDTH), nn.ReLU(), nn.Dropout(0.3))


def discriminator(classes: int, dim: int = WIDTH) -> nn.Sequential:
    """Return Linear-BatchNorm-ReLU-Linear from [B, dim] to [B, classes]."""
    return nn.Sequential(
        nn.Linear(dim, WIDTH), BatchNorm(WIDTH), nn.ReLU(), nn.Linear(WIDTH, classes)
    )
