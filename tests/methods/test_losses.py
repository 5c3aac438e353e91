"""Loss terms that several methods share: contrast, entropy, and the halves of embeddings."""

import math

import pytest
import torch
from support_methods import assert_close
from torch.nn import functional as F

from methods.shared.losses import entropy, explore, half_size, halves, scaled_contrastive
from methods.shared.losses import supervised_contrastive as contrastive

TEMPERATURE = 0.1


def views(samples=6, count=2, dim=8, seed=0):
    """Draw [B, V, D] of length 1."""
    generator = torch.Generator().manual_seed(seed)
    drawn = torch.randn(samples, count, dim, generator=generator, dtype=torch.float64)
    return F.normalize(drawn, dim=2)


def by_hand(features, labels, temperature):
    """Return equation 2 of the paper, anchor by anchor."""
    flat = [(v, int(y)) for sample, y in zip(features, labels, strict=True) for v in sample]
    anchors = []
    for i, (anchor, label) in enumerate(flat):
        others = [(v, y) for j, (v, y) in enumerate(flat) if j != i]
        scores = [math.exp(float(anchor @ v) / temperature) for v, _ in others]
        positives = [s for s, (_, y) in zip(scores, others, strict=True) if y == label]
        if positives:
            logs = [math.log(s / sum(scores)) for s in positives]
            anchors.append(-sum(logs) / len(logs))
    return sum(anchors) / len(anchors) if anchors else 0.0


# Supervised contrast


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("labels", [[0, 1, 0, 1, 1, 2], [3] * 6, [0, 1, 2, 3, 4, 5]])
def test_the_contrast_is_that_of_the_paper(count, labels):
    features = views(count=count)
    value = contrastive(features, torch.tensor(labels), TEMPERATURE)
    assert float(value) == pytest.approx(by_hand(features, labels, TEMPERATURE), abs=1e-9)


@pytest.mark.parametrize(("samples", "count"), [(2, 1), (4, 2), (5, 3), (1, 3)])
def test_equal_features_give_the_logarithm_of_the_number_of_others(samples, count):
    features = views(1, 1).expand(samples, count, 8)
    labels = torch.zeros(samples, dtype=torch.int64)
    expected = math.log(samples * count - 1)
    assert float(contrastive(features, labels, TEMPERATURE)) == pytest.approx(expected, abs=1e-9)


def test_classes_on_axes_of_their_own_contrast_less_under_their_labels_than_under_others():
    labels = torch.tensor([0, 1, 2, 0, 1, 2])
    features = F.one_hot(labels, 3).double().unsqueeze(1).expand(6, 2, 3)
    right, wrong = (
        float(contrastive(features, y, TEMPERATURE)) for y in (labels, torch.arange(6) // 2)
    )
    assert right == pytest.approx(math.log(3 + 8 * math.exp(-1 / TEMPERATURE)), abs=1e-9)
    assert wrong > right + 1


def test_the_order_of_views_and_samples_and_who_owns_a_view_make_no_difference():
    features, labels = views(count=3), torch.tensor([0, 1, 0, 1, 1, 2])
    expected = contrastive(features, labels, TEMPERATURE)
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    for same in (
        contrastive(features[:, [2, 0, 1]], labels, TEMPERATURE),
        contrastive(features[order], labels[order], TEMPERATURE),
        contrastive(features.reshape(18, 1, 8), labels.repeat_interleave(3), TEMPERATURE),
    ):
        assert_close(same, expected, 1e-12)


def test_an_anchor_without_a_positive_counts_only_among_the_others():
    features = views(3, 1)
    with_loner = contrastive(features, torch.tensor([0, 0, 1]), TEMPERATURE)
    assert float(with_loner) == pytest.approx(by_hand(features, [0, 0, 1], TEMPERATURE), abs=1e-9)
    assert float(with_loner) > 0
    assert float(contrastive(features[:2], torch.tensor([0, 0]), TEMPERATURE)) == 0


@pytest.mark.parametrize("samples", [1, 4])
def test_without_any_positive_contrast_and_gradient_are_zero_and_not_nan(samples):
    features = views(samples, 1).requires_grad_()
    loss = contrastive(features, torch.arange(samples), TEMPERATURE)
    loss.backward()
    assert float(loss.detach()) == 0
    assert not features.grad.any()


def test_the_gradient_of_the_contrast_is_that_of_finite_differences():
    features = views(4, 2, 3).requires_grad_()
    labels = torch.tensor([0, 1, 0, 2])
    assert torch.autograd.gradcheck(lambda x: contrastive(x, labels, 0.5), features)


def test_the_public_factor_is_temperature_over_seven_hundredths():
    features, labels = views(), torch.tensor([0, 1, 0, 1, 1, 2])
    scaled, plain = (f(features, labels, 0.1) for f in (scaled_contrastive, contrastive))
    assert float(scaled / plain) == pytest.approx(1.4285714, abs=1e-6)
    assert_close(scaled_contrastive(features, labels, 0.07), contrastive(features, labels, 0.07))


# Entropy


def test_entropy_is_minus_the_sum_of_p_log_p_of_each_row():
    logits = torch.tensor([[0.0, 0.0, 0.0, 0.0], [1.0, 2.0, 3.0, 4.0]], dtype=torch.float64)
    p = [math.exp(i) / sum(math.exp(j) for j in range(1, 5)) for i in range(1, 5)]
    expected = torch.tensor([math.log(4), -sum(q * math.log(q) for q in p)], dtype=torch.float64)
    assert_close(entropy(logits), expected, 1e-12)
    assert_close(entropy(logits + 100), expected, 1e-12)


def test_a_certain_guess_has_entropy_zero_and_a_finite_gradient():
    logits = torch.tensor([[1e4, 0.0, -1e4]], dtype=torch.float64, requires_grad=True)
    entropy(logits).sum().backward()
    assert float(entropy(logits).detach()) == 0
    assert torch.isfinite(logits.grad).all()


# Halves


def test_an_even_embedding_has_two_halves_and_an_odd_one_shares_its_middle():
    for dim, first, second in [
        (6, [0, 1, 2], [3, 4, 5]),
        (5, [0, 1, 2], [2, 3, 4]),
        (2, [0], [1]),
        (1, [0], [0]),
    ]:
        shared, specific = halves(torch.arange(dim).unsqueeze(0))
        assert (shared.tolist(), specific.tolist()) == ([first], [second])
        assert half_size(dim) == len(first)


@pytest.mark.parametrize("dim", [1, 2, 3, 8, 9])
@pytest.mark.parametrize("seed", range(3))
def test_the_distance_of_normalised_halves_is_bounded(dim, seed):
    z = 100 * torch.randn(5, dim, generator=torch.Generator().manual_seed(seed)).double()
    assert -4 / half_size(dim) - 1e-12 <= float(explore(z)) <= 0


def test_the_distance_is_zero_for_equal_halves_and_at_its_bound_for_opposite_ones():
    half = views(4, 1, 3).squeeze(1)
    assert float(explore(torch.cat([half, 5 * half], dim=1))) == pytest.approx(0, abs=1e-12)
    opposite = torch.cat([half, -5 * half], dim=1)
    assert float(explore(opposite)) == pytest.approx(-4 / 3, abs=1e-12)


def test_the_distance_of_halves_by_hand():
    z = torch.tensor([[3.0, 4.0, 0.0, 2.0], [1.0, 0.0, 1.0, 0.0]], dtype=torch.float64)
    normalized = ((0.6 - 0) ** 2 + (0.8 - 1) ** 2) / 4
    raw = ((3 - 0) ** 2 + (4 - 2) ** 2) / 4
    assert float(explore(z)) == pytest.approx(-normalized, abs=1e-12)
    assert float(explore(z, normalized=False)) == pytest.approx(-raw, abs=1e-12)
    assert float(explore(10 * z)) == pytest.approx(-normalized, abs=1e-12)
    assert float(explore(10 * z, normalized=False)) == pytest.approx(-100 * raw, abs=1e-9)
