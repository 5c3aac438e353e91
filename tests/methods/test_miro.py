"""MIRO: embeddings near those of the initial encoders."""

import copy
import math

import pytest
import torch
from support import tiny_specs
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
    tensors,
    tiny_model,
    train,
    trajectory,
    vector_encoder,
    without_dropout,
)
from torch import nn

from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from methods.base import FUSED

THREE = ("a", "b", "d")


def prepared(model=None, **hyperparameters):
    return make_method(
        "miro", without_dropout(tiny_model(THREE) if model is None else model), **hyperparameters
    )


def set_variances(method, variances):
    """Make the learned variances of a modality these."""
    for k, values in variances.items():
        value = torch.as_tensor(values, dtype=torch.float64)
        with torch.no_grad():
            method.raw_variances[k].copy_((value - 1e-5).expm1().log())


def moved(model, seed=0):
    """Change every weight of a model's encoders."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in model.encoders.parameters():
            p.add_(0.3 * torch.randn(p.shape, generator=generator, dtype=p.dtype))


def test_at_the_initial_encoders_the_term_is_half_the_logarithm_of_the_variance():
    method, batch = prepared(weight=0.7), make_batch(THREE)
    terms = method.loss(batch)
    assert set(terms) == {FUSED, *(f"miro/{k}" for k in THREE)}
    for k in THREE:
        assert float(terms[f"miro/{k}"].detach()) == pytest.approx(
            0.7 * 0.5 * math.log(0.1), abs=1e-7
        )
    set_variances(method, dict.fromkeys(THREE, 0.02))
    for k in THREE:
        term = float(method.loss(batch)[f"miro/{k}"].detach())
        assert term == pytest.approx(0.7 * 0.5 * math.log(0.02), abs=1e-12)
    assert_same(
        terms[FUSED], make_method("erm", without_dropout(tiny_model(THREE))).loss(batch)[FUSED]
    )


def test_the_term_is_the_mean_over_samples_and_channels_of_each_modality():
    method, batch, weight = prepared(weight=0.3), make_batch(THREE), 0.3
    initial = {k: z.detach() for k, z in method.model.embed(batch.features).items()}
    variances = {k: [0.05 * (1 + c) for c in range(dim)] for k, dim in method.model.dims.items()}
    set_variances(method, variances)
    moved(method.model)
    now, terms = method.model.embed(batch.features), method.loss(batch)
    for k, z in now.items():
        values = [
            (float(z[i, c].detach() - initial[k][i, c]) ** 2 / v + math.log(v)) / 2
            for i in range(len(z))
            for c, v in enumerate(variances[k])
        ]
        expected = weight * sum(values) / len(values)
        assert float(terms[f"miro/{k}"].detach()) == pytest.approx(expected, abs=1e-10)


def test_the_best_variance_of_a_channel_is_its_mean_squared_distance():
    method, batch = prepared(weight=1.0), make_batch(THREE)
    initial = {k: z.detach() for k, z in method.model.embed(batch.features).items()}
    moved(method.model)
    now = {k: z.detach() for k, z in method.model.embed(batch.features).items()}
    best = {k: (now[k] - initial[k]).square().mean(0) for k in THREE}
    for factor, sign in ((1.0, 0), (0.5, -1), (2.0, 1)):
        set_variances(method, {k: factor * v for k, v in best.items()})
        method.compute_grads(batch)
        for raw in method.raw_variances.values():
            if sign:
                assert torch.equal(raw.grad.sign(), torch.full_like(raw, sign))
            else:
                assert_close(raw.grad, torch.zeros_like(raw), 1e-12)


def test_variances_start_at_a_tenth_and_never_fall_below_their_floor():
    method = prepared()
    for k, dim in method.model.dims.items():
        assert_close(method.variance(k), torch.full((dim,), 0.1, dtype=torch.float64), 1e-7)
        with torch.no_grad():
            method.raw_variances[k].fill_(-1e4)
        assert_close(method.variance(k), torch.full((dim,), 1e-5, dtype=torch.float64), 1e-12)
    assert all(torch.isfinite(term) for term in method.loss(make_batch(THREE)).values())


def test_the_gradient_pulls_the_encoders_back_by_finite_differences():
    method, batch, step = prepared(weight=2.0), make_batch(THREE), 1e-6
    moved(method.model)
    gradient = gradients_of(method, batch)
    name = "encoders.b.tail.0.weight"
    p, values = dict(method.model.named_parameters())[name], []
    with torch.no_grad():
        for sign in (1, -1):
            p[1, 2] += sign * step
            values.append(float(sum(method.loss(batch).values())))
            p[1, 2] -= sign * step
    slope = (values[0] - values[1]) / (2 * step)
    assert float(gradient[name][1, 2]) == pytest.approx(slope, abs=1e-7)
    plain = make_method("erm", copy.deepcopy(method.model))
    assert not torch.allclose(gradient[name], gradients_of(plain, batch)[name])


def test_weight_zero_is_erm_bitwise_with_dropout_and_batch_norm():
    batches = make_batches(WITH_BATCH_NORM)
    erm = trajectory("erm", tiny_model(WITH_BATCH_NORM), batches)
    assert_same(trajectory("miro", tiny_model(WITH_BATCH_NORM), batches, weight=0.0), erm)


def test_the_reference_stays_the_initial_model_in_eval_mode_without_gradient():
    model = tiny_model(WITH_BATCH_NORM, embedding_dropout=0.5)
    initial = tensors(model)
    method = make_method("miro", model, weight=1.0)
    train(method, make_batches(WITH_BATCH_NORM, 5), adam(method))
    method.train()
    reference = method.reference.model
    assert_same(tensors(reference), initial)
    assert not any(module.training for module in reference.modules())
    assert not any(p.requires_grad or p.grad is not None for p in reference.parameters())
    changed = tensors(method.model)
    assert all(
        not torch.equal(changed[name], x) for name, x in initial.items() if "encoders" in name
    )
    features = make_batch(WITH_BATCH_NORM, seed=9).features
    fresh = tiny_model(WITH_BATCH_NORM).eval()
    assert_same(
        reference.embed(features), {k: z.detach() for k, z in fresh.embed(features).items()}
    )


def test_predictions_come_from_the_trained_model():
    method = prepared()
    train(method, make_batches(THREE, 5), adam(method))
    method.eval()
    features = make_batch(THREE).features
    trained = method.model.fuse(method.model.embed(features)).detach()
    assert_same(method.predict(features), {FUSED: trained})


def test_every_trained_tensor_is_in_one_group_and_the_variances_have_their_own():
    method = prepared()
    rest, variances = method.param_groups()
    assert variances["lr_factor"] == 10
    assert "lr_factor" not in rest
    assert {id(p) for p in variances["params"]} == {id(p) for p in method.raw_variances.values()}
    grouped = [id(p) for group in (rest, variances) for p in group["params"]]
    assert sorted(grouped) == sorted(id(p) for p in method.parameters() if p.requires_grad)


def test_the_engine_gives_the_variances_ten_times_the_learning_rate(tmp_path):
    (spec,) = tiny_specs(tmp_path, "miro", modalities=("m1+m2",))
    how = RunSettings(tmp_path, threads=1)
    dataset = how.open_dataset(spec.dataset, spec.options)
    training = TinyRun(spec, dataset, Store(tmp_path).folder(spec), how)
    rest, variances = training.optimizer.param_groups
    assert variances["lr"] == pytest.approx(10 * rest["lr"])
    assert len(variances["params"]) == 2


def partly_frozen(modality):
    """Return encoders of which b has no trained stage."""
    if modality == "b":
        return Encoder(nn.Linear(5, 4), nn.Identity(), 5)
    return vector_encoder(6, 3)


def test_a_modality_without_trained_encoder_has_no_term():
    method = prepared(tiny_model(VECTORS, encoder=partly_frozen))
    assert set(method.loss(make_batch(VECTORS))) == {FUSED, "miro/a"}
    train(method, [make_batch(VECTORS)], adam(method))
    frozen = prepared(tiny_model(("b",), encoder=partly_frozen))
    assert set(frozen.loss(make_batch(("b",)))) == {FUSED}
    train(frozen, [make_batch(("b",))], adam(frozen))


def drift(model, batch):
    """Return how far embeddings moved from those of the same model untrained."""
    before, now = (m.eval().embed(batch.features) for m in (tiny_model(), model))
    return sum(float((now[k] - before[k]).square().mean().detach()) for k in VECTORS)


def test_embeddings_drift_less_the_larger_the_weight():
    batch, drifts = make_batch(VECTORS, size=16), []
    for weight in (0.0, 1.0, 10.0):
        method = prepared(tiny_model(), weight=weight)
        train(method, [batch] * 60, adam(method))
        drifts.append(drift(method.model, batch))
    assert drifts[0] > 0.05
    assert drifts[1] < 0.1 * drifts[0]
    assert drifts[2] < 0.5 * drifts[1]
