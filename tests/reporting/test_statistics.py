import itertools
import math
import statistics as plain

import numpy as np
import pytest
from scipy import stats

from benchmark.reporting.statistics import (
    EXACT,
    LEAST,
    binomial_error,
    cohens_d,
    friedman,
    holm,
    joint_bootstrap,
    paired_bootstrap,
    wilcoxon,
)

# Ranks of four methods in 14 cases that have the averages of Demsar (2006), table 6.
DEMSAR = """
    4 3 2 1      1 2 3 4      4 1 2 3      4 1 3 2      4 2 3 1      1 2.5 4 2.5  3 2 4 1
    2.5 2.5 4 1  4 3 2 1      2.5 2.5 2.5 2.5           4 2.5 1 2.5  3 2 4 1      4 1 2 3
    3 1 4 2
"""


def simulated(rng, seeds=3, samples=300, gain=0.0, seed_sd=0.1, item_sd=0.5, noise=0.5):
    """Two methods whose margin is: sample + method on sample + run + run on sample + gain."""
    common = 1.5 + rng.normal(0, 1, samples)
    methods = []
    for more in (0, gain):
        own = common + more + rng.normal(0, item_sd, samples)
        runs = own + rng.normal(0, seed_sd, (seeds, 1)) + rng.normal(0, noise, (seeds, samples))
        methods.append(dict(enumerate(runs > 0)))
    return methods


def slow_bootstrap(pairs, rounds, rng, once=True):
    """The definition, draw by draw; with once=False every seed draws samples of its own."""
    drawn = np.empty(rounds)
    for r in range(rounds):
        targets = []
        for a, b in pairs:
            seeds, n = sorted(a), len(a[0])
            samples, total = rng.integers(n, size=n), 0.0
            for s in rng.choice(seeds, len(seeds)):
                samples = samples if once else rng.integers(n, size=n)
                total += b[s][samples].mean() - a[s][samples].mean()
            targets.append(total / len(seeds))
        drawn[r] = sum(targets) / len(targets)
    return drawn


def end_error(drawn, share):
    """Four standard errors of a quantile of as many normal draws."""
    density = stats.norm.pdf(stats.norm.ppf(share)) / drawn.std()
    return 4 * math.sqrt(share * (1 - share) / len(drawn)) / density


def test_bootstrap_of_a_hand_worked_case():
    # One seed, two samples, b - a is 1 on one of them and 0 on the other. Two draws give a mean of
    # 0, 1/2 or 1 with chance 1/4, 1/2 and 1/4, so no round is below 0 and a quarter is 0:
    # p = 2 * 1/4. The 95 % interval is the whole range, the 40 % interval (30th to 70th
    # percentile) only the middle.
    a, b = {7: np.array([True, False])}, {7: np.array([True, True])}
    found = paired_bootstrap(a, b, rounds=40_000)
    assert found.difference == 0.5
    assert (found.low, found.high) == (0.0, 1.0)
    assert found.p == pytest.approx(0.5, abs=4 * 2 * math.sqrt(0.25 * 0.75 / 40_000))
    narrow = paired_bootstrap(a, b, rounds=40_000, level=0.4)
    assert (narrow.low, narrow.high) == (0.5, 0.5)


def test_bootstrap_draws_seeds_as_well_as_samples():
    # Within a seed all samples agree, so only the draw of two seeds counts: again 0, 1/2 or 1.
    n = 50
    a = {0: np.zeros(n, bool), 1: np.zeros(n, bool)}
    b = {0: np.zeros(n, bool), 1: np.ones(n, bool)}
    found = paired_bootstrap(a, b, rounds=40_000)
    assert (found.difference, found.low, found.high) == (0.5, 0.0, 1.0)
    assert found.p == pytest.approx(0.5, abs=4 * 2 * math.sqrt(0.25 * 0.75 / 40_000))


def test_smallest_p_is_that_of_the_observed_data_as_one_more_round():
    # b wins every sample of every round: p = 2 * (0 + 1) / (99 + 1).
    a, b = {0: np.zeros(5, bool)}, {0: np.ones(5, bool)}
    found = paired_bootstrap(a, b, rounds=99)
    assert found.p == pytest.approx(0.02)
    assert (found.difference, found.low, found.high) == (1.0, 1.0, 1.0)


def test_equal_methods_have_p_1():
    a, _ = simulated(np.random.default_rng(0))
    found = paired_bootstrap(a, a)
    assert (found.difference, found.low, found.high, found.p) == (0.0, 0.0, 0.0, 1.0)


@pytest.mark.parametrize("targets", [1, 3])
def test_bootstrap_agrees_with_a_slow_one(targets):
    # Targets of different size and number of seeds, so that each must be weighted the same.
    rng = np.random.default_rng(targets)
    sizes = [(3, 120, 0.3), (2, 40, 0.2), (5, 60, 0.0)][:targets]
    pairs = [simulated(rng, seeds, n, gain) for seeds, n, gain in sizes]
    found = joint_bootstrap(pairs, rounds=20_000)
    drawn = slow_bootstrap(pairs, 4000, rng)
    assert found.difference == pytest.approx(
        np.mean([np.mean([b[s].mean() - a[s].mean() for s in a]) for a, b in pairs])
    )
    # Half a step: the quantiles of a discrete distribution jump.
    step = 1 / (sizes[0][0] * sizes[0][1])
    for end, share in ((found.low, 0.025), (found.high, 0.975)):
        assert abs(end - np.quantile(drawn, share)) < end_error(drawn, share) + step / 2
    p = 2 * min(np.mean(drawn <= 0), np.mean(drawn >= 0))
    assert 0.01 < p < 0.9, "else the comparison of p shows nothing"
    assert found.p == pytest.approx(p, abs=4 * 2 * math.sqrt(p / 2 / 4000))


def test_samples_drawn_anew_for_each_seed_would_understate_the_spread():
    rng = np.random.default_rng(5)
    pair = simulated(rng, seeds=4, item_sd=1.0, noise=0.2, seed_sd=0.0)
    found = paired_bootstrap(*pair)
    low, high = np.quantile(slow_bootstrap([pair], 2000, rng, once=False), (0.025, 0.975))
    assert high - low < 0.75 * (found.high - found.low)


def rejected(sets, **model):
    """The share of data sets without a true difference in which p < 0.05."""
    rng = np.random.default_rng(3)
    return np.mean([paired_bootstrap(*simulated(rng, **model), 400).p < 0.05 for _ in range(sets)])


def test_without_a_difference_five_percent_or_fewer_are_significant():
    # Runs of one method differ by 1.7 points of accuracy (sd) here, about as on real targets of a
    # few hundred samples. 200 sets at a true 5 % give at most 0.10 with chance 99.9 %. What one run
    # does on one sample is counted more than once, so where that is all there is the test is
    # conservative: about 1 %.
    assert 0.005 <= rejected(200) <= 0.10
    assert rejected(200, seed_sd=0.0, item_sd=0.0, noise=1.0) <= 0.03


def test_three_seeds_that_differ_much_are_too_few():
    # The limit that the docstring states: seeds 7 points apart, so of three draws the spread is
    # badly known; about one in five is significant. A single seed knows none of it.
    assert 0.10 < rejected(200, seed_sd=0.5) < 0.35
    assert rejected(200, seed_sd=0.5, seeds=1) > 0.4


def test_a_true_difference_is_found():
    rng = np.random.default_rng(4)
    found = [paired_bootstrap(*simulated(rng, gain=0.8), 400) for _ in range(50)]
    assert np.mean([f.p < 0.05 for f in found]) > 0.9
    assert all(f.low <= f.difference <= f.high for f in found)


def test_swapping_the_methods_flips_the_signs_and_nothing_else():
    pairs = [
        simulated(np.random.default_rng(s), gain=0.2, samples=n) for s, n in ((6, 80), (7, 90))
    ]
    found, swapped = joint_bootstrap(pairs), joint_bootstrap([(b, a) for a, b in pairs])
    assert swapped.difference == pytest.approx(-found.difference, abs=1e-12)
    assert swapped.low == pytest.approx(-found.high, abs=1e-12)
    assert swapped.high == pytest.approx(-found.low, abs=1e-12)
    assert swapped.p == found.p < 1


def test_order_and_names_of_samples_and_seeds_do_not_matter():
    rng = np.random.default_rng(8)
    a, b = simulated(rng, gain=0.2)
    found = paired_bootstrap(a, b, rounds=20_000)
    order = rng.permutation(len(a[0]))
    permuted = [{s: x[order] for s, x in each.items()} for each in (a, b)]
    other = paired_bootstrap(*permuted, rounds=20_000)
    assert other.difference == pytest.approx(found.difference)
    width = found.high - found.low
    assert other.low == pytest.approx(found.low, abs=0.05 * width)
    assert other.high == pytest.approx(found.high, abs=0.05 * width)
    named = [{9: x[2], 4: x[1], 1: x[0]} for x in (a, b)]
    assert paired_bootstrap(*named, rounds=20_000) == found


def test_bootstrap_repeats_and_its_seed_matters():
    a, b = simulated(np.random.default_rng(9), gain=0.2)
    assert paired_bootstrap(a, b, seed=1) == paired_bootstrap(a, b, seed=1)
    assert paired_bootstrap(a, b, seed=1) != paired_bootstrap(a, b, seed=2)
    assert joint_bootstrap([(a, b)]) == paired_bootstrap(a, b)


def test_only_common_seeds_count():
    a, b = simulated(np.random.default_rng(10), gain=0.2)
    none = np.zeros(300, bool)
    assert paired_bootstrap(a | {5: none}, {6: none} | b) == paired_bootstrap(a, b)
    assert paired_bootstrap({0: a[0]}, {1: b[1]}) is None
    assert paired_bootstrap({}, b) is None
    assert joint_bootstrap([(a, b), ({0: a[0]}, {1: b[1]})]) is None
    assert joint_bootstrap([]) is None


def test_rounds_without_a_difference_count_for_both_sides():
    # Of ten samples b wins 2, 3 and loses 4: a round is (X + Y - Z) / 30 of three binomials. In
    # floats 0.1 + 0.2 - 0.3 is not 0, which would give such rounds to one side: a p of 0.79
    # instead of 0.85.
    wins = [np.arange(10) < n for n in (2, 3, 4)]
    no = np.zeros(10, bool)
    pairs = [({0: no}, {0: wins[0]}), ({0: no}, {0: wins[1]}), ({0: wins[2]}, {0: no})]
    x, y, z = (stats.binom.pmf(range(11), 10, n / 10) for n in (2, 3, 4))
    exact = np.convolve(np.convolve(x, y), z[::-1])  # index 10 is no difference
    expected = 2 * min(exact[:11].sum(), exact[10:].sum())
    found = joint_bootstrap(pairs, rounds=40_000)
    assert found.difference == pytest.approx(1 / 30)
    assert found.p == pytest.approx(expected, abs=4 * 2 * math.sqrt(0.25 / 40_000))


def test_targets_are_drawn_each_by_itself():
    # Twice the same data as two targets: the average of independent draws has 1/sqrt(2) the spread.
    pair = simulated(np.random.default_rng(11), gain=0.2)
    one, two = (joint_bootstrap([pair] * n, rounds=20_000) for n in (1, 2))
    assert two.difference == pytest.approx(one.difference)
    assert (two.high - two.low) / (one.high - one.low) == pytest.approx(0.5**0.5, rel=0.05)


def test_bootstrap_refuses_what_cannot_be_paired():
    yes, more = np.ones(4, bool), np.ones(5, bool)
    with pytest.raises(ValueError, match=r"same samples, not \[4, 5\]"):
        paired_bootstrap({0: yes}, {0: more})
    with pytest.raises(ValueError, match=r"same samples, not \[4, 5\]"):
        paired_bootstrap({0: yes, 1: more}, {0: yes, 1: more})
    with pytest.raises(ValueError, match="no samples"):
        paired_bootstrap({0: yes[:0]}, {0: yes[:0]})
    with pytest.raises(ValueError, match="booleans"):
        paired_bootstrap({0: np.arange(4)}, {0: yes})
    for wrong in ({"rounds": 0}, {"level": 1.0}, {"level": 0.0}):
        with pytest.raises(ValueError, match="rounds must be"):
            paired_bootstrap({0: yes}, {0: yes}, **wrong)


def test_holm_of_a_hand_worked_case():
    # Sorted .005 .01 .03 .04 times 4 3 2 1 is .02 .03 .06 .04; made monotone .02 .03 .06 .06.
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.4, 0.3, 0.9]) == pytest.approx([0.9, 0.9, 0.9])  # .3*3, then max of .4*2, .9
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([]) == []
    for wrong in (1.1, -0.1, math.nan):
        with pytest.raises(ValueError, match="between 0 and 1"):
            holm([0.5, wrong])


def test_binomial_error_of_hand_worked_cases():
    assert binomial_error(0.8, 100) == pytest.approx(0.04)  # sqrt(.16 / 100)
    assert binomial_error(1.0, 5) == 0.0
    for accuracy, n in ((80.0, 100), (-0.1, 100), (0.5, 0), (math.nan, 10)):
        with pytest.raises(ValueError, match="accuracy between 0 and 1"):
            binomial_error(accuracy, n)


def test_wilcoxon_of_a_hand_worked_case():
    # Differences 1 2 3 4 5 -6: W+ = 15, W- = 6, effect 9/21. The 64 sign patterns: P(W- <= 6) by
    # subsets of 1..6 with sum 0..6 are 1 1 1 2 2 3 4 = 14, so p = 2 * 14/64.
    found = wilcoxon([0] * 6, [1, 2, 3, 4, 5, -6])
    assert found.p == pytest.approx(28 / 64)
    assert (found.n, found.difference) == (6, 1.5)
    assert found.effect == pytest.approx(9 / 21)
    back = wilcoxon([1, 2, 3, 4, 5, -6], [0] * 6)
    assert (back.p, back.effect, back.difference) == (found.p, -found.effect, -1.5)


def test_wilcoxon_is_exact_with_ties():
    # All 2^9 signs of |d| = 1 1 1 2 2 3 5 5 6, whose ranks are 2 2 2 4.5 4.5 6 7.5 7.5 9.
    b = [1, 1, -1, 2, 2, 3, -5, 5, 6]
    ranks = [2, 2, 2, 4.5, 4.5, 6, 7.5, 7.5, 9]
    sums = np.array([np.dot(ranks, signs) for signs in itertools.product((0, 1), repeat=9)])
    expected = 2 * np.mean(sums <= 2 + 7.5)  # the losses
    assert wilcoxon([0] * 9, b).p == pytest.approx(expected)
    # Ten equal differences of one sign: 2 of 2^10.
    assert wilcoxon([0] * 10, [1] * 10).p == pytest.approx(2 / 1024)
    assert wilcoxon([0] * 8, [1, -1] * 4).p == 1.0


def test_wilcoxon_drops_pairs_without_a_difference():
    found = wilcoxon([0] * 8, [1, 2, 3, 4, 5, -6, 0, 0])
    assert (found.p, found.n) == (pytest.approx(28 / 64), 8)
    assert (found.effect, found.difference) == (pytest.approx(9 / 21), 9 / 8)
    none = wilcoxon([0.3] * 6, [0.1 + 0.2] * 6)  # 0.30000000000000004
    assert (none.p, none.n, none.effect, none.difference) == (1.0, 6, 0.0, 0.0)


def test_wilcoxon_agrees_with_scipy_and_needs_six_pairs():
    rng = np.random.default_rng(12)
    for n in (LEAST, 20, EXACT, EXACT + 1):
        a, b = rng.random(n), rng.random(n)
        assert wilcoxon(a, b).p == pytest.approx(stats.wilcoxon(b, a).pvalue)
    assert wilcoxon([0] * 6, range(1, 7)).p == pytest.approx(2 / 64)
    assert wilcoxon([0] * 5, range(1, 6)) is None
    with pytest.raises(ValueError, match="pairs: 6 and 7"):
        wilcoxon([0] * 6, [0] * 7)
    with pytest.raises(ValueError, match="not finite"):
        wilcoxon([0] * 6, [math.nan] * 6)


def test_friedman_of_the_example_of_demsar():
    scores = -np.array(DEMSAR.split(), float).reshape(14, 4)
    found = friedman(scores)
    assert found.ranks == pytest.approx((3.143, 2.000, 2.893, 1.964), abs=5e-4)
    # He does not correct for ties: 12 N / (k (k + 1)) (sum R^2 - k (k + 1)^2 / 4) = 9.28.
    uncorrected = 12 * 14 / 20 * (sum(r**2 for r in found.ranks) - 25)
    assert uncorrected == pytest.approx(9.28, abs=5e-3)
    assert (found.statistic, found.p) == pytest.approx(stats.friedmanchisquare(*scores.T))
    assert found.critical == pytest.approx(2.569 * math.sqrt(4 * 5 / (6 * 14)), abs=1e-3)
    assert found.critical == pytest.approx(1.25, abs=5e-3)
    assert found.groups == ((3, 1, 2, 0),)  # 3.143 - 1.964 < 1.25: he finds no pair apart


@pytest.mark.parametrize(("methods", "q"), [(3, 2.343), (5, 2.728), (7, 2.949), (10, 3.164)])
def test_critical_difference_agrees_with_the_published_table(methods, q):
    # Demsar (2006), table 5(a).
    scores = np.random.default_rng(0).random((20, methods))
    expected = q * math.sqrt(methods * (methods + 1) / (6 * 20))
    assert friedman(scores).critical == pytest.approx(expected, rel=5e-4)


def test_groups_are_the_longest_runs_within_the_critical_difference():
    # The second column always wins, then 0, 2, 3, 4. Ranks of 12 cases: column 1 is 1, column 0 is
    # 2, ..., column 4 is 5; q(5) = 2.728 gives 2.728 sqrt(30/72) = 1.76: neighbours only.
    scores = np.tile([4.0, 5.0, 3.0, 2.0, 1.0], (12, 1))
    found = friedman(scores)
    assert found.ranks == (2.0, 1.0, 3.0, 4.0, 5.0)
    assert found.groups == ((1, 0), (0, 2), (2, 3), (3, 4))
    assert friedman(np.tile([3.0, 1.0, 2.0], (100, 1))).groups == ()  # 0.23: all apart
    # 8 cases: 2.16, so runs of three, and the pairs within them are not told again.
    assert friedman(scores[:8]).groups == ((1, 0, 2), (0, 2, 3), (2, 3, 4))


def test_friedman_with_ties_and_with_too_little():
    found = friedman(np.array([[0.3, 0.1 + 0.2, 0.3]] * 6))
    assert (found.statistic, found.p, found.ranks) == (0.0, 1.0, (2.0, 2.0, 2.0))
    assert found.groups == ((0, 1, 2),)
    scores = np.random.default_rng(14).random((6, 3))
    assert friedman(scores) is not None
    assert friedman(scores[:5]) is None
    assert friedman(scores[:, :2]) is None
    with pytest.raises(ValueError, match="finite"):
        friedman(np.full((6, 3), math.nan))
    with pytest.raises(ValueError, match="one row per case"):
        friedman(scores[0])


def test_cohens_d_of_hand_worked_cases():
    # Differences 1, 2, 3: mean 2, sample sd 1.
    assert cohens_d([1, 1, 1], [2, 3, 4]) == pytest.approx(2.0)
    assert cohens_d([2, 3, 4], [1, 1, 1]) == pytest.approx(-2.0)
    rng = np.random.default_rng(13)
    a, b = rng.random(9), rng.random(9)
    t = stats.ttest_rel(b, a).statistic  # of which d_z is t / sqrt(n)
    assert cohens_d(a, b) == pytest.approx(t / 3)
    assert cohens_d(a, b) == pytest.approx(plain.mean(b - a) / plain.stdev(b - a))
    assert cohens_d([1.0], [2.0]) is None
    assert cohens_d([0.1, 0.2, 0.7], [0.2, 0.3, 0.8]) is None  # equal but for their last bits
