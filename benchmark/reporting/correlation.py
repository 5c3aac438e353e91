"""Rank correlation over runs, within targets, with an interval that knows of few methods."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.reporting.statistics import LEVEL, quantile

Array = NDArray[np.float64]
LEAST = 4
"""Fewest methods that an interval is given for."""


@dataclass(frozen=True)
class Correlation:
    """A rank correlation, -1..1, and the ends of its 95 % interval, where there is one."""

    value: float
    interval: tuple[float, float] | None


def within(x: Array, y: Array, strata: Sequence[str]) -> float | None:
    """Return Spearman's correlation [N] within strata; None where all of one are tied.

    Values are ranked in their own stratum, from -½ to ½, and the ranks correlated over all: of one
    stratum this is Spearman's ρ, and otherwise what differs between strata does not count.
    """
    names = np.asarray(strata)
    a, b = np.zeros(len(x)), np.zeros(len(x))
    for name in set(strata):
        here = names == name
        a[here], b[here] = _ranks(x[here]), _ranks(y[here])
    length = math.sqrt((a @ a) * (b @ b))
    return float(np.clip(a @ b / length, -1, 1)) if length else None


def _ranks(values: Array) -> Array:
    from scipy import stats

    return np.asarray((stats.rankdata(values) - (len(values) + 1) / 2) / len(values))


def correlation(
    x: Array, y: Array, strata: Sequence[str], clusters: Sequence[str]
) -> Correlation | None:
    """Return the rank correlation within strata, and its interval for other clusters.

    Runs of one method are alike, so methods are the sample and not runs: the error of Fisher's
    z = artanh ρ is that of the jackknife that leaves out one cluster at a time, and the interval
    Student's with one degree of freedom less than there are clusters.

    Args:
        x: [N].
        y: [N].
        strata: [N], such as targets.
        clusters: [N], such as methods.
    """
    value = within(x, y, strata)
    if value is None:
        return None
    names = sorted(set(clusters))
    if len(names) < LEAST or abs(value) == 1:
        return Correlation(value, None)
    left = []
    for name in names:
        kept = [i for i, cluster in enumerate(clusters) if cluster != name]
        one = within(x[kept], y[kept], [strata[i] for i in kept])
        if one is None or abs(one) == 1:
            return Correlation(value, None)
        left.append(math.atanh(one))
    count, z = len(names), math.atanh(value)
    error = math.sqrt((count - 1) ** 2 / count * float(np.var(left, ddof=1)))
    margin = quantile(1 - LEVEL / 2, count - 1) * error
    return Correlation(value, (math.tanh(z - margin), math.tanh(z + margin)))
