"""The statistics of tables against hand-worked cases and independent implementations."""

import math
from itertools import pairwise

import numpy as np
import pytest
from scipy import special, stats

from benchmark.reporting.statistics import (
    Estimate,
    Variance,
    adjusted,
    average_ranks,
    estimate,
    holm,
    over_datasets,
    p_text,
    sampling_error,
    shrunk,
    weighted,
    welch,
)


def answers(seed: int, seeds: int = 3, samples: int = 40, spread: float = 1) -> np.ndarray:
    """Differences of two methods' answers, -1 to 1: [seeds, samples]."""
    rng = np.random.default_rng(seed)
    hard = rng.normal(size=samples)
    one, two = (
        hard
        + rng.normal(size=samples)
        + spread * rng.normal(size=(seeds, 1))
        + rng.normal(size=(seeds, samples))
        > 0
        for _ in "ab"
    )
    return two.astype(float) - one


def parts(d: np.ndarray, group: np.ndarray | None = None) -> np.ndarray:
    """What each group contributes to the deviation of the means from theirs, by definition."""
    group = np.arange(d.shape[1]) if group is None else group
    return np.array(
        [[(row - row.mean())[group == g].sum() / len(row) for g in np.unique(group)] for row in d]
    )


# Two methods on one target


def test_a_difference_by_hand() -> None:
    # Three seeds, four samples; b is right where a is wrong (1), alike (0), or the reverse (-1).
    d = np.array([[1, 0, 0, 1], [1, 0, 0, 0], [1, 1, -1, 0]], dtype=float)
    # Means by seed 1/2, 1/4, 1/4: mean 1/3, variance (1/36 + 1/144 + 1/144) / 2 = 1/48.
    v_seeds = 1 / 48 / 3
    # Means by sample 1, 1/3, -1/3, 1/3: mean 1/3, variance (4/9 + 4/9) / 3 = 8/27.
    # Residuals of the table of seeds and samples: d - seed mean - sample mean + 1/3.
    residuals = np.array([[-2, -6, 2, 6], [1, -3, 5, -3], [1, 9, -7, -3]]) / 12
    noise = (residuals**2).sum() / (2 * 3)
    v_samples = 8 / 27 / 4 - noise / (3 * 4)
    found = estimate(d.mean(axis=1), [parts(d)])
    assert found.value == pytest.approx(1 / 3)
    assert found.error == pytest.approx(math.sqrt(v_seeds + v_samples))
    # Satterthwaite, with both variances raised by (f + 2) / f: 2 for f = 2, and 5/3 for f = 3.
    raised = 2 * v_seeds, 5 / 3 * v_samples
    assert found.freedom == pytest.approx(
        sum(raised) ** 2 / (raised[0] ** 2 / 2 + raised[1] ** 2 / 3)
    )
    t = found.value / found.error
    assert found.p == pytest.approx(2 * stats.t.sf(t, found.freedom))
    assert found.below(0.0) == pytest.approx(stats.t.cdf(t, found.freedom))
    low, high = found.interval()
    assert (low, high) == pytest.approx(
        stats.t.interval(0.95, found.freedom, found.value, found.error)
    )


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("seeds", [2, 3, 10])
def test_samples_are_crossed_with_seeds(seed: int, seeds: int) -> None:
    """The definition by sums of squares, written out here."""
    d = answers(seed, seeds)
    n = d.shape[1]
    of_seeds, of_samples = d.mean(axis=1), d.mean(axis=0)
    residual = d - of_seeds[:, None] - of_samples + d.mean()
    noise = (residual**2).sum() / ((seeds - 1) * (n - 1))
    v_samples = max(0.0, of_samples.var(ddof=1) / n - noise / (seeds * n))
    expected = of_seeds.var(ddof=1) / seeds + v_samples
    assert estimate(of_seeds, [parts(d)]).error == pytest.approx(math.sqrt(expected))
    assert sampling_error(parts(d)) == pytest.approx(math.sqrt(v_samples))


def test_samples_that_repeat_in_a_group_count_once() -> None:
    d = answers(1, samples=30, spread=0.1)
    doubled, group = np.repeat(d, 4, axis=1), np.repeat(np.arange(30), 4)
    alone = estimate(d.mean(axis=1), [parts(d)])
    grouped = estimate(doubled.mean(axis=1), [parts(doubled, group)])
    assert (grouped.error, grouped.freedom) == pytest.approx((alone.error, alone.freedom))
    assert estimate(doubled.mean(axis=1), [parts(doubled)]).error < 0.9 * alone.error


def test_columns_that_share_a_test_set_do_not_average_its_luck_away() -> None:
    d = answers(2, samples=200)
    one = estimate(d.mean(axis=1), [parts(d)])
    # Four columns with the same answers on the same samples say no more than one.
    shared = estimate(d.mean(axis=1), [sum(parts(d) / 4 for _ in range(4))])
    assert shared.error == pytest.approx(one.error)
    # On four test sets of their own, the share of the samples falls to a quarter.
    apart = estimate(d.mean(axis=1), [parts(d) / 4 for _ in range(4)])
    v_seeds = d.mean(axis=1).var(ddof=1) / 3
    assert apart.error**2 - v_seeds == pytest.approx((one.error**2 - v_seeds) / 4)


def test_one_seed_says_nothing_about_others() -> None:
    d = answers(3, seeds=1)
    found = estimate(d.mean(axis=1), [parts(d)])
    assert (found.error, found.p, found.interval(), found.below(0)) == (None,) * 4
    assert sampling_error(parts(d)) == pytest.approx(d.std(ddof=1) / math.sqrt(40))


def test_one_group_adds_no_variance() -> None:
    d = answers(4)
    found = estimate(d.mean(axis=1), [np.zeros((3, 1))])
    assert found.error == pytest.approx(d.mean(axis=1).std(ddof=1) / math.sqrt(3))
    assert found.freedom == 2


def test_no_spread_at_all_is_certain() -> None:
    same = estimate(np.full(3, 0.25), [np.zeros((3, 5))])
    assert (same.error, same.p, same.below(0)) == (0, 0, 1)
    assert estimate(np.zeros(3), [np.zeros((3, 5))]).p == 1


def test_a_known_variance_takes_the_place_of_that_of_the_seeds() -> None:
    d = answers(5)
    found = estimate(d.mean(axis=1), [], Variance(0.03, 40))
    assert (found.error, found.freedom) == (pytest.approx(0.1), pytest.approx(40))
    assert math.isinf(estimate(d.mean(axis=1), [], Variance(0.03, math.inf)).freedom)


@pytest.mark.parametrize(
    ("values", "tests"),
    [([], []), ([0.1, 0.2], [np.zeros((3, 4))]), ([0.1, math.nan], [np.zeros((2, 4))])],
)
def test_arrays_that_do_not_fit_are_errors(values: list[float], tests: list[np.ndarray]) -> None:
    with pytest.raises(ValueError, match=r"row per seed|not finite"):
        estimate(np.array(values), tests)


# Variances of a table


def test_two_methods_borrow_nothing_from_each_other() -> None:
    values = np.random.default_rng(0).normal(size=(2, 5))
    one, two = shrunk(values)
    assert one.value + two.value == pytest.approx((values[1] - values[0]).var(ddof=1))
    assert one.freedom == two.freedom == 4


def test_what_a_seed_does_to_all_methods_is_in_no_difference() -> None:
    values = np.random.default_rng(1).normal(size=(6, 4))
    moved = values + np.array([9.0, -4.0, 0.0, 100.0])
    for one, two in zip(shrunk(values), shrunk(moved), strict=True):
        assert (one.value, one.freedom) == pytest.approx((two.value, two.freedom))


def test_prior_has_the_moments_of_limma() -> None:
    """Variances drawn from the model give back its parameters: s0² = 4, d0 = 6."""
    from benchmark.reporting.statistics import _prior

    rng = np.random.default_rng(2)
    own = 4 * 6 / rng.chisquare(6, 50_000) * rng.chisquare(3, 50_000) / 3
    prior = _prior(own, 3)
    assert prior.value == pytest.approx(4, rel=0.05)
    assert prior.freedom == pytest.approx(6, rel=0.1)
    logs = np.log(own) - special.digamma(1.5) + math.log(1.5)
    # The equations that define them (Smyth 2004): of mean and variance of the logarithms.
    assert special.polygamma(1, prior.freedom / 2) == pytest.approx(
        logs.var(ddof=1) - special.polygamma(1, 1.5)
    )
    assert math.log(prior.value) == pytest.approx(
        logs.mean() + special.digamma(prior.freedom / 2) - math.log(prior.freedom / 2)
    )


def test_alike_methods_share_a_variance_and_unlike_ones_keep_more_of_theirs() -> None:
    rng = np.random.default_rng(3)
    alike = shrunk(rng.normal(size=(30, 3)))
    raw = rng.normal(size=(30, 3)).var(axis=1, ddof=1)
    assert np.std([one.value for one in alike]) < 0.5 * raw.std()
    assert 10 < alike[0].freedom <= 29 * 2  # at most that of all residuals
    sd = np.geomspace(0.1, 10, 30)[:, None]
    unlike = [one.value for one in shrunk(sd * rng.normal(size=(30, 10)))]
    assert np.corrcoef(np.log(unlike), np.log(sd[:, 0]))[0, 1] > 0.9


def test_shrinking_hardly_moves_the_average_variance() -> None:
    """It is a little below the true one, for which the degrees of freedom allow."""
    rng = np.random.default_rng(4)
    found = [[v.value for v in shrunk(rng.normal(size=(8, 3)))] for _ in range(400)]
    assert 0.85 < np.mean(found) < 1


def test_methods_without_any_spread_have_none() -> None:
    assert [v.value for v in shrunk(np.ones((4, 3)))] == [0] * 4


# Over datasets, and against papers


def test_datasets_are_the_sample() -> None:
    found = over_datasets([0.01, 0.02, 0.06])
    expected = stats.ttest_1samp([0.01, 0.02, 0.06], 0)
    assert (found.value, found.p) == pytest.approx((0.03, expected.pvalue))
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))
    assert over_datasets([0.01]) == Estimate(0.01)


def test_welch_is_scipys() -> None:
    a, b = [61.0, 64.0, 62.0], [66.0, 64.5, 70.0, 65.0, 67.0]
    stds = float(np.std(a, ddof=1)), float(np.std(b, ddof=1))
    found = welch((float(np.mean(a)), float(np.mean(b))), stds, (3, 5))
    expected = stats.ttest_ind(b, a, equal_var=False)
    assert found.p == pytest.approx(expected.pvalue)
    assert found.interval() == pytest.approx(tuple(expected.confidence_interval()))
    with pytest.raises(ValueError, match="two values of each"):
        welch((1, 2), (1, 1), (1, 5))


def test_independent_estimates_add_up() -> None:
    found = weighted([Estimate(1.0, 3.0, 5), Estimate(2.0, 4.0, math.inf)], [0.5, 0.5])
    assert (found.value, found.error) == (1.5, 2.5)
    assert found.freedom == pytest.approx(6.25**2 / (2.25**2 / 5))
    assert weighted([Estimate(1.0), Estimate(2.0, 4.0, 3)], [0.5, 0.5]) == Estimate(1.5)


# Many at once


def test_holm_by_hand() -> None:
    # 0.01 * 4, 0.02 * 3, then 0.03 * 2 = 0.06 = the one before, 0.04 * 1 raised to it.
    assert holm([0.02, 0.04, 0.01, 0.03]) == pytest.approx([0.06, 0.06, 0.04, 0.06])
    assert holm([]) == []
    assert holm([0.6, 0.9]) == [1.0, 1.0]
    with pytest.raises(ValueError, match="between 0 and 1"):
        holm([1.5])


def test_an_interval_lacks_zero_exactly_where_the_corrected_p_is_below_the_level() -> None:
    rng = np.random.default_rng(5)
    seen = set()
    for _ in range(200):
        found = [
            Estimate(float(rng.normal(scale=2.2)), 1.0, int(rng.integers(2, 30)))
            for _ in range(rng.integers(1, 6))
        ]
        for one, (p, ends) in zip(found, adjusted(found), strict=True):
            assert p is not None and ends is not None
            assert (p < 0.05) == (not ends[0] <= 0 <= ends[1])
            assert ends[0] < one.value < ends[1]
            seen.add(p < 0.05)
    assert seen == {True, False}
    alone = Estimate(1.0, 0.4, 7)
    assert adjusted([alone]) == [(alone.p, alone.interval())]
    assert adjusted([Estimate(1.0), alone])[0] == (None, None)


def test_average_ranks_share_ties() -> None:
    scores = np.array([[0.9, 0.8, 0.8], [0.1, 0.2, 0.3]])
    assert average_ranks(scores) == [2.0, 2.25, 1.75]


@pytest.mark.parametrize(
    ("p", "text"), [(0.0004, "< 0.001"), (0.0124, "0.012"), (1.0, "1.000"), (0.001, "0.001")]
)
def test_p_values_read_as_usual(p: float, text: str) -> None:
    assert p_text(p) == text
    assert p_text(p, equals=True) == (text if text.startswith("<") else f"= {text}")


def test_t_has_heavier_tails_with_fewer_degrees_of_freedom() -> None:
    p = [Estimate(3.0, 1.0, freedom).p for freedom in (1, 2, 5, 50, math.inf)]
    assert all(a > b for a, b in pairwise(p))
    assert p[-1] == pytest.approx(2 * stats.norm.sf(3))
