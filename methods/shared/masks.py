"""Masks over modalities: which samples keep which modality."""

from collections.abc import Iterable, Mapping

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
    drop_rates: Mapping[str, float], like: Tensor, generator: torch.Generator
) -> dict[str, Tensor]:
    """Drop each modality of each sample with its rate; redraw samples that would lose all.

    Args:
        drop_rates: by modality, in 0..1; at least one below 1.
        like: [B, ...], gives the number of samples and the device.
        generator: on the CPU, so that every device draws the same masks.
    """
    rates = torch.tensor(list(drop_rates.values()), dtype=torch.float64)
    if bool((rates >= 1).all()):
        raise ValueError("every modality would always be dropped")

    def keep(samples: int) -> Tensor:
        uniform = torch.rand(samples, len(rates), generator=generator, dtype=torch.float64)
        return uniform >= rates

    kept = keep(len(like))
    while bool((lost := ~kept.any(dim=1)).any()):
        kept[lost] = keep(int(lost.sum()))
    return {k: kept[:, i].to(like.device) for i, k in enumerate(drop_rates)}


def dropped(mask: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Return the share of the samples that lose each modality."""
    return {k: (~kept).double().mean() for k, kept in mask.items()}
