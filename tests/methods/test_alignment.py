"""What all methods that compare domains keep; CORAL and MMD."""

import itertools
import math

import numpy as np
import pytest
import torch
from support_domains import (
    ALIGNING,
    COMPARING,
    THREE,
    at_once,
    clouds,
    concatenated,
    in_domains,
    prepared,
    shifted_domains,
)
from support_methods import (
    VECTORS,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    tiny_model,
    train,
    trajectory,
)

from methods import coral, mmd
from methods.base import FUSED

DISTANCES = {"coral": coral.CORAL().distance, "mmd": mmd.MMD().distance}

every_distance = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)


# All that compare domains


@pytest.mark.parametrize("composition", COMPARING)
def test_with_one_source_domain_every_domain_term_is_absent_and_it_is_erm_bitwise(composition):
    batches = [in_domains(batch, [0] * 8) for batch in make_batches(THREE, 5)]
    methods = [prepared(name, domains=1, **at_once(name)) for name in ("erm", composition)]
    for method in methods:
        assert set(method.loss(batches[0])) == {FUSED}
        train(method, batches, adam(method))
        assert method.run.resets == []
    assert_same(dict(methods[1].model.state_dict()), dict(methods[0].model.state_dict()))


@pytest.mark.parametrize("composition", COMPARING)
def test_without_two_domains_of_two_samples_in_the_batch_the_term_is_absent(composition):
    method = prepared(composition, domains=3)
    batch = make_batch(THREE, size=6)
    assert set(method.loss(in_domains(batch, [0, 0, 0, 0, 1, 2]))) == {FUSED}
    assert len(method.loss(in_domains(batch, [0, 0, 0, 1, 1, 2]))) == 2


@pytest.mark.parametrize("composition", ("mixup", *COMPARING))
def test_the_fused_loss_of_every_method_reaches_all_encoders_and_the_fusion_head(composition):
    gradient = gradients_of(prepared(composition), make_batch(THREE))
    for part in (*(f"encoders.{k}" for k in THREE), "fusion"):
        assert any(g.any() for name, g in gradient.items() if name.startswith(part))


# CORAL and MMD


@every_distance
def test_a_distance_is_zero_for_equal_blocks_symmetric_and_positive_otherwise(distance):
    for seed in range(20):
        a, b = clouds(seed, 5, 8)
        assert float(distance(a, a.clone())) == pytest.approx(0, abs=1e-12)
        assert float(distance(a, a.flip(0))) == pytest.approx(0, abs=1e-12)
        assert float(distance(a, b)) > 1e-3
        assert_close(distance(a, b), distance(b, a), 1e-12)


def test_coral_of_a_hand_worked_pair_has_unbiased_variances():
    a, b = (torch.tensor(x, dtype=torch.float64).unsqueeze(1) for x in ([0, 2], [0, 4, 2, 2]))
    assert float(DISTANCES["coral"](a, b)) == pytest.approx(1 + (2 - 8 / 3) ** 2, abs=1e-12)


def test_coral_of_a_shifted_block_is_the_mean_square_of_the_shift():
    (a,) = clouds(0, 6, dim=4)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    assert float(DISTANCES["coral"](a, a + shift)) == pytest.approx(5.25 / 4, abs=1e-12)


@pytest.mark.parametrize("sizes", [(4, 7), (2, 2), (12, 9)])
def test_coral_is_the_mean_squared_difference_of_means_and_covariance_matrices(sizes):
    a, b = clouds(3, *sizes, dim=5)
    covariances = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    expected = np.mean((a.numpy().mean(0) - b.numpy().mean(0)) ** 2)
    expected += np.mean((covariances[0] - covariances[1]) ** 2)
    assert float(DISTANCES["coral"](a, b)) == pytest.approx(expected, abs=1e-12)


def kernel(x, y):
    return sum(math.exp(-(10.0**e) * float(((x - y) ** 2).sum())) for e in range(-3, 4))


def test_mmd_is_the_biased_estimate_with_seven_gaussian_kernels():
    a, b = clouds(1, 3, 5)
    means = [
        sum(kernel(x, y) for x in p for y in q) / (len(p) * len(q)) for p in (a, b) for q in (a, b)
    ]
    expected = means[0] + means[3] - means[1] - means[2]
    assert float(DISTANCES["mmd"](a, b)) == pytest.approx(expected, abs=1e-12)


def test_mmd_of_two_points_of_distance_one_is_known_in_closed_form():
    a, b = torch.zeros(2, 1, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    expected = 2 * 7 - 2 * sum(math.exp(-(10.0**e)) for e in range(-3, 4))
    assert float(DISTANCES["mmd"](a, b)) == pytest.approx(expected, abs=1e-12)
    assert expected > 7, "kernels that are all about 1 would give 0"


@pytest.mark.parametrize("composition", ALIGNING)
def test_alignment_is_the_mean_over_pairs_of_domains_of_concatenated_raw_embeddings(composition):
    method = prepared(composition, domains=4, weight=2.5)
    batch = in_domains(make_batch(THREE, size=10), [3, 0, 1, 1, 0, 2, 0, 3, 3, 1])
    z = concatenated(method.model, batch)
    blocks = [z[[1, 4, 6]], z[[2, 3, 9]], z[[0, 7, 8]]]  # domain 2 has a single sample
    expected = sum(DISTANCES[composition](a, b) for a, b in itertools.combinations(blocks, 2)) / 3
    terms = method.loss(batch)
    assert_close(terms[composition], 2.5 * expected, 1e-12)
    assert_same(terms[FUSED], prepared("erm").loss(batch)[FUSED])


@pytest.mark.parametrize("composition", ALIGNING)
def test_alignment_with_weight_zero_is_erm(composition):
    batches = make_batches(VECTORS)
    erm, other = (
        trajectory(name, tiny_model(), batches, **settings)
        for name, settings in (("erm", {}), (composition, {"weight": 0.0}))
    )
    for mine, theirs in zip(other, erm, strict=True):
        assert_close(mine, theirs, 1e-12)


@pytest.mark.parametrize("composition", ALIGNING)
def test_the_distance_between_domains_falls_during_training_and_ends_below_that_of_erm(composition):
    batch, ends = shifted_domains(), {}
    for name in ("erm", composition):
        method = prepared(name, tiny_model(), **({} if name == "erm" else {"weight": 10.0}))

        def gap(method=method):
            z = concatenated(method.model, batch).detach()
            return float(DISTANCES[composition](z[batch.domains == 0], z[batch.domains == 1]))

        before = gap()
        train(method, [batch] * 60, adam(method))
        ends[name] = gap() / before
    assert ends[composition] < 0.5
    assert ends[composition] < 0.6 * ends["erm"]
