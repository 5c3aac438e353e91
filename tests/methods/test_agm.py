"""AGM: whose part in the prediction is whose, and which encoders are slowed."""

import itertools
import math

import pytest
import torch
from support_balancing import EASY, HARD, imbalanced
from support_methods import (
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tensors,
    through_a_file,
    tiny_model,
    train,
    trajectory,
)
from torch.nn import functional as F

from methods.agm import coefficients, shapley
from methods.shared.imbalance import fused_logits, of_others

THREE = ("a", "b", "d")
FOUR = ("a", "b", "c", "d")


def subset_values(modalities, seed=0):
    """Draw made-up logits of every subset."""
    generator = torch.Generator().manual_seed(seed)
    subsets = [
        frozenset(s)
        for n in range(len(modalities) + 1)
        for s in itertools.combinations(modalities, n)
    ]
    return {s: torch.randn(5, 3, generator=generator, dtype=torch.float64) for s in subsets}


def by_orders(values, modalities):
    """Return Shapley values the other way: the mean gain over all orders of joining."""
    parts = {k: 0.0 for k in modalities}
    orders = list(itertools.permutations(modalities))
    for order in orders:
        for i, k in enumerate(order):
            gain = values[frozenset(order[: i + 1])] - values[frozenset(order[:i])]
            parts[k] = parts[k] + gain / len(orders)
    return parts


def model_subsets(model, batch):
    """Return the fused logits of every subset by hand: zeros after the neck."""
    model.eval()
    values = {}
    with torch.no_grad():
        z = model.embed(batch.features)
        for subset in subset_values(model.modalities):
            parts = [model.necks[k](z[k]) * float(k in subset) for k in model.modalities]
            values[subset] = model.fusion(torch.cat(parts, dim=1))
    model.train()
    return values


def modality_of(name):
    """Return the modality of an encoder's parameter, None for neck, heads and fusion."""
    return name.split(".")[1] if name.startswith("encoders.") else None


# The parts of the prediction


@pytest.mark.parametrize("modalities", [("a",), ("a", "b"), THREE, FOUR])
def test_the_parts_are_the_mean_gains_over_all_orders_and_a_share_of_the_empty_prediction(
    modalities,
):
    values = subset_values(modalities)
    share = values[frozenset()] / len(modalities)
    expected = {k: part + share for k, part in by_orders(values, modalities).items()}
    assert_close(shapley(values), expected, 1e-12)


@pytest.mark.parametrize("modalities", [("a",), ("a", "b"), THREE, FOUR])
def test_the_parts_sum_to_the_prediction(modalities):
    values = subset_values(modalities)
    assert_close(sum(shapley(values).values()), values[frozenset(modalities)], 1e-12)


def test_two_modalities_have_the_published_parts():
    values = subset_values(("a", "b"))
    both, a, b = (values[frozenset(s)] for s in (("a", "b"), ("a",), ("b",)))
    expected = {"a": (both - b + a) / 2, "b": (both - a + b) / 2}
    assert_close(shapley(values), expected, 1e-12)


def test_a_modality_that_changes_nothing_has_only_its_share_of_the_empty_prediction():
    values = subset_values(("a", "b"))
    values = {s | extra: v for s, v in values.items() for extra in (frozenset(), frozenset("d"))}
    assert_close(shapley(values)["d"], values[frozenset()] / 3, 1e-12)


@pytest.mark.parametrize("modalities", [("a", "b"), THREE])
def test_the_prediction_of_a_subset_is_that_of_the_masked_fusion_head_in_eval_mode(modalities):
    model, batch = tiny_model(modalities), make_batch(modalities)
    expected = model_subsets(model, batch)
    found = fused_logits(model, model.embed(batch.features), list(expected))
    assert model.training
    assert not any(x.requires_grad for x in found)
    assert_close(dict(zip(expected, found, strict=True)), expected, 1e-12)


# The coefficients


def test_a_modality_that_pulls_ahead_of_its_trend_is_slowed_and_the_other_sped_up():
    kappas = coefficients({"a": 0.5, "b": 1.0}, {"a": 0.8, "b": 1.0}, alpha=1.0)
    assert kappas["a"] == pytest.approx(math.exp(math.exp(0.2) - math.exp(0.5)), abs=1e-12)
    assert kappas["b"] == pytest.approx(math.exp(math.exp(-0.2) - math.exp(-0.5)), abs=1e-12)
    assert kappas["a"] < 1 < kappas["b"]


def test_a_leader_that_leads_as_usual_is_left_alone():
    q = {"a": 0.1, "b": 1.7, "c": 0.9}
    assert coefficients(q, q, alpha=2.0) == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_three_modalities_compare_with_the_mean_of_the_others_as_published():
    now, usual = {"a": 0.2, "b": 1.0, "c": 0.6}, {"a": 0.7, "b": 1.1, "c": 0.5}
    kappas = coefficients(now, usual, alpha=0.5)
    for k in now:
        # The public code for three: exp((mean of all - q) M / (M - 1)).
        ratio, trend = (math.exp((sum(q.values()) / 3 - q[k]) * 3 / 2) for q in (now, usual))
        assert kappas[k] == pytest.approx(math.exp(0.5 * (trend - ratio)), abs=1e-12)


def test_the_speed_up_is_capped_and_nothing_overflows():
    behind = coefficients({"a": 9.0, "b": 0.0}, {"a": 0.0, "b": 9.0}, alpha=0.5)
    assert behind["a"] == pytest.approx(math.exp(0.5 * 10), abs=1e-9)
    for far in (1e3, 1e6):
        kappas = coefficients({"a": 0.0, "b": far}, {"a": far, "b": 0.0}, alpha=4.0)
        assert kappas["a"] == 0.0
        assert kappas["b"] == pytest.approx(math.exp(40))


def test_the_mean_of_the_others_of_a_single_modality_is_its_own_value():
    assert of_others({"a": 2.5}) == {"a": 2.5}
    assert of_others({"a": 2.5, "b": 1.0, "c": 4.0}) == {"a": 2.5, "b": 3.25, "c": 1.75}


# In training


@pytest.mark.parametrize("modalities", [("a", "b"), THREE])
def test_only_the_encoders_are_scaled_by_how_far_they_are_from_their_trend(modalities):
    alpha, batch, model = 1.5, make_batch(modalities, seed=3), tiny_model(modalities)
    parts = shapley(model_subsets(model, batch))
    now = {k: float(F.cross_entropy(phi, batch.labels)) for k, phi in parts.items()}
    usual = {k: 0.7 + 0.5 * i for i, k in enumerate(modalities)}
    erm = gradients_of(make_method("erm", tiny_model(modalities)), batch)
    method = make_method("agm", model, alpha=alpha)
    method.usual = dict(usual)
    agm = gradients_of(method, batch)
    for name, gradient in agm.items():
        k = modality_of(name)
        if k is None:
            assert torch.equal(gradient, erm[name]), name
            continue
        lead, trend = (
            math.exp(sum(q[j] for j in q if j != k) / (len(q) - 1) - q[k]) for q in (now, usual)
        )
        kappa = math.exp(alpha * (trend - lead))
        assert abs(kappa - 1) > 0.02
        assert erm[name].norm() > 0
        assert_close(gradient, kappa * erm[name], 1e-9)


def test_the_first_batch_is_not_modulated():
    batch = make_batch(THREE)
    erm = gradients_of(make_method("erm", tiny_model(THREE)), batch)
    assert_same(gradients_of(make_method("agm", tiny_model(THREE)), batch), erm)


@pytest.mark.parametrize(("modalities", "alpha"), [(WITH_BATCH_NORM, 0.0), (("a",), 2.5)])
def test_without_strength_or_with_one_modality_it_is_erm_bitwise(modalities, alpha):
    batches = make_batches(modalities)
    erm = trajectory("erm", tiny_model(modalities), batches)
    assert_same(trajectory("agm", tiny_model(modalities), batches, alpha=alpha), erm)


def test_the_trend_is_the_mean_over_all_steps_and_moves_after_a_step_only():
    method, batches = make_method("agm", tiny_model()), make_batches(count=3)
    optimizer, seen = adam(method), []
    for batch in batches:
        before = dict(method.usual)
        gradients_of(method, make_batch(seed=77))
        gradients_of(method, batch)
        assert method.usual == before
        train(method, [batch], optimizer)
        seen.append(dict(method._now))
    for k in ("a", "b"):
        assert method.usual[k] == pytest.approx(sum(q[k] for q in seen) / 3, abs=1e-12)


def test_the_trend_survives_a_checkpoint():
    method = make_method("agm", tiny_model())
    train(method, make_batches(count=2), adam(method))
    twin = make_method("agm", tiny_model())
    twin.load_state_dict(through_a_file(method.state_dict()))
    assert (twin.usual, twin.batches) == (method.usual, 2)


def test_scoring_leaves_batch_norm_and_mode_as_erm_does_and_draws_nothing():
    batches = make_batches(WITH_BATCH_NORM, 3)
    models = {name: tiny_model(WITH_BATCH_NORM) for name in ("erm", "agm")}
    streams = []
    for composition, model in models.items():
        method = make_method(composition, model)
        for batch in batches:
            gradients_of(method, batch)
            assert all(module.training for module in method.modules()), composition
        streams.append(torch.get_rng_state())
    assert_same(tensors(models["agm"]), tensors(models["erm"]))
    assert torch.equal(*streams)


def test_the_modality_that_is_learned_at_once_is_slowed_while_it_runs_ahead():
    method = make_method("agm", tiny_model())
    torch.manual_seed(0)
    train(method, [imbalanced()] * 9, adam(method, 3e-3))
    logs = method.run.logs.flush()
    assert logs[f"kappa/{EASY}"] < 0.9
    assert logs[f"kappa/{HARD}"] > 1.05
