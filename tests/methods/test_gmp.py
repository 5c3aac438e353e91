"""GMP: which gradients are damped, which projected, and that the adversary learns."""

import dataclasses
import math

import pytest
import torch
from support_methods import (
    CLASSES,
    SHAPES,
    VECTORS,
    adam,
    assert_close,
    make_batch,
    make_method,
    tiny_model,
    train,
    vector_encoder,
    without_dropout,
)
from torch.nn import functional as F

from datasets.base import Recipe
from methods.base import FUSED
from methods.gmp import GMP, confidence, damping, orthogonal, relative
from methods.shared.gradients import inner_product

THREE = ("a", "b", "d")


def gmp(modalities=VECTORS, seed=0, model=None, **hyperparameters):
    """Return GMP without dropout; the seed decides all initial weights."""
    torch.manual_seed(seed)
    model = model or tiny_model(modalities, seed=seed)
    return without_dropout(make_method("gmp", model, **hyperparameters))


def gradient(method, batch):
    """Return all gradients, the adversary's too."""
    method.compute_grads(batch)
    return {name: p.grad.clone() for name, p in parameters(method).items() if p.grad is not None}


def parameters(method):
    """Return the trained tensors of a method by name."""
    return {name: p for name, p in method.named_parameters() if p.requires_grad}


def of_branch(name, modality):
    """Return whether a tensor is one of φ_k."""
    return any(
        name.startswith(f"model.{part}.{modality}.") for part in ("encoders", "necks", "heads")
    )


def flat_gradient(loss, tensors, sign=1.0):
    """Return the gradient of a loss by all tensors as one vector."""
    found = torch.autograd.grad(loss, tensors, retain_graph=True, allow_unused=True)
    pairs = zip(found, tensors, strict=True)
    return sign * torch.cat([(torch.zeros_like(p) if g is None else g).flatten() for g, p in pairs])


def by_hand(method, batch):
    """Return the gradients from the definition, without a reversal layer, and the cases."""
    hp, model, modalities = method.hp, method.model, method.run.modalities
    named, cases = parameters(method), []
    z = model.embed(batch.features)
    unimodal = model.unimodal(z)
    domain = {k: method.discriminator(method.projections[k](z[k])) for k in modalities}

    def scores(logits, labels):
        return {
            k: sum(float(u.softmax(1)[i, y].detach()) for i, y in enumerate(labels)) / len(labels)
            for k, u in logits.items()
        }

    s, t = scores(unimodal, batch.labels), scores(domain, batch.domains)
    result = {name: torch.zeros_like(p) for name, p in named.items()}

    def add(names, vector):
        parts = vector.split([named[name].numel() for name in names])
        for name, part in zip(names, parts, strict=True):
            result[name] += part.view_as(result[name])

    fused = F.cross_entropy(model.fuse(z), batch.labels)
    add(list(named), flat_gradient(fused, list(named.values())))
    for k in modalities:
        names = [name for name in named if of_branch(name, k)]
        own = [named[name] for name in names]
        others = [j for j in modalities if j != k]
        r = s[k] / (sum(s[j] for j in others) / len(others))
        rho = (sum(t[j] for j in others) / len(others)) / t[k]
        class_loss = F.cross_entropy(unimodal[k], batch.labels)
        domain_loss = F.cross_entropy(domain[k], batch.domains)
        factors = [
            1 - math.tanh(a * x) if x > 1 else 1
            for a, x in ((hp.alpha_class, r), (hp.alpha_domain, rho))
        ]
        g_c = factors[0] * hp.unimodal * flat_gradient(class_loss, own)
        g_d = factors[1] * hp.domain * flat_gradient(domain_loss, own, -hp.reverse)
        case = "agree"
        if float(g_c @ g_d) < 0:
            if r >= rho:
                case, g_c = "class", g_c - (g_c @ g_d) / (g_d @ g_d) * g_d
            else:
                case, g_d = "domain", g_d - (g_c @ g_d) / (g_c @ g_c) * g_c
            assert abs(float(g_c @ g_d)) < 1e-9
        cases.append(case)
        add(names, g_c + g_d)
        adversary = [name for name in named if name.startswith(("projections", "discriminator"))]
        add(
            adversary,
            hp.domain * flat_gradient(domain_loss, [named[name] for name in adversary]),
        )
    return result, cases


# The pieces


@pytest.mark.parametrize(
    ("ratio", "strength", "factor"),
    [(2.0, 0.5, 1 - math.tanh(1.0)), (1.0, 0.5, 1.0), (0.4, 0.5, 1.0), (3.0, 0.0, 1.0)],
)
def test_only_the_stronger_than_average_is_damped(ratio, strength, factor):
    assert damping(ratio, strength) == pytest.approx(factor, abs=1e-12)
    assert damping(1.0, strength) == 1


def test_each_score_is_compared_with_the_mean_of_the_others():
    ratios = relative({"a": 0.8, "b": 0.2, "c": 0.6})
    assert ratios == pytest.approx({"a": 0.8 / 0.4, "b": 0.2 / 0.7, "c": 0.6 / 0.5})
    assert relative({"a": 0.3}) == {"a": 1.0}
    assert all(math.isfinite(x) for x in relative({"a": 0.0, "b": 1.0}).values())


def test_confidence_is_the_mean_probability_of_the_right_label():
    logits = torch.tensor([[0.7, 0.3], [0.9, 0.1]], dtype=torch.float64).log()
    assert confidence(logits, torch.tensor([0, 1])) == pytest.approx(0.4)


def test_a_projected_gradient_has_nothing_left_along_the_other():
    gradient = [torch.tensor([1.0, 2.0]), torch.tensor([[3.0]])]
    other = [torch.tensor([-2.0, 0.0]), torch.tensor([[0.0]])]
    left = orthogonal(gradient, other)
    assert [x.tolist() for x in left] == [[0.0, 2.0], [[3.0]]]
    draws = [[torch.randn(4, 3).double(), torch.randn(5).double()] for _ in range(2)]
    assert abs(float(inner_product(orthogonal(*draws), draws[1]))) < 1e-12


def test_what_is_projected_on_a_vanishing_gradient_stays_finite():
    nothing, almost = torch.zeros(3), torch.full((3,), 1e-23)
    for other in (nothing, almost):
        (left,) = orthogonal([torch.tensor([1.0, -2.0, 0.5])], [other])
        assert torch.isfinite(left).all()


# The gradient


@pytest.mark.parametrize("modalities", [VECTORS, THREE])
def test_the_gradient_is_that_of_the_definition_in_every_case(modalities):
    seen = set()
    for seed in range(6):
        batch = make_batch(modalities, size=10, seed=seed)
        settings = {"alpha_class": 0.8, "alpha_domain": 0.3, "domain": 4.0, "reverse": 0.9}
        expected, cases = by_hand(gmp(modalities, seed, **settings), batch)
        seen |= set(cases)
        assert_close(gradient(gmp(modalities, seed, **settings), batch), expected, 1e-9)
    assert seen == {"agree", "class", "domain"}


def twins():
    """Return GMP on two modalities that are one and the same, with weights and all."""
    model = tiny_model(encoder=lambda _: vector_encoder(SHAPES["a"][0], 4))
    method = gmp(model=model)
    for parts in (model.encoders, model.necks, model.heads, method.projections):
        parts["b"].load_state_dict(parts["a"].state_dict())
    return method


def summed(method, terms):
    """Return the gradient of plainly summed terms."""
    method.zero_grad()
    sum(terms.values()).backward()
    return {name: p.grad.clone() for name, p in parameters(method).items()}


def test_equally_confident_modalities_get_the_gradient_of_the_summed_losses():
    checked = 0
    for seed in range(6):
        batch = make_batch(("a",), seed=seed)
        features = {"a": batch.features["a"], "b": batch.features["a"]}
        batch = dataclasses.replace(batch, features=features)
        method = twins()
        own = gradient(method, batch)
        logged = method.run.logs.flush()
        assert logged["damping/class/a"] == logged["damping/domain/b"] == 1
        if logged["conflict/a"]:
            continue
        assert_close(own, summed(method, method.loss(batch)), 1e-10)
        checked += 1
    assert checked >= 2


def test_without_strength_nothing_is_damped():
    checked = 0
    for seed in range(40):
        batch, method = make_batch(THREE, seed=seed), gmp(THREE, alpha_class=0, alpha_domain=0)
        own = gradient(method, batch)
        logged = method.run.logs.flush()
        if any(logged[f"conflict/{k}"] for k in THREE):
            continue
        assert_close(own, summed(method, method.loss(batch)), 1e-10)
        checked += 1
    assert checked


def test_after_projection_class_and_domain_gradients_do_not_oppose_each_other():
    conflicts = 0
    for seed in range(6):
        batch = make_batch(seed=seed)
        method = gmp(seed=seed, alpha_domain=0.0, alpha_class=0.0, domain=4.0)
        own = gradient(method, batch)
        logged = method.run.logs.flush()
        terms = method.loss(batch)
        for k in VECTORS:
            names = [name for name in own if of_branch(name, k)]
            tensors = [parameters(method)[name] for name in names]
            fused, of_class, of_domain = (
                flat_gradient(terms[name], tensors) for name in (FUSED, k, f"domain/{k}")
            )
            both = torch.cat([own[name].flatten() for name in names]) - fused
            conflicts += int(logged[f"conflict/{k}"])
            assert (float(of_class @ of_domain) < 0) == bool(logged[f"conflict/{k}"])
            assert float(both @ of_class) >= -1e-9
            assert float(both @ of_domain) >= -1e-9
    assert conflicts >= 2


def with_confidences(method, batch, classes, domains):
    """Return the logged factors with the confidences put in place of the measured ones."""
    honest = method.loss

    def loss(batch):
        terms = honest(batch)
        method._class_confidence, method._domain_confidence = classes, domains
        return terms

    method.loss = loss
    method.run.logs.flush()
    method.compute_grads(batch)
    return method.run.logs.flush()


def test_the_sure_class_and_the_unsure_domain_are_the_strong_ones():
    classes, domains = {"a": 0.6, "b": 0.3}, {"a": 0.9, "b": 0.6}
    logged = with_confidences(gmp(), make_batch(), classes, domains)
    assert logged["damping/class/a"] == pytest.approx(1 - math.tanh(0.5 * 2), abs=1e-9)
    assert logged["damping/class/b"] == 1
    assert logged["damping/domain/a"] == 1
    assert logged["damping/domain/b"] == pytest.approx(1 - math.tanh(0.5 * 1.5), abs=1e-9)


def test_the_fusion_head_follows_the_fused_loss_alone():
    batch = make_batch(THREE)
    own, model = gradient(gmp(THREE), batch), without_dropout(tiny_model(THREE))
    erm = make_method("erm", model)
    erm.compute_grads(batch)
    for name, p in model.named_parameters():
        if name.startswith("fusion"):
            assert torch.equal(own[f"model.{name}"], p.grad), name


@pytest.mark.parametrize("domains", [[0] * 8, [1] * 7 + [0]], ids=["one", "one and a half"])
def test_without_two_domains_only_the_class_gradients_are_left(domains):
    batch = dataclasses.replace(make_batch(THREE), domains=torch.tensor(domains))
    method = gmp(THREE)
    own = gradient(method, batch)
    logged = method.run.logs.flush()
    terms = method.loss(batch)
    assert set(terms) == {FUSED, *THREE}
    assert all(name.startswith("model.") for name in own)
    factors = {k: logged[f"damping/class/{k}"] for k in THREE}
    assert min(factors.values()) < 0.7
    scaled = sum(factors[k] * terms[k] for k in THREE) + terms[FUSED]
    named = {name: p for name, p in parameters(method).items() if name in own}
    expected = torch.autograd.grad(scaled, list(named.values()))
    assert_close(own, dict(zip(named, expected, strict=True)), 1e-10)


def test_one_modality_is_neither_strong_nor_weak():
    method = gmp(("a",))
    gradient(method, make_batch(("a",)))
    logged = method.run.logs.flush()
    assert logged["damping/class/a"] == logged["damping/domain/a"] == 1


def test_heads_without_weight_predict_nothing():
    assert gmp().trains_unimodal
    assert not gmp(unimodal=0.0).trains_unimodal


# Training


def test_the_discriminator_learns_the_domains_that_nobody_hides():
    batch = make_batch(size=32)
    shifted = {k: x + batch.domains[:, None] for k, x in batch.features.items()}
    batch = dataclasses.replace(batch, features=shifted)
    method = gmp(reverse=0.0)
    before = method.loss(batch)
    train(method, [batch] * 40, adam(method))
    after = method.loss(batch)
    for k in VECTORS:
        assert after[f"domain/{k}"].item() < 0.3 * before[f"domain/{k}"].item()
        assert method._domain_confidence[k] > 0.9


def test_the_modality_that_learns_fast_is_slowed():
    batch = make_batch(size=32)
    signal = F.one_hot(batch.labels, SHAPES["a"][0]).double() * 3
    faint = batch.features["b"] * 0.1
    faint[:, :CLASSES] += 0.3 * F.one_hot(batch.labels, CLASSES).double()
    batch = dataclasses.replace(batch, features={"a": signal, "b": faint})
    method = gmp()
    train(method, [batch] * 5, adam(method))
    logged = method.run.logs.flush()
    assert logged["damping/class/a"] < 0.6
    assert logged["damping/class/b"] > 0.85


def test_the_published_script_is_shorter_without_weight_decay_and_reports_the_end():
    recipe = dataclasses.replace(
        Recipe(epochs=20, lr=1e-4, batch_size=16, weight_decay=1e-4), **GMP.published.recipe
    )
    assert (recipe.epochs, recipe.weight_decay, GMP.published.reports) == (15, 0.0, "last")
