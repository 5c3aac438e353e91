"""Measures of confidence against hand-worked cases and slow definitions."""

import numpy as np
import pytest

from benchmark.analysis import confidence

RNG = np.random.default_rng(0)


def test_calibration_error_by_hand():
    """Two bins of ten: three at .95 of which two are right, one at .55 that is wrong."""
    sure = np.array([0.95, 0.95, 0.95, 0.55])
    correct = np.array([True, True, False, False])
    bins = confidence.reliability(sure, correct, bins=10)
    assert bins.number.tolist() == [0, 0, 0, 0, 0, 1, 0, 0, 0, 3]
    assert bins.accuracy[9] == pytest.approx(2 / 3)
    assert bins.confidence[5] == pytest.approx(0.55)
    assert bins.error == pytest.approx(3 / 4 * (0.95 - 2 / 3) + 1 / 4 * 0.55)


def test_a_bin_holds_its_upper_end_and_not_its_lower_one():
    bins = confidence.reliability(np.array([0.0, 0.5, 1.0]), np.array([True] * 3), bins=2)
    assert bins.number.tolist() == [2, 1]


@pytest.mark.parametrize("true", [0.5, 1.0, 3.0])
def test_the_temperature_of_labels_drawn_at_one_is_found(true):
    """Labels are drawn from softmax(z); logits that are reported as z * true need T = true."""
    logits = RNG.normal(size=(20_000, 4)) * 2
    shares = confidence.softmax(logits)
    labels = (RNG.random(len(logits))[:, None] > shares.cumsum(axis=1)).sum(axis=1)
    found = confidence.temperature(logits * true, labels)
    assert found == pytest.approx(true, rel=0.05)
    assert confidence.log_loss(logits * true / found, labels) <= confidence.log_loss(
        logits * true, labels
    )


def test_log_loss_by_hand():
    logits = np.log(np.array([[0.5, 0.5], [0.9, 0.1]]))
    expected = -(np.log(0.5) + np.log(0.1)) / 2
    assert confidence.log_loss(logits, np.array([0, 1])) == pytest.approx(expected)


def test_area_under_the_risk_coverage_curve_by_hand():
    """Sorted by confidence: right, wrong, right, wrong. Risks 0, 1/2, 1/3, 2/4."""
    sure = np.array([0.6, 0.9, 0.7, 0.8])
    correct = np.array([False, True, True, False])
    assert confidence.aurc(sure, correct) == pytest.approx((0 + 1 / 2 + 1 / 3 + 1 / 2) / 4)


def test_equal_confidence_counts_as_in_random_order():
    sure = np.array([0.9, 0.5, 0.5, 0.5, 0.5, 0.2])
    correct = np.array([True, False, True, True, False, False])
    shuffled = []
    for _ in range(20_000):
        noise = sure + 1e-9 * RNG.random(6)
        shuffled.append(confidence.aurc(noise, correct))
    assert confidence.aurc(sure, correct) == pytest.approx(np.mean(shuffled), abs=2e-3)
    order = RNG.permutation(6)
    assert confidence.aurc(sure[order], correct[order]) == confidence.aurc(sure, correct)


def test_a_perfect_ranking_has_almost_no_excess():
    correct = np.arange(10_000) < 7_000
    sure = np.linspace(1, 0, 10_000)
    assert confidence.excess_aurc(sure, correct) == pytest.approx(0, abs=1e-4)
    assert confidence.excess_aurc(-sure, correct) > 0.3


@pytest.mark.parametrize("right", [0, 5])
def test_excess_where_all_are_wrong_or_right(right):
    correct = np.arange(5) < right
    assert confidence.excess_aurc(RNG.random(5), correct) == pytest.approx(0)


def test_auroc_is_the_share_of_pairs_in_order():
    score = RNG.integers(0, 6, 60).astype(float)
    positive = RNG.random(60) < 0.4
    pairs = [
        1.0 if a > b else 0.5 if a == b else 0.0 for a in score[positive] for b in score[~positive]
    ]
    assert confidence.auroc(score, positive) == pytest.approx(np.mean(pairs))


def test_average_precision_equals_that_of_scikit_learn():
    metrics = pytest.importorskip("sklearn.metrics")
    score = RNG.integers(0, 9, 200).astype(float)
    positive = RNG.random(200) < 0.3
    expected = metrics.average_precision_score(positive, score)
    assert confidence.aupr(score, positive) == pytest.approx(expected)


def test_the_two_definitions_of_fpr95_differ_where_they_should():
    """Twenty-one positives: 19/21 is .905, 20/21 is .952 and 1. One negative between each.

    The first threshold with at least .95 has .952; the nearest to .95 is that one too. With
    sixteen positives, 15/16 = .9375 is nearer to .95 than 1 is, and 1 is the first at least .95.
    """
    score = np.arange(32, 0, -1).astype(float)
    positive = np.arange(32) % 2 == 0
    found = confidence.fpr95(score, positive)
    assert found == {"first": pytest.approx(15 / 16), "nearest": pytest.approx(14 / 16)}


def test_where_all_are_alike_nothing_is_told_apart():
    score, every = RNG.random(4), np.ones(4, dtype=bool)
    for positive in (every, ~every):
        assert confidence.auroc(score, positive) is None
        assert confidence.aupr(score, positive) is None
        assert confidence.fpr95(score, positive) == {"first": None, "nearest": None}
