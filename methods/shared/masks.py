"""Masks over modalities: which samples keep which modality."""

from collections.abc import Iterable, Mapping
from functools import partial

import torch
from torch import Tensor

from methods.base import Mask


def only(kept: str, modalities: Iterable[str], like: Tensor) -> dict[str, Tensor]:
    """Return the mask that keeps one modality of every sample; `like` is [B, ...]."""
    size, device = len(like), like.device
    return {k: torch.full((size,), k == kept, device=device) for k in modalities}


def presence(present: Mask | None, like: Mapping[str, Tensor]) -> Tensor:
    """Return [M, B, 1]: 1 where a sample has a modality, else 0; `like` is [B, ...] by modality."""
    columns = [
        torch.ones_like(x[:, :1])
        if present is None or k not in present
        else present[k].to(x)[:, None]
        for k, x in like.items()
    ]
    return torch.stack(columns)


def draw(
    drop_rates: Mapping[str, float | Tensor], like: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Drop each modality of each sample with its rate, but never all modalities of a sample.

    These are the masks that independent draws give when samples that lose all are drawn again.
    They are drawn one modality after the other, each given the ones before, so that nothing has
    to be looked at and drawn anew: where a sample has kept none so far, modality i of M is kept
    with probability (1 - p_i) / (1 - p_i ⋯ p_M).

    Args:
        drop_rates: by modality, in 0..1; at least one below 1.
        like: [B, ...], gives the number of samples and the device.
        generator: on the CPU, so that every device draws the same masks.
    """
    values = drop_rates.values()
    if all(isinstance(rate, float) and rate >= 1 for rate in values):
        raise ValueError("every modality would always be dropped")
    uniform, rates = _drawn(drop_rates, like, generator)
    lost_from = rates.flip(0).cumprod(0).flip(0)  # p_i ⋯ p_M
    some = torch.zeros(len(like), dtype=torch.bool, device=like.device)
    mask = {}
    for k, u, rate, rest in zip(drop_rates, uniform, rates, lost_from, strict=True):
        mask[k] = u < torch.where(some, 1 - rate, (1 - rate) / (1 - rest))
        some = some | mask[k]
    return mask


def draw_literally(
    drop_rates: Mapping[str, float | Tensor], like: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Drop each modality of each sample with its rate, independently: a sample may lose all.

    The arguments are those of `draw`, but all rates may be 1.
    """
    uniform, rates = _drawn(drop_rates, like, generator)
    return {k: u < 1 - rate for k, u, rate in zip(drop_rates, uniform, rates, strict=True)}


def _drawn(
    drop_rates: Mapping[str, float | Tensor], like: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor]:
    """Return uniform numbers [M, B] in 0..1, and the rates [M]."""
    uniform = torch.rand(len(drop_rates), len(like), generator=generator, dtype=torch.float64)
    full = partial(torch.full, (), dtype=torch.float64, device=like.device)
    rates = [r.double() if isinstance(r, Tensor) else full(r) for r in drop_rates.values()]
    return to_device(uniform, like.device), torch.stack(rates)


def keeping_one(drop_rates: Iterable[float], redrawn: bool = True) -> float:
    """Return the share of the samples that keep exactly one modality.

    Σ_k (1 - p_k) Π_{j≠k} p_j, which takes M steps; where samples that lose all are drawn again, as
    `draw` does, over 1 - p_1 ⋯ p_M.

    Args:
        drop_rates: of every modality, not all of them 1 if samples are redrawn.
        redrawn: whether samples that lose all modalities are drawn again.
    """
    none, one = 1.0, 0.0  # among the modalities so far
    for rate in drop_rates:
        none, one = none * rate, one * rate + none * (1 - rate)
    return one / (1 - none) if redrawn else one


def to_device(drawn: Tensor, device: torch.device) -> Tensor:
    """Return what was drawn on the CPU on a device, without waiting for it."""
    return drawn.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else drawn


def dropped(mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the share of the samples that lose each modality."""
    return {k: (~kept).double().mean() for k, kept in mask.items()}
