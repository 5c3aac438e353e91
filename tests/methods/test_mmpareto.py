"""MMPareto: the shortest combination, conflicts, and what an encoder is updated with."""

import pytest
import torch
from support_balancing import HARD, separation, train_on_imbalance
from support_methods import (
    WITH_BATCH_NORM,
    assert_close,
    gradients_of,
    grads,
    make_batch,
    make_method,
    tiny_model,
    without_dropout,
)
from torch.nn import functional as F

from methods.base import FUSED
from methods.mmpareto import pareto
from methods.shared.gradients import inner_product, min_norm_weight, norm

THREE = ("a", "b", "d")


def vectors(seed, conflict=None):
    """Draw two gradients, each of two tensors, that conflict or do not."""
    generator = torch.Generator().manual_seed(seed)
    while True:
        a, b = (
            [
                size * torch.randn(shape, generator=generator, dtype=torch.float64)
                for shape in ((3, 2), (4,))
            ]
            for size in (1.0, 0.3 + seed % 4)
        )
        if conflict is None or bool(inner_product(a, b) < 0) == conflict:
            return a, b


def mix(c, a, b):
    return [c * x + (1 - c) * y for x, y in zip(a, b, strict=True)]


def flat(tensors):
    return torch.cat([x.flatten() for x in tensors])


def encoder_names(gradient, k):
    return [name for name in gradient if name.startswith(f"encoders.{k}.")]


# The shortest combination


@pytest.mark.parametrize("seed", range(12))
def test_the_closed_form_is_the_best_of_a_grid(seed):
    a, b = vectors(seed)
    c = float(min_norm_weight(a, b))
    grid = torch.linspace(0, 1, 10_001, dtype=torch.float64)
    lengths = (grid.outer(flat(a)) + (1 - grid).outer(flat(b))).norm(dim=1)
    assert c == pytest.approx(float(grid[lengths.argmin()]), abs=1.01e-4)
    assert float(norm(mix(c, a, b))) <= float(lengths.min()) + 1e-12


def test_both_ends_of_the_grid_are_reached():
    short = [torch.tensor([1.0, 0.0], dtype=torch.float64)]
    long = [torch.tensor([3.0, 1.0], dtype=torch.float64)]
    assert float(min_norm_weight(short, long)) == 1.0
    assert float(min_norm_weight(long, short)) == 0.0


def test_equal_and_vanishing_gradients_have_a_finite_weight():
    a, _ = vectors(0)
    nothing = [torch.zeros_like(x) for x in a]
    for pair in ((a, a), (nothing, nothing), (a, nothing)):
        assert 0 <= float(min_norm_weight(*pair)) <= 1


@pytest.mark.parametrize("seed", range(8))
def test_the_shortest_combination_makes_progress_on_both(seed):
    a, b = vectors(seed)
    shortest = mix(min_norm_weight(a, b), a, b)
    least = float(norm(shortest)) ** 2 - 1e-9
    assert float(inner_product(shortest, a)) >= least
    assert float(inner_product(shortest, b)) >= least


# Without and with a conflict


@pytest.mark.parametrize("seed", range(4))
def test_gradients_that_agree_are_added(seed):
    a, b = vectors(seed, conflict=False)
    for found, x, y in zip(pareto(a, b), a, b, strict=True):
        assert torch.equal(found, x + y)


@pytest.mark.parametrize("seed", range(12))
def test_a_conflict_gives_the_shortest_direction_with_the_length_of_the_sum(seed):
    a, b = vectors(seed, conflict=True)
    found = pareto(a, b)
    total = mix(1.0, a, b), mix(0.0, a, b)
    assert float(norm(found)) == pytest.approx(float((flat(total[0]) + flat(total[1])).norm()))
    progress = [float(inner_product(found, g)) for g in (a, b)]
    assert min(progress) > 0
    assert progress[0] == pytest.approx(progress[1], abs=1e-9)
    direction = flat(mix(min_norm_weight(a, b), a, b))
    assert float(F.cosine_similarity(flat(found), direction, dim=0)) == pytest.approx(1.0)


def test_gradients_that_cancel_out_leave_nothing_and_stay_finite():
    a, _ = vectors(1)
    for scale in (1.0, 3.0, 1e-6):
        opposite = [-scale * x for x in a]
        assert float(norm(pareto(a, opposite))) <= 1e-12 * float(norm(a))


@pytest.mark.parametrize("which", [0, 1])
def test_where_one_gradient_vanishes_the_other_is_kept(which):
    a, _ = vectors(2)
    pair = [a, [torch.zeros_like(x) for x in a]]
    found = pareto(pair[which], pair[1 - which])
    for mine, x in zip(found, a, strict=True):
        assert torch.equal(mine, x)


# In a model


def separate_gradients(modalities, batch, make=tiny_model):
    """Return the gradient of each loss by itself, each from a backward pass of its own."""
    found = {}
    for name in (FUSED, *modalities):
        model = without_dropout(make(modalities))
        z = model.embed(batch.features)
        logits = model.fuse(z) if name == FUSED else model.unimodal(z)[name]
        F.cross_entropy(logits, batch.labels).backward()
        found[name] = grads(model)
    return found


def copying_model(modalities, factor):
    """Return a model whose unimodal heads are the fusion head's part, its output times a factor."""
    model = tiny_model(modalities)
    parts = model.fusion[0].weight.detach().split(list(model.dims.values()), dim=1)
    with torch.no_grad():
        for head, part in zip(model.heads.values(), parts, strict=True):
            head[0].weight.copy_(part)
            head[0].bias.copy_(model.fusion[0].bias)
            head[-1].weight.copy_(factor * model.fusion[-1].weight)
    return model


def agreeing_model(modalities):
    return copying_model(modalities, 1.0)


def conflicting_model(modalities):
    return copying_model(modalities, -2.0)


@pytest.mark.parametrize("modalities", [("a",), ("a", "b"), THREE])
@pytest.mark.parametrize("make", [agreeing_model, conflicting_model])
def test_encoders_get_the_combination_and_all_else_the_sum(modalities, make):
    batch, gamma = make_batch(modalities, seed=2), 1.5
    alone = separate_gradients(modalities, batch, make)
    method = make_method("mmpareto", without_dropout(make(modalities)), gamma=gamma)
    found = gradients_of(method, batch)
    conflicts = 0
    for k in modalities:
        names = encoder_names(found, k)
        fused, own = ([alone[part][name] for name in names] for part in (FUSED, k))
        expected = [x + y for x, y in zip(fused, own, strict=True)]
        if flat(fused) @ flat(own) < 0:
            conflicts += 1
            f, u = flat(fused), flat(own)
            c = (u @ u - f @ u) / ((f - u) @ (f - u))
            h = c * f + (1 - c) * u
            expected = [
                (c * x + (1 - c) * y) * ((f + u).norm() / h.norm())
                for x, y in zip(fused, own, strict=True)
            ]
        for name, g in zip(names, expected, strict=True):
            assert_close(found[name], gamma * g, 1e-10)
    assert (conflicts > 0) == (make is conflicting_model)
    for name, g in found.items():
        if not name.startswith("encoders"):
            assert_close(g, sum(alone[part][name] for part in (FUSED, *modalities)), 1e-12)


def test_without_conflict_and_with_factor_one_it_is_joint():
    batch = make_batch(THREE, seed=2)
    joint = gradients_of(make_method("joint", without_dropout(agreeing_model(THREE))), batch)
    method = make_method("mmpareto", without_dropout(agreeing_model(THREE)), gamma=1.0)
    assert_close(gradients_of(method, batch), joint, 1e-12)


@pytest.mark.parametrize("modalities", [("a", "b"), THREE])
def test_in_a_conflict_no_loss_is_made_worse_as_the_plain_sum_would(modalities):
    batch = make_batch(modalities, seed=2)
    alone = separate_gradients(modalities, batch, conflicting_model)
    method = make_method("mmpareto", without_dropout(conflicting_model(modalities)))
    found = gradients_of(method, batch)
    hurt = 0
    for k in modalities:
        names = encoder_names(found, k)
        h, f, u = (flat([g[name] for name in names]) for g in (found, alone[FUSED], alone[k]))
        assert float(h @ f) >= -1e-12
        assert float(h @ u) >= -1e-12
        hurt += int((f + u) @ f < 0 or (f + u) @ u < 0)
    assert hurt, "no conflict here is strong enough to tell the methods apart"


def test_per_tensor_decides_for_the_encoder_and_lengthens_each_tensor_as_the_public_code_does():
    batch, lengthened = make_batch(seed=2), []
    alone = separate_gradients(("a", "b"), batch, conflicting_model)
    method = make_method("mmpareto", without_dropout(conflicting_model(("a", "b"))), per="tensor")
    found = gradients_of(method, batch)
    for k in ("a", "b"):
        names = encoder_names(found, k)
        f, u = (flat([alone[part][name] for name in names]) for part in (FUSED, k))
        assert f @ u < 0
        c = (u @ u - f @ u) / ((f - u) @ (f - u))
        for name in names:
            f, u = alone[FUSED][name], alone[k][name]
            h = 2 * c * f + 2 * (1 - c) * u
            lengthened.append(bool((f + u).norm() > h.norm()))
            if lengthened[-1]:
                h = h * (f + u).norm() / h.norm()
            assert_close(found[name], 1.5 * h, 1e-10)
    assert any(lengthened)


def test_per_tensor_leaves_a_tensor_that_is_longer_than_the_sum():
    f = [torch.tensor([4.0], dtype=torch.float64), torch.tensor([-1.0], dtype=torch.float64)]
    u = [torch.tensor([-1.0], dtype=torch.float64), torch.tensor([2.0], dtype=torch.float64)]
    # f·u = -6, u·u = 5, ‖f-u‖² = 34, so c = 11/34; 2h = (21/17, 35/17) where the sum is (3, 1).
    assert [float(h) for h in pareto(f, u, per_tensor=True)] == pytest.approx([3.0, 35 / 17])
    whole = torch.tensor([21 / 17, 35 / 17], dtype=torch.float64)
    whole = whole * (10**0.5 / whole.norm())
    assert [float(h) for h in pareto(f, u)] == pytest.approx(whole.tolist())


def test_without_a_conflict_both_are_the_sum():
    f, u = vectors(3, conflict=False)
    for x, y in zip(pareto(f, u, per_tensor=True), pareto(f, u), strict=True):
        assert torch.equal(x, y)


def test_a_frozen_encoder_is_skipped():
    model = tiny_model(WITH_BATCH_NORM)
    model.encoders["a"].requires_grad_(False)
    method = make_method("mmpareto", model)
    found = gradients_of(method, make_batch(WITH_BATCH_NORM))
    assert not any(found[name].any() for name in encoder_names(found, "a"))
    assert all(found[name].any() for name in encoder_names(found, "c"))
    assert found["heads.a.0.weight"].any()


def test_unimodal_losses_separate_the_modality_that_is_learned_late():
    methods = {name: make_method(name, tiny_model()) for name in ("erm", "mmpareto")}
    for method in methods.values():
        train_on_imbalance(method, steps=15)
    logs = methods["mmpareto"].run.logs.flush()
    assert 0 < logs[f"conflict/{HARD}"] < 1
    assert separation(methods["mmpareto"], HARD) > separation(methods["erm"], HARD) + 0.02
