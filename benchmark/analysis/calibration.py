"""Calibration and failure prediction, from stored logits alone."""

from typing import Any

import numpy as np

from benchmark.analysis import confidence, register
from benchmark.analysis.base import Analysis
from benchmark.analysis.finished import FinishedRun
from benchmark.records.predictions import Predicted


@register("calibration")
class Calibration(Analysis):
    """Is a confident prediction a correct one, on the target?

    Confidence is the highest softmax probability. The temperature is fitted on the sources'
    validation part (Guo et al. 2017), so nothing of the target enters it. AURC and E-AURC are
    times 1000, as published.
    """

    about = "expected calibration error, temperature, and how well confidence predicts failure."
    needs_weights = False

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return measures of the target, as they are and after the temperature."""
        val, target = run.predicted("val"), run.predicted("target")
        assert val.logits is not None
        t = confidence.temperature(val.logits.astype(float), val.labels)
        return {
            "temperature": t,
            "val": {"ece": _plain(val)["ece"]},
            "target": _plain(target) | _ranking(target),
            "scaled": _plain(target, t),
        }


def _plain(of: Predicted, temperature: float = 1.0) -> dict[str, Any]:
    assert of.logits is not None
    logits = of.logits.astype(float) / temperature
    sure, correct = confidence.softmax(logits).max(axis=1), of.classes == of.labels
    bins = confidence.reliability(sure, correct)
    return {
        "n": len(of.labels),
        "accuracy": float(correct.mean()),
        "confidence": float(sure.mean()),
        "nll": confidence.log_loss(logits, of.labels),
        "ece": bins.error,
        "bins": {name: np.asarray(column).tolist() for name, column in bins._asdict().items()},
    }


def _ranking(of: Predicted) -> dict[str, Any]:
    """Return how well confidence tells correct predictions from wrong ones."""
    assert of.logits is not None
    sure = confidence.softmax(of.logits.astype(float)).max(axis=1)
    correct = of.classes == of.labels
    return {
        "aurc": 1000 * confidence.aurc(sure, correct),
        "e_aurc": 1000 * confidence.excess_aurc(sure, correct),
        "auroc": confidence.auroc(sure, correct),
        "fpr95": confidence.fpr95(sure, correct),
    }
