"""Watching a sweep: a scheduler that is asked seldom, does not answer, or loses jobs."""

import io
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace

import pytest
from rich.console import Console
from support_reports import make_result, store_runs, toy_spec

from benchmark.launch import watch
from benchmark.launch.watch import Queue, Watch
from benchmark.records.read import Record
from benchmark.records.state import State
from benchmark.records.store import Store
from mmdg_common import UsageError

SPECS = [toy_spec(seed=seed) for seed in range(3)]
WAITING = {spec.id: "2 jobs: 1 running, 1 pending (Priority)" for spec in SPECS}


class World:
    """A results folder, a clock that nobody waits for, and a scheduler.

    `events` holds what happens by the second from which on it has.
    """

    def __init__(self, results: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.results, self.now = results, 0.0
        self.events: dict[float, Callable[[], object]] = {}
        self.waiting: Mapping[str, str] = {}
        self.down = ""
        self.asked: list[float] = []
        self.submitted: list[float] = []
        clock = SimpleNamespace(monotonic=lambda: self.now, sleep=self.sleep, time=time.time)
        clock.strftime, clock.localtime = time.strftime, time.localtime
        monkeypatch.setattr(watch, "time", clock)

    def sleep(self, seconds: float) -> None:
        assert self.now < 5000, "watched for ever"
        self.now += seconds
        for due in sorted(at for at in self.events if at <= self.now):
            self.events.pop(due)()

    def ask(self) -> Mapping[str, str]:
        self.asked.append(self.now)
        if self.down:
            raise UsageError(self.down)
        return self.waiting

    def queue(self, *numbers: int) -> Callable[[], None]:
        """Return what makes the jobs of some runs wait, and no others."""
        return lambda: setattr(self, "waiting", {SPECS[i].id: "job 1: pending" for i in numbers})

    def end(self, *numbers: int, state: State = State.FAILED) -> Callable[[], None]:
        def end() -> None:
            for i in numbers:
                Store(self.results).folder(SPECS[i]).write_status(state, error="wrong")

        return end

    def submit(self) -> None:
        self.submitted.append(self.now)

    def watch(self, submit: Callable[[], object] | None = None) -> list[State]:
        one = Watch(SPECS, self.results, Queue(self.ask), lambda standings: "table", submit)
        return [standing.state for standing in one.run(Console(file=io.StringIO()))]


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    yield World(tmp_path, monkeypatch)


def test_the_scheduler_is_asked_at_most_twice_a_minute_and_files_more_often(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.waiting = WAITING
    world.events = {65: world.end(0), 301: world.end(1, 2)}
    assert world.watch() == [State.FAILED] * 3
    assert world.asked == [30.0 * i for i in range(11)]
    assert world.now == 302
    assert capsys.readouterr().out.splitlines() == [
        "3 queued",
        "queue for 3 runs: 2 jobs: 1 running, 1 pending (Priority)",
        "1 failed, 2 queued",
        "queue for 2 runs: 2 jobs: 1 running, 1 pending (Priority)",
    ]


def test_a_scheduler_that_falls_silent_is_named_once_and_its_last_word_counts(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    world.waiting = WAITING
    world.events = {
        40: lambda: setattr(world, "down", "squeue does not answer"),
        400: lambda: setattr(world, "down", ""),
        600: world.end(0, 1, 2),
    }
    assert world.watch() == [State.FAILED] * 3
    assert world.now == 600
    out = capsys.readouterr().out
    (line,) = [one for one in out.splitlines() if "squeue does not answer" in one]
    assert re.fullmatch(r"squeue does not answer; the queue is shown as of \d\d:\d\d", line)
    assert out.count("3 queued") == 1


def test_ends_are_seen_soon_while_the_scheduler_keeps_the_watch_waiting(world: World) -> None:
    def slow() -> Mapping[str, str]:
        world.now += 9
        return WAITING

    world.ask = slow  # type: ignore[method-assign]
    world.events = {25: world.end(0, 1, 2)}
    world.watch()
    assert world.now == 25, "9 s for the answer, then a look every 2 s"


def test_one_that_has_never_answered_is_no_empty_queue(world: World) -> None:
    world.down = "squeue does not answer"
    world.events = {100: world.end(0, 1, 2)}
    assert world.watch() == [State.FAILED] * 3
    assert world.now == 100


def test_where_nothing_waits_or_moves_the_watch_ends_at_once(world: World) -> None:
    assert world.watch() == [State.TO_DO] * 3
    assert world.now == 0 and world.asked == [0]


def test_done_runs_are_not_read_again(world: World) -> None:
    store_runs(world.results, [Record(SPECS[0], State.DONE, result=make_result(0.5))])
    folder = Store(world.results).folder(SPECS[0])
    assert folder.status().state is State.DONE
    world.waiting = WAITING
    world.events = {10: (folder.path / "result.json").unlink, 50: world.end(1, 2)}
    assert world.watch() == [State.DONE, State.FAILED, State.FAILED]
    assert folder.status().state is not State.DONE


def test_what_no_job_is_left_for_is_submitted_again_as_long_as_something_moves(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def begins() -> None:
        folder = Store(world.results).folder(SPECS[2])
        folder.write_status(State.INTERRUPTED)
        folder.checkpoint.write_bytes(b"saved")

    world.events = {
        1: world.queue(0, 1, 2),
        40: world.end(0),
        95: world.queue(),  # the jobs are gone, and one run more has ended
        125: world.queue(1, 2),
        200: begins,
        215: world.queue(),  # gone again, and one of the two has saved something
        245: world.queue(1, 2),
        400: world.queue(),  # and nothing has moved
    }
    assert world.watch(world.submit) == [State.FAILED, State.TO_DO, State.INTERRUPTED]
    assert world.submitted == [0, 120, 240]
    assert world.now == 420
    assert all(later - at >= 30 for at, later in zip(world.asked, world.asked[1:], strict=False))
    assert capsys.readouterr().out.count("nothing is submitted again") == 1


def test_a_refused_submission_is_tried_again_unless_it_is_the_first(
    world: World, capsys: pytest.CaptureFixture[str]
) -> None:
    def refused() -> None:
        world.submit()
        if len(world.submitted) in (2, 3):
            raise UsageError("sbatch does not answer")

    world.events = {1: world.queue(0, 1, 2), 31: world.end(0), 35: world.queue()}
    world.events |= {125: world.queue(1, 2), 200: world.end(1, 2)}
    assert world.watch(refused) == [State.FAILED] * 3
    assert world.submitted == [0, 60, 90, 120]
    assert capsys.readouterr().out.count("not submitted again yet: sbatch does not answer") == 1
    world.end(0, 1, 2, state=State.INTERRUPTED)()
    world.queue()()
    with pytest.raises(UsageError, match="no such partition"):
        world.watch(lambda: (_ for _ in ()).throw(UsageError("no such partition")))


def test_it_is_not_submitted_while_the_scheduler_does_not_answer(world: World) -> None:
    world.down = "squeue does not answer"
    world.events = {
        100: lambda: setattr(world, "down", ""),
        125: world.queue(0, 1, 2),
        160: world.end(0, 1, 2),
    }
    world.watch(world.submit)
    assert world.submitted == [120]
