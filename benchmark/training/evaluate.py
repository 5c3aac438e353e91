"""Predictions over a loader, and the scores of them."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmark.records.predictions import smallest
from benchmark.training import metrics
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Batch, HeadStats, Logits, Method, Model
from methods.shared import masks

Batches = Callable[[], Iterable[Batch]]


@dataclass(frozen=True)
class Predictions:
    """Logits [N, C] by head over N samples, on the CPU, with labels, domains and ids."""

    ids: tuple[str, ...]
    labels: Tensor
    domains: Tensor
    logits: dict[str, Tensor]

    def stats(self) -> dict[str, HeadStats]:
        """Return loss and accuracy of every head."""
        return {
            head: HeadStats(
                metrics.cross_entropy(logits, self.labels), metrics.accuracy(logits, self.labels)
            )
            for head, logits in self.logits.items()
        }

    def arrays(self, prefix: str) -> dict[str, np.ndarray]:
        """Return ids, labels, domains, predicted classes and float16 logits under `prefix/`.

        The classes are stored, as rounded logits may be tied.
        """
        limit = torch.finfo(torch.float16).max
        fused = self.logits[FUSED]
        arrays = {
            "ids": np.array(self.ids),
            "labels": self.labels.numpy(),
            "domains": self.domains.numpy(),
            "predicted": fused.argmax(dim=1).numpy().astype(smallest(fused.shape[1])),
            **{head: x.clamp(-limit, limit).half().numpy() for head, x in self.logits.items()},
        }
        return {f"{prefix}/{name}": array for name, array in arrays.items()}

    def state(self) -> dict[str, Any]:
        """Return the fields for a checkpoint."""
        return vars(self)


def predict(
    method: Method, batches: Iterable[Batch], models: Mapping[str, Model]
) -> dict[str, Predictions]:
    """Predict every sample with each of the named models; the features are shared.

    The method is left in the mode it was in.
    """
    training = method.training
    method.eval()
    ids: list[str] = []
    labels, domains = [], []
    parts: dict[str, list[Logits]] = {name: [] for name in models}
    for batch in batches:
        ids += batch.ids
        labels.append(batch.labels.cpu())
        domains.append(batch.domains.cpu())
        for name, model in models.items():
            logits = method.predict(batch.features, model=model)
            parts[name].append({head: x.float().cpu() for head, x in logits.items()})
    method.train(training)
    return {
        name: Predictions(
            tuple(ids),
            torch.cat(labels),
            torch.cat(domains),
            {head: torch.cat([logits[head] for logits in rows]) for head in rows[0]},
        )
        for name, rows in parts.items()
    }


def part_scores(predictions: Predictions) -> dict[str, Any]:
    """Return the scores of the fused predictions on one part, as a result holds them."""
    scores = metrics.scores(predictions.logits[FUSED], predictions.labels)
    return {"n": len(predictions.ids), **vars(scores), "per_class": list(scores.per_class)}


@torch.no_grad()
def modality_scores(
    method: Method, model: MultimodalModel, train: Batches, target: Batches, target_heads: Logits
) -> dict[str, dict[str, float | None]]:
    """Return three accuracies per modality, on the target.

    `head`: of the trained unimodal prediction, None where there is none. `masked`: of the fused
    prediction from this modality alone. `probe`: of a linear fit on source-train embeddings.
    """
    method.eval()
    model.eval()
    classes = target_heads[FUSED].shape[1]
    train_z, train_y, _ = _embed(method, model, train(), masked=False)
    target_z, target_y, masked = _embed(method, model, target(), masked=True)
    scores: dict[str, dict[str, float | None]] = {}
    for k in model.modalities:
        head = target_heads.get(k)
        scores[k] = {
            "head": None if head is None else metrics.accuracy(head, target_y),
            "masked": metrics.accuracy(masked[k], target_y),
            "probe": metrics.linear_probe(train_z[k], train_y, target_z[k], target_y, classes),
        }
    return scores


def _embed(
    method: Method, model: MultimodalModel, batches: Iterable[Batch], masked: bool
) -> tuple[dict[str, Tensor], Tensor, dict[str, Tensor]]:
    """Return embeddings by modality, labels, and the fused logits from each modality alone."""
    embeddings: dict[str, list[Tensor]] = {k: [] for k in model.modalities}
    alone: dict[str, list[Tensor]] = {k: [] for k in model.modalities}
    labels = []
    for batch in batches:
        labels.append(batch.labels.cpu())
        of_batch = model.embed(batch.features)
        for k, z in of_batch.items():
            embeddings[k].append(z.double().cpu())
            if masked:
                present = masks.only(k, model.modalities, batch.labels)
                logits = method.classify(of_batch, present, model)
                alone[k].append(logits[FUSED].float().cpu())
    joined = {k: torch.cat(z) for k, z in embeddings.items()}
    return joined, torch.cat(labels), {k: torch.cat(x) for k, x in alone.items() if x}
