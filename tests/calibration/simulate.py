"""Made-up runs whose truth is known: how often each method is right in the long run.

A sample is right where a sum of normal effects is above the threshold that gives the wanted
accuracy. The effects are those of the sample, alike for all methods, as some samples are hard; of
the sample for this method; of the run, that is, its seed; and of this sample in this run. Of the
effects of samples a share may be common to a recording, and of the effect of a run to all targets
and to all targets of one source, as one seed draws one initialisation and one model is tested on
several targets.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmark.reporting.answers import INFLUENCES, Answers

Array = NDArray[np.float64]

SAMPLE, OWN_SAMPLE, NOISE = 0.6, 0.2, 0.2
"""The variances of the effects, but for that of the run; together 1."""


@dataclass(frozen=True)
class World:
    """How runs are made.

    Attributes:
        seeds: runs of each method on each column.
        sd: standard deviation of the accuracy of a method's runs, in points, on endless samples.
        samples: of each test set.
        targets: test sets.
        single: each target is a source of its own, too, and tested on all others.
        methods: how many methods there are.
        unlike: the largest `sd` of a method over the smallest; `sd` is their geometric mean.
        shared: correlation of a run's effect over targets, of models trained anew.
        same_model: the same over the targets that one model is tested on.
        recordings: groups of each test set; 0 for samples that are independent.
        together: share of the samples' effects that is common to a recording.
        accuracy: of all methods but the first, 0 to 1.
        ahead: points by which the first method is better.
        target_sd: standard deviation, in points, of how much better a method is on a target than
            in general.
        classes: how many, of unequal size; for metrics by class.
        metric: what is compared.
    """

    seeds: int = 3
    sd: float = 2.0
    samples: int = 300
    targets: int = 1
    single: bool = False
    methods: int = 2
    unlike: float = 1.0
    shared: float = 0.3
    same_model: float = 0.7
    recordings: int = 0
    together: float = 0.6
    accuracy: float = 0.75
    ahead: float = 0.0
    target_sd: float = 0.0
    classes: int = 5
    metric: str = "accuracy"

    @property
    def columns(self) -> list[tuple[int, int]]:
        """Return source and target of every column; the source of a multi-source one is itself."""
        of = range(self.targets)
        if self.single:
            return [(s, t) for s in of for t in of if s != t]
        return [(t, t) for t in of]


@dataclass(frozen=True)
class Row:
    """A method's runs: what statistics are given, and which samples were right, by column."""

    answers: dict[str, Answers]
    right: dict[str, NDArray[np.bool_]]
    """[seeds, samples]."""


def rows(world: World, rng: np.random.Generator) -> list[Row]:
    """Return the runs of every method."""
    shape = (world.methods, world.seeds, 1)
    factors = np.geomspace(1, world.unlike, world.methods) / np.sqrt(world.unlike)
    # The run's effect moves the accuracy by the density at the threshold.
    sd = rng.permutation(factors)[:, None, None] * world.sd / 100 / _density(world.accuracy)
    everywhere = rng.standard_normal(shape)
    models = [rng.standard_normal(shape) for _ in range(world.targets)]
    tests = [_Test(world, rng) for _ in range(world.targets)]
    made = [Row({}, {}) for _ in range(world.methods)]
    level = np.full((world.methods, 1, 1), world.accuracy)
    level[0] += world.ahead / 100
    common = world.same_model - world.shared if world.single else 0.0
    own = rng.normal(0, world.target_sd / 100, (world.methods, world.targets))
    for source, target in world.columns:
        effect = (
            np.sqrt(world.shared) * everywhere
            + np.sqrt(common) * models[source]
            + np.sqrt(1 - world.shared - common) * rng.standard_normal(shape)
        )
        noise = np.sqrt(NOISE) * rng.standard_normal((*shape[:2], world.samples))
        wanted = _threshold(level + own[:, target, None, None]) * np.sqrt(1 + sd**2)
        right = tests[target].effects + sd * effect + noise + wanted > 0
        for row, one in zip(made, right, strict=True):
            name = f"{source} → {target}"
            row.right[name] = one
            row.answers[name] = tests[target].answers(one, f"t{target}")
    return made


class _Test:
    """A test set: the effects of its samples by method, their groups, and their classes."""

    def __init__(self, world: World, rng: np.random.Generator) -> None:
        self.world, self.rng = world, rng
        self.group = np.arange(world.samples) % (world.recordings or world.samples)
        self.groups = world.recordings or world.samples
        self.effects = np.sqrt(SAMPLE) * self._effects(1) + np.sqrt(OWN_SAMPLE) * self._effects(
            world.methods
        )
        sizes = np.arange(1, world.classes + 1) / sum(range(world.classes + 1))
        self.labels = rng.choice(world.classes, world.samples, p=sizes)
        self.mistaken = (
            self.labels + rng.integers(1, world.classes, world.samples)
        ) % world.classes

    def _effects(self, methods: int) -> Array:
        alone = self.rng.standard_normal((methods, 1, self.world.samples))
        if not self.world.recordings:
            return alone
        common = self.rng.standard_normal((methods, 1, self.groups))[..., self.group]
        together = self.world.together
        return np.asarray(np.sqrt(together) * common + np.sqrt(1 - together) * alone)

    def answers(self, right: NDArray[np.bool_], name: str) -> Answers:
        """Return what statistics get of runs [S, N] that were right or not."""
        made = Answers(name, len(self.group), self.groups, (), {}, {})
        influence = INFLUENCES[self.world.metric]
        for seed, one in enumerate(right):
            said = np.where(one, self.labels, self.mistaken)
            made.values[seed], parts = influence(self.labels, said)
            made.parts[seed] = np.bincount(self.group, parts, self.groups).astype(float)
        return made


@cache
def _density(accuracy: float) -> float:
    return float(stats.norm.pdf(stats.norm.ppf(accuracy)))


def _threshold(accuracies: Array) -> Array:
    return np.asarray(stats.norm.ppf(accuracies))


def differences(a: Row, b: Row, columns: Sequence[str]) -> Iterator[Array]:
    """Yield right(b) - right(a) of each column, [seeds, samples]."""
    for column in columns:
        yield b.right[column].astype(float) - a.right[column]
