"""OPM: who is dropped, how often, and what is left."""

import math

import pytest
import torch
from support_balancing import (
    EASY,
    HARD,
    accuracy_alone,
    imbalanced,
    scores_by_hand,
    train_on_imbalance,
)
from support_methods import (
    VECTORS,
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

from methods.base import FUSED
from methods.opm import drop_rates, modulation
from methods.shared.imbalance import relative

THREE = ("a", "b", "d")


# The drop rates


def test_the_rate_follows_the_published_formula():
    rates = drop_rates({"a": 0.6, "b": 0.3}, base=0.5, slope=0.5)
    assert rates == {"a": pytest.approx(0.5 * (1 + 0.5 * math.tanh(1.0)), abs=1e-12), "b": 0.0}


def test_a_rate_starts_at_its_base_and_never_exceeds_one():
    assert drop_rates({"a": 0.50001, "b": 0.5}, 0.5, 0.5)["a"] == pytest.approx(0.5, abs=1e-4)
    assert drop_rates({"a": 1.0, "b": 0.0}, 0.9, 1.0)["a"] == 1.0


def test_equal_scores_and_a_single_modality_drop_nothing():
    assert drop_rates({"a": 0.4, "b": 0.4}, 0.5, 0.5) == {"a": 0.0, "b": 0.0}
    assert drop_rates({"a": 0.4}, 0.5, 0.5) == {"a": 0.0}
    assert drop_rates({"a": 0.0, "b": 0.0}, 0.5, 0.5) == {"a": 0.0, "b": 0.0}


def test_three_modalities_compare_with_the_mean_of_the_others_and_the_weakest_stays():
    rates = drop_rates({"a": 0.9, "b": 0.2, "c": 0.6}, base=0.4, slope=0.5)
    assert rates["a"] == pytest.approx(0.4 * (1 + 0.5 * math.tanh(0.9 / 0.4 - 1)), abs=1e-12)
    assert rates["b"] == 0.0
    assert rates["c"] == pytest.approx(0.4 * (1 + 0.5 * math.tanh(0.6 / 0.55 - 1)), abs=1e-12)


def test_comparing_leaves_the_scores_as_they_are():
    scores = {"a": 0.6, "b": 0.3, "c": 0.4}
    relative(scores)
    assert scores == {"a": 0.6, "b": 0.3, "c": 0.4}


# What is left


def draw(rates, dims, size=20_000, seed=0):
    return modulation(rates, dims, torch.zeros(size), torch.Generator().manual_seed(seed))


def test_one_modality_keeps_its_expected_features():
    factor = draw({"a": 0.4}, {"a": 7})["a"]
    assert float(factor.mean()) == pytest.approx(1.0, abs=0.02)
    assert_close(factor.unique(), torch.tensor([0.0, 1 / 0.6], dtype=torch.float64), 1e-12)


def test_each_sample_keeps_each_modality_with_its_rate_and_the_factor_weighs_rates_by_width():
    rates, dims = {"a": 0.8, "b": 0.3, "d": 0.0}, {"a": 10, "b": 30, "d": 60}
    factors = draw(rates, dims)
    scale = 1 / (1 - (10 * 0.8 + 30 * 0.3) / 100)
    for k, factor in factors.items():
        kept = factor > 0
        assert_close(factor[kept], torch.full_like(factor[kept], scale), 1e-12)
        assert float(kept.double().mean()) == pytest.approx(1 - rates[k], abs=0.015)
    both = (factors["a"] > 0) & (factors["b"] > 0)
    assert float(both.double().mean()) == pytest.approx(0.2 * 0.7, abs=0.015)
    size = sum(dims[k] * float(factors[k].mean()) for k in dims)
    assert size == pytest.approx(100, rel=0.02), "the expected size of all features is kept"


def test_the_loss_is_that_of_the_masked_and_rescaled_features_after_the_neck():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE, size=32)
    with torch.no_grad():
        for neck in model.necks.values():
            neck.bias.fill_(0.5)  # a factor before the neck would leave this
    scores = scores_by_hand(model, batch)
    method = make_method("opm", model, share=1.0, warmup=0)
    own_stream = torch.Generator().set_state(method.run.generator.get_state())
    torch.rand((), generator=own_stream, dtype=torch.float64)
    rates = drop_rates(scores, 0.5, 0.5)
    assert max(rates.values()) > 0.5
    kept = torch.rand(32, 3, generator=own_stream, dtype=torch.float64)
    kept = (kept >= torch.tensor(list(rates.values()))).double()
    dims = {"a": 3, "b": 4, "d": 6}
    scale = 1 / (1 - sum(dims[k] * rates[k] for k in THREE) / 13)
    z = model.embed(batch.features)
    parts = [scale * kept[:, [i]] * model.necks[k](z[k]) for i, k in enumerate(THREE)]
    log_p = model.fusion(torch.cat(parts, dim=1)).log_softmax(dim=1)
    expected = -torch.stack([row[y] for row, y in zip(log_p, batch.labels, strict=True)]).mean()
    assert_close(method.loss(batch), {FUSED: expected}, 1e-12)


# In training


@pytest.mark.parametrize(
    ("modalities", "changes"),
    [
        (WITH_BATCH_NORM, {"share": 0.0, "warmup": 0}),
        (WITH_BATCH_NORM, {"warmup": 1}),
        (("a",), {"share": 1.0, "warmup": 0}),
    ],
    ids=["share-0", "warm-up", "one-modality"],
)
def test_without_share_in_warm_up_and_with_one_modality_it_is_erm_bitwise(modalities, changes):
    batches = make_batches(modalities)
    erm = trajectory("erm", tiny_model(modalities), batches)
    assert_same(trajectory("opm", tiny_model(modalities), batches, **changes), erm)


def test_a_share_of_the_batches_is_modulated():
    batch = make_batch(THREE)
    method = make_method("opm", without_dropout(tiny_model(THREE)), share=0.3, warmup=0)
    plain = make_method("erm", method.model).loss(batch)[FUSED]
    different = [not torch.equal(method.loss(batch)[FUSED], plain) for _ in range(400)]
    assert sum(different) / 400 == pytest.approx(0.3, abs=0.07)


def test_modulation_starts_after_the_warm_up():
    method = make_method("opm", without_dropout(tiny_model(THREE)), share=1.0, warmup=2)
    batch = make_batch(THREE, size=32)
    plain = make_method("erm", method.model).loss(batch)[FUSED]
    modulated = []
    for epoch in range(4):
        method.run.epoch = epoch
        modulated.append(not torch.equal(method.loss(batch)[FUSED], plain))
    assert modulated == [False, False, True, True]


def test_scoring_leaves_train_mode_and_batch_norm_as_erm_does():
    batches = make_batches(WITH_BATCH_NORM, 3)
    models = {name: tiny_model(WITH_BATCH_NORM) for name in ("erm", "opm")}
    for composition, model in models.items():
        method = make_method(composition, model)
        method.run.epoch = 1
        for batch in batches:
            gradients_of(method, batch)
            assert all(module.training for module in method.modules()), composition
    assert_same(tensors(models["opm"]), tensors(models["erm"]))


def test_prediction_uses_every_modality_as_erm_does():
    model, batch = tiny_model(THREE), make_batch(THREE)
    method = make_method("opm", model, share=1.0, warmup=0).eval()
    erm = make_method("erm", model).eval()
    assert_same(method.predict(batch.features), erm.predict(batch.features))


def test_the_modality_that_is_learned_at_once_is_dropped_and_the_other_gains():
    methods = {
        name: make_method(name, tiny_model(VECTORS), batches=[imbalanced()])
        for name in ("erm", "opm")
    }
    for method in methods.values():
        train_on_imbalance(method, steps=25)
    logs = methods["opm"].run.logs.flush()
    assert logs[f"drop_rate/{EASY}"] > 0.5
    assert logs[f"drop_rate/{HARD}"] < 0.01
    gain = accuracy_alone(methods["opm"], HARD) - accuracy_alone(methods["erm"], HARD)
    assert gain > 0.04
