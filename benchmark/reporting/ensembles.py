"""The ensemble of a method's seeds, made of their stored predictions.

Arpit et al., "Ensemble of Averages", NeurIPS 2022, sum the logits of independently seeded averages
of weights (`sma`); any method's seeds can be put together so.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdg_common import UsageError

Array = NDArray[Any]


def score(predictions: Sequence[Path], rule: str, metric: str) -> float:
    """Return a metric, 0 to 1, of the summed fused logits of several runs on one target.

    Args:
        predictions: `predictions.npz` of runs that differ in the seed alone.
        rule: whose validation's logits are taken.
        metric: `accuracy` or `macro_f1`.

    Raises:
        UsageError: the runs did not predict the same samples.
    """
    import torch

    from benchmark import metrics

    parts = [_target(path, rule) for path in predictions]
    for path, (ids, _, _) in zip(predictions, parts, strict=True):
        if not np.array_equal(ids, parts[0][0]):
            raise UsageError(
                f"{path} predicts other samples than {predictions[0]}, so the two make no "
                "ensemble; leave --ensemble out"
            )
    total = np.sum([logits for _, _, logits in parts], axis=0)
    scores = metrics.scores(torch.from_numpy(total), torch.from_numpy(parts[0][1]))
    return float(vars(scores)[metric])


def _target(path: Path, rule: str) -> tuple[Array, Array, Array]:
    """Return ids, labels and fused logits of a run on its target."""
    with np.load(path, allow_pickle=False) as arrays:
        ids, labels, logits = (
            arrays[f"{rule}/target/{name}"] for name in ("ids", "labels", "fused")
        )
    return ids, labels, logits.astype(np.float64)
