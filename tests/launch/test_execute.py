"""Carrying out a run: stops that were asked for, deaths, and checkpoints that cannot be read."""

import os
import signal
import subprocess
import sys
import time

import pytest
import torch
from support import Silent, numbers, tiny_run, tiny_specs

from benchmark.launch.execute import MOST_DEATHS, OUT_OF_TIME, execute
from benchmark.records import provenance
from benchmark.records.result import in_a_commit
from benchmark.records.store import Store
from benchmark.settings import RunSettings

COMMAND = [
    *(sys.executable, "-m", "benchmark.run", "--method", "erm", "--dataset", "synthetic"),
    *("--sources", "d1", "--target", "d2", "--epochs", "400", "--threads", "1"),
]


def stopped_in_the_middle(results, kind, *options):
    """Run the command, send it a signal when it trains, and return its exit code."""
    process = subprocess.Popen([*COMMAND, *options, "--results", str(results)])
    ends = time.monotonic() + 60
    while not list(results.rglob("metrics.jsonl")):
        assert time.monotonic() < ends and process.poll() is None
        time.sleep(0.05)
    process.send_signal(kind)
    code = process.wait(timeout=60)
    for path in results.rglob("metrics.jsonl"):
        path.unlink()
    return code


def status(results):
    ((_, folder),) = Store(results).all()
    return folder.status()


@pytest.mark.slow
def test_stops_that_were_asked_for_are_no_deaths_however_many(tmp_path):
    """Three ordinary SIGTERMs before the first checkpoint once made a run fail."""
    for _ in range(MOST_DEATHS + 1):
        assert stopped_in_the_middle(tmp_path, signal.SIGTERM) == 128 + signal.SIGTERM
    ((_, folder),) = Store(tmp_path).all()
    assert "failed" not in (folder.path / "log.txt").read_text()
    assert not folder.checkpoint.exists()


SIGNALS = """
import signal, sys
from benchmark.run import main

signal.signal(signal.SIGALRM, lambda *_: None)
signal.setitimer(signal.ITIMER_REAL, 0.002, 0.002)
code = main(sys.argv[1:])
signal.setitimer(signal.ITIMER_REAL, 0)
sys.exit(code)
"""


@pytest.mark.slow
def test_signals_amid_convolutions_leave_the_memory_alone(tmp_path):
    """Each of three such runs ended in "corrupted size vs. prev_size" on a CPU with AVX-512."""
    command = [sys.executable, "-c", SIGNALS, *COMMAND[3:], "--epochs", "60"]
    done = subprocess.run([*command, "--results", str(tmp_path)])
    assert done.returncode == 0


@pytest.mark.slow
def test_processes_killed_before_anything_was_saved_are_told_apart(tmp_path):
    for _ in range(MOST_DEATHS):
        assert stopped_in_the_middle(tmp_path, signal.SIGKILL) == -signal.SIGKILL
    done = subprocess.run([*COMMAND, "--results", str(tmp_path)], capture_output=True, text=True)
    assert done.returncode == 1
    assert "3 processes in a row were killed before the run had saved anything" in done.stderr


def test_processes_killed_after_one_saved_step_are_told_apart(tmp_path):
    (spec,) = tiny_specs(tmp_path)
    folder = Store(tmp_path).folder(spec)
    how = RunSettings(tmp_path, threads=1, checkpoint_every=0)

    class Dies(Silent):
        def step(self, step, total):
            if step == 4:
                os.kill(os.getpid(), signal.SIGKILL)

    for attempt in range(MOST_DEATHS + 1):
        if (child := os.fork()) == 0:
            # The first saves after steps 1 to 3, the others die where it did.
            execute(spec, how if attempt == 0 else RunSettings(tmp_path, threads=1), Dies())
            os._exit(0)
        os.waitpid(child, 0)
    assert execute(spec, how, Silent()).state == "failed"
    assert "3 processes in a row were killed after the same saved step" in (
        Store(tmp_path).folder(spec).status().error
    )
    assert folder.checkpoint.exists()


@pytest.mark.parametrize("saves", [False, True])
def test_jobs_too_short_to_save_anything_do_not_go_on_for_ever(tmp_path, saves):
    """Each start ends at the time limit; only one that saves its state gets any further."""
    (spec,) = tiny_specs(tmp_path)

    class EndsAtLimit(Silent):
        start = 0

        def step(self, step, total):
            if step == self.start + 2:
                raise SystemExit(OUT_OF_TIME)

    how = RunSettings(tmp_path, threads=1, checkpoint_every=0 if saves else 30)
    watcher = EndsAtLimit()
    for number in range(MOST_DEATHS):
        with pytest.raises(SystemExit):
            execute(spec, how, watcher)
        assert Store(tmp_path).folder(spec).status().state == "interrupted"
        watcher.start += (2 if number else 1) if saves else 0
    ending = execute(spec, how, Silent())
    assert ending.state == ("done" if saves else "failed")
    error = Store(tmp_path).folder(spec).status().error
    assert ("3 jobs in a row came to their time limit before the run saved" in error) != saves


@pytest.mark.parametrize("damage", ["cut off", "flipped", "of another run", "empty"])
def test_a_checkpoint_that_cannot_be_read_is_kept_and_the_run_starts_anew(tmp_path, damage):
    _, whole = tiny_run(tmp_path / "whole")
    (spec,) = tiny_specs(tmp_path)
    folder = Store(tmp_path).folder(spec)
    how = RunSettings(tmp_path, threads=1, checkpoint_every=0)

    class Stops(Silent):
        def step(self, step, total):
            if step == 5:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(spec, how, Stops())
    data = folder.checkpoint.read_bytes()
    if damage == "of another run":
        torch.save({"method": {}, "optimizer": {}}, folder.checkpoint)
    else:
        middle = len(data) // 2
        wrong = {
            "cut off": data[:middle],
            "flipped": data[: middle - 500] + bytes(1000) + data[middle + 500 :],
            "empty": b"",
        }[damage]
        folder.checkpoint.write_bytes(wrong)
    kept = folder.checkpoint.read_bytes()

    class Looks(Silent):
        def step(self, step, total):
            if step == 2:
                assert (folder.path / "checkpoint-unreadable.pt").read_bytes() == kept

    assert execute(spec, how, Looks()).state == "done"
    log = (folder.path / "log.txt").read_text()
    assert log.count("started") == 2 and "checkpoint-unreadable.pt" in log
    assert numbers(folder) == numbers(whole)


def child(spec, how, watcher, monkeypatch, name):
    """Carry out a run in a process of its own, of a machine and commit with this name."""
    monkeypatch.setattr(provenance, "commit", lambda: name * 40)
    monkeypatch.setattr(provenance, "cpu", lambda: f"CPU {name}")
    if (number := os.fork()) == 0:
        execute(spec, how, watcher)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])


def segments_of(folder):
    told = folder.result()["provenance"].get("segments", [])
    return [(one["commit"], one["cpu"], one["start"], one["end"]) for one in told]


class KilledAt(Silent):
    """Kills its own process when a step was taken, before it is saved."""

    def __init__(self, step):
        self.at = step

    def step(self, step, total):
        if step == self.at:
            os.kill(os.getpid(), signal.SIGKILL)


def test_a_run_names_every_process_whose_steps_count(tmp_path, monkeypatch):
    """The second process is killed before it has saved a step: nothing of it is in the result."""
    (spec,) = tiny_specs(tmp_path)
    often = RunSettings(tmp_path, threads=1, checkpoint_every=0)
    seldom = RunSettings(tmp_path, threads=1)
    folder = Store(tmp_path).folder(spec)
    assert child(spec, often, KilledAt(4), monkeypatch, "a") == -signal.SIGKILL
    assert child(spec, seldom, KilledAt(7), monkeypatch, "b") == -signal.SIGKILL
    assert child(spec, often, KilledAt(9), monkeypatch, "c") == -signal.SIGKILL
    assert child(spec, seldom, Silent(), monkeypatch, "d") == 0
    assert segments_of(folder) == [
        ("a" * 40, "CPU a", 0, 3),
        ("c" * 40, "CPU c", 3, 8),
        ("d" * 40, "CPU d", 8, 12),
    ]
    told = folder.result()["provenance"]
    last = {key: value for key, value in told["segments"][-1].items() if key in told}
    assert last.items() <= told.items() and {"host", "packages", "kernels", "driver"} <= last.keys()
    assert told["commit"] == "d" * 40


def test_a_run_that_starts_anew_forgets_who_trained_it_before(tmp_path, monkeypatch):
    (spec,) = tiny_specs(tmp_path)
    often = RunSettings(tmp_path, threads=1, checkpoint_every=0)
    folder = Store(tmp_path).folder(spec)
    child(spec, often, KilledAt(4), monkeypatch, "a")
    folder.checkpoint.write_bytes(b"damaged")
    child(spec, often, Silent(), monkeypatch, "b")
    assert folder.result()["provenance"]["commit"] == "b" * 40
    assert segments_of(folder) == []


def test_the_makers_of_a_state_that_an_earlier_version_saved_are_unknown(tmp_path, monkeypatch):
    (spec,) = tiny_specs(tmp_path)
    often = RunSettings(tmp_path, threads=1, checkpoint_every=0)
    folder = Store(tmp_path).folder(spec)
    child(spec, often, KilledAt(4), monkeypatch, "a")
    state = torch.load(folder.checkpoint, weights_only=True)
    del state["segments"]
    torch.save(state, folder.checkpoint)
    child(spec, often, Silent(), monkeypatch, "b")
    first, second = folder.result()["provenance"]["segments"]
    assert first == {"start": 0, "end": 3}
    assert (second["commit"], second["start"], second["end"]) == ("b" * 40, 3, 12)
    assert not in_a_commit(folder.result())


def test_an_unexpected_error_of_one_run_leaves_the_others(tmp_path, monkeypatch, capsys):
    """Even one outside of what is recorded, such as a claim that cannot be understood."""
    from benchmark.launch.inline import carry_out
    from benchmark.launch.todo import Listed
    from benchmark.records import claims

    first, second = tiny_specs(tmp_path, seeds=(0, 1))
    plain = claims.take

    def take(folder, mark=0):
        if folder.name == first.id:
            raise LookupError("nobody thought of this")
        return plain(folder, mark)

    monkeypatch.setattr(claims, "take", take)
    carry_out(Listed([first, second]), 2, RunSettings(tmp_path, threads=1))
    store = Store(tmp_path)
    assert store.folder(first).result() is None and store.folder(second).result() is not None
    assert "LookupError: nobody thought of this" in capsys.readouterr().out


def test_a_resumed_run_keeps_the_passes_of_all_its_steps(tmp_path):
    _, whole = tiny_run(tmp_path / "whole", "mbcd", modalities=("m1+m2",))
    (spec,) = tiny_specs(tmp_path, "mbcd", modalities=("m1+m2",))
    how = RunSettings(tmp_path, threads=1, checkpoint_every=0)
    total = 12

    class Stops(Silent):
        def alive(self, step, total_steps):
            if step == total and not stopped:
                stopped.append(step)
                raise KeyboardInterrupt

    stopped: list[int] = []
    with pytest.raises(KeyboardInterrupt):
        execute(spec, how, Stops())  # after its last step, in the validation
    assert execute(spec, how, Silent()).state == "done"
    passes = [folder.result()["passes"] for folder in (whole, Store(tmp_path).folder(spec))]
    assert passes[0] is not None and passes[0] == passes[1]
