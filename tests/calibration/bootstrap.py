"""The bootstrap that tables used before, as the point of comparison.

The pigeonhole bootstrap (Owen, Annals of Applied Statistics 1, 2007): every round draws seeds and
samples with replacement, the same samples for all seeds, and each target by itself. Where no round
is beyond zero, the normal tail with the rounds' deviation gives p.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def p_value(differences: Sequence[Array], rounds: int, rng: np.random.Generator) -> float:
    """Return the two-sided p-value of "no difference" on average over targets.

    Args:
        differences: of each target, right(b) - right(a): [seeds, samples].
        rounds: how often to draw.
        rng: draws.
    """
    drawn = np.mean([_draw(each, rounds, rng) for each in differences], axis=0).round(12)
    mean = float(np.mean([each.mean() for each in differences]))
    fewer = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    p = min(1.0, 2 * float(fewer + 1) / (rounds + 1))
    spread = float(drawn.std())
    return p if fewer or not spread else min(p, math.erfc(abs(mean) / spread / math.sqrt(2)))


def _draw(differences: Array, rounds: int, rng: np.random.Generator) -> Array:
    seeds, samples = differences.shape
    # Samples alike in every seed are of one kind, and how often each kind is drawn is enough.
    kinds, counts = np.unique(differences, axis=1, return_counts=True)
    of_samples = rng.multinomial(samples, counts / samples, rounds).astype(float)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), rounds).astype(float)
    return np.asarray((of_samples @ kinds.T * of_seeds).sum(axis=1) / (seeds * samples))
