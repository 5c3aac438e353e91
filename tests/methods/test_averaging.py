"""EMA, SMA and what every average keeps: its rule, and what stays as it was."""

import pytest
import torch
from support_averaging import floating, integer, means_of, students_and_averages
from support_methods import (
    CLASSES,
    WITH_BATCH_NORM,
    LinearModel,
    adam,
    assert_close,
    assert_same,
    fused_loss,
    make_batch,
    make_batches,
    make_method,
    tensors,
    through_a_file,
    tiny_encoder,
    tiny_model,
    train,
    trajectory,
)
from torch import nn

from benchmark.backbones.base import Encoder
from benchmark.contract import Case
from methods.shared.averaging import ExponentialAverage, SimpleAverage

# EMA


def test_ema_with_beta_zero_is_the_student_after_every_step():
    method = make_method("ema", tiny_model(WITH_BATCH_NORM), beta=0.0)
    students, averages = students_and_averages(method, make_batches(WITH_BATCH_NORM))
    assert_same(averages, students)
    assert not torch.equal(students[0]["fusion.0.weight"], students[-1]["fusion.0.weight"])


def test_ema_with_beta_one_stays_at_the_initial_weights():
    method = make_method("ema", tiny_model(WITH_BATCH_NORM), beta=1.0)
    students, averages = students_and_averages(method, make_batches(WITH_BATCH_NORM))
    assert_same(floating(averages[-1]), floating(students[0]))


@pytest.mark.parametrize("warmup", [False, True])
def test_ema_of_constant_weights_is_constant(warmup):
    method = make_method("ema", tiny_model(), ema_warmup=warmup, beta=0.9)
    students, averages = students_and_averages(method, make_batches(), lr=0.0)
    assert_same(averages, [students[0]] * len(averages))


def test_ema_has_the_closed_form_over_all_iterates_for_weights_and_floating_buffers():
    beta, n = 0.8, 5
    method = make_method("ema", tiny_model(WITH_BATCH_NORM), beta=beta)
    students, averages = students_and_averages(method, make_batches(WITH_BATCH_NORM, n))
    expected = {
        name: beta**n * first
        + (1 - beta) * sum(beta ** (n - i) * students[i][name] for i in range(1, n + 1))
        for name, first in floating(students[0]).items()
    }
    assert any("running_var" in name for name in expected)
    assert_close(floating(averages[-1]), expected)


@pytest.mark.parametrize("composition", ["ema", "mbcd"])
def test_the_warm_up_uses_the_number_of_steps_taken(composition):
    beta, n = 0.3, 5
    method = make_method(composition, tiny_model(), ema_warmup=True, beta=beta)
    students, averages = students_and_averages(method, make_batches(count=n))
    expected = students[0]
    for t in range(1, n + 1):
        decay = min(beta, (1 + t) / (10 + t))
        expected = {k: decay * x + (1 - decay) * students[t][k] for k, x in expected.items()}
        assert_close(averages[t], expected)


def test_integer_buffers_are_copied_into_the_average():
    method = make_method("ema", tiny_model(WITH_BATCH_NORM), beta=0.99)
    students, averages = students_and_averages(method, make_batches(WITH_BATCH_NORM, 3))
    assert [int(x) for x in integer(students[-1]).values()] == [3]
    assert_same([integer(x) for x in averages], [integer(x) for x in students])


def average_of(kind, model, average_bn):
    if kind == "exponential":
        return ExponentialAverage(model, 0.8, False, average_bn)
    return SimpleAverage(model, 1, average_bn)


@pytest.mark.parametrize("kind", ["exponential", "simple"])
def test_copied_statistics_are_the_students_and_averaged_ones_follow_the_rule_of_the_weights(kind):
    model = tiny_model(WITH_BATCH_NORM)
    both = {rule: average_of(kind, model, rule) for rule in ("averaged", "copied")}
    method, states = make_method("erm", model), [tensors(model)]
    for batch in make_batches(WITH_BATCH_NORM, 4):
        train(method, [batch], adam(method))
        states.append(tensors(model))
        for average in both.values():
            average.update(model)
    weights = [0.8**4, *(0.2 * 0.8 ** (4 - t) for t in range(1, 5))]
    if kind == "simple":
        weights = [1 / 5] * 5
    statistics = [name for name, _ in model.named_buffers() if "running" in name]
    assert len(statistics) == 2
    for name in floating(states[0]):
        expected = sum(w * state[name] for w, state in zip(weights, states, strict=True))
        averaged, copied = (tensors(average.model)[name] for average in both.values())
        assert_close(averaged, expected, 1e-12)
        assert_close(copied, states[-1][name] if name in statistics else expected, 1e-12)
        assert (name in statistics) != torch.equal(averaged, copied)


@pytest.mark.parametrize("composition", ["ema", "sma", "mbcd", "cmrf"])
def test_the_protocol_decides_whether_averages_copy_batch_norm_statistics(tmp_path, composition):
    for rule in ("averaged", "copied"):
        switches = {} if rule == "averaged" else {"average_bn": rule}
        training = Case(composition, tmp_path).training(rule, switches=switches)
        kinds = (ExponentialAverage, SimpleAverage)
        found = {m.average_bn for m in training.method.modules() if isinstance(m, kinds)}
        assert found == {rule}


def encoder_with_frozen_stem(modality):
    if modality != "a":
        return tiny_encoder(modality)
    stem = nn.Sequential(nn.Linear(6, 5), nn.BatchNorm1d(5))
    tail = nn.Sequential(nn.Linear(5, 5), nn.Tanh(), nn.Linear(5, 4))
    tail[0].requires_grad_(False)
    return Encoder(stem, tail, 4)


@pytest.mark.parametrize("composition", ["ema", "sma", "swa", "mbcd", "swad"])
def test_frozen_parameters_are_shared_and_trained_ones_are_not(composition):
    model = tiny_model(encoder=encoder_with_frozen_stem)
    method = make_method(composition, model)
    batch = make_batch()
    features = model.stem(batch.features, training=True)
    train(method, [type(batch)(features, batch.labels, batch.domains, batch.ids)], adam(method))
    method.validated(fused_loss(1.0))
    method.finalize()
    average = dict(method.eval_model().named_parameters())
    frozen = [name for name, p in model.named_parameters() if not p.requires_grad]
    assert len(frozen) == 6
    stages = method.model.frozen_stages()
    assert stages == method.eval_model().frozen_stages()
    assert len(stages) == len(method.model.modalities)
    for name, p in model.named_parameters():
        assert (average[name] is p) == (name in frozen), name


@pytest.mark.parametrize("composition", ["ema", "sma", "swa", "swad", "mbcd", "swad+mbcd"])
def test_the_average_stays_in_eval_mode_when_the_method_is_put_in_train_mode(composition):
    method = make_method(composition, tiny_model(WITH_BATCH_NORM))
    train(method, make_batches(WITH_BATCH_NORM, 2), adam(method))
    method.validated(fused_loss(1.0))
    method.finalize()
    method.eval()
    method.train()
    # The engine says at every batch in which mode the frozen stages are, which both share.
    shared = {id(m) for stage in method.model.frozen_stages() for m in stage.modules()}
    own = [module for module in method.model.modules() if id(module) not in shared]
    assert all(module.training for module in own)
    assert not any(module.training for module in method.eval_model().modules())


def test_the_average_takes_no_gradient_and_is_not_optimised():
    method = make_method("ema", tiny_model())
    optimised = {id(p) for group in method.param_groups() for p in group["params"]}
    assert optimised == {id(p) for p in method.model.parameters()}
    assert not any(p.requires_grad for p in method.eval_model().parameters())


@pytest.mark.parametrize("start", [1, 3])
def test_the_simple_average_of_a_linear_model_predicts_the_mean_of_predictions(start):
    model, batch = LinearModel({"a": 6, "b": 5}, CLASSES), make_batch()
    method = make_method("sma", model, start=start)
    optimizer = adam(method, 0.3)
    predictions = [method.predict(batch.features, model=model)["fused"]]
    for step in make_batches(count=5):
        train(method, [step], optimizer)
        predictions.append(method.predict(batch.features, model=model)["fused"])
    expected = torch.stack(predictions[start - 1 :]).mean(0)
    assert_close(method.predict(batch.features)["fused"], expected)


def test_the_stochastic_average_of_a_linear_model_predicts_the_mean_of_predictions():
    model, batch = LinearModel({"a": 6, "b": 5}, CLASSES), make_batch()
    method = make_method("swa", model, start=0.0, every=1)
    optimizer = adam(method, 0.3)
    predictions = []
    for step in make_batches(count=5):
        train(method, [step], optimizer)
        predictions.append(method.predict(batch.features, model=model)["fused"])
    method.finalize()
    assert_close(method.predict(batch.features)["fused"], torch.stack(predictions).mean(0))


def test_the_exponential_average_of_a_linear_model_predicts_the_average_of_predictions():
    model, batch, beta = LinearModel({"a": 6, "b": 5}, CLASSES), make_batch(), 0.7
    method = make_method("ema", model, beta=beta)
    optimizer = adam(method, 0.3)
    expected = method.predict(batch.features, model=model)["fused"]
    for step in make_batches():
        train(method, [step], optimizer)
        now = method.predict(batch.features, model=model)["fused"]
        expected = beta * expected + (1 - beta) * now
    assert_close(method.predict(batch.features)["fused"], expected)


def test_the_dense_average_of_a_linear_model_predicts_the_mean_of_predictions():
    model, batch = LinearModel({"a": 6, "b": 5}, CLASSES), make_batch()
    method = make_method("swad", model, converge=1)
    optimizer = adam(method, 0.3)
    predictions = []
    for loss in (1.0, 1.0, 1.0):
        for step in make_batches(count=2):
            train(method, [step], optimizer)
            predictions.append(method.predict(batch.features, model=model)["fused"])
        method.validated(fused_loss(loss))
    method.finalize()
    assert_close(method.predict(batch.features)["fused"], torch.stack(predictions).mean(0))


@pytest.mark.parametrize(
    "composition",
    [
        f"{wrapper}+{inner}"
        for wrapper in ("ema", "sma", "swa", "swad")
        for inner in ("erm", "joint", "late_fusion", "ogm_ge", "mbcd", "modality_dropout")
        if not (wrapper in ("ema", "sma") and inner == "mbcd")
    ],
)
def test_averaging_leaves_the_students_trajectory_bitwise_alone(composition):
    batches = make_batches(WITH_BATCH_NORM)
    alone = trajectory(composition.partition("+")[2], tiny_model(WITH_BATCH_NORM), batches)
    wrapped = trajectory(composition, tiny_model(WITH_BATCH_NORM), batches)
    assert_same(wrapped, alone)


# SMA


@pytest.mark.parametrize("start", [1, 2, 4])
def test_sma_is_the_student_before_its_start_and_then_the_mean_from_the_step_before_it(start):
    method = make_method("sma", tiny_model(WITH_BATCH_NORM), start=start)
    students, averages = students_and_averages(method, make_batches(WITH_BATCH_NORM, 6))
    assert_same(averages[:start], students[:start])
    assert any("running_var" in name for name in means_of(students))
    for t in range(start, 7):
        assert_close(floating(averages[t]), means_of(students[start - 1 : t + 1]), 1e-12)
        assert_same(integer(averages[t]), integer(students[t]))
    assert not torch.equal(students[-1]["fusion.0.weight"], averages[-1]["fusion.0.weight"])


def test_sma_says_from_which_step_on_it_is_more_than_a_copy():
    method = make_method("sma", tiny_model(), start=3)
    optimizer, averaging = adam(method), []
    for batch in make_batches(count=5):
        train(method, [batch], optimizer)
        averaging.append(method.average.averaging)
    assert averaging == [False, False, True, True, True]


def test_sma_of_constant_weights_is_constant():
    method = make_method("sma", tiny_model(), start=1)
    students, averages = students_and_averages(method, make_batches(), lr=0.0)
    assert_same(averages, [students[0]] * len(averages))


@pytest.mark.parametrize("cut", [1, 2, 3, 5])
def test_sma_resumed_before_at_and_after_its_start_gives_the_same_average(cut):
    batches = make_batches(count=6)
    method = make_method("sma", tiny_model(), start=3)
    optimizer = adam(method)
    train(method, batches[:cut], optimizer)
    twin = make_method("sma", tiny_model(seed=9), start=3)
    twin_optimizer = adam(twin)
    twin.load_state_dict(through_a_file(method.state_dict()))
    twin_optimizer.load_state_dict(through_a_file(optimizer.state_dict()))
    for run, steps in ((method, optimizer), (twin, twin_optimizer)):
        torch.manual_seed(0)
        train(run, batches[cut:], steps)
    assert_same(tensors(twin.eval_model()), tensors(method.eval_model()))
