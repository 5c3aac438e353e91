"""SimMMDG: its terms one by one, what they reach, and what they do in training."""

from itertools import permutations

import pytest
import torch
from support_methods import (
    VECTORS,
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    signal_encoder,
    tiny_encoder,
    tiny_model,
    train,
    trajectory,
    vector_encoder,
    without_dropout,
)
from torch import nn

from methods.base import FUSED
from methods.shared.losses import supervised_contrastive

THREE = ("a", "b", "d")
OFF = {"translation": 0.0, "contrast": 0.0, "explore": 0.0}


def even_encoder(modality):
    """Embeddings of six, eight and twelve values."""
    if modality == "c":
        return signal_encoder(3, 10)
    return vector_encoder(*{"a": (6, 6), "b": (5, 8), "d": (7, 12)}[modality])


def simmmdg(modalities=THREE, encoder=even_encoder, **hyperparameters):
    """Return the method without dropout, with the same initial weights at every call."""
    torch.manual_seed(3)
    method = make_method("simmmdg", tiny_model(modalities, encoder=encoder), **hyperparameters)
    return without_dropout(method)


def unit(z):
    """Return rows of length 1."""
    return z / (z**2).sum(dim=1, keepdim=True).sqrt()


def by_hand(method, z, labels):
    """Return the three terms without their weights, from the formulas."""
    parts, k = method.decomposition, list(z)
    translations = [
        (unit(parts.translators[f"{a}->{b}"](z[a])) - unit(z[b])).pow(2).sum(dim=1).sqrt().mean()
        for a, b in permutations(k, 2)
    ]
    half = {j: x.shape[1] // 2 for j, x in z.items()}
    views = torch.stack([unit(parts.projections[j].layers(z[j][:, : half[j]])) for j in k], dim=1)
    distances = [
        (unit(x[:, : half[j]]) - unit(x[:, half[j] :])).pow(2).mean() for j, x in z.items()
    ]
    return {
        "translation": sum(translations) / len(translations),
        "contrast": supervised_contrastive(views, labels, 0.1),
        "explore": -sum(distances) / len(distances),
    }


@pytest.mark.parametrize("modalities", [VECTORS, THREE])
def test_every_term_and_its_gradient_are_those_of_the_formulas(modalities):
    batch = make_batch(modalities)
    method = simmmdg(modalities)
    model = method.model
    z = model.embed(batch.features)
    expected = by_hand(method, z, batch.labels)
    weights = {"translation": 0.1, "contrast": 3 * 0.1 / 0.07, "explore": 0.7}
    expected = {name: weight * expected[name] for name, weight in weights.items()}
    erm = make_method("erm", model).loss(batch)
    terms = method.loss(batch)
    assert_close(terms, erm | expected, 1e-9)
    # Targets of translation are not detached, so the whole gradient has to agree.
    theta = [p for k in modalities for p in model.tail_parameters(k).values()]
    theta += method.decomposition.parameters()
    for name, term in expected.items():
        mine, hand = (
            torch.autograd.grad(t, theta, retain_graph=True, allow_unused=True)
            for t in (terms[name], term)
        )
        assert any(g is not None and g.any() for g in hand), name
        for x, y in zip(mine, hand, strict=True):
            assert (x is None) == (y is None)
            if y is not None:
                assert_close(x, y, 1e-9)


@pytest.mark.parametrize("modalities", [WITH_BATCH_NORM, ("a", "b", "c")])
def test_without_weights_it_is_erm_bitwise_over_several_steps(modalities):
    batches = make_batches(modalities)
    erm = trajectory("erm", tiny_model(modalities), batches)
    assert_same(trajectory("simmmdg", tiny_model(modalities), batches, **OFF), erm)


def test_with_one_modality_it_is_erm_bitwise():
    batches = make_batches(("c",))
    erm = trajectory("erm", tiny_model(("c",)), batches)
    assert_same(trajectory("simmmdg", tiny_model(("c",)), batches), erm)


@pytest.mark.parametrize("name", list(OFF))
def test_a_weight_scales_its_own_term_and_zero_removes_it(name):
    batch = make_batch(THREE)
    plain, double, without = (simmmdg(**{name: value}).loss(batch) for value in (1.0, 2.0, 0.0))
    assert name not in without
    for other, term in plain.items():
        assert_close(double[other], term * (2 if other == name else 1), 1e-12)


def test_the_contrast_reaches_shared_halves_alone_and_the_distance_both():
    batch, method = make_batch(THREE), simmmdg()
    z = {k: x.detach().requires_grad_() for k, x in method.model.embed(batch.features).items()}
    terms = method.decomposition.terms(z, batch.labels)
    for name, reached in (("contrast", False), ("explore", True), ("translation", True)):
        gradients = torch.autograd.grad(terms[name], list(z.values()), retain_graph=True)
        for gradient in gradients:
            half = gradient.shape[1] // 2
            assert gradient[:, :half].any(), name
            assert bool(gradient[:, half:].any()) == reached, name


def test_embeddings_of_odd_and_of_single_size_have_halves_too():
    def odd_encoder(modality):
        return vector_encoder(6, 1) if modality == "a" else tiny_encoder(modality)

    modalities = ("a", "c", "d")  # 1, 5 and 6 values
    terms = simmmdg(modalities, odd_encoder).loss(make_batch(modalities))
    assert set(terms) == {FUSED, *OFF}
    assert all(torch.isfinite(term) for term in terms.values())


def test_the_extra_networks_are_trained_and_the_unimodal_heads_are_not():
    method = simmmdg()
    gradients = gradients_of(method, make_batch(THREE))
    assert not any(g.any() for name, g in gradients.items() if name.startswith("heads"))
    assert len(method.decomposition.translators) == 6
    assert len(method.decomposition.projections) == 3
    for name, p in method.decomposition.named_parameters():
        # A bias before batch norm moves nothing.
        assert p.grad.any() or name.endswith(("layers.0.bias", "layers.3.bias")), name


def widths(method):
    return {m.out_features for m in method.decomposition.modules() if isinstance(m, nn.Linear)}


def test_the_networks_are_as_wide_as_the_widest_embedding_unless_a_width_is_given():
    assert widths(simmmdg()) == {12, 128, 6, 8}
    assert widths(simmmdg(hidden=17, out=9)) == {17, 9, 6, 8, 12}


def test_training_lowers_every_term_that_erm_does_not():
    ends = {}
    for composition, hyperparameters in (("on", {}), ("off", OFF)):
        method = simmmdg(**hyperparameters)
        train(method, make_batches(THREE) * 20, adam(method))
        batch = make_batch(THREE)
        z = method.model.embed(batch.features)
        ends[composition] = by_hand(method, z, batch.labels)
    for name, erm in ends["off"].items():
        assert (ends["on"][name] - erm).item() < -0.2 * abs(erm.item()), name


def test_raw_halves_are_pushed_apart_without_bound_and_normalised_ones_are_not():
    lowest = {}
    for halves in ("raw", "normalized"):
        method = simmmdg(explore_halves=halves, explore=1.0, contrast=0.0, translation=0.0)
        for encoder in method.model.encoders.values():
            encoder.tail[1] = nn.Identity()  # tanh would bound both
        train(method, make_batches(THREE) * 20, adam(method))
        lowest[halves] = float(method.loss(make_batch(THREE))["explore"].detach())
    assert lowest["raw"] < -2
    assert -4 / 3 <= lowest["normalized"] < 0


def test_a_batch_of_one_sample_has_every_term_and_a_finite_gradient():
    method = simmmdg()
    batch = make_batch(THREE, size=1)
    terms = method.loss(batch)
    assert set(terms) == {FUSED, *OFF}
    assert float(terms["contrast"].detach()) > 0, "the other modalities are positives"
    assert all(torch.isfinite(g).all() for g in gradients_of(method, batch).values())
