"""OGM-GE: which gradients are scaled, by how much, and the noise."""

import math

import pytest
import torch
from support import tiny_specs
from support_balancing import scores_by_hand
from support_methods import (
    WITH_BATCH_NORM,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tensors,
    tiny_model,
    trajectory,
    without_dropout,
)
from torch import nn

from benchmark.backbones.base import Encoder
from methods.ogm_ge import coefficients
from mmdg_common import UsageError

THREE = ("a", "b", "d")


def gradients(composition, modalities=THREE, batch=None, **hyperparameters):
    """Return the gradients of one batch on a new model, with dropout in train mode."""
    method = make_method(composition, tiny_model(modalities), **hyperparameters)
    return gradients_of(method, batch or make_batch(modalities))


def by_hand(model, batch, alpha):
    """Return κ_k from the definition."""
    scores = scores_by_hand(model, batch)
    kappas = {}
    for k, score in scores.items():
        others = [s for j, s in scores.items() if j != k]
        ratio = score / (sum(others) / len(others))
        kappas[k] = 1 - math.tanh(alpha * ratio) if ratio > 1 else 1.0
    return kappas


def modality_of(name):
    """Return the modality of an encoder's parameter, None for neck, heads and fusion."""
    return name.split(".")[1] if name.startswith("encoders.") else None


@pytest.mark.parametrize(("ratio", "kappa"), [(2.0, 0.46295), (1.0001, 0.70866)])
def test_a_dominant_modality_is_slowed_by_the_published_coefficient(ratio, kappa):
    kappas = coefficients({"a": 3.0 * ratio, "b": 3.0}, alpha=0.3)
    assert kappas["a"] == pytest.approx(kappa, abs=5e-6)
    assert kappas["b"] == 1.0


def test_equal_scores_slow_nobody():
    assert coefficients({"a": 2.5, "b": 2.5}, alpha=0.3) == {"a": 1.0, "b": 1.0}


def test_three_modalities_compare_with_the_mean_of_the_others():
    kappas = coefficients({"a": 4.0, "b": 1.0, "c": 3.0}, alpha=0.3)
    assert kappas["a"] == pytest.approx(1 - math.tanh(0.3 * 4 / 2), abs=1e-6)
    assert kappas["b"] == 1.0
    assert kappas["c"] == pytest.approx(1 - math.tanh(0.3 * 3 / 2.5), abs=1e-6)


@pytest.mark.parametrize("modalities", [("a", "b"), THREE])
@pytest.mark.parametrize("seed", range(3))
def test_only_the_encoders_are_scaled_each_by_its_coefficient(modalities, seed):
    alpha, batch = 0.6, make_batch(modalities, seed=seed)
    expected = by_hand(tiny_model(modalities), batch, alpha)
    assert min(expected.values()) < 0.5
    assert max(expected.values()) == 1.0
    erm = gradients("erm", modalities, batch)
    ogm = gradients("ogm_ge", modalities, batch, alpha=alpha, ge=False)
    for name, gradient in ogm.items():
        k = modality_of(name)
        if k is None:
            assert torch.equal(gradient, erm[name]), name
        else:
            assert erm[name].norm() > 0
            assert_close(gradient, expected[k] * erm[name], 1e-12)


def test_without_noise_the_direction_of_every_encoders_gradient_is_kept():
    erm, ogm = gradients("erm"), gradients("ogm_ge", alpha=1.0, ge=False)
    for k in THREE:
        names = [name for name in erm if modality_of(name) == k]
        before, after = (torch.cat([g[name].flatten() for name in names]) for g in (erm, ogm))
        cosine = torch.nn.functional.cosine_similarity(before, after, dim=0)
        assert float(cosine) == pytest.approx(1.0, abs=1e-9)


def test_without_strength_and_noise_it_is_erm_bitwise_over_several_steps():
    batches = make_batches(WITH_BATCH_NORM)
    erm = trajectory("erm", tiny_model(WITH_BATCH_NORM), batches)
    ogm = trajectory("ogm_ge", tiny_model(WITH_BATCH_NORM), batches, alpha=0.0, ge=False)
    assert_same(ogm, erm)


def wide_encoder(modality):
    sizes = {"a": 6, "b": 5}
    tail = nn.Sequential(nn.Linear(sizes[modality], 200), nn.Tanh(), nn.Linear(200, 100))
    return Encoder(nn.Identity(), tail, 100)


def test_the_noise_has_the_deviation_of_the_unscaled_gradient_in_every_encoder_tensor():
    alpha, batch = 2.0, make_batch()
    expected = by_hand(tiny_model(encoder=wide_encoder), batch, alpha)
    dominant = min(expected, key=expected.get)
    assert expected[dominant] < 0.05, "only so does scaling before or after the noise differ"
    erm = gradients_of(make_method("erm", tiny_model(encoder=wide_encoder)), batch)
    method = make_method("ogm_ge", tiny_model(encoder=wide_encoder), alpha=alpha)
    noisy = gradients_of(method, batch)
    for name, gradient in noisy.items():
        k = modality_of(name)
        if k is None:
            assert torch.equal(gradient, erm[name]), name
            continue
        noise, spread = gradient - expected[k] * erm[name], erm[name].std()
        few = noise.numel() ** -0.5
        assert float(noise.std() / spread) == pytest.approx(1.0, abs=4 * few), name
        assert abs(float(noise.mean() / spread)) < 4 * few, name


def test_over_many_draws_the_noise_has_mean_zero_around_the_scaled_gradient():
    alpha, draws, batch = 1.0, 400, make_batch()
    expected = by_hand(tiny_model(), batch, alpha)
    erm = gradients_of(make_method("erm", without_dropout(tiny_model())), batch)
    method = make_method("ogm_ge", without_dropout(tiny_model()), alpha=alpha)
    drawn = [gradients_of(method, batch, seed) for seed in range(draws)]
    for name, plain in erm.items():
        if k := modality_of(name):
            values = torch.stack([g[name] for g in drawn])
            error = values.mean(0) - expected[k] * plain
            assert float(error.abs().max() / plain.std()) < 5 * draws**-0.5, name
            assert float((values.std(0) / plain.std()).mean()) == pytest.approx(1.0, abs=0.1), name


def test_modulation_ends_after_its_epochs():
    batch = make_batch(THREE)
    erm = gradients("erm", batch=batch)
    modulated = []
    for epoch in range(4):
        method = make_method("ogm_ge", tiny_model(THREE), alpha=1.0, epochs=2)
        method.run.epoch = epoch
        ogm = gradients_of(method, batch)
        modulated.append(any(not torch.equal(ogm[name], erm[name]) for name in erm))
    assert modulated == [True, True, False, False]


def test_scoring_leaves_train_mode_and_batch_norm_as_erm_does():
    batches = make_batches(WITH_BATCH_NORM, 3)
    models = {name: tiny_model(WITH_BATCH_NORM) for name in ("erm", "ogm_ge")}
    for composition, model in models.items():
        method = make_method(composition, model)
        for batch in batches:
            gradients_of(method, batch)
            assert all(module.training for module in method.modules()), composition
    assert_same(tensors(models["ogm_ge"]), tensors(models["erm"]))


def test_the_scores_use_no_dropout():
    batch = make_batch()
    seen = [gradients_of(make_method("ogm_ge", tiny_model(), ge=False), batch, s) for s in (1, 2)]
    erm = [gradients_of(make_method("erm", tiny_model()), batch, s) for s in (1, 2)]
    name = "encoders.a.tail.0.weight"
    other = "encoders.b.tail.0.weight"
    ratios = [
        [float(ogm[n].norm() / plain[n].norm()) for n in (name, other)]
        for ogm, plain in zip(seen, erm, strict=True)
    ]
    assert ratios[0] == pytest.approx(ratios[1], abs=1e-12)


def test_the_loss_is_that_of_erm():
    batch = make_batch(THREE)
    terms = []
    for composition in ("erm", "ogm_ge"):
        torch.manual_seed(0)
        terms.append(make_method(composition, tiny_model(THREE)).loss(batch))
    assert_same(terms[1], terms[0])


def test_one_modality_is_refused_with_the_reason(tmp_path):
    with pytest.raises(UsageError, match="ogm_ge needs at least 2 modalities"):
        tiny_specs(tmp_path, "ogm_ge", modalities=("m1",))
