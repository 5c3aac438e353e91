"""The scores of predicted classes: what a run reports, and what a committed run is checked by."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Classes = NDArray[np.int64]


@dataclass(frozen=True)
class Scores:
    """Accuracy, macro-averaged F1 and recall per class, all in 0..1 (None: class not seen)."""

    accuracy: float
    macro_f1: float
    per_class: tuple[float | None, ...]


def scores(labels: Classes, predicted: Classes, classes: int) -> Scores:
    """Return the scores of predicted classes, [N], against labels, [N], in 0..classes-1.

    Macro-F1 averages over the classes that occur among labels or predictions.
    """
    hits, actual, claimed = (
        np.bincount(found, minlength=classes)
        for found in (labels[labels == predicted], labels, predicted)
    )
    seen = actual + claimed > 0
    f1 = 2 * hits[seen] / (actual + claimed)[seen]
    per_class = tuple(float(h / n) if n else None for h, n in zip(hits, actual, strict=True))
    return Scores(float((labels == predicted).mean()), float(f1.mean()), per_class)
