"""The ensemble of a method's seeds, computed from their stored predictions.

Arpit et al., "Ensemble of Averages", NeurIPS 2022, sum the logits of independently seeded averages
of weights (`sma`); any method's seeds can be put together so.
"""

from collections.abc import Sequence

import numpy as np

from benchmark.records.predictions import Predicted
from benchmark.reporting.tidy import METRICS
from mmdg_common import UsageError


def score(runs: Sequence[Predicted], metric: str) -> float:
    """Return a metric, 0 to 1, of the summed fused logits of several runs on one target.

    Args:
        runs: predictions, with logits, of runs that differ in the seed alone.
        metric: one of `METRICS`.

    Raises:
        UsageError: the runs did not predict the same samples.
    """
    import torch

    from benchmark.training import metrics

    for run in runs:
        if not np.array_equal(run.ids, runs[0].ids):
            raise UsageError(
                f"{run.path} predicts other samples than {runs[0].path}, so the two make no "
                "ensemble; leave --ensemble out"
            )
    logits = [run.logits.astype(np.float64) for run in runs if run.logits is not None]
    total = np.sum(logits, axis=0)
    scores = metrics.scores(torch.from_numpy(total), torch.from_numpy(runs[0].labels))
    return float(METRICS[metric](vars(scores)))
