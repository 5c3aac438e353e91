"""Are two methods different? Estimates with errors that hold for few seeds and correlated samples.

The spread of a difference has two sources that cross: other seeds would train other models, and
other recordings would test them differently. `estimate` adds both up in closed form, with
Satterthwaite's degrees of freedom (Satterthwaite, Biometrics Bulletin 2, 1946). The seeds are few,
so their variance is known badly; across the methods of a table it is known better, which `shrunk`
uses (Smyth, Statistical Applications in Genetics and Molecular Biology 3, 2004). Over datasets the
datasets are the sample (`over_datasets`). Many p-values side by side go through `holm`.
`docs/statistics.md` shows how often each of these is wrong.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]

LEVEL = 0.05
"""The level of tests and, as 1 - LEVEL, of intervals."""
LEAST_DATASETS = 5
"""Fewest datasets that a p-value for new ones is given for."""
DIGITS = 12
"""Decimals that count; equal means may differ in their last bits, which must break no tie."""
SEEN = 2.8
"""A true difference of so many standard errors is significant in 80 % of cases: z(.975) + z(.8)."""


@dataclass(frozen=True)
class Estimate:
    """A difference, with the standard error that t-tests and intervals rest on.

    Attributes:
        value: what is estimated.
        error: its standard error; None where one seed, or one dataset, says nothing about others.
        freedom: degrees of freedom of the error; infinite where it is known.
    """

    value: float
    error: float | None = None
    freedom: float = math.inf

    @property
    def p(self) -> float | None:
        """The two-sided p-value of "it is zero"."""
        less = self.below(0.0)
        return None if less is None else min(1.0, 2 * min(less, 1 - less))

    def below(self, bound: float) -> float | None:
        """Return the one-sided p-value of "it is at least `bound`"."""
        from scipy import special

        if self.error is None:
            return None
        distance = round(self.value - bound, DIGITS)
        if self.error == 0:
            return 0.5 * (1 + math.copysign(distance != 0, distance))
        if math.isinf(self.freedom):
            return float(special.ndtr(distance / self.error))
        return float(special.stdtr(self.freedom, distance / self.error))

    def interval(self, level: float = 1 - LEVEL) -> tuple[float, float] | None:
        """Return the ends of the confidence interval."""
        margin = self.margin(level)
        return None if margin is None else (self.value - margin, self.value + margin)

    def margin(self, level: float = 1 - LEVEL) -> float | None:
        """Return half the length of the confidence interval."""
        if self.error is None:
            return None
        return quantile(0.5 + level / 2, self.freedom) * self.error


def quantile(share: float, freedom: float) -> float:
    """Return the quantile of Student's t, or of the normal distribution for infinite freedom."""
    from scipy import special

    if math.isinf(freedom):
        return float(special.ndtri(share))
    return float(special.stdtrit(freedom, share))


@dataclass(frozen=True)
class Variance:
    """A variance that was estimated, and how well: its degrees of freedom."""

    value: float
    freedom: float


def estimate(values: Array, tests: Sequence[Array], seeds: Variance | None = None) -> Estimate:
    """Return a mean over seeds, with the error that other seeds and other samples would make.

    With S seeds: the variance of `values` over S, plus for each test set that of its groups. What
    is particular to one seed on one group is in both, and is taken out of the second: it is the
    residual mean square of the table of seeds and groups. Where each sample is a group of its own
    and `values` are means over samples, this is the variance of crossed random effects.

    Args:
        values: [S] what is estimated, by seed, such as the difference of two accuracies.
        tests: for each test set [S, G], what its G groups of samples contribute to `values`. Rows
            sum to zero: the contributions are those to the deviation from the mean. Groups are
            independent; a test set of fewer than two groups says nothing about other ones.
        seeds: the variance of one run's value, if it is known better than from `values`.

    Raises:
        ValueError: arrays of different numbers of seeds, or values that are not finite.
    """
    count = len(values)
    if not count or any(len(test) != count for test in tests):
        raise ValueError(f"needs a row per seed: {count}, {[len(test) for test in tests]}")
    if not np.isfinite(values).all():
        raise ValueError("a value is not finite")
    mean = float(values.mean())
    if count < 2:
        return Estimate(mean)
    seeds = seeds or Variance(float(values.var(ddof=1)), count - 1)
    parts = [Variance(seeds.value / count, seeds.freedom), *map(_of_groups, tests)]
    return Estimate(mean, math.sqrt(sum(part.value for part in parts)), _freedom(parts))


def _freedom(parts: Sequence[Variance]) -> float:
    """Return Satterthwaite's degrees of freedom of a sum of variances, on the safe side.

    A variance of few degrees of freedom that comes out small by chance makes the error small and
    at once their number large: of three seeds that are half of the variance, tests at 5 % were
    wrong in 7 to 8 %. So each variance counts (f + 2) / f times here; `docs/statistics.md` has the
    rates with it.
    """
    return _satterthwaite(
        [Variance(p.value * (1 + 2 / p.freedom), p.freedom) for p in parts if p.freedom]
    )


def _satterthwaite(parts: Sequence[Variance]) -> float:
    squares = sum(part.value**2 / part.freedom for part in parts)
    return sum(part.value for part in parts) ** 2 / squares if squares else math.inf


def _of_groups(test: Array) -> Variance:
    """Return the variance of a mean over seeds that the choice of the groups makes."""
    seeds, groups = test.shape
    if groups < 2:
        return Variance(0.0, 0)
    mean = test.mean(axis=0)
    noise = float(((test - mean) ** 2).sum()) / (seeds * max(seeds - 1, 1))
    value = groups / (groups - 1) * (float((mean**2).sum()) - noise)
    return Variance(max(value, 0.0), groups - 1)


def sampling_error(test: Array) -> float:
    """Return the standard error of a mean over seeds that the choice of test samples makes.

    Args:
        test: [S, G] as in `estimate`.
    """
    return math.sqrt(_of_groups(test).value)


def weighted(estimates: Sequence[Estimate], weights: Sequence[float]) -> Estimate:
    """Return the sum of independent estimates times their weights."""
    value = sum(w * e.value for w, e in zip(weights, estimates, strict=True))
    if any(e.error is None for e in estimates):
        return Estimate(value)
    parts = [
        Variance((w * (e.error or 0.0)) ** 2, e.freedom)
        for w, e in zip(weights, estimates, strict=True)
    ]
    return Estimate(value, math.sqrt(sum(part.value for part in parts)), _satterthwaite(parts))


def shrunk(values: Array) -> list[Variance]:
    """Return the variance over seeds of each method, drawn towards that of the others.

    Seeds are crossed with methods: what a seed does to all methods is in no difference of two, so
    the variances are of the residuals of both means. As far as methods differ no more in variance
    than so few seeds explain, all get the same one (Smyth 2004).

    Args:
        values: [M, S] of M methods on the same S seeds; at least two of each.
    """
    methods, seeds = values.shape
    if min(methods, seeds) < 2:
        raise ValueError(f"needs two methods and two seeds, not {methods} and {seeds}")
    residuals = values - values.mean(axis=1, keepdims=True) - values.mean(axis=0) + values.mean()
    # Taking out the mean over methods takes out some of each method's own variance.
    own = (residuals**2).sum(axis=1) / (seeds - 1) * methods / (methods - 1)
    pooled = (methods - 1) * (seeds - 1)
    if methods < 3:  # both have the same residuals
        return [Variance(float(one), pooled) for one in own]
    prior = _prior(own, seeds - 1)
    total = min(prior.freedom + seeds - 1, pooled)
    share = prior.freedom / (prior.freedom + seeds - 1) if math.isfinite(prior.freedom) else 1.0
    return [Variance(float(share * prior.value + (1 - share) * one), total) for one in own]


def _prior(own: Array, freedom: int) -> Variance:
    """Return from which variance, of what weight, those of all methods seem to be drawn.

    By the moments of the logarithms of the variances (Smyth 2004, section 6.2).
    """
    from scipy import special

    if not np.median(own):  # most methods give the same in every seed
        return Variance(float(own.mean()), math.inf)
    logs = np.log(np.maximum(own, 1e-5 * np.median(own)))
    half = freedom / 2
    e = logs - special.digamma(half) + math.log(half)
    spread = float(e.var(ddof=1)) - float(special.polygamma(1, half))
    if spread <= 0:
        return Variance(float(own.mean()), math.inf)
    weight = 2 * _inverse_trigamma(spread)
    scale = float(e.mean()) + float(special.digamma(weight / 2)) - math.log(weight / 2)
    return Variance(math.exp(scale), weight)


def _inverse_trigamma(y: float) -> float:
    """Return x with trigamma(x) = y, by Newton's steps on 1 / trigamma, which is nearly linear."""
    from scipy import special

    x = 0.5 + 1 / y
    for _ in range(50):
        value = float(special.polygamma(1, x))
        step = value * (1 - value / y) / float(special.polygamma(2, x))
        x += step
        if -step / x < 1e-8:
            break
    return x


def welch(
    means: tuple[float, float], deviations: tuple[float, float], counts: tuple[int, int]
) -> Estimate:
    """Return the second mean minus the first, of independent samples (Welch, Biometrika 34, 1947).

    Raises:
        ValueError: a sample of fewer than two.
    """
    if min(counts) < 2:
        raise ValueError(f"needs two values of each: {counts}")
    one, two = (
        Estimate(mean, s / math.sqrt(n), n - 1)
        for mean, s, n in zip(means, deviations, counts, strict=True)
    )
    return weighted((one, two), (-1.0, 1.0))


def over_datasets(means: Sequence[float]) -> Estimate:
    """Return the mean over datasets, with the error that other datasets would make."""
    return estimate(np.asarray(means, float), ())


def holm(p: Sequence[float]) -> list[float]:
    """Return p-values, in the order given, adjusted for their number after Holm (1979).

    Raises:
        ValueError: one is not between 0 and 1.
    """
    if not all(0 <= each <= 1 for each in p):
        raise ValueError(f"p-values lie between 0 and 1: {list(p)}")
    adjusted, least = [0.0] * len(p), 0.0
    for done, index in enumerate(sorted(range(len(p)), key=lambda i: p[i])):
        least = max(least, min(1.0, (len(p) - done) * p[index]))
        adjusted[index] = least
    return adjusted


def adjusted(
    estimates: Sequence[Estimate], level: float = LEVEL
) -> list[tuple[float | None, tuple[float, float] | None]]:
    """Return p after Holm, and an interval that lacks zero exactly where p is below the level.

    That is the interval of the level that Holm tests the estimate at. An estimate without an error
    has neither.
    """
    tested = [e.p for e in estimates if e.p is not None]
    p_values = iter(holm(tested))
    found: list[tuple[float | None, tuple[float, float] | None]] = []
    for one in estimates:
        if one.p is None:
            found.append((None, None))
            continue
        p = next(p_values)
        share = one.p / p if p and p < 1 else 1 / len(tested)
        found.append((p, one.interval(1 - level * share)))
    return found


def p_text(p: float, equals: bool = False) -> str:
    """Return a p-value as readers take it: `0.012`, or `< 0.001`; with `equals`, `= 0.012`."""
    return "< 0.001" if p < 0.001 else f"{'= ' * equals}{p:.3f}"


def average_ranks(scores: Array) -> list[float]:
    """Return the average rank of each method, 1 the best; equal scores share theirs.

    Args:
        scores: [cases, methods], higher is better.
    """
    from scipy import stats

    return [float(r) for r in stats.rankdata(-np.round(scores, DIGITS), axis=1).mean(axis=0)]
