"""How well each modality does by itself, which methods against modality imbalance compare."""

from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from statistics import fmean

import torch
from torch import Tensor, nn

from methods.base import Model


@contextmanager
def evaluating(module: nn.Module) -> Iterator[None]:
    """Put a module in eval mode for a while, so that it draws nothing and follows no batch."""
    training = module.training
    module.eval()
    try:
        yield
    finally:
        module.train(training)


@torch.no_grad()
def fused_logits(
    model: Model, embeddings: Mapping[str, Tensor], subsets: Iterable[Collection[str]]
) -> list[Tensor]:
    """Return the fused logits [B, C] of each subset of the modalities, the others masked.

    This stands for a paper's split of a linear fusion head into one part per modality: for such a
    head it is the same up to the bias, and it is defined for any other. In eval mode, no gradient.
    """
    embeddings = {k: z.detach() for k, z in embeddings.items()}
    like = next(iter(embeddings.values()))
    results = []
    with evaluating(model):
        for kept in subsets:
            mask = {k: torch.full((len(like),), k in kept, device=like.device) for k in embeddings}
            results.append(model.fuse(embeddings, mask))
    return results


@torch.no_grad()
def confidence(logits: Tensor, labels: Tensor) -> float:
    """Return the mean probability that logits [B, C] give to the right label."""
    return float(logits.softmax(dim=1).gather(1, labels.unsqueeze(1)).mean())


def damping(ratio: float, strength: float) -> float:
    """Return 1 - tanh(strength · ratio) for a ratio above 1, else 1: it slows what is ahead."""
    return float(1 - torch.tensor(strength * ratio, dtype=torch.float64).tanh()) if ratio > 1 else 1


def of_others(values: Mapping[str, float]) -> dict[str, float]:
    """Return, by modality, the mean over the others; a single modality gets its own value."""
    return {
        k: fmean([v for j, v in values.items() if j != k] or [value]) for k, value in values.items()
    }


def relative(scores: Mapping[str, float], least: float = 1e-12) -> dict[str, float]:
    """Return each score, of 0 or more, over the mean of the others; 1 for a single modality."""
    others = of_others(scores)
    return {k: max(score, least) / max(others[k], least) for k, score in scores.items()}
