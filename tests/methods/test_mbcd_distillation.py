"""MBCD's distillation, and the teacher that it comes from."""

import copy

import pytest
import torch
from support_mbcd import OFF, THREE, disturb, kl, mbcd
from support_methods import (
    CLASSES,
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tensors,
    tiny_model,
    train,
    without_dropout,
)
from torch import nn

from methods.shared import losses


def test_kl_is_from_teacher_to_student_and_averaged_over_the_batch():
    generator = torch.Generator().manual_seed(0)
    teacher, student = torch.randn(2, 5, CLASSES, generator=generator, dtype=torch.float64)
    forward, backward = kl(teacher, student), kl(student, teacher)
    assert abs(float(forward - backward)) > 1e-2
    assert_close(losses.kl_from(teacher, student), forward, 1e-12)


def test_kl_and_its_gradient_vanish_when_both_agree():
    logits = torch.randn(5, CLASSES, dtype=torch.float64)
    student = (logits + 3.0).requires_grad_()  # the same probabilities
    value = losses.kl_from(logits, student)
    value.backward()
    assert_close(value.detach(), torch.zeros((), dtype=torch.float64), 1e-12)
    assert_close(student.grad, torch.zeros_like(logits), 1e-12)


def test_fused_and_unimodal_logits_are_pulled_to_the_teachers_fused_logits():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE)
    method = mbcd(model, distill_fused=0.5, distill_unimodal=3.0)
    disturb(method.teacher.model, 0.3)
    teacher = method.teacher.model
    z, z_teacher = model.embed(batch.features), teacher.embed(batch.features)
    target = teacher.fuse(z_teacher)
    terms = method.loss(batch)
    assert terms["distill"].item() == pytest.approx(0.5 * kl(target, model.fuse(z)).item())
    for k, logits in model.unimodal(z).items():
        assert terms[f"distill/{k}"].item() == pytest.approx(3.0 * kl(target, logits).item())
    assert set(terms) == {"fused", *THREE, "distill", *(f"distill/{k}" for k in THREE)}


@pytest.mark.parametrize("weight", ["distill_fused", "distill_unimodal"])
def test_a_distillation_weight_scales_its_own_gradient_and_zero_removes_it(weight):
    batch, model = make_batch(), without_dropout(tiny_model())
    gradients = {}
    for value in (0.0, 1.0, 3.0):
        method = mbcd(model, **{weight: value})
        disturb(method.teacher.model, 0.3)
        gradients[value] = gradients_of(method, batch)
    joint = gradients_of(make_method("joint", model), batch)
    assert_same(gradients[0.0], joint)
    for name, zero in gradients[0.0].items():
        assert_close(gradients[3.0][name] - zero, 3 * (gradients[1.0][name] - zero), 1e-12)
    moved = {n.split(".")[0] for n, g in gradients[1.0].items() if not torch.equal(g, joint[n])}
    assert moved == {"encoders", "necks", "fusion" if weight == "distill_fused" else "heads"}


def test_the_teacher_sees_every_modality_without_dropout_and_gets_no_gradient():
    batch = make_batch(THREE, size=32)
    model = without_dropout(tiny_model(THREE))
    everything = {"dropout": "fixed", "dropout_rate": 0.9, "distill_unimodal": 1.0}
    method = mbcd(model, **everything, distill_fused=1.0)
    teacher = method.teacher.model
    disturb(teacher, 0.3)
    for module in teacher.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.9
    method.train()
    expected = copy.deepcopy(teacher).eval()
    target = expected.fuse(expected.embed(batch.features))
    terms = method.loss(batch)
    for k, logits in model.unimodal(model.embed(batch.features)).items():
        assert terms[f"distill/{k}"].item() == pytest.approx(kl(target, logits).item(), abs=1e-12)
    sum(terms.values()).backward()
    assert all(p.grad is None for p in teacher.parameters())


def test_with_beta_zero_the_teacher_is_the_last_student():
    model = tiny_model(WITH_BATCH_NORM)
    method = make_method("mbcd", model, beta=0.0)
    optimizer = adam(method)
    for batch in make_batches(WITH_BATCH_NORM):
        train(method, [batch], optimizer)
        assert_same(tensors(method.teacher.model), tensors(model))
    batch = make_batch(WITH_BATCH_NORM, seed=9)
    model.eval()
    target = model.fuse(model.embed(batch.features))
    model.train()
    without_dropout(model)
    method.hp = type(method.hp)(**OFF | {"distill_unimodal": 1.0})
    terms = method.loss(batch)
    for k, logits in model.unimodal(model.embed(batch.features)).items():
        assert terms[f"distill/{k}"].item() == pytest.approx(kl(target, logits).item(), abs=1e-9)


def test_the_teacher_does_not_move_within_a_step_and_follows_after_it():
    model = tiny_model()
    method = make_method("mbcd", model, beta=0.5)
    before = tensors(method.teacher.model)
    method.compute_grads(make_batch())
    assert_same(tensors(method.teacher.model), before)
    train(method, [make_batch()], adam(method))
    student = tensors(model)
    expected = {name: 0.5 * x + 0.5 * student[name] for name, x in before.items()}
    assert_close(tensors(method.teacher.model), expected)


def test_the_teacher_is_what_is_evaluated_and_predicted_with():
    model, batch = tiny_model(), make_batch()
    method = make_method("mbcd", model, beta=0.5)
    train(method, make_batches(), adam(method))
    method.eval()
    teacher = method.teacher.model
    assert method.eval_model() is teacher
    z = teacher.embed(batch.features)
    expected = {"fused": teacher.fuse(z), **teacher.unimodal(z)}
    assert_same(method.predict(batch.features), {k: x.detach() for k, x in expected.items()})
