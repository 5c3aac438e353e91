"""Are two methods different? Intervals, tests and effect sizes for tables and figures.

Two levels. On one target two methods are compared sample by sample (`paired_bootstrap`, and
`joint_bootstrap` for an average over targets). Over many targets and settings one score per case is
compared (`wilcoxon` for two methods, `friedman` for several; Demsar, "Statistical Comparisons of
Classifiers over Multiple Data Sets", JMLR 7, 2006). Cases that share data, as modality sets of one
target do, are not independent, so p is too small there. Many p-values side by side go through
`holm`.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
BoolArray = NDArray[np.bool_]
Correct = Mapping[int, BoolArray]
"""The test samples a method got right, [N] by run seed; the same samples for every seed."""

LEAST = 6
"""Fewest pairs or cases tested: of five, no two-sided signed-rank p is below 2/2^5 = 0.0625."""
EXACT = 50
"""Most differences whose signed-rank p is exact; their 2^50 signs are counted without rounding."""
ALPHA = 0.05
"""The level of the Nemenyi critical difference."""
DIGITS = 12
"""Decimals that count; equal means may differ in their last bits, which must break no tie."""


@dataclass(frozen=True)
class Comparison:
    """How much better method b is than method a, from a bootstrap.

    Attributes:
        difference: accuracy of b minus that of a, a share between -1 and 1.
        low, high: ends of the percentile interval of the difference.
        p: two-sided p-value of "no difference".
    """

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class SignedRank:
    """Wilcoxon's signed-rank test of paired values.

    Attributes:
        p: two-sided p-value.
        n: pairs, including those without a difference.
        effect: matched-pairs rank-biserial correlation, -1 to 1; 1 where b always wins.
        difference: mean of b - a, in the unit of the values.
    """

    p: float
    n: int
    effect: float
    difference: float


@dataclass(frozen=True)
class Ranks:
    """Friedman's test and what a critical-difference diagram shows.

    Attributes:
        statistic, p: Friedman's chi-squared, corrected for ties, and its p-value.
        ranks: average rank of each method, 1 the best, in the order given.
        critical: Nemenyi critical difference at `ALPHA`, in ranks.
        groups: the bars of the diagram: indices of two or more methods, best first, that lie
            within the critical difference of each other; none is part of another.
    """

    statistic: float
    p: float
    ranks: tuple[float, ...]
    critical: float
    groups: tuple[tuple[int, ...], ...]


def paired_bootstrap(
    a: Correct, b: Correct, rounds: int = 2000, seed: int = 0, level: float = 0.95
) -> Comparison | None:
    """Return how two methods differ on one target, by a bootstrap over seeds and test samples.

    Only seeds that both methods have are used, as pairs. Every round draws seeds and samples with
    replacement. All seeds are tested on the same samples, so a round draws the samples once: drawn
    anew for each seed, the luck of the test set would average out over seeds, which it does not,
    and the interval would be too narrow.

    This is the pigeonhole bootstrap (Owen, Annals of Applied Statistics 1(2), 2007). What is
    particular to one seed on one sample it counts up to three times, which errs towards no
    difference; of the spread over seeds only (seeds - 1) / seeds. So with three seeds p-values are
    too small where seeds differ far more than the test set's size explains, and with one seed they
    say nothing about other seeds. The tests measure both.

    Args:
        a: which samples the first method got right, [N] by run seed.
        b: the same of the second method, for the same samples in the same order.
        rounds: bootstrap rounds.
        seed: of the random draws; the same one gives the same result.
        level: share of rounds within the interval.

    Returns:
        The comparison, or None if the methods have no seed in common.

    Raises:
        ValueError: arrays of different or no length, or not of booleans; no rounds; level not
            between 0 and 1.
    """
    return joint_bootstrap([(a, b)], rounds, seed, level)


def joint_bootstrap(
    pairs: Sequence[tuple[Correct, Correct]], rounds: int = 2000, seed: int = 0, level: float = 0.95
) -> Comparison | None:
    """Return how two methods differ on average over targets, each of which counts the same.

    Every target has test samples and runs of its own, so in each round each is drawn by itself.

    Args:
        pairs: of each target, `a` and `b` of `paired_bootstrap`.
        rounds: bootstrap rounds.
        seed: of the random draws.
        level: share of rounds within the interval.

    Returns:
        The comparison, or None without targets or if one has no common seed: the average over the
        others would be another number.

    Raises:
        ValueError: as `paired_bootstrap`.
    """
    if rounds < 1 or not 0 < level < 1:
        raise ValueError(f"rounds must be at least 1 and level within 0 and 1: {rounds}, {level}")
    found = [_differences(a, b) for a, b in pairs]
    differences = [each for each in found if each is not None]
    if not found or len(differences) < len(found):
        return None
    rng = np.random.default_rng(seed)
    total: Array = np.mean([_draw(each, rounds, rng) for each in differences], axis=0)
    # A round without a difference speaks for neither side, so rounding must not choose one.
    drawn = total.round(DIGITS)
    low, high = np.quantile(drawn, ((1 - level) / 2, (1 + level) / 2))
    difference = float(np.mean([each.mean() for each in differences]))
    return Comparison(difference, float(low), float(high), _two_sided(drawn, difference))


def _two_sided(drawn: Array, difference: float) -> float:
    """Return p, twice the share of rounds beyond zero; the observed data count as one more round.

    Where no round is beyond zero, rounds alone could not go below 2 / (rounds + 1), and with many
    comparisons in a table Holm's correction would hide every difference. There the normal tail,
    with the rounds' deviation, says how far away zero is.
    """
    fewer = min(np.count_nonzero(drawn <= 0), np.count_nonzero(drawn >= 0))
    p = min(1.0, 2 * float(fewer + 1) / (len(drawn) + 1))
    spread = float(drawn.std())
    if fewer or not spread:
        return p
    return min(p, math.erfc(abs(difference) / spread / math.sqrt(2)))


def _differences(a: Correct, b: Correct) -> Array | None:
    """Return b - a, -1 to 1, as [common seeds, N]; None without a common seed."""
    arrays = [np.asarray(each) for each in (*a.values(), *b.values())]
    if any(each.dtype != np.bool_ or each.ndim != 1 for each in arrays):
        raise ValueError("correctness must be a one-dimensional array of booleans")
    lengths = sorted({len(each) for each in arrays})
    if len(lengths) > 1:
        raise ValueError(f"both methods and all seeds need the same samples, not {lengths} of them")
    if lengths == [0]:
        raise ValueError("there are no samples to compare on")
    seeds = sorted(a.keys() & b.keys())
    if not seeds:
        return None
    return np.stack([b[s] for s in seeds]).astype(float) - np.stack([a[s] for s in seeds])


def _draw(differences: Array, rounds: int, rng: np.random.Generator) -> Array:
    """Return the mean of [seeds, N] differences in each round, [rounds]."""
    seeds, samples = differences.shape
    # Samples whose differences are the same in every seed are of one kind, and how often each kind
    # is drawn is enough: the same distribution, with three seeds at a tenth of the cost. Kinds are
    # put in order of appearance so that swapping the methods swaps nothing but the sign.
    kinds, first, counts = np.unique(differences, axis=1, return_index=True, return_counts=True)
    order = np.argsort(first)
    of_samples = rng.multinomial(samples, counts[order] / samples, rounds).astype(float)
    of_seeds = rng.multinomial(seeds, np.full(seeds, 1 / seeds), rounds).astype(float)
    by_seed = of_samples @ kinds[:, order].T
    return np.asarray((by_seed * of_seeds).sum(axis=1) / (seeds * samples))


def p_text(p: float, equals: bool = False) -> str:
    """Return a p-value as readers take it: `0.012`, or `< 0.001`; with `equals`, `= 0.012`."""
    return "< 0.001" if p < 0.001 else f"{'= ' * equals}{p:.3f}"


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


def binomial_error(accuracy: float, n: int) -> float:
    """Return the standard error of an accuracy, 0 to 1, on n independent samples.

    Raises:
        ValueError: the accuracy is not a share, or there are no samples.
    """
    if not 0 <= accuracy <= 1 or n < 1:
        raise ValueError(f"needs an accuracy between 0 and 1 and a sample: {accuracy}, {n}")
    return math.sqrt(accuracy * (1 - accuracy) / n)


def wilcoxon(a: Sequence[float], b: Sequence[float]) -> SignedRank | None:
    """Return the two-sided signed-rank test of paired values, one pair per case.

    Pairs without a difference are dropped before ranking, as Wilcoxon (1945) did; if none is left,
    p is 1 and the effect 0. The p-value is exact up to `EXACT` differences, else scipy's from the
    normal distribution. The effect is (W+ - W-) / (W+ + W-), of the rank sums of wins and losses of
    b (Kerby, 2014).

    Returns None for fewer than `LEAST` pairs.

    Raises:
        ValueError: different numbers of values, or one that is not finite.
    """
    differences = _paired(a, b)
    if len(differences) < LEAST:
        return None
    mean, kept = float(differences.mean()), differences[differences != 0]
    if not len(kept):
        return SignedRank(1.0, len(differences), 0.0, mean)
    from scipy import stats  # a second to import

    ranks = stats.rankdata(np.abs(kept))
    effect = float((ranks * np.sign(kept)).sum() / ranks.sum())
    if len(kept) <= EXACT:
        p = _exact_p(ranks, ranks[kept > 0].sum())
    else:
        p = float(stats.wilcoxon(kept, zero_method="wilcox").pvalue)
    return SignedRank(p, len(differences), effect, mean)


def _exact_p(ranks: Array, wins: float) -> float:
    """Return the two-sided p-value of the rank sum of wins: all signs are equally likely.

    Scipy's exact distribution holds without ties only, and it tries all signs where there are some.
    Scores are counts of samples, so ties are common.
    """
    doubled = np.rint(2 * ranks).astype(int)  # shared ranks end in a half
    total, reached = int(doubled.sum()), round(2 * wins)
    ways = np.zeros(total + 1)  # to choose wins, by their doubled rank sum
    ways[0] = 1
    for rank in doubled:
        ways[rank:] = ways[rank:] + ways[:-rank]
    tail = float(ways[: min(reached, total - reached) + 1].sum())
    return min(1.0, 2 * tail / 2.0 ** len(ranks))


def cohens_d(a: Sequence[float], b: Sequence[float]) -> float | None:
    """Return Cohen's d_z of paired values: the mean of b - a over its sample standard deviation.

    Returns None for fewer than two pairs or differences that are all the same.

    Raises:
        ValueError: different numbers of values, or one that is not finite.
    """
    differences = _paired(a, b)
    if len(differences) < 2 or np.ptp(differences) == 0:
        return None
    return float(differences.mean() / differences.std(ddof=1))


def _paired(a: Sequence[float], b: Sequence[float]) -> Array:
    """Return b - a, with equal differences exactly equal."""
    if len(a) != len(b):
        raise ValueError(f"values must come in pairs: {len(a)} and {len(b)}")
    differences: Array = np.asarray(b, dtype=float) - np.asarray(a, dtype=float)
    if not np.isfinite(differences).all():
        raise ValueError("a value is not finite")
    return differences.round(DIGITS)


def friedman(scores: Array) -> Ranks | None:
    """Return Friedman's test with the Nemenyi critical difference (Demsar 2006, 3.2.2).

    Returns None for fewer than `LEAST` cases or three methods.

    Args:
        scores: [cases, methods], higher is better. Equal scores share their average rank.

    Raises:
        ValueError: not two-dimensional, or a score is not finite.
    """
    scores = np.asarray(scores, dtype=float)
    if scores.ndim != 2 or not np.isfinite(scores).all():
        raise ValueError(
            "scores must be finite numbers, one row per case and one column per method"
        )
    cases, methods = scores.shape
    if cases < LEAST or methods < 3:
        return None
    from scipy import stats

    scores = np.round(scores, DIGITS)
    average = stats.rankdata(-scores, axis=1).mean(axis=0)
    statistic, p = 0.0, 1.0
    if np.ptp(scores, axis=1).any():  # else every score is tied and the statistic is 0 / 0
        statistic, p = map(float, stats.friedmanchisquare(*scores.T))
    q = stats.studentized_range.ppf(1 - ALPHA, methods, np.inf) / math.sqrt(2)
    critical = float(q * math.sqrt(methods * (methods + 1) / (6 * cases)))
    ranks = tuple(map(float, average))
    return Ranks(statistic, p, ranks, critical, _groups(ranks, critical))


def _groups(ranks: Sequence[float], critical: float) -> tuple[tuple[int, ...], ...]:
    """Return the longest runs of methods, best first, whose ranks span at most `critical`."""
    order = sorted(range(len(ranks)), key=lambda i: ranks[i])
    groups: list[tuple[int, ...]] = []
    covered = 0
    for start in range(len(order)):
        reach = [i for i in order[start:] if ranks[i] - ranks[order[start]] <= critical]
        if len(reach) > 1 and start + len(reach) > covered:
            groups.append(tuple(reach))
            covered = start + len(reach)
    return tuple(groups)
