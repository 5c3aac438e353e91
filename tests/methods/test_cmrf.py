"""CMRF: mixing weights, targets from the average, when they begin, and what is evaluated."""

import copy

import pytest
import torch
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
    without_dropout,
)
from torch import nn

from methods import cmrf as module
from methods.base import FUSED
from methods.cmrf import mixing_shares
from methods.shared.losses import supervised_contrastive

THREE = ("a", "b", "c")


def cmrf(modalities=THREE, **hyperparameters):
    """Return the method without dropout, with the same initial weights at every call."""
    torch.manual_seed(3)
    return without_dropout(make_method("cmrf", tiny_model(modalities), **hyperparameters))


def averaging(modalities=THREE, **hyperparameters):
    """Return the method while it distils from an average that differs from the student."""
    method = cmrf(modalities, start=2, **hyperparameters)
    train(method, make_batches(modalities), adam(method, lr=0.05))
    return method


def unit(z):
    return z / (z**2).sum(dim=1, keepdim=True).sqrt()


def projected(model, heads, batch):
    """Return the projections of a model's embeddings, each of length 1."""
    return {k: unit(heads[k].layers(z)) for k, z in model.embed(batch.features).items()}


# Mixing weights


@pytest.mark.parametrize("alpha", [0.05, 0.1, 1.0, 5.0])
def test_each_target_stays_closer_to_its_own_modality(alpha):
    first, second = mixing_shares(2000, alpha, torch.Generator().manual_seed(0))
    assert first.shape == second.shape == (2000,)
    assert 0.5 <= float(first.min()) <= float(first.max()) <= 1
    assert 0 <= float(second.min()) <= float(second.max()) <= 0.5
    assert not torch.equal(first, 1 - second), "the two are drawn independently"


@pytest.mark.parametrize("alpha", [0.1, 0.5, 1.0, 2.0])
def test_the_weights_are_beta_distributed_on_each_side_of_a_half(alpha):
    first, second = mixing_shares(40000, alpha, torch.Generator().manual_seed(0))
    concentration = torch.tensor(alpha, dtype=torch.float64)
    torch.manual_seed(0)
    drawn = torch.distributions.Beta(concentration, concentration).sample((200000,))
    for mine, half in ((first, drawn[drawn > 0.5]), (second, drawn[drawn < 0.5])):
        for level in (0.1, 0.25, 0.5, 0.75, 0.9):
            below = (mine < half.quantile(level)).double().mean()
            assert float(below) == pytest.approx(level, abs=0.015)


def test_with_a_small_concentration_next_to_nothing_is_mixed():
    generator = torch.Generator().manual_seed(0)
    mixed = [float((1 - mixing_shares(20000, a, generator)[0]).mean()) for a in (1, 0.1, 0.01)]
    assert mixed[0] == pytest.approx(0.25, abs=0.01)
    assert mixed[1] < mixed[0] / 2.5
    assert mixed[2] < mixed[1] / 5


def test_the_weights_come_from_the_runs_generator_one_for_every_sample():
    method, batch = averaging(), make_batch(THREE)
    state = method.run.generator.get_state()
    first, second = method.loss(batch), method.loss(batch)
    method.run.generator.set_state(state)
    torch.manual_seed(99)
    assert_same(method.loss(batch), first)
    assert not torch.equal(second["distill"], first["distill"])


# Distillation


def drawn_shares(monkeypatch):
    """Hand out known mixing weights and return the list of what was handed out."""
    drawn = []

    def shares(size, alpha, generator):
        generator = torch.Generator().manual_seed(len(drawn))
        pair = torch.rand(2, size, generator=generator, dtype=torch.float64) / 2
        drawn.append((1 - pair[0], pair[1]))
        return drawn[-1]

    monkeypatch.setattr(module, "mixing_shares", shares)
    return drawn


@pytest.mark.parametrize("modalities", [("a", "b"), THREE, ("a", "b", "c", "d")])
def test_targets_and_their_distance_are_those_of_the_formulas(monkeypatch, modalities):
    drawn, batch = drawn_shares(monkeypatch), make_batch(modalities, seed=9)
    method = averaging(modalities, distill=1.7)
    drawn.clear()
    term = method.loss(batch)["distill"]
    teacher, heads = method.teacher.model, method.teacher_projections.model
    taught = {k: q.detach() for k, q in projected(teacher, heads, batch).items()}
    student = projected(method.model, method.projections, batch)
    pairs = [(a, b) for i, a in enumerate(modalities) for b in modalities[i + 1 :]]
    assert len(drawn) == len(pairs)
    total = 0.0
    for (a, b), shares in zip(pairs, drawn, strict=True):
        for k, share in zip((a, b), shares, strict=True):
            target = share[:, None] * taught[a] + (1 - share[:, None]) * taught[b]
            total = total + (unit(target) - student[k]).pow(2).sum(dim=1).sqrt().mean()
    expected = 1.7 * total / len(pairs)
    assert term.item() == pytest.approx(expected.item(), abs=1e-9)
    theta = [*method.model.parameters(), *method.projections.parameters()]
    mine, hand = (torch.autograd.grad(t, theta, allow_unused=True) for t in (term, expected))
    for x, y in zip(mine, hand, strict=True):
        assert (x is None) == (y is None)
        if y is not None:
            assert_close(x, y, 1e-9)


def test_what_is_not_mixed_is_taught_by_its_own_modality(monkeypatch):
    def unmixed(size, alpha, generator):
        return torch.ones(size, dtype=torch.float64), torch.zeros(size, dtype=torch.float64)

    method, batch = averaging(distill=1.0), make_batch(THREE)
    monkeypatch.setattr(module, "mixing_shares", unmixed)
    taught = projected(method.teacher.model, method.teacher_projections.model, batch)
    student = projected(method.model, method.projections, batch)
    own = [(taught[k] - student[k]).pow(2).sum(dim=1).sqrt().mean() for k in THREE]
    # Three pairs with two members each: every modality is a member of two of the pairs.
    expected = 2 * sum(own) / 3
    assert method.loss(batch)["distill"].item() == pytest.approx(expected.item(), abs=1e-9)


def test_the_average_and_its_projections_get_no_gradient_and_draw_no_dropout():
    method, batch = averaging(), make_batch(THREE)
    for part in (method.teacher, method.teacher_projections):
        assert not any(m.training for m in part.modules())
    state = method.run.generator.get_state()
    expected = method.loss(batch)["distill"]
    for m in method.teacher.modules():
        if isinstance(m, nn.Dropout):
            m.p = 0.9
    method.run.generator.set_state(state)
    method.train()
    assert torch.equal(method.loss(batch)["distill"], expected)
    method.compute_grads(batch)
    for part in (method.teacher, method.teacher_projections):
        assert all(p.grad is None for p in part.parameters())
        assert not any(p.requires_grad for p in part.parameters())


def test_distillation_begins_once_there_is_an_average():
    start = 3
    method = cmrf(start=start)
    optimizer, seen = adam(method), []
    for batch in make_batches(THREE, 5):
        seen.append("distill" in method.loss(batch))
        train(method, [batch], optimizer)
    assert seen == [False] * start + [True] * 2


def test_distillation_pulls_the_projections_towards_their_targets():
    ends = {}
    for weight in (0.0, 3.0):
        method = cmrf(start=5, distill=weight, contrast=0.0, unimodal=0.0)
        train(method, make_batches(THREE) * 15, adam(method))
        method.hp = type(method.hp)(distill=1.0)
        batches = make_batches(THREE)
        ends[weight] = sum(method.loss(batch)["distill"].item() for batch in batches) / 4
    assert ends[3.0] < 0.6 * ends[0.0]


# The other terms


def test_the_cross_entropies_and_the_contrast_are_those_of_the_formulas():
    batch, method = make_batch(THREE), cmrf(unimodal=0.4, contrast=1.3, temperature=0.2)
    joint = make_method("joint", method.model).loss(batch)
    q = projected(method.model, method.projections, batch)
    views = torch.stack([q[k] for k in THREE], dim=1)
    contrast = 1.3 * (0.2 / 0.07) * supervised_contrastive(views, batch.labels, 0.2)
    expected = {FUSED: joint[FUSED], **{k: 0.4 * joint[k] for k in THREE}, "contrast": contrast}
    assert_close(method.loss(batch), expected, 1e-9)


def test_no_modality_weighs_less_than_another_by_its_name():
    def relabelled(names):
        model = tiny_model(("a", "b"))
        batch = make_batch(("a", "b"))
        renamed = dict(zip(("a", "b"), names, strict=True))
        for part in (model.encoders, model.necks, model.heads, model.dropouts):
            for old, new in renamed.items():
                part[new] = part.pop(old)
        torch.manual_seed(3)
        method = without_dropout(make_method("cmrf", model))
        features = {renamed[k]: x for k, x in batch.features.items()}
        object.__setattr__(batch, "features", features)
        return list(method.loss(batch).values())

    assert_same(relabelled(("audio", "video")), relabelled(("video", "audio")))


@pytest.mark.parametrize("modalities", [("c",), WITH_BATCH_NORM])
def test_without_contrast_and_distillation_the_student_is_that_of_joint_bitwise(modalities):
    batches = make_batches(modalities)
    joint = trajectory("joint", tiny_model(modalities), batches)
    off = {} if len(modalities) == 1 else {"contrast": 0.0, "distill": 0.0}
    weights = trajectory("cmrf", tiny_model(modalities), batches, unimodal=1.0, start=2, **off)
    assert_same(weights, joint)


def test_the_extra_networks_are_as_wide_as_asked_for():
    method = cmrf(hidden=11, out=9)
    linear = [m for m in method.projections.modules() if isinstance(m, nn.Linear)]
    assert {m.out_features for m in linear} == {11, 9}
    assert [m.in_features for m in linear[::3]] == [3, 4, 5]


# The average


def test_the_average_of_model_and_projections_is_the_mean_of_the_iterates_from_the_start_on():
    start, steps = 3, 6
    method = cmrf(start=start)
    optimizer = adam(method, lr=0.05)
    students = []
    for step, batch in enumerate(make_batches(THREE, steps), start=1):
        train(method, [batch], optimizer)
        students.append([tensors(method.model), tensors(method.projections)])
        averages = [tensors(method.teacher.model), tensors(method.teacher_projections.model)]
        counted = students[-1:] if step < start else students[start - 2 :]
        for part, average in enumerate(averages):
            for name, x in average.items():
                if x.is_floating_point():
                    expected = torch.stack([s[part][name] for s in counted]).mean(0)
                    assert_close(x, expected, 1e-9)
                else:
                    assert_same(x, students[-1][part][name])


def test_the_average_is_what_is_evaluated_and_predicted_with():
    method, batch = averaging(), make_batch(THREE)
    method.eval()
    teacher = method.teacher.model
    assert method.eval_model() is teacher
    z = teacher.embed(batch.features)
    expected = {FUSED: teacher.fuse(z), **teacher.unimodal(z)}
    predicted = method.predict(batch.features)
    assert_same(predicted, {k: x.detach() for k, x in expected.items()})
    with torch.no_grad():
        student = method.model.fuse(method.model.embed(batch.features))
    assert not torch.allclose(predicted[FUSED], student)


def test_the_averages_stand_still_within_a_step():
    method, batch = averaging(), make_batch(THREE)
    parts = (method.teacher, method.teacher_projections)
    before = [tensors(part) for part in parts]
    method.compute_grads(batch)
    assert_same([tensors(part) for part in parts], before)


def test_a_checkpoint_restores_the_averages_of_the_projections_and_their_count():
    method, batch = averaging(), make_batch(THREE)
    state = through_a_file(copy.deepcopy(method.state_dict()))
    twin = without_dropout(make_method("cmrf", tiny_model(THREE, seed=5), start=2))
    twin.load_state_dict(state)
    twin.run.generator.set_state(method.run.generator.get_state())
    assert_same(twin.loss(batch), method.loss(batch))
    optimizers = adam(method), adam(twin)
    for each, optimizer in zip((method, twin), optimizers, strict=True):
        train(each, [batch], optimizer)
    for part in ("teacher", "teacher_projections"):
        assert_same(tensors(getattr(twin, part)), tensors(getattr(method, part)))


def test_a_batch_of_one_sample_has_finite_terms_and_gradients():
    method = averaging()
    batch = make_batch(THREE, size=1)
    assert set(method.loss(batch)) == {FUSED, *THREE, "contrast", "distill"}
    assert all(torch.isfinite(g).all() for g in gradients_of(method, batch).values())
