"""MLA: the projector, what each of a batch's updates moves, and the prediction by certainty."""

import math
from itertools import pairwise

import pytest
import torch
from support_balancing import HARD, accuracy, imbalanced, train_on_imbalance
from support_methods import (
    VECTORS,
    adam,
    assert_close,
    assert_same,
    make_batch,
    make_batches,
    make_method,
    tensors,
    tiny_model,
    train,
    trajectory,
    without_dropout,
)
from torch.nn import functional as F

import methods
from methods.base import FUSED
from methods.mla import narrowed
from mmdg_common import UsageError

THREE = ("a", "b", "d")


def directions(count, size=6):
    generator = torch.Generator().manual_seed(3)
    return torch.randn(count, size, generator=generator, dtype=torch.float64)


# The projector


def test_each_update_of_the_projector_is_that_of_recursive_least_squares_scaled_back():
    projector, alpha = torch.eye(6, dtype=torch.float64), 0.3
    for h in directions(8):
        inverse = torch.linalg.inv(torch.linalg.inv(projector) + torch.outer(h, h) / alpha)
        scale = math.sqrt(6 / float((torch.linalg.eigvalsh(inverse) ** 2).sum()))
        projector = narrowed(projector, h, alpha)
        assert_close(projector, scale * inverse, 1e-9)


def test_the_projector_stays_symmetric_and_positive_over_a_thousand_updates():
    projector = torch.eye(6, dtype=torch.float64)
    for h in directions(1000):
        projector = narrowed(projector, 30 * h, 0.01)
        assert torch.equal(projector, projector.T)
        assert torch.linalg.eigvalsh(projector).min() > -1e-12
        assert float((projector**2).sum()) == pytest.approx(6.0)


def test_a_direction_seen_again_and_again_is_projected_out_ever_more():
    direction, *others = directions(4)
    projector = torch.eye(6, dtype=torch.float64)
    for other in others:
        projector = narrowed(projector, other, 0.1)
    lengths = [float((projector @ direction).norm())]
    for _ in range(20):
        projector = narrowed(projector, direction, 0.1)
        lengths.append(float((projector @ direction).norm()))
    assert all(after < before for before, after in pairwise(lengths))
    assert lengths[-1] < 0.01 * lengths[0]


# The updates of a batch


def test_the_first_update_with_one_modality_is_that_of_its_cross_entropy_bitwise():
    batches = [make_batch(("a",))]
    late = trajectory("late_fusion", tiny_model(("a",)), batches)
    assert_same(trajectory("mla", tiny_model(("a",)), batches), late)
    batches = make_batches(("a",), 2)
    late = trajectory("late_fusion", tiny_model(("a",)), batches)
    later = trajectory("mla", tiny_model(("a",)), batches)[1]
    changed = [name for name in later if not torch.equal(later[name], late[1][name])]
    assert changed == ["heads.a.3.weight"], "from then on the projector turns the shared weight"


def by_hand(model, batches, modalities, alpha, lr):
    """Train by gradient descent as the paper says; return the weights."""
    shared = model.heads[modalities[0]][3]
    projector = torch.eye(512, dtype=torch.float64)
    for batch in batches:
        for k in modalities:
            model.zero_grad()
            z = model.necks[k](model.embed(batch.features)[k])
            hidden = torch.relu(model.heads[k][0](z))
            F.cross_entropy(hidden @ shared.weight.T + shared.bias, batch.labels).backward()
            with torch.no_grad():
                shared.weight.grad = shared.weight.grad @ projector
                for p in model.parameters():
                    p -= 0 if p.grad is None else lr * p.grad
            h = hidden.detach().mean(0)
            inverse = torch.linalg.inv(projector) + torch.outer(h, h) / alpha
            projector = torch.linalg.inv(inverse)
            projector *= math.sqrt(512) / projector.pow(2).sum().sqrt()
    return tensors(model), projector


def test_a_batch_is_one_projected_update_after_another():
    batches = make_batches(THREE, 2)
    method = make_method("mla", without_dropout(tiny_model(THREE)), alpha=0.2)
    optimizer = torch.optim.SGD(method.param_groups(), lr=0.3)
    reference = make_method("mla", without_dropout(tiny_model(THREE))).model
    expected, projector = by_hand(reference, batches, THREE, alpha=0.2, lr=0.3)
    train(method, batches, optimizer)
    assert_close(tensors(method.model), expected, 1e-9)
    assert_close(method.projector, projector, 1e-9)


def updates_of(method, batch, optimizer):
    """Return the names of the tensors that each update of one batch changed."""
    changed = []

    def update():
        before = tensors(method.model)
        optimizer.step()
        method.after_step()
        after = tensors(method.model)
        changed.append({name for name in after if not torch.equal(after[name], before[name])})

    method.step(batch, update)
    return changed


def test_an_update_moves_one_modality_and_the_shared_layer_whatever_adam_remembers():
    method = make_method("mla", without_dropout(tiny_model(THREE)))
    optimizer = torch.optim.Adam(method.param_groups(), lr=1e-2, weight_decay=1e-2)
    for batch in make_batches(THREE, 2):
        changed = updates_of(method, batch, optimizer)
        for k, names in zip(THREE, changed, strict=True):
            # The shared layer goes by the name it has in the first head.
            own = {n for n in tensors(method.model) if n.split(".")[1] == k}
            assert names == own | {"heads.a.3.weight", "heads.a.3.bias"} | (
                set() if k != "a" else {n for n in own if n.startswith("heads")}
            )


def test_an_update_hardly_changes_what_the_shared_weight_makes_of_the_mean_input_before():
    model = without_dropout(tiny_model())
    method = make_method("mla", model, alpha=0.01)
    optimizer = torch.optim.SGD(method.param_groups(), lr=0.1)
    shared, seen = model.heads["a"][3], []

    def update():
        before = shared.weight.detach().clone()
        gradient = shared.weight.grad
        optimizer.step()
        seen.append((shared.weight.detach() - before, gradient, method._mean_input))
        method.after_step()

    method.step(make_batch(), update)
    (_, _, first), (change, _, second) = seen
    assert float((change @ first).norm()) < 0.01 * float(change.norm() * first.norm())
    assert float((change @ second).norm()) > 0.1 * float(change.norm() * second.norm()), (
        "the modality that is trained must still learn on its own mean input"
    )


def test_averages_and_projectors_count_updates_not_batches():
    method = make_method("ema+mla", tiny_model(THREE))
    train(method, make_batches(THREE, 2), adam(method))
    assert method.average.updates == 6


def test_a_wrapper_that_needs_the_gradient_of_a_batch_is_refused():
    with pytest.raises(UsageError, match="several updates per batch"):
        methods.components("sam+mla")


def test_the_shared_layer_is_one_set_of_weights_in_training_copies_and_the_optimizer():
    method = make_method("ema+mla", tiny_model(THREE))
    for model in (method.model, method.eval_model()):
        assert len({id(head[-1]) for head in model.heads.values()}) == 1
    parameters = [id(p) for group in method.param_groups() for p in group["params"]]
    assert len(parameters) == len(set(parameters))


# Prediction


def test_the_prediction_weighs_every_sample_by_the_certainty_of_its_modalities():
    method = make_method("mla", tiny_model(THREE)).eval()
    batch = make_batch(THREE)
    logits = method.predict(batch.features)
    for i in range(len(batch.labels)):
        scores, total = [], torch.zeros(4, dtype=torch.float64)
        for k in THREE:
            p = torch.softmax(logits[k][i], dim=0)
            scores.append(math.exp(float((p * p.log()).sum())))
        for k, score in zip(THREE, scores, strict=True):
            total += score / sum(scores) * logits[k][i]
        assert_close(logits[FUSED][i], total, 1e-9)


def test_a_missing_modality_leaves_the_weight_to_the_others():
    method = make_method("mla", tiny_model(THREE)).eval()
    batch = make_batch(THREE)
    missing = torch.tensor([True] * 4 + [False] * 4)
    present = {"a": ~missing, "d": ~missing}
    logits = method.predict(batch.features, present)
    assert_close(logits[FUSED][:4], logits["b"][:4], 1e-12)
    assert_close(logits[FUSED][4:], method.predict(batch.features)[FUSED][4:], 1e-12)
    nothing = dict.fromkeys(THREE, torch.zeros(8, dtype=torch.bool))
    assert torch.isfinite(method.predict(batch.features, nothing)[FUSED]).all()


# Balance


def test_the_slow_modality_learns_more_than_under_the_loss_of_the_summed_logits():
    scores = {}
    for name in ("mla", "summed"):
        method = make_method("mla", tiny_model(VECTORS))
        if name == "summed":

            def summed(batch, method=method):
                own = method.model.unimodal(method.model.embed(batch.features))
                return {FUSED: F.cross_entropy(sum(own.values()), batch.labels)}

            def step(batch, update, method=method):
                for _ in VECTORS:
                    method.compute_grads(batch)
                    update()

            method.loss, method.step, method.after_step = summed, step, lambda: None
        train_on_imbalance(method, steps=12)
        test = imbalanced(400, seed=5)
        scores[name] = accuracy(method.predict(test.features)[HARD], test)
    assert scores["mla"] > scores["summed"] + 0.05
