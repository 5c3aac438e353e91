"""Guided balancing: gates, conditional learning speeds, and what a window changes."""

import itertools

import pytest
import torch
from support import tiny_specs
from support_balancing import EASY, HARD, train_on_imbalance
from support_methods import (
    VECTORS,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tensors,
    tiny_encoder,
    tiny_model,
    train,
    without_dropout,
)
from torch.nn import functional as F

from benchmark.backbones.base import Encoder
from methods.base import FUSED
from methods.greedy import conditional_speeds, relative_size
from mmdg_common import UsageError

THREE = ("a", "b", "d")
NEVER = 1e9


def greedy(modalities=VECTORS, **hyperparameters):
    """Return the method with the same gates every time."""
    torch.manual_seed(6)
    return make_method("greedy", tiny_model(modalities), **hyperparameters)


def gates_by_hand(model, batch):
    """Return the gates [B, D_k] and the embeddings after the neck, from the definition."""
    z = {k: model.necks[k](x) for k, x in model.embed(batch.features).items()}
    joint = torch.cat(list(z.values()), dim=1)
    return {k: 2 / (1 + torch.exp(-model.fusion.gates[k](joint))) for k in z}, z


# The gates


def test_every_embedding_is_scaled_by_a_gate_that_sees_all_modalities():
    method = greedy(THREE)
    without_dropout(method.model)
    batch = make_batch(THREE)
    gates, z = gates_by_hand(method.model, batch)
    fused = method.model.fusion.head(torch.cat([gates[k] * z[k] for k in THREE], dim=1))
    assert_close(method.loss(batch), {FUSED: F.cross_entropy(fused, batch.labels)}, 1e-12)
    assert_close(method.eval().predict(batch.features)[FUSED], fused.detach(), 1e-12)
    changed = {**batch.features, "d": batch.features["d"] + 1}
    other = gates_by_hand(method.model, type(batch)(changed, *list(vars(batch).values())[1:4]))[0]
    assert not torch.allclose(other["a"], gates["a"])


def test_the_running_gates_are_the_mean_over_batches_of_each_modalitys_own():
    method = greedy(THREE, epsilon=NEVER)
    without_dropout(method.model)
    optimizer, seen = adam(method), []
    for batch in make_batches(THREE, 5):
        gates, _ = gates_by_hand(method.model, batch)
        seen.append(torch.cat([g.detach().mean(0) for g in gates.values()]))
        train(method, [batch], optimizer)
    assert_close(method.mean_gates, torch.stack(seen).mean(0), 1e-12)


# The speeds


def test_the_speed_is_the_logarithm_of_gate_over_encoder():
    progress = torch.tensor([[10.0, 0.1], [3.0, 3.0], [1.0, 1000.0]], dtype=torch.float64)
    assert conditional_speeds(progress).tolist() == pytest.approx([2.0, 0.0, -3.0])


def test_the_size_of_a_gradient_is_relative_to_the_weights_and_squared():
    first, second, idle = (torch.ones(n, requires_grad=True) for n in (2, 1, 7))
    first.grad, second.grad = torch.tensor([2.0, 4.0]), torch.tensor([5.0])
    assert relative_size([first, second, idle]) == pytest.approx((4 + 16 + 25) / 3)
    assert relative_size([idle]) == 0.0


def test_gate_and_encoder_add_up_over_all_updates():
    method = greedy(THREE, epsilon=NEVER)
    optimizer = adam(method)
    expected = torch.zeros(3, 2, dtype=torch.float64)
    for batch in make_batches(THREE, 3):
        torch.manual_seed(1)
        method.compute_grads(batch)
        for i, k in enumerate(THREE):
            modules = method.model.fusion.gates[k], method.model.encoders[k]
            for j, module in enumerate(modules):
                flat = torch.cat([p.detach().flatten() for p in module.parameters()])
                gradient = torch.cat([p.grad.flatten() for p in module.parameters()])
                expected[i, j] += float(gradient.norm() ** 2 / flat.norm() ** 2)
        torch.manual_seed(1)
        train(method, [batch], optimizer)
    assert_close(method.progress, expected, 1e-9)
    logged = method.run.logs.flush()
    speeds = conditional_speeds(expected).tolist()
    assert {f"speed/{k}" for k in THREE} <= set(logged)
    assert speeds[0] != pytest.approx(speeds[1], abs=1e-3)


# The windows


def pretend(method, progress):
    """Make the sums of gate and encoder what they are said to be, whatever has happened."""
    method.progress.copy_(torch.tensor(progress, dtype=torch.float64))
    method.compute_grads(make_batch(method.run.modalities))
    method._progress.zero_()
    method.after_step()


@pytest.mark.parametrize(
    ("progress", "cared_for"),
    [
        ([[2.0, 1.0], [1.0, 1.0]], "a"),
        ([[1.0, 1.0], [2.0, 1.0]], "b"),
        ([[1.0, 0.1], [5.0, 1.0]], "a"),
    ],
)
def test_the_modality_whose_gate_outruns_its_encoder_is_cared_for(progress, cared_for):
    method = greedy(start=0)
    pretend(method, progress)
    assert int(method.left) == 5
    assert set(method._constant_gate()) == {cared_for}


@pytest.mark.parametrize(("difference", "starts"), [(0.009, False), (0.011, True)])
def test_a_window_needs_a_difference_of_speeds_beyond_epsilon(difference, starts):
    method = greedy(start=0, epsilon=0.01)
    pretend(method, [[1.0, 1.0], [10**difference, 1.0]])
    assert bool(method.left) == starts


def test_of_three_modalities_the_fastest_is_compared_with_the_mean_of_the_others():
    speeds = (0.5, 0.0, 0.2)  # 0.5 - 0.1 = 0.4
    for epsilon, starts in ((0.39, True), (0.41, False)):
        method = greedy(THREE, start=0, epsilon=epsilon)
        pretend(method, [[10**s, 1.0] for s in speeds])
        assert bool(method.left) == starts


def test_no_window_before_its_first_epoch():
    method = greedy(start=2)
    for epoch, starts in ((0, False), (1, False), (2, True)):
        method.run.epoch = epoch
        pretend(method, [[9.0, 1.0], [1.0, 1.0]])
        assert bool(method.left) == starts


def test_a_window_lasts_its_updates_and_a_regular_one_follows():
    method = greedy(start=0, epsilon=0.0, window=3)
    optimizer, held = adam(method), []
    for batch in make_batches(count=9):
        method.run.logs.flush()
        train(method, [batch], optimizer)
        logged = method.run.logs.flush()
        held.append(logged["cared_for/a"] + logged["cared_for/b"])
    assert held == [0, 1, 1, 1, 0, 1, 1, 1, 0]


def test_updates_inside_a_window_do_not_count_in_the_speeds():
    method = greedy(start=0, epsilon=0.0, window=3)
    optimizer, counted = adam(method), [0.0]
    expected = torch.zeros(2, 2, dtype=torch.float64)
    for batch in make_batches(count=9):
        regular = not method.left
        train(method, [batch], optimizer)
        if regular:  # the gradients are those of the update that has just been made
            expected += method._progress
        counted.append(float(method.progress.sum()))
    moved = [after != before for before, after in itertools.pairwise(counted)]
    assert moved == [True, False, False, False] * 2 + [True]
    assert_close(method.progress, expected, 1e-12)


def test_outside_windows_it_is_plain_training_of_the_gated_model():
    batches = make_batches(THREE)
    ours, plain = greedy(THREE, start=0, epsilon=NEVER), greedy(THREE)
    plain.step, plain.after_step = None, lambda: None
    torch.manual_seed(3)
    train(ours, batches, adam(ours))
    optimizer = adam(plain)
    torch.manual_seed(3)
    for batch in batches:
        optimizer.zero_grad()
        z = plain.model.embed(batch.features)
        F.cross_entropy(plain.model.fuse(z), batch.labels).backward()
        optimizer.step()
    assert_same(tensors(ours.model), tensors(plain.model))


def test_in_a_window_the_cared_for_modality_has_its_mean_gate_and_that_alone():
    method = greedy(THREE, start=0, epsilon=NEVER)
    without_dropout(method.model)
    train(method, make_batches(THREE, 3), adam(method))
    method.left.fill_(2)
    method.cared_for.fill_(1)
    batch = make_batch(THREE, seed=9)
    gates, z = gates_by_hand(method.model, batch)
    start = method.model.dims["a"]
    gates["b"] = method.mean_gates[start : start + method.model.dims["b"]].expand(8, -1)
    fused = method.model.fusion.head(torch.cat([gates[k] * z[k] for k in THREE], dim=1))
    assert_close(method.loss(batch), {FUSED: F.cross_entropy(fused, batch.labels)}, 1e-12)
    idle = {name for name, g in gradients_of(method, batch).items() if not g.any()}
    assert {name for name in idle if name.startswith("fusion")} == {
        f"fusion.gates.b.{layer}.{part}" for layer in (0, 2) for part in ("weight", "bias")
    }
    before = method.mean_gates.clone()
    method.after_step()
    changed = method.mean_gates != before
    assert changed[:start].all()
    assert not changed[start : start + method.model.dims["b"]].any()


def test_a_window_changes_nothing_in_prediction():
    method = greedy(THREE)
    batch = make_batch(THREE)
    train(method, [batch], adam(method))
    expected = method.eval().predict(batch.features)
    method.left.fill_(2)
    method.train().compute_grads(batch)
    assert_same(method.eval().predict(batch.features), expected)


def test_an_encoder_without_trained_tensors_has_no_speed_and_starts_no_window():
    def half_frozen(modality):
        encoder = tiny_encoder(modality)
        if modality == "a":
            encoder.tail.requires_grad_(False)
        return Encoder(encoder.stem, encoder.tail, encoder.dim)

    method = make_method("greedy", tiny_model(encoder=half_frozen), start=0, epsilon=0.0)
    train(method, make_batches(), adam(method))
    assert int(method.left) == 0
    assert not [name for name in method.run.logs.flush() if name.startswith("speed")]


def test_the_modality_that_is_learned_late_is_cared_for_and_the_other_is_not():
    method = greedy(start=0)
    train_on_imbalance(method, steps=20, lr=3e-4)
    logged = method.run.logs.flush()
    assert logged[f"cared_for/{HARD}"] > 0.5
    assert logged[f"cared_for/{EASY}"] == 0


def test_one_modality_is_refused_with_the_reason(tmp_path):
    with pytest.raises(UsageError, match="greedy needs at least 2 modalities"):
        tiny_specs(tmp_path, "greedy", modalities=("m1",))
