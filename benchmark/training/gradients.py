"""Gradients of the cross-entropy by the encoders' trained tensors: what drives each modality.

They are measured in evaluation mode, on samples that are the same for all methods and seeds, and
leave no trace: a run that logs them ends in the same bits as one that does not. Norms and cosines
between the gradient of the fused loss and that of a modality's own are what gradient modulation
(Peng et al., OGM-GE, CVPR 2022; Wei and Hu, MMPareto, ICML 2024) starts from.
"""

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.records.spec import RunSpec
from benchmark.training import seeds
from benchmark.training.loader import Feed, Loader
from benchmark.training.setup import Parts
from methods.base import FUSED, Batch, Method, Model
from methods.shared.gradients import gradients

SAMPLES = 128
"""Of the train part, that gradients are measured on."""


class TailGradients(NamedTuple):
    """Gradients of mean cross-entropies by the trained tensors of each encoder, [P_k]."""

    fused: dict[str, Tensor]
    """Of the fused prediction. A modality without trained tensors is left out, and so are all where
    a method's own way to classify lets no gradient through."""
    unimodal: dict[str, Tensor]
    """Of each modality's own prediction; empty where none is trained."""


def part(spec: RunSpec, feed: Feed, parts: Parts) -> Loader:
    """Return the samples of the train part that gradients are logged on."""
    names = ("analysis", "train", spec.dataset, spec.target)  # those of an analysis
    return Loader(feed, seeds.some(parts["train"], SAMPLES, *names), spec.recipe.batch_size)


def logged(method: Method, batches: Iterable[Batch]) -> dict[str, float]:
    """Return `measures` of the trained model as a validation logs them, where they are defined.

    Neither weights, statistics, gradients nor random streams change.
    """
    with _evaluating(method):
        found = measures(of_tails(method, method.model, batches))
    return {
        f"{name}/{k}": value
        for name, values in found.items()
        for k, value in values.items()
        if value is not None and math.isfinite(value)
    }


@contextmanager
def _evaluating(method: nn.Module) -> Iterator[None]:
    """Put a method in eval mode, and every module of it back to the mode that it was in."""
    modes = [(module, module.training) for module in method.modules()]
    method.eval()
    try:
        yield
    finally:
        for module, training in modes:
            module.training = training


def of_tails(method: Method, model: Model, batches: Iterable[Batch]) -> TailGradients:
    """Return the gradients over some samples, in the mode in which the method is.

    Args:
        method: says how its model classifies.
        model: that of the method, or one like it.
        batches: of any sizes; every sample counts the same.
    """
    tails = {k: list(model.tail_parameters(k).values()) for k in model.modalities}
    parameters = [p for tail in tails.values() for p in tail]
    fused, own = _Mean(), _Mean()
    for batch in batches if parameters else ():
        losses = _losses(method, model, batch)
        if FUSED in losses:
            fused.add(_flat(losses.pop(FUSED), tails, parameters), len(batch.labels))
        if losses:
            # Encoders share nothing: of the sum each one gets the gradient of its own loss.
            total = torch.stack(list(losses.values())).sum()
            found = _flat(total, tails, parameters)
            own.add({k: g for k, g in found.items() if k in losses}, len(batch.labels))
    return TailGradients(fused.value, own.value)


def measures(found: TailGradients) -> dict[str, dict[str, float | None]]:
    """Return norms and cosines by name and modality.

    `gradient_norm`: L2 norm of the fused loss's gradient; `unimodal_gradient_norm`: of the
    modality's own loss; `gradient_cosine`: between the two, None where one of them is zero.
    """
    own = found.unimodal
    return {
        "gradient_norm": {k: norm(g) for k, g in found.fused.items()},
        "unimodal_gradient_norm": {k: norm(g) for k, g in own.items()},
        "gradient_cosine": {k: cosine(g, own[k]) for k, g in found.fused.items() if k in own},
    }


def of_all(method: Method, model: Model, batch: Batch) -> dict[str, Tensor]:
    """Return by name of every trained tensor the gradient of a batch's fused cross-entropy.

    Nothing where a method's own way to classify lets no gradient through.
    """
    named = {name: p for name, p in model.named_parameters() if p.requires_grad}
    if (loss := _losses(method, model, batch).get(FUSED)) is None:
        return {}
    return dict(zip(named, gradients(loss, list(named.values()), keep=False), strict=True))


def norm(gradient: Tensor) -> float:
    """Return the L2 norm."""
    return float(gradient.double().norm())


def cosine(one: Tensor, other: Tensor) -> float | None:
    """Return the cosine of two vectors; None where one of them is zero."""
    lengths = norm(one) * norm(other)
    return float(one.double() @ other.double()) / lengths if lengths else None


def _losses(method: Method, model: Model, batch: Batch) -> dict[str, Tensor]:
    """Return the cross-entropy of every prediction that has a gradient."""
    with torch.enable_grad():
        logits = method.classify(model.embed(batch.features), None, model)
        return {k: F.cross_entropy(x, batch.labels) for k, x in logits.items() if x.requires_grad}


def _flat(
    loss: Tensor, tails: Mapping[str, list[Tensor]], parameters: list[Tensor]
) -> dict[str, Tensor]:
    """Return by modality the gradient of a loss as one vector; the graph stays."""
    found = iter(gradients(loss, parameters))
    return {
        k: torch.cat([next(found).flatten() for _ in tail]) for k, tail in tails.items() if tail
    }


class _Mean:
    """The mean of vectors by name, each with the weight of its samples."""

    def __init__(self) -> None:
        self._sums: dict[str, Tensor] = {}
        self._count = 0

    def add(self, vectors: Mapping[str, Tensor], count: int) -> None:
        self._count += count
        for k, vector in vectors.items():
            weighted = count * vector.double()
            self._sums[k] = self._sums[k] + weighted if k in self._sums else weighted

    @property
    def value(self) -> dict[str, Tensor]:
        return {k: total / self._count for k, total in self._sums.items()}
