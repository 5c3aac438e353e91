"""Figures of merit from logits and labels."""

import torch
from torch import Tensor
from torch.nn import functional as F

from benchmark.records.scores import Scores
from benchmark.records.scores import scores as of_classes


def accuracy(logits: Tensor, labels: Tensor) -> float:
    """Return the share of rows of [N, C] whose highest logit is the label."""
    return float((logits.argmax(dim=1) == labels).double().mean())


def cross_entropy(logits: Tensor, labels: Tensor) -> float:
    """Return the mean cross-entropy of [N, C] logits, computed in double precision."""
    return float(F.cross_entropy(logits.double(), labels))


def scores(logits: Tensor, labels: Tensor) -> Scores:
    """Return the scores of the classes with the highest of [N, C] logits."""
    predicted = logits.argmax(dim=1).numpy()
    return of_classes(labels.numpy(), predicted, logits.shape[1])


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
