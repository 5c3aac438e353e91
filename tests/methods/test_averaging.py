"""EMA, SMA, SWA and SWAD: what is averaged, with which weights, and what stays as it was."""

import copy
import random
from statistics import fmean

import pytest
import torch
from support import Silent, tiny_run, tiny_specs
from support_methods import (
    CLASSES,
    VECTORS,
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

import methods
from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from methods.erm import ERM
from mmdg_common import UsageError


def floating(values):
    return {name: x for name, x in values.items() if x.is_floating_point()}


def integer(values):
    return {name: x for name, x in values.items() if not x.is_floating_point()}


def students_and_averages(method, batches, lr=1e-2):
    """Return the tensors of student and evaluated model before training and after every step."""
    optimizer = adam(method, lr)
    students, averages = [tensors(method.model)], [tensors(method.eval_model())]
    for batch in batches:
        train(method, [batch], optimizer)
        students.append(tensors(method.model))
        averages.append(tensors(method.eval_model()))
    return students, averages


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
    assert all(module.training for module in method.model.modules())
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


def means_of(states):
    return {name: torch.stack([s[name] for s in states]).mean(0) for name in floating(states[0])}


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


# SWA


def swa_after(steps_of_epochs, **hyperparameters):
    """Return SWA after epochs of so many steps, and the student's weights after every step."""
    method = make_method("swa", tiny_model(), **hyperparameters)
    method.run.total_steps = sum(steps_of_epochs)
    optimizer, batches, students = adam(method), iter(make_batches(count=20)), []
    for steps in steps_of_epochs:
        for _ in range(steps):
            train(method, [next(batches)], optimizer)
            students.append(tensors(method.model))
        method.epoch_end()
    return method, students


def finalized(method):
    method.finalize()
    return tensors(method.eval_model())


def test_swa_of_every_step_from_the_first_is_the_mean_of_all_iterates():
    method, students = swa_after([3, 4], start=0.0, every=1)
    assert_close(finalized(method), means_of(students), 1e-12)
    assert method.summary()["samples"] == 7


@pytest.mark.parametrize(
    ("start", "every", "sampled"),
    [
        (0.5, 1, [7, 8, 9, 10, 11, 12]),
        (0.5, 2, [8, 10, 12]),
        (0.5, 4, [10]),
        (0.75, 1, [10, 11, 12]),
    ],
)
def test_swa_samples_every_c_steps_after_its_start(start, every, sampled):
    method, students = swa_after([5, 7], start=start, every=every)
    assert method.summary()["samples"] == len(sampled)
    assert_close(finalized(method), means_of([students[t - 1] for t in sampled]), 1e-12)


@pytest.mark.parametrize(
    ("start", "sampled"), [(0.0, [3, 6, 9, 12]), (0.5, [9, 12]), (0.75, [12]), (0.74, [9, 12])]
)
def test_swa_samples_the_ends_of_epochs_where_no_number_of_steps_is_given(start, sampled):
    method, students = swa_after([3] * 4, start=start)
    assert method.summary()["samples"] == len(sampled)
    assert_close(finalized(method), means_of([students[t - 1] for t in sampled]), 1e-12)


@pytest.mark.parametrize("hyperparameters", [{"start": 1.0}, {"start": 0.5, "every": 50}])
def test_swa_that_was_never_sampled_keeps_the_last_weights(hyperparameters):
    method, students = swa_after([3, 3], **hyperparameters)
    assert method.samples.count == 0
    assert_same(finalized(method), students[-1])
    assert method.summary()["samples"] == 1


def test_swa_refreshes_batch_norm_once_with_the_averaged_weights():
    method = make_method("swa", tiny_model(WITH_BATCH_NORM), start=0.0, every=1)
    train(method, make_batches(WITH_BATCH_NORM), adam(method))
    assert method.run.refreshed == []
    method.finalize()
    ((refreshed, held),) = method.run.refreshed
    assert refreshed is method.eval_model()
    assert_same(held, tensors(refreshed))


@pytest.mark.parametrize("composition", ["swa", "swa+mbcd"])
def test_swa_evaluates_the_inner_student_in_training_and_its_average_afterwards(composition):
    method = make_method(composition, tiny_model(), start=0.0, every=1)
    students, evaluated = students_and_averages(method, make_batches())
    assert_same(evaluated, students)
    assert_close(finalized(method), means_of(students[1:]), 1e-12)
    assert_same(tensors(method.model), students[-1])


@pytest.mark.parametrize("cut", [1, 3, 4, 5])
def test_swa_resumed_anywhere_gives_the_same_average_and_leaves_the_checkpoint_alone(cut):
    hyperparameters = {"start": 0.3, "every": 1}
    batches = make_batches(count=6)
    method = make_method("swa", tiny_model(), **hyperparameters)
    method.run.total_steps = 6
    optimizer = adam(method)
    train(method, batches[:cut], optimizer)
    twin = make_method("swa", tiny_model(seed=9), **hyperparameters)
    twin.run.total_steps, twin.run.step = 6, cut
    twin_optimizer = adam(twin)
    twin.load_state_dict(through_a_file(method.state_dict()))
    twin_optimizer.load_state_dict(through_a_file(optimizer.state_dict()))
    for run, steps in ((method, optimizer), (twin, twin_optimizer)):
        torch.manual_seed(0)
        train(run, batches[cut:], steps)
    assert method.summary() == twin.summary()
    assert_same(finalized(twin), finalized(method))


def test_swa_reports_its_own_rule_on_weights_that_only_exist_at_the_end(tmp_path):
    _, folder = tiny_run(tmp_path, "swa", modalities=("m1+m2",))
    result = folder.result()
    assert set(result["rules"]) == {"best-val", "last", "oracle", "own", "reference"}
    assert result["method"] == {"samples": 1}


# SWAD: which segments


def paper_rule(losses, converge, tolerance, ratio):
    """Return (averaged segments, evaluation that ends training or None, converged)."""
    start = None
    for t in range(len(losses) - converge + 1):
        if losses[t] == min(losses[t : t + converge]):
            start = t
            break
    if start is None:
        return [len(losses) - 1], None, False
    threshold = (1 + ratio) * fmean(losses[start : start + converge])
    for n in range(start + converge, len(losses)):
        first = n - tolerance + 1
        if first >= start and min(losses[first : n + 1]) > threshold:
            return list(range(start, n - tolerance + 1)), n, True
    return list(range(start, len(losses))), None, True


SEGMENTS = 40


def swad(**hyperparameters):
    """Return SWAD around a model with one fusion weight for each possible segment."""
    model = LinearModel({"a": SEGMENTS // CLASSES}, CLASSES)
    return make_method("swad", model, **hyperparameters)


def mark(method, segment):
    """Give the student the weights that are 1 at this segment's place and 0 elsewhere."""
    with torch.no_grad():
        method.model.fusion.weight.zero_().view(-1)[segment] = 1.0


def feed(method, losses, first=0):
    """Mark every segment in 1 to 3 steps and validate; return the evaluation that stops."""
    for n, loss in enumerate(losses, first):
        for _ in range(1 + n % 3):
            mark(method, n)
            method.after_step()
        if method.validated(fused_loss(loss)):
            return n
    return None


def shares(method):
    """Return the weight of every segment in the average that is tested."""
    method.finalize()
    weights = method.eval_model().fusion.weight.flatten()
    return {n: float(weight) for n, weight in enumerate(weights) if weight != 0}


def equal_shares(segments):
    return {n: pytest.approx(1 / len(segments), abs=1e-12) for n in segments}


VALLEY = [2, 1.8, 1.5, 1.3, 1.1, 1, 0.9, 0.8, *(0.70 + i / 100 for i in range(12))]


def test_swad_averages_from_the_start_of_the_valley_to_the_end():
    method = swad()
    assert feed(method, VALLEY) is None
    assert shares(method) == equal_shares(range(8, 20))
    summary = method.summary()
    assert summary["converged"] is True
    assert summary["start"] == 8
    assert summary["threshold"] == pytest.approx(0.923, abs=1e-9)
    assert summary["segments"] == 12


def test_swad_stops_in_a_dead_valley_and_leaves_it_out():
    method = swad()
    assert feed(method, [*VALLEY[:12], *[1.2] * 8]) == 17
    assert shares(method) == equal_shares(range(8, 12))


def test_swad_that_never_converges_uses_the_last_segment_and_says_so():
    method = swad()
    assert feed(method, [2 - i / 10 for i in range(14)]) is None
    assert shares(method) == equal_shares([13])
    assert method.summary()["converged"] is False


def test_swad_on_flat_losses_averages_everything_once():
    method = swad()
    assert feed(method, [1.0] * 14) is None
    assert shares(method) == equal_shares(range(14))
    assert method.summary()["converged"] is True


def test_swad_starts_at_the_oldest_of_equal_losses():
    method = swad()
    feed(method, [3.0, 2.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    assert shares(method) == equal_shares(range(2, 7))


def test_swad_watches_the_student_and_not_the_evaluated_model():
    # `fused_loss` gives the evaluated model the negative loss, which would never stop falling.
    method = swad(converge=2)
    feed(method, [1.0, 2.0, 3.0])
    assert method.summary()["start"] == 0


def random_losses(rng):
    """Return a fall, a valley and sometimes a rise, with ties."""
    losses, level = [], rng.uniform(1.0, 3.0)
    slope = rng.choice([0.0, 0.05, 0.2])
    turn, end = rng.randrange(1, 30), rng.randrange(4, SEGMENTS)
    for i in range(end):
        level = max(level - slope, 0.2) if i < turn else level + rng.choice([-0.1, 0.1, 0.3])
        losses.append(round(level + rng.uniform(0, 0.3), 1))
    return losses


def test_swad_follows_the_papers_rule_on_random_loss_sequences():
    rng = random.Random(0)
    seen = {"dead": 0, "to the end": 0, "never converged": 0}
    for _ in range(400):
        losses = random_losses(rng)
        converge, tolerance = rng.choice([(3, 6), (3, 3), (1, 2), (4, 1), (2, 8)])
        ratio = rng.choice([0.0, 0.1, 0.3])
        segments, stop, converged = paper_rule(losses, converge, tolerance, ratio)
        method = swad(converge=converge, tolerance=tolerance, ratio=ratio)
        label = f"{losses} with {converge, tolerance, ratio}"
        assert feed(method, losses) == stop, label
        assert shares(method) == equal_shares(segments), label
        assert method.summary()["converged"] is converged, label
        seen["dead" if stop else "to the end" if converged else "never converged"] += 1
    assert min(seen.values()) >= 20, seen


def test_swad_resumed_at_any_validation_gives_the_same_average():
    losses = [*VALLEY[:12], *[1.2] * 8]
    for cut in range(1, 18):
        first, second = swad(), swad()
        feed(first, losses[:cut])
        for segment in (37, 38):  # two steps into the next segment
            mark(first, segment)
            first.after_step()
        second.load_state_dict(through_a_file(first.state_dict()))
        for method in (first, second):
            mark(method, 39)
            method.after_step()
            assert feed(method, losses[cut:], cut) == 17
        assert shares(second) == shares(first)
        assert second.summary() == first.summary()


def test_swad_keeps_no_more_segments_than_its_two_windows_need():
    method = swad()
    most = 0
    for n, loss in enumerate([2 - n / 20 for n in range(20)] + [1.0] * 20):
        mark(method, n)
        method.after_step()
        method.validated(fused_loss(loss))
        most = max(most, len(method.recent))
    assert most <= 9


# SWAD: what a segment is, and what is tested


def test_a_segment_is_the_uniform_mean_of_the_weights_after_each_of_its_steps():
    model = tiny_model()
    method = make_method("swad", model, converge=1, ratio=0.0)
    optimizer = adam(method)
    segments = []
    for steps in (3, 1, 4):
        iterates = []
        for batch in make_batches(count=steps):
            train(method, [batch], optimizer)
            iterates.append(tensors(model))
        means = {name: torch.stack([x[name] for x in iterates]).mean(0) for name in iterates[0]}
        segments.append(means)
        method.validated(fused_loss(1.0))
    method.finalize()
    expected = {name: torch.stack([s[name] for s in segments]).mean(0) for name in segments[0]}
    assert_close(tensors(method.eval_model()), expected)


@pytest.mark.parametrize("composition", ["swad", "swad+mbcd"])
def test_swad_evaluates_the_student_in_training_and_the_average_afterwards(composition):
    model = tiny_model()
    method = make_method(composition, model)
    optimizer = adam(method)
    assert method.eval_model() is model
    train(method, make_batches(), optimizer)
    method.validated(fused_loss(1.0))
    assert method.eval_model() is model
    student = tensors(model)
    method.finalize()
    assert method.eval_model() is not model
    assert_same(tensors(model), student)


def test_swad_around_mbcd_averages_the_student_and_not_the_teacher():
    model = tiny_model()
    method = make_method("swad+mbcd", model, converge=1)
    students, _ = students_and_averages(method, make_batches())
    method.validated(fused_loss(1.0))
    method.finalize()
    means = {k: torch.stack([s[k] for s in students[1:]]).mean(0) for k in students[0]}
    assert_close(tensors(method.eval_model()), means)


def test_swad_refreshes_batch_norm_once_with_the_averaged_weights():
    model = tiny_model(WITH_BATCH_NORM)
    method = make_method("swad", model, converge=1)
    train(method, make_batches(WITH_BATCH_NORM), adam(method))
    method.validated(fused_loss(1.0))
    assert method.run.refreshed == []
    method.finalize()
    ((refreshed, held),) = method.run.refreshed
    assert refreshed is method.eval_model()
    assert_same(held, tensors(refreshed))


def test_batch_norm_of_the_tested_average_has_the_statistics_of_the_train_part(tmp_path):
    # 48 training samples in batches of 8: every batch is complete and counts the same.
    (spec,) = tiny_specs(tmp_path, "swad", modalities=("m1+m2",))
    settings = RunSettings(tmp_path, threads=1)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    training = TinyRun(spec, dataset, Store(tmp_path).folder(spec), settings)
    training.run(Silent())
    tail = training.method.eval_model().encoder("m2").tail
    norm = next(i for i, m in enumerate(tail) if isinstance(m, nn.BatchNorm1d))
    with torch.no_grad():
        inputs = [tail[:norm](b.features["m2"]) for b in training.run_info.train_loader()]
    assert {len(x) for x in inputs} == {8}
    means = torch.stack([x.mean((0, 2)) for x in inputs]).mean(0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in inputs]).mean(0)
    assert_close(tail[norm].running_mean, means, 1e-5)
    assert_close(tail[norm].running_var, variances, 1e-4)


# Which compositions there are


@pytest.mark.parametrize(
    ("composition", "reason"),
    [
        ("ema+mbcd", "mbcd already evaluates an average"),
        ("ema+swad", "both average the weights"),
        ("swad+ema", "both average the weights"),
        ("swad+swad", "both average the weights"),
        ("ema+ema", "both average the weights"),
        ("sma+mbcd", "mbcd already evaluates an average"),
        ("sma+sam+mbcd", "mbcd already evaluates an average"),
        ("sma+sma", "both average the weights"),
        ("sma+ema", "both average the weights"),
        ("ema+sma", "both average the weights"),
        ("swa+sma", "both average the weights"),
        ("swa+swad", "both average the weights"),
        ("swa+unimodal", "selects its own weights"),
        ("swad+unimodal", "selects its own weights"),
        ("ema+unimodal", "selects its own weights"),
        ("ema+swad+mbcd", "ema"),
        ("mbcd+erm", "mbcd is not a wrapper"),
        ("erm+swad", "erm is not a wrapper"),
    ],
)
def test_a_composition_that_means_nothing_is_refused_with_the_reason(composition, reason):
    for ask in (methods.components, methods.canonical, methods.create):
        with pytest.raises(UsageError, match=reason) as refusal:
            ask(composition)
        assert composition in str(refusal.value)


def test_a_wrapper_alone_wraps_erm():
    assert methods.canonical("swad+erm") == methods.canonical("swad") == "swad"
    assert methods.canonical("ema+erm") == "ema"
    assert methods.canonical("swad+mbcd") == "swad+mbcd"
    batches = make_batches(VECTORS)
    assert_same(
        trajectory("swad", tiny_model(), batches), trajectory("swad+erm", tiny_model(), batches)
    )


@pytest.mark.parametrize("wrapper", ["ema", "sma", "swad"])
def test_every_hook_goes_inward_once_and_before_the_average_moves(wrapper, monkeypatch):
    heard = []

    def spy(hook):
        plain = getattr(ERM, hook)

        def hear(self, *arguments):
            heard.append((hook, copy.deepcopy(method.state_dict()), tensors(method.model)))
            return plain(self, *arguments)

        return hear

    method = make_method(wrapper, tiny_model())
    hooks = ["epoch_start", "compute_grads", "after_step", "epoch_end", "validated", "finalize"]
    for hook in hooks:
        monkeypatch.setattr(ERM, hook, spy(hook))
    method.epoch_start()
    train(method, make_batches(count=1), adam(method))
    method.epoch_end()
    method.validated(fused_loss(1.0))
    method.finalize()
    assert [hook for hook, *_ in heard] == hooks
    (_, before, start), (_, after, stepped) = heard[1:3]
    own = [name for name in before if not name.startswith("inner.")]
    assert own
    assert not torch.equal(start["fusion.0.weight"], stepped["fusion.0.weight"])
    assert_same({name: after[name] for name in own}, {name: before[name] for name in own})


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("mbdc", "mbcd"), ("swadd+mbcd", "swad"), ("swad+lat_fusion", "late_fusion")],
)
def test_an_unknown_method_offers_the_nearest(typed, meant):
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        methods.create(typed)


def test_settings_reach_the_component_they_name_and_no_other():
    settings = {"swad": {"converge": 2}, "mbcd": {"beta": 0.5}}
    assert methods.resolve("swad+mbcd", settings)["swad"]["converge"] == 2
    assert methods.resolve("swad+mbcd", settings)["mbcd"]["beta"] == 0.5
    with pytest.raises(UsageError, match="mbcd"):
        methods.create("swad+erm", {"mbcd": {"beta": 0.5}})
    with pytest.raises(UsageError, match="'beta'"):
        methods.create("mbcd", {"mbcd": {"betta": 0.5}})


def test_the_engine_trains_the_same_student_with_and_without_an_average(tmp_path):
    changes = {"modalities": ("m1+m2",), "recipe": {"epochs": 3, "batch_size": 8}}
    records = {}
    for composition in ("erm", "ema", "sma", "swa", "swad"):
        settings = {"set": ["sma.start=2"]} if composition == "sma" else {}
        _, folder = tiny_run(tmp_path / composition, composition, **changes, **settings)
        records[composition] = folder.metrics()
    for composition in ("ema", "sma", "swa", "swad"):
        assert [r["student"] for r in records[composition]] == [r["val"] for r in records["erm"]]
    for composition in ("ema", "sma"):
        assert [r["val"] for r in records[composition]] != [
            r["student"] for r in records[composition]
        ]
    for composition in ("swa", "swad"):
        assert [r["val"] for r in records[composition]] == [
            r["student"] for r in records[composition]
        ]


@pytest.mark.parametrize("composition", ["ema", "mbcd"])
def test_the_protocol_decides_whether_averages_warm_up(tmp_path, composition):
    last = []
    for warmup in (True, False):
        changes = {"switches": {"ema_warmup": warmup}, "modalities": ("m1+m2",)}
        _, folder = tiny_run(tmp_path / str(warmup), composition, **changes)
        last.append(folder.metrics()[-1])
    # A constant 0.999 has hardly left the initial weights after a dozen steps.
    untrained = 1.1
    assert last[0]["val"]["fused"]["loss"] < last[1]["val"]["fused"]["loss"]
    assert last[1]["val"]["fused"]["loss"] == pytest.approx(untrained, abs=0.3)
