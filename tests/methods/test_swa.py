"""SWA: which weights are sampled, their mean, and what is tested."""

import pytest
import torch
from support import tiny_run
from support_averaging import finalized, means_of, students_and_averages
from support_methods import (
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    make_batches,
    make_method,
    tensors,
    through_a_file,
    tiny_model,
    train,
)


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
