"""LFM: the divergence, its share in the loss, and how a learned share moves."""

import math

import pytest
import torch
from support_balancing import HARD, imbalanced, separation, train_on_imbalance
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
    smooth,
    tensors,
    through_a_file,
    tiny_model,
    train,
    trajectory,
    without_dropout,
)
from torch.nn import functional as F

from methods.lfm import gap
from methods.shared.losses import js_divergence

THREE = ("a", "b", "d")


def logits(seed, scale=1.0):
    generator = torch.Generator().manual_seed(seed)
    return scale * torch.randn(6, 5, generator=generator, dtype=torch.float64)


# The divergence


def test_the_divergence_is_that_of_the_definition():
    a, b = logits(0, 3.0), logits(1, 3.0)
    rows = []
    for p, q in zip(a.softmax(1), b.softmax(1), strict=True):
        m = (p + q) / 2
        rows.append(0.5 * (p * (p / m).log()).sum() + 0.5 * (q * (q / m).log()).sum())
    expected = torch.stack(rows).mean()
    assert_close(js_divergence(a, b), expected, 1e-12)
    assert_close(js_divergence(b, a), expected, 1e-12)


def test_the_divergence_is_not_the_one_with_exchanged_arguments():
    a, b = logits(0, 3.0), logits(1, 3.0)
    p, q = a.softmax(1), b.softmax(1)
    m = (p + q) / 2
    public = 0.5 * sum(F.kl_div(x.log(), m, reduction="batchmean") for x in (p, q))
    assert float(js_divergence(a, b)) < 0.9 * float(public)


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0, 1000.0])
def test_the_divergence_lies_between_zero_and_log_two(scale):
    for seed in range(5):
        value = float(js_divergence(logits(seed, scale), logits(seed + 50, scale)))
        assert 0 < value <= math.log(2) + 1e-12


def test_certain_and_different_predictions_are_log_two_apart():
    a, b = (
        500 * torch.eye(4, dtype=torch.float64),
        500 * torch.eye(4, dtype=torch.float64)[[1, 0, 3, 2]],
    )
    assert float(js_divergence(a, b)) == pytest.approx(math.log(2), abs=1e-12)
    assert torch.isfinite(js_divergence(a * 1e6, b * 1e6))


def test_only_equal_distributions_have_none():
    a = logits(3, 4.0)
    assert float(js_divergence(a, a.clone())) == pytest.approx(0.0, abs=1e-14)
    assert float(js_divergence(a, a + 7.0)) == pytest.approx(0.0, abs=1e-14)
    b = a.clone()
    b[2, 1] += 0.1
    assert float(js_divergence(a, b)) > 1e-8


def test_three_modalities_have_the_mean_of_three_pairs():
    a, b, c = (logits(seed) for seed in range(3))
    expected = (js_divergence(a, b) + js_divergence(a, c) + js_divergence(b, c)) / 3
    assert_close(gap({"x": a, "y": b, "z": c}), expected, 1e-12)


# The loss


@pytest.mark.parametrize("modalities", [VECTORS, THREE])
def test_the_loss_is_shared_between_labels_and_alignment(modalities):
    model, batch = without_dropout(tiny_model(modalities)), make_batch(modalities)
    method = make_method("lfm", model, start=0.4, end=0.4)
    joint = make_method("joint", model).loss(batch)
    expected = {name: 0.6 * term for name, term in joint.items()}
    expected["alignment"] = 0.4 * gap(model.unimodal(model.embed(batch.features)))
    assert_close(method.loss(batch), expected, 1e-12)


def test_without_share_it_is_joint_bitwise():
    batches = make_batches(WITH_BATCH_NORM)
    joint = trajectory("joint", tiny_model(WITH_BATCH_NORM), batches)
    lfm = trajectory("lfm", tiny_model(WITH_BATCH_NORM), batches, start=0.0, end=0.0)
    assert_same(lfm, joint)


@pytest.mark.parametrize("schedule", ["linear", "learned"])
def test_one_modality_has_nothing_to_align_and_is_joint_bitwise(schedule):
    batches = make_batches(("a",))
    joint = trajectory("joint", tiny_model(("a",)), batches)
    assert_same(trajectory("lfm", tiny_model(("a",)), batches, schedule=schedule), joint)


def test_the_alignment_reaches_the_encoders_and_heads_of_both_sides():
    model, batch = without_dropout(tiny_model()), make_batch()
    method = make_method("lfm", model, start=1.0, end=1.0)
    gradient = gradients_of(method, batch)
    for k in VECTORS:
        assert gradient[f"encoders.{k}.tail.0.weight"].any()
        assert gradient[f"heads.{k}.0.weight"].any()
    assert not any(g.any() for name, g in gradient.items() if name.startswith("fusion"))


# The share


def test_the_linear_share_goes_from_start_to_end_over_the_run_and_stays_there():
    method = make_method("lfm", tiny_model(), start=0.6, end=0.1)
    shares = []
    for step in (0, 50, 100, 300):
        method.run.step = step
        shares.append(method.current_share())
    assert shares == pytest.approx([0.6, 0.35, 0.1, 0.1], abs=1e-12)


def learning(model=None, **hyperparameters):
    """Return a method with a learned share, without dropout, validated on two batches."""
    model = smooth(tiny_model()) if model is None else model
    parts = [make_batch(seed=20, size=5), make_batch(seed=21, size=9)]
    return make_method("lfm", model, batches=parts, schedule="learned", **hyperparameters)


def validation_loss(model, parts):
    """Return the mean fused cross-entropy over all samples."""
    losses = [
        F.cross_entropy(model.fuse(model.embed(part.features)), part.labels, reduction="none")
        for part in parts
    ]
    return torch.cat(losses).mean()


def test_the_slope_is_that_of_the_validation_loss_after_one_step_of_descent():
    method, batch, eta, h = learning(start=0.3), make_batch(seed=5), 1e-4, 0.1
    parameters = list(method.model.parameters())
    parts = list(method.run.val_loader())
    start = [p.detach().clone() for p in parameters]

    def after_one_step(share):
        method.share.fill_(share)
        loss = torch.stack(list(method.loss(batch).values())).sum()
        found = torch.autograd.grad(loss, parameters, allow_unused=True)
        with torch.no_grad():
            for p, g in zip(parameters, found, strict=True):
                if g is not None:
                    p.sub_(eta * g)
            value = float(validation_loss(method.model, parts))
            for p, x in zip(parameters, start, strict=True):
                p.copy_(x)
        return value

    numeric = (after_one_step(0.3 + h) - after_one_step(0.3 - h)) / (2 * h * eta)
    lengths = []
    for weigh in (lambda: validation_loss(method.model, parts), lambda: difference(method, batch)):
        found = torch.autograd.grad(weigh(), parameters, allow_unused=True)
        lengths.append(torch.cat([g.flatten() for g in found if g is not None]).norm())
    expected = numeric / float(lengths[0] * lengths[1])
    assert abs(expected) > 0.05
    assert method.slope(batch) == pytest.approx(expected, abs=2e-3)


def difference(method, batch):
    """Return the alignment minus the losses by labels."""
    joint = make_method("joint", method.model).loss(batch)
    unimodal = method.model.unimodal(method.model.embed(batch.features))
    return gap(unimodal) - torch.stack(list(joint.values())).sum()


def test_a_learned_share_moves_against_the_slope_once_an_epoch_after_the_step():
    method, batches = learning(start=0.5, rate=0.1), make_batches(count=3)
    optimizer = adam(method)
    method.epoch_start()
    slope = method.slope(batches[0])
    gradients_of(method, batches[0])
    assert float(method.share) == 0.5
    train(method, batches[:1], optimizer)
    assert slope != 0
    assert float(method.share) == pytest.approx(0.5 - 0.1 * slope, abs=1e-9)
    moved = float(method.share)
    train(method, batches[1:], optimizer)
    assert float(method.share) == moved
    method.epoch_start()
    train(method, batches[:1], optimizer)
    assert float(method.share) != moved


def test_a_learned_share_stays_within_its_limits():
    for slope, limit in ((1.0, 0.05), (-1.0, 0.95)):
        method = learning(start=0.5, rate=0.2)
        method.slope = lambda batch, slope=slope: slope
        optimizer = adam(method)
        for _ in range(4):
            method.epoch_start()
            train(method, [make_batch()], optimizer)
        assert float(method.share) == pytest.approx(limit, abs=1e-9)


def test_measuring_the_slope_leaves_gradients_batch_norm_mode_and_streams_alone():
    parts, batch = make_batches(WITH_BATCH_NORM, 2), make_batch(WITH_BATCH_NORM, seed=6)
    found = {}
    for schedule in ("linear", "learned"):
        model = tiny_model(WITH_BATCH_NORM)
        method = make_method("lfm", model, batches=parts, schedule=schedule, start=0.5, end=0.5)
        method.epoch_start()
        gradient = gradients_of(method, batch)
        assert all(module.training for module in method.modules())
        found[schedule] = gradient, tensors(model), torch.get_rng_state()
    assert_same(found["learned"], found["linear"])


def test_a_learned_share_survives_a_checkpoint():
    method = learning(rate=0.2)
    method.epoch_start()
    train(method, [make_batch()], adam(method))
    assert float(method.share) != 0.5
    twin = learning(rate=0.2)
    twin.load_state_dict(through_a_file(method.state_dict()))
    assert twin.current_share() == method.current_share()


# In training


def test_alignment_brings_predictions_together_and_the_modality_learned_late_gains_on_erm():
    runs = {"erm": {}, "lfm": {"start": 0.9, "end": 0.9}, "joint": {}}
    methods = {
        name: train_on_imbalance(make_method(name, tiny_model(), **changes), steps=15)
        for name, changes in runs.items()
    }
    unseen = imbalanced(400, 10_000)
    gaps = {}
    for name in ("joint", "lfm"):
        predicted = methods[name].predict(unseen.features)
        gaps[name] = float(gap({k: predicted[k] for k in VECTORS}))
    assert gaps["lfm"] < 0.9 * gaps["joint"]
    assert separation(methods["lfm"], HARD) > separation(methods["erm"], HARD) + 0.02
