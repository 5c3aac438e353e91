"""JAT: the modality weights, the three adversaries, and when they are absent."""

import dataclasses
import math

import pytest
import torch
from support_methods import (
    VECTORS,
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    make_batch,
    make_batches,
    make_method,
    tensors,
    tiny_model,
    train,
    without_dropout,
)
from torch.nn import functional as F

from datasets.base import Recipe
from methods.base import FUSED
from methods.jat import JAT, stability_weights

THREE = ("a", "b", "d")
DOMAIN_TERMS = {"domain/local", "domain/global"}
NO_WEIGHTS = {"unimodal": 0.0, "global_domain": 0.0, "local_domain": 0.0, "modal": 0.0}


def jat(modalities=VECTORS, **hyperparameters):
    """Return JAT without dropout, always with the same initial weights."""
    torch.manual_seed(0)
    return without_dropout(make_method("jat", tiny_model(modalities), **hyperparameters))


def gradient(method, batch):
    """Return all gradients, the adversaries' too."""
    method.compute_grads(batch)
    return {n: torch.zeros_like(p) if p.grad is None else p.grad for n, p in parameters(method)}


def parameters(method):
    """Return the trained tensors of a method."""
    return [(name, p) for name, p in method.named_parameters() if p.requires_grad]


# The modality weights


def logits_of(*probabilities):
    return torch.tensor(probabilities, dtype=torch.float64).log()


def test_the_modality_whose_domain_is_harder_to_guess_weighs_more():
    logits = {"a": logits_of([0.9, 0.1], [0.5, 0.5]), "b": logits_of([0.5, 0.5], [0.5, 0.5])}
    entropy = {"a": (-0.9 * math.log(0.9) - 0.1 * math.log(0.1) + math.log(2)) / 2}
    entropy["b"] = math.log(2)
    for temperature in (1.0, 0.2):
        total = sum(math.exp(h / temperature) for h in entropy.values())
        weights = stability_weights(logits, temperature)
        assert weights["b"] > weights["a"]
        assert sum(weights.values()) == pytest.approx(1, abs=1e-12)
        for k, h in entropy.items():
            assert weights[k] == pytest.approx(math.exp(h / temperature) / total, abs=1e-12)


def test_equal_entropies_weigh_the_same():
    logits = {"a": logits_of([0.9, 0.1]), "b": logits_of([0.1, 0.9]), "c": logits_of([0.9, 0.1])}
    assert stability_weights(logits, 1.0) == pytest.approx(dict.fromkeys("abc", 1 / 3))


def test_a_prediction_that_is_certain_has_entropy_zero():
    certain = torch.tensor([[2000.0, 0.0]], dtype=torch.float64)
    weights = stability_weights({"a": certain, "b": logits_of([0.5, 0.5])}, 1.0)
    assert weights == pytest.approx({"a": 1 / 3, "b": 2 / 3})


# The loss


@pytest.mark.parametrize("size", [8, 7])
def test_the_loss_has_all_its_terms(size):
    batch = make_batch(THREE, size=size)
    settings = {"global_domain": 0.7, "local_domain": 0.4, "modal": 0.2, "unimodal": 2.0}
    method = jat(THREE, temperature=0.5, **settings)
    terms = method.loss(batch)
    model, y, d = method.model, batch.labels, batch.domains
    z = model.embed(batch.features)
    expected = {FUSED: F.cross_entropy(model.fuse(z), y)}
    local = {k: method.local_discriminator(method.domain_projections[k](z[k])) for k in THREE}
    entropies = [-(p * p.log()).sum(1).mean() for p in (u.softmax(1) for u in local.values())]
    weights = torch.softmax(torch.stack(entropies) / 0.5, dim=0)
    for weight, (k, u) in zip(weights, model.unimodal(z).items(), strict=True):
        expected[k] = 2.0 * weight * F.cross_entropy(u, y)
    expected["domain/local"] = 0.4 * sum(F.cross_entropy(u, d) for u in local.values()) / 3
    joint = method.global_discriminator(torch.cat([z[k] for k in THREE], dim=1))
    expected["domain/global"] = 0.7 * F.cross_entropy(joint, d)
    everything = torch.cat([method.modal_projections[k](z[k]) for k in THREE])
    which = torch.tensor([0] * size + [1] * size + [2] * size)
    expected["modal"] = 0.2 * F.cross_entropy(method.modal_discriminator(everything), which)
    assert_close(terms, expected, 1e-10)


def test_without_any_weight_it_is_erm_bitwise_over_several_steps():
    ends = []
    for composition, settings in (("erm", {}), ("jat", NO_WEIGHTS)):
        model = without_dropout(tiny_model(WITH_BATCH_NORM))
        method = without_dropout(make_method(composition, model, **settings))
        train(method, make_batches(WITH_BATCH_NORM), adam(method))
        ends.append(tensors(model))
    assert_same(ends[1], ends[0])


@pytest.mark.parametrize("domains", [[0] * 8, [1] * 7 + [0]], ids=["one", "one and a half"])
def test_without_two_domains_the_weights_are_uniform_and_no_domain_is_guessed(domains):
    batch = dataclasses.replace(make_batch(THREE), domains=torch.tensor(domains))
    method = jat(THREE, unimodal=3.0)
    terms = method.loss(batch)
    assert set(terms) == {FUSED, "modal", *THREE}
    unimodal = method.model.unimodal(method.model.embed(batch.features))
    for k, u in unimodal.items():
        assert_close(terms[k], F.cross_entropy(u, batch.labels), 1e-12)
    for name, g in gradient(method, batch).items():
        if name.startswith(("domain_projections", "local_disc", "global_disc")):
            assert not g.any(), name


def test_one_modality_has_the_whole_weight_and_no_modality_to_guess():
    batch = make_batch(("a",))
    method = jat(("a",), unimodal=3.0)
    terms = method.loss(batch)
    assert set(terms) == {FUSED, "a", *DOMAIN_TERMS}
    logits = method.model.unimodal(method.model.embed(batch.features))["a"]
    assert_close(terms["a"], 3 * F.cross_entropy(logits, batch.labels), 1e-12)


def test_heads_without_weight_predict_nothing():
    assert jat().trains_unimodal
    assert not jat(unimodal=0.0).trains_unimodal


# The gradients


@pytest.mark.parametrize(
    ("weight", "strength"),
    [
        ("global_domain", "reverse_domain"),
        ("local_domain", "reverse_domain"),
        ("modal", "reverse_modal"),
    ],
)
def test_discriminators_descend_and_encoders_ascend(weight, strength):
    batch, erm = make_batch(THREE), gradient(jat(THREE, **NO_WEIGHTS), make_batch(THREE))
    method = jat(THREE, **NO_WEIGHTS | {weight: 0.8, strength: 0.25})
    term = {"modal": "modal"}.get(weight, "domain/" + weight.split("_")[0])
    plain = jat(THREE, **NO_WEIGHTS | {weight: 0.8, strength: 0.0})
    weights = dict(parameters(plain))
    value = {name: p.detach().clone() for name, p in weights.items()}

    def numerically(name, at, step=1e-6):
        """Return a central difference of the term by one weight."""
        parts = []
        for sign in (1, -1):
            with torch.no_grad():
                weights[name].view(-1)[at] += sign * step
                parts.append(float(plain.loss(batch)[term]))
                weights[name].copy_(value[name])
        return (parts[0] - parts[1]) / (2 * step)

    checked = {"encoder": 0, "adversary": 0}
    for name, g in gradient(method, batch).items():
        own = (g - erm[name]).flatten()
        largest = int(own.abs().argmax())
        if own[largest].abs() < 1e-5:
            continue
        kind = "encoder" if name.startswith("model.encoders") else "adversary"
        factor = {"encoder": -0.25, "adversary": 1.0}[kind]
        assert float(own[largest]) == pytest.approx(factor * numerically(name, largest), rel=1e-3)
        checked[kind] += 1
    assert checked["encoder"] >= 3
    assert checked["adversary"] >= 4


def test_the_class_losses_do_not_reach_the_adversaries_through_the_weights():
    batch = make_batch(THREE)
    with_classes, without = (gradient(jat(THREE, unimodal=w), batch) for w in (3.0, 0.0))
    names = [name for name in without if not name.startswith("model.")]
    assert names
    for name in names:
        assert torch.equal(with_classes[name], without[name]), name


def test_the_class_losses_reach_encoders_with_weights_that_are_constant():
    batch, settings = make_batch(THREE), NO_WEIGHTS | {"unimodal": 3.0, "temperature": 0.01}
    method = jat(THREE, **settings)
    own = gradient(method, batch)
    logged = method.run.logs.flush()
    weights = {k: logged[f"weight/{k}"] for k in THREE}
    assert max(weights.values()) > 1.5 * min(weights.values())
    z = method.model.embed(batch.features)
    total = F.cross_entropy(method.model.fuse(z), batch.labels)
    for k, u in method.model.unimodal(z).items():
        total = total + 3.0 * weights[k] * F.cross_entropy(u, batch.labels)
    method.zero_grad()
    total.backward()
    for name, p in parameters(method):
        if name.startswith("model."):
            assert_close(own[name], p.grad, 1e-9)


# Training


def shifted_domains(modalities=VECTORS, size=32):
    """Return a batch whose domains differ by an offset."""
    batch = make_batch(modalities, size)
    return dataclasses.replace(
        batch, features={k: x + batch.domains[:, None] for k, x in batch.features.items()}
    )


def test_adversaries_that_nobody_deceives_learn_domain_and_modality():
    batch = shifted_domains()
    method = jat(reverse_domain=0.0, reverse_modal=0.0)
    before = method.loss(batch)
    train(method, [batch] * 60, adam(method))
    after = method.loss(batch)
    for name in ("modal", *DOMAIN_TERMS):
        assert float(after[name]) < 0.3 * float(before[name]), name


def test_reversal_makes_domains_harder_to_guess():
    batch, ends = shifted_domains(), {}
    for strength in (0.0, 3.0):
        method = jat(reverse_domain=strength, unimodal=0.3)
        train(method, [batch] * 20, adam(method))
        ends[strength] = method.loss(batch)
    for name in DOMAIN_TERMS:
        assert float(ends[3.0][name]) > float(ends[0.0][name]) + 0.1, name


def test_the_modality_without_domain_shift_comes_to_weigh_more():
    batch = shifted_domains()
    plain = make_batch(VECTORS, 32).features["b"]
    batch = dataclasses.replace(batch, features={"a": batch.features["a"] * 2, "b": plain})
    method = jat(reverse_domain=0.0)
    train(method, [batch] * 15, adam(method))
    method.run.logs.flush()
    method.loss(batch)
    logged = method.run.logs.flush()
    assert logged["weight/b"] > logged["weight/a"] + 0.05


def test_the_published_script_is_shorter_without_weight_decay_and_reports_the_end():
    recipe = dataclasses.replace(
        Recipe(epochs=20, lr=1e-4, batch_size=16, weight_decay=1e-4), **JAT.published.recipe
    )
    assert (recipe.epochs, recipe.weight_decay, JAT.published.reports) == (15, 0.0, "last")
