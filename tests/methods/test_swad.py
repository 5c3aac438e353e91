"""SWAD: which segments are averaged, what a segment is, and what is tested."""

import random
from statistics import fmean

import pytest
import torch
from support import Silent, tiny_specs
from support_averaging import students_and_averages
from support_methods import (
    CLASSES,
    WITH_BATCH_NORM,
    LinearModel,
    adam,
    assert_close,
    assert_same,
    fused_loss,
    make_batches,
    make_method,
    tensors,
    through_a_file,
    tiny_model,
    train,
)
from torch import nn

from benchmark.contract.case import TinyRun
from benchmark.records.store import Store
from benchmark.settings import RunSettings

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
        batches = training.evaluation(training.train_part, batch_size=8)
        inputs = [tail[:norm](b.features["m2"]) for b in batches]
    assert {len(x) for x in inputs} == {8}
    means = torch.stack([x.mean((0, 2)) for x in inputs]).mean(0)
    variances = torch.stack([x.transpose(0, 1).flatten(1).var(1) for x in inputs]).mean(0)
    assert_close(tail[norm].running_mean, means, 1e-5)
    assert_close(tail[norm].running_var, variances, 1e-4)
