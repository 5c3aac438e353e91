"""Runs that workers share: who gets which, and what is left to whom."""

import time

import pytest
from support import Silent, tiny_specs

from benchmark.launch.execute import execute
from benchmark.launch.todo import Listed, Shared
from benchmark.records import claims
from benchmark.records.store import Store
from benchmark.settings import RunSettings


@pytest.fixture
def specs(tmp_path):
    return tiny_specs(tmp_path, seeds=(0, 1, 2))


def folder(specs, number, tmp_path):
    return Store(tmp_path).folder(specs[number])


def taken(todo):
    """Return the runs that are given out, until there is none."""
    found = []
    while item := todo.take():
        assert item[1] is False, "nobody waits for a run that is somebody else's"
        found.append(item[0])
    return found


def test_a_list_of_ones_own_waits_for_runs_of_others_at_its_end(specs):
    todo = Listed(specs)
    first, patient = todo.take()
    assert (first, patient) == (specs[0], False)
    assert todo.give_back(first, died=False)
    assert [todo.take() for _ in range(4)] == [
        (specs[1], False),
        (specs[2], False),
        (specs[0], True),
        None,
    ]


def test_each_run_is_tried_once_and_what_others_have_is_passed_over(specs, tmp_path):
    execute(specs[0], RunSettings(tmp_path, threads=1), Silent())
    todo = Shared(specs, tmp_path)
    with claims.take(folder(specs, 1, tmp_path).path) as claim:
        folder(specs, 1, tmp_path).write_status("running")
        assert taken(todo) == [specs[2]]
        assert claim
    # Its owner is gone, and the run is there to be taken.
    assert taken(todo) == [specs[1]]
    assert todo.left() == (0, 2)  # neither was carried out by this test


def test_a_run_whose_process_died_here_is_tried_again(specs, tmp_path):
    todo = Shared(specs[:1], tmp_path)
    todo.take()
    assert todo.take() is None
    assert todo.give_back(specs[0], died=True)
    assert todo.take() == (specs[0], False)


def test_a_run_that_another_worker_got_first_was_not_tried_here(specs, tmp_path):
    todo = Shared(specs[:1], tmp_path)
    todo.take()
    with claims.take(folder(specs, 0, tmp_path).path):  # which its status does not say yet
        assert not todo.give_back(specs[0], died=False)
        assert todo.take() is None, "this would be repeated until the status says so"
        assert todo.left() == (0, 0)
    # That worker has let it go: no reason to leave this machine for another.
    assert todo.left() == (1, 0)
    assert todo.take() == (specs[0], False)


def test_a_run_that_failed_on_this_machine_is_left_to_others(specs, tmp_path, monkeypatch):
    folder(specs, 0, tmp_path).write_status("interrupted", failed_on=claims.host())
    folder(specs, 1, tmp_path).write_status("interrupted", failed_on="another")
    todo = Shared(specs, tmp_path)
    assert taken(todo) == specs[1:]
    # Nor by a job that starts anew here: it has to go elsewhere rather than to come back for ever.
    assert Shared(specs, tmp_path).left() == (2, 1)
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert taken(Shared(specs, tmp_path)) == specs


def test_no_run_is_begun_that_takes_longer_than_there_is_time(specs, tmp_path):
    costs = dict(zip((s.id for s in specs), (100.0, 50.0, 200.0), strict=True))
    todo = Shared(specs, tmp_path, time.monotonic() + 60, lambda spec: costs[spec.id])
    # The first is begun all the same: the next job would have no more time for it.
    assert taken(todo) == [specs[0], specs[1]]
    assert todo.left() == (1, 2)
    unknown = Shared(specs, tmp_path, time.monotonic() - 1)
    assert taken(unknown) == specs


def test_progress_is_told_once_for_a_run_that_came_to_its_end(specs, tmp_path):
    told = []
    todo = Shared(specs, tmp_path, progressed=lambda: told.append(1))
    todo.take()
    todo.take()
    assert not told  # two are under way side by side, and neither has ended
    execute(specs[0], RunSettings(tmp_path, threads=1), Silent())
    todo.take()
    assert told == [1]
    todo.take()
    assert told == [1]
