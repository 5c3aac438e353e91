"""Made-up runs whose truth is known: how often each method is right in the long run.

A sample is right where a sum of normal effects is above the threshold that gives the wanted
accuracy: of the sample, alike for all methods (some samples are hard); of the sample for this
method; of the run (its seed); and of this sample in this run. Of both effects of samples a share
may be common to the samples of one recording, and of a run's effect a share to all targets, as one
seed draws one initialisation.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmark.reporting.answers import Answers

Array = NDArray[np.float64]

SAMPLE, OWN_SAMPLE, NOISE = 0.6, 0.2, 0.2
"""The variances of the effects, but for that of the run; together 1."""


@dataclass(frozen=True)
class World:
    """How runs are made.

    Attributes:
        seeds: runs of each method on each target.
        sd: standard deviation of the accuracy of a method's runs, in points, on endless samples.
        samples: of each test set.
        targets: test sets.
        sources: models per target, each tested on it, as in single-source training.
        methods: how many methods there are.
        spread: factor between the largest and the smallest `sd` of the methods.
        shared: correlation of a run's effect over targets.
        alike: correlation of the effects of all methods under one seed.
        recordings: groups of each test set; 0 for samples that are independent.
        together: share of the samples' effects that is common to a recording.
        accuracy: of all methods but the first, 0 to 1.
        ahead: points by which the first method is better.
    """

    seeds: int = 3
    sd: float = 2.0
    samples: int = 300
    targets: int = 1
    sources: int = 1
    methods: int = 2
    spread: float = 1.0
    shared: float = 0.3
    alike: float = 0.0
    recordings: int = 0
    together: float = 0.6
    accuracy: float = 0.75
    ahead: float = 0.0


def runs(world: World, rng: np.random.Generator) -> list[dict[str, Answers]]:
    """Return of each method its answers by column, as `reporting.answers` returns them."""
    shape = (world.methods, world.seeds)
    factors = np.geomspace(1, world.spread, world.methods) / np.sqrt(world.spread)
    sd = (rng.permutation(factors) * world.sd / 100)[:, None] / _slope(world.accuracy)
    everywhere = sd * _mixed(rng, world.alike, (1, world.seeds), shape)
    found: list[dict[str, Answers]] = [{} for _ in range(world.methods)]
    for target in range(world.targets):
        group = _groups(world)
        hard = np.sqrt(SAMPLE) * _in_groups(rng, group, world.together, (1, 1))
        own = np.sqrt(OWN_SAMPLE) * _in_groups(rng, group, world.together, (world.methods, 1))
        for source in range(world.sources):
            here = sd * _mixed(rng, world.alike, (1, world.seeds), shape)
            run = np.sqrt(world.shared) * everywhere + np.sqrt(1 - world.shared) * here
            noise = np.sqrt(NOISE) * rng.standard_normal((*shape, world.samples))
            level = np.full(world.methods, world.accuracy)
            level[0] += world.ahead / 100
            right = hard + own + run[:, :, None] + noise + _above(level, sd)[:, None, None] > 0
            for method, of in enumerate(found):
                of[f"s{source} → t{target}"] = answers_of(right[method], group, f"t{target}")
    return found


def answers_of(right: NDArray[np.bool_], group: NDArray[np.int64], test: str) -> Answers:
    """Return the answers of runs [S, N] that were right or not."""
    made = Answers(test, right.shape[1], int(group.max()) + 1, (), {}, {})
    for seed, one in enumerate(right):
        made.values[seed] = float(one.mean())
        made.parts[seed] = np.bincount(group, (one - one.mean()) / len(one))
    return made


def _groups(world: World) -> NDArray[np.int64]:
    return np.arange(world.samples) % (world.recordings or world.samples)


def _in_groups(
    rng: np.random.Generator, group: NDArray[np.int64], share: float, shape: tuple[int, int]
) -> Array:
    """Return standard normal effects [*shape, N], correlated within groups."""
    count = int(group.max()) + 1
    alone = rng.standard_normal((*shape, len(group)))
    if count == len(group):
        return alone
    common = rng.standard_normal((*shape, count))[..., group]
    return np.asarray(np.sqrt(share) * common + np.sqrt(1 - share) * alone)


def _mixed(
    rng: np.random.Generator, share: float, common: Sequence[int], shape: Sequence[int]
) -> Array:
    return np.asarray(
        np.sqrt(share) * rng.standard_normal(common)
        + np.sqrt(1 - share) * rng.standard_normal(shape)
    )


def _slope(accuracy: float) -> float:
    """Return by how much the accuracy grows with a run's effect, near none."""
    from scipy import stats

    return float(stats.norm.pdf(stats.norm.ppf(accuracy)))


def _above(accuracies: Array, sd: Array) -> Array:
    """Return the constants that make the accuracies, the spread of runs included."""
    from scipy import stats

    return np.asarray(stats.norm.ppf(accuracies) * np.sqrt(1 + sd[:, 0] ** 2))
