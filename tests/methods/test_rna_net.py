"""RNA-Net: which norms are compared, in which order, and what they do to the encoders."""

import pytest
import torch
from support_methods import (
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tiny_model,
    train,
    trajectory,
    without_dropout,
)

from methods.base import FUSED
from methods.rna_net import mean_norms, misalignment

THREE = ("a", "b", "d")


def norms(**values):
    return {k: torch.tensor(n, dtype=torch.float64) for k, n in values.items()}


def lengths_by_hand(model, batch):
    """Return the mean over samples of sqrt(Σ z²) of each raw embedding."""
    z = model.embed(batch.features)
    return {k: torch.stack([(row**2).sum().sqrt() for row in x]).mean() for k, x in z.items()}


@torch.no_grad()
def gap(model):
    return float(misalignment(lengths_by_hand(model, make_batch(THREE))))


def test_the_order_of_two_norms_decides_what_a_difference_costs():
    assert float(misalignment(norms(a=2.0, b=1.0))) == 1.0
    assert float(misalignment(norms(a=1.0, b=2.0))) == 0.25


def test_the_symmetric_form_is_the_mean_of_both_orders():
    expected = pytest.approx((1.0 + 0.25) / 2)
    assert float(misalignment(norms(a=2.0, b=1.0), symmetric=True)) == expected
    assert float(misalignment(norms(a=1.0, b=2.0), symmetric=True)) == expected


@pytest.mark.parametrize("symmetric", [False, True])
def test_it_is_zero_exactly_where_all_norms_are_equal(symmetric):
    assert float(misalignment(norms(a=3.0, b=3.0, d=3.0), symmetric)) == 0
    for other in (norms(a=3.1, b=3.0, d=3.0), norms(a=3.0, b=2.9, d=3.0)):
        assert float(misalignment(other, symmetric)) > 0


def test_three_modalities_are_compared_pair_by_pair_in_the_datasets_order():
    expected = ((6 / 2 - 1) ** 2 + (6 / 3 - 1) ** 2 + (2 / 3 - 1) ** 2) / 3
    assert float(misalignment(norms(a=6.0, b=2.0, d=3.0))) == pytest.approx(expected)


def test_a_norm_is_the_mean_length_and_not_the_length_of_the_mean():
    z = torch.tensor([[3.0, 4.0], [-3.0, -4.0], [0.0, 2.0]], dtype=torch.float64)
    assert float(mean_norms({"a": z})["a"]) == pytest.approx((5 + 5 + 2) / 3)


@pytest.mark.parametrize("symmetric", [False, True])
def test_the_loss_takes_raw_embeddings_and_its_gradient_reaches_both_sides_of_a_pair(symmetric):
    alpha, batch = 0.7, make_batch(THREE)
    model = without_dropout(tiny_model(THREE))
    method = make_method("rna_net", model, alpha=alpha, symmetric=symmetric)
    n = lengths_by_hand(model, batch)
    pairs = [(n["a"], n["b"]), (n["a"], n["d"]), (n["b"], n["d"])]
    pairs += [(b, a) for a, b in pairs] if symmetric else []
    alignment = alpha * sum((a / b - 1) ** 2 for a, b in pairs) / len(pairs)
    erm = make_method("erm", model).loss(batch)[FUSED]
    terms = method.loss(batch)
    assert_close(terms, {FUSED: erm, "alignment": alignment}, 1e-12)
    assert float(alignment.detach()) > 0
    theta = [p for k in THREE for p in model.tail_parameters(k).values()]
    expected = torch.autograd.grad(alignment, theta)
    for mine, by_hand in zip(torch.autograd.grad(terms["alignment"], theta), expected, strict=True):
        assert by_hand.any()
        assert_close(mine, by_hand, 1e-12)


def test_the_neck_and_the_heads_get_no_gradient_from_the_norms():
    batch = make_batch(THREE)
    erm, rna = (gradients_of(make_method(m, tiny_model(THREE)), batch) for m in ("erm", "rna_net"))
    for name, gradient in rna.items():
        assert torch.equal(gradient, erm[name]) != name.startswith("encoders"), name


@pytest.mark.parametrize(
    ("modalities", "alpha"), [(WITH_BATCH_NORM, 0.0), (("a",), 1.0), (("c",), 1.0)]
)
def test_without_weight_or_with_one_modality_it_is_erm_bitwise(modalities, alpha):
    batches = make_batches(modalities)
    erm = trajectory("erm", tiny_model(modalities), batches)
    assert_same(trajectory("rna_net", tiny_model(modalities), batches, alpha=alpha), erm)


@pytest.mark.parametrize("long", ["a", "d"])
def test_training_brings_norms_together_that_erm_leaves_apart(long):
    ends = {}
    for composition in ("erm", "rna_net"):
        model = without_dropout(tiny_model(THREE))
        with torch.no_grad():
            for k in THREE:
                for p in model.tail_parameters(k).values():
                    p.mul_(3.0 if k == long else 0.3)
        method = make_method(composition, model)
        start = gap(model)
        train(method, make_batches(THREE) * 30, adam(method))
        ends[composition] = gap(model)
    assert ends["rna_net"] < 0.1 * start
    assert ends["rna_net"] < 0.2 * ends["erm"]


def test_embeddings_of_length_zero_give_finite_gradients():
    model = without_dropout(tiny_model())
    with torch.no_grad():
        for p in model.tail_parameters("b").values():
            p.zero_()
    method = make_method("rna_net", model)
    assert all(torch.isfinite(g).all() for g in gradients_of(method, make_batch()).values())
    assert torch.isfinite(method.loss(make_batch())["alignment"])
