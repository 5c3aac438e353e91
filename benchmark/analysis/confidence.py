"""Measures of confidence: calibration, selective prediction, and telling two groups apart.

Conventions of the field's public code that differ from each other are named where they stand.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Booleans = NDArray[np.bool_]
BINS = 15
RECALL = 0.95


class Bins(NamedTuple):
    """Predictions by their confidence, in bins (i/n, (i+1)/n] of equal width; each [n]."""

    number: NDArray[np.int64]
    accuracy: Floats
    """0 where the bin is empty, as is the confidence."""
    confidence: Floats

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap, weighted by the number of predictions."""
        return float((self.number * abs(self.accuracy - self.confidence)).sum() / self.number.sum())


def softmax(logits: Floats) -> Floats:
    """Return probabilities [N, C] of logits [N, C]."""
    shifted = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=1, keepdims=True))


def log_loss(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Return the mean cross-entropy of logits [N, C] in nats."""
    shifted = logits - logits.max(axis=1, keepdims=True)
    own = shifted[np.arange(len(labels)), labels]
    return float((np.log(np.exp(shifted).sum(axis=1)) - own).mean())


def reliability(confidence: Floats, correct: Booleans, bins: int = BINS) -> Bins:
    """Return accuracy and mean confidence by bin (Guo et al. 2017)."""
    place = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(place, minlength=bins)
    filled = np.maximum(count, 1)
    return Bins(
        count,
        np.bincount(place, weights=correct, minlength=bins) / filled,
        np.bincount(place, weights=confidence, minlength=bins) / filled,
    )


def temperature(logits: Floats, labels: NDArray[np.int64]) -> float:
    """Return the temperature by which logits are divided for the lowest cross-entropy.

    Between 1/50 and 50, as no temperature is best where every prediction is right.
    """
    from scipy.optimize import minimize_scalar

    def loss(log_t: float) -> float:
        return log_loss(logits / np.exp(log_t), labels)

    found = minimize_scalar(loss, bounds=(-np.log(50), np.log(50)), method="bounded",
                            options={"xatol": 1e-6})  # fmt: skip
    return float(np.exp(found.x))


def aurc(confidence: Floats, correct: Booleans) -> float:
    """Return the area under the risk-coverage curve: the mean selective risk over coverages.

    The selective risk at coverage i/N is the share of errors among the i most confident (Geifman
    et al. 2019). Predictions of equal confidence count as if in random order.
    """
    order = np.argsort(-confidence, kind="stable")
    sorted_confidence, wrong = confidence[order], (~correct[order]).astype(float)
    _, block = np.unique(-sorted_confidence, return_inverse=True)
    wrong = (np.bincount(block, weights=wrong) / np.bincount(block))[block]
    return float((np.cumsum(wrong) / np.arange(1, len(wrong) + 1)).mean())


def excess_aurc(confidence: Floats, correct: Booleans) -> float:
    """Return AURC less that of a perfect ranking, r + (1 - r) ln(1 - r) at an error rate r."""
    r = 1 - float(correct.mean())
    best = r + (1 - r) * np.log1p(-r) if r < 1 else 1.0
    return aurc(confidence, correct) - float(best)


class Curve(NamedTuple):
    """False and true positive rates at every threshold, from the strictest to the loosest."""

    false: Floats
    true: Floats
    precision: Floats


def curve(score: Floats, positive: Booleans) -> Curve | None:
    """Return the rates of "positive where the score is at least t"; None without both groups."""
    if positive.all() or not positive.any():
        return None
    order = np.argsort(-score, kind="stable")
    ends = np.append(np.diff(score[order]) != 0, True)
    hits, misses = np.cumsum(positive[order])[ends], np.cumsum(~positive[order])[ends]
    return Curve(misses / misses[-1], hits / hits[-1], hits / (hits + misses))


def auroc(score: Floats, positive: Booleans) -> float | None:
    """Return the area under the ROC curve; ties count half."""
    if (found := curve(score, positive)) is None:
        return None
    return float(np.trapezoid(np.append(0, found.true), np.append(0, found.false)))


def aupr(score: Floats, positive: Booleans) -> float | None:
    """Return the average precision, the step-wise area under precision over recall."""
    if (found := curve(score, positive)) is None:
        return None
    return float((np.diff(found.true, prepend=0) * found.precision).sum())


def fpr95(score: Floats, positive: Booleans) -> dict[str, float | None]:
    """Return the false positive rate at a true positive rate of 95 %, in both published ways.

    `first`: at the strictest threshold whose true positive rate is at least 95 %. `nearest`: at the
    threshold whose true positive rate is nearest to 95 %, the strictest of several.
    """
    if (found := curve(score, positive)) is None:
        return {"first": None, "nearest": None}
    first = int(np.argmax(found.true >= RECALL))
    nearest = int(np.argmin(abs(found.true - RECALL)))
    return {"first": float(found.false[first]), "nearest": float(found.false[nearest])}
