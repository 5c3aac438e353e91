"""Figures of merit from logits and labels."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F


@dataclass(frozen=True)
class Scores:
    """Accuracy, macro-averaged F1 and recall per class, all in 0..1 (None: class not seen)."""

    accuracy: float
    macro_f1: float
    per_class: tuple[float | None, ...]


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of rows of [N, C] whose highest logit is the label."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy of [N, C] logits, computed in double precision."""
    return float(F.cross_entropy(logits.double(), labels))


def scores(logits: Tensor, labels: Tensor) -> Scores:
    """Return the scores of [N, C] logits.

    Macro-F1 averages over the classes that occur among labels or predictions.
    """
    classes = logits.shape[1]
    predicted = logits.argmax(dim=1)
    confusion = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(confusion, (labels.numpy(), predicted.numpy()), 1)
    hits, actual, claimed = confusion.diagonal(), confusion.sum(1), confusion.sum(0)
    seen = actual + claimed > 0
    f1 = 2 * hits[seen] / (actual + claimed)[seen]
    per_class = tuple(float(h / n) if n else None for h, n in zip(hits, actual, strict=True))
    return Scores(accuracy(logits, labels), float(f1.mean()), per_class)


def linear_probe(
    train: Tensor, train_labels: Tensor, test: Tensor, test_labels: Tensor, classes: int
) -> float:
    """Return the test accuracy of a ridge classifier on embeddings [N, D].

    Embeddings are standardised with the training part's mean and deviation; the ridge is
    N/100, the targets are one-hot. A closed form, so the probe adds no training noise.
    """
    mean, std = train.double().mean(0), train.double().std(0) + 1e-6
    x, y = (train - mean) / std, F.one_hot(train_labels, classes).double()
    gram = x.T @ x + len(x) / 100 * torch.eye(x.shape[1], dtype=torch.float64)
    weights = torch.linalg.solve(gram, x.T @ (y - y.mean(0)))
    return accuracy((test - mean) / std @ weights + y.mean(0), test_labels)
