"""Claims with real processes: who gets a run, who takes it over, who finds out."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import Silent, numbers, tiny_run, tiny_specs

from benchmark.launch.execute import MOST_DEATHS, execute
from benchmark.records import claims
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.train import Training

HOLD = """
import sys, time
from pathlib import Path
from benchmark.records import claims
with claims.take(Path(sys.argv[1])):
    print("mine", flush=True)
    time.sleep(60)
"""

AHEAD = """
import os, sys, time
from pathlib import Path
from benchmark.records import claims
claims.BEAT_EVERY, claims._machine = 0.2, lambda: "another machine"
utime = os.utime
os.utime = lambda path: utime(path, (time.time() + 86400,) * 2)
with claims.take(Path(sys.argv[1])) as claim:
    os.utime(claim.path)
    print("mine", flush=True)
    time.sleep(60)
"""
"""A process on a machine whose clock is a day ahead."""

RACE = """
import sys
from pathlib import Path
from benchmark.records import claims
folder, rounds = Path(sys.argv[1]), int(sys.argv[2])
print("ready", flush=True)
sys.stdin.readline()
print("".join("1" if claims.take(folder / str(i)) else "0" for i in range(rounds)))
"""


def start(code, *arguments, **more):
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **more,
    )


@pytest.fixture
def holder(tmp_path):
    process = start(HOLD, tmp_path)
    assert process.stdout.readline() == "mine\n"
    yield process
    process.kill()
    process.wait()


def make_old(path: Path, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(path, (then, then))


def move_to_another_machine(folder: Path, **changes) -> Path:
    """Make the last claim look as if another machine had written it."""
    path = max(folder.glob("claim-*.json"))
    path.write_text(json.dumps({**json.loads(path.read_text()), "machine": "other", **changes}))
    return path


def test_of_many_processes_one_gets_a_run(tmp_path):
    rounds = 300
    racers = [start(RACE, tmp_path, rounds) for _ in range(3)]
    for racer in racers:
        assert racer.stdout.readline() == "ready\n"
    for racer in racers:
        racer.stdin.write("go\n")
        racer.stdin.flush()
    won = [racer.communicate()[0].strip() for racer in racers]
    # A racer that ended is dead, so that a later one may rightly take over: only the first claim
    # tells which of the living came first.
    first = [
        json.loads((tmp_path / str(i) / "claim-1.json").read_text())["pid"] for i in range(rounds)
    ]
    for i in range(rounds):
        winners = [racer.pid for racer, row in zip(racers, won, strict=True) if row[i] == "1"]
        assert first[i] in winners
        assert len(list((tmp_path / str(i)).glob("claim-*.json"))) == len(winners)


def test_a_living_process_keeps_its_run(tmp_path, holder):
    assert claims.take(tmp_path) is None
    assert claims.held(tmp_path)
    assert claims.owner(tmp_path)["pid"] == holder.pid


def test_a_killed_process_is_followed_at_once_on_its_own_machine(tmp_path, holder):
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not claims.held(tmp_path)
    assert claims.take(tmp_path).number == 2


def test_a_process_number_that_was_given_again_is_not_the_owner(tmp_path, holder):
    path = tmp_path / "claim-1.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "started": "1"}))
    assert claims.take(tmp_path) is not None


def test_elsewhere_only_the_heartbeat_tells(tmp_path, holder):
    path = move_to_another_machine(tmp_path, pid=1)
    make_old(path, claims.STALE_AFTER - 20)
    assert claims.take(tmp_path) is None
    make_old(path, claims.STALE_AFTER + 20)
    assert claims.take(tmp_path) is not None


def test_an_owner_killed_before_it_could_write_is_followed_soon(tmp_path):
    path = tmp_path / "claim-1.json"
    path.touch()
    make_old(path, claims.UNWRITTEN_AFTER - 20)
    assert claims.take(tmp_path) is None
    make_old(path, claims.UNWRITTEN_AFTER + 20)
    assert claims.take(tmp_path).number == 2


def test_a_job_ended_while_it_writes_its_claim_leaves_none(tmp_path, monkeypatch):
    """The signal that ends a job raises SystemExit wherever the process is."""

    def ended(*_):
        assert (tmp_path / "claim-1.json").exists()
        raise SystemExit

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(json, "dump", ended)
        claims.take(tmp_path)
    assert claims.take(tmp_path).number == 1


def test_a_job_that_slurm_started_again_follows_its_first_start(tmp_path, holder, monkeypatch):
    move_to_another_machine(tmp_path, job="7", restart=0)
    monkeypatch.setenv("SLURM_JOB_ID", "7")
    assert claims.take(tmp_path) is None
    monkeypatch.setenv("SLURM_RESTART_COUNT", "1")
    assert claims.take(tmp_path) is not None


def test_a_clock_that_is_ahead_does_not_make_owners_old(tmp_path, holder, monkeypatch):
    move_to_another_machine(tmp_path)
    now = time.time()
    monkeypatch.setattr(time, "time", lambda: now + 10 * claims.STALE_AFTER)
    assert claims.take(tmp_path) is None


@pytest.mark.slow
def test_an_owner_whose_clock_is_ahead_keeps_its_run_while_it_beats_and_no_longer(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(claims, "STALE_AFTER", 2.0)
    owner = start(AHEAD, tmp_path)
    assert owner.stdout.readline() == "mine\n"
    began = time.monotonic()
    while time.monotonic() - began < 4:
        assert claims.held(tmp_path)
        assert claims.take(tmp_path) is None
        time.sleep(0.1)
    owner.kill()
    owner.wait()
    assert (tmp_path / "claim-1.json").stat().st_mtime > time.time() + 80000
    assert claims.take(tmp_path) is None, "nothing tells yet that it is dead"
    began = time.monotonic()
    claims.wait_for_sign(tmp_path)
    assert 1 <= time.monotonic() - began < 6
    assert claims.take(tmp_path).number == 2


def test_a_damaged_claim_from_the_future_is_followed_soon(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "UNWRITTEN_AFTER", 0.5)
    (tmp_path / "claim-1.json").write_text('{"a": 1}')
    make_old(tmp_path / "claim-1.json", -86400)
    assert claims.take(tmp_path) is None
    time.sleep(0.6)
    assert claims.take(tmp_path).number == 2


def test_files_that_are_only_named_like_claims_are_none(tmp_path):
    for name in ("claim-0.json", "claim-07.json", "claim-x.json", "claim-5", "claim-9.json.bak"):
        (tmp_path / name).touch()
    (tmp_path / f"claim-{'9' * 200}.json").touch()
    assert not claims.held(tmp_path)
    assert claims.take(tmp_path).number == 1


def test_a_file_server_that_is_away_takes_no_run_from_its_owner(tmp_path, holder):
    """Reading fails with an error that is none of the file's, as on a server that is gone."""
    path = move_to_another_machine(tmp_path)
    path.rename(tmp_path / "kept.json")
    path.symlink_to(path.name)  # a loop: the name is there, and every look at it fails
    assert claims.held(tmp_path)
    with pytest.raises(OSError, match="symbolic links"):
        claims.take(tmp_path)
    (tmp_path / "kept.json").rename(path)
    assert claims.take(tmp_path) is None


def test_the_heartbeat_renews_a_claim_and_sees_that_it_is_lost(tmp_path, monkeypatch):
    monkeypatch.setattr(claims, "BEAT_EVERY", 0.05)
    claim = claims.take(tmp_path)
    with claim:
        make_old(claim.path, 100)
        time.sleep(0.3)
        assert time.time() - claim.path.stat().st_mtime < 50
        path = move_to_another_machine(tmp_path)
        claim.check()
        (tmp_path / "claim-2.json").write_text("{}")
        with pytest.raises(claims.ClaimLostError):
            claim.check()
        make_old(path, 100)
        time.sleep(0.3)
        assert time.time() - claim.path.stat().st_mtime > 50, "it beats on"


def test_a_released_claim_is_free_and_a_folder_put_aside_stays_away(tmp_path):
    folder = tmp_path / "run"
    with claims.take(folder):
        pass
    claim = claims.take(folder)
    assert claim.number == 2
    with claim:
        folder.rename(tmp_path / "aside")
    assert not folder.exists()


def test_waiting_ends_when_the_owner_beats_or_is_dead(tmp_path, holder):
    path = move_to_another_machine(tmp_path)
    before = time.monotonic()
    make_old(path, claims.STALE_AFTER - 2)  # dead in two seconds
    claims.wait_for_sign(tmp_path)
    assert 1 <= time.monotonic() - before < 6
    assert claims.take(tmp_path) is not None


def test_deaths_are_counted_at_one_point_of_a_run(tmp_path):
    for mark in (0, 0, 5):
        claims.take(tmp_path, mark)
        move_to_another_machine(tmp_path)
        make_old(max(tmp_path.glob("claim-*.json")), 2 * claims.STALE_AFTER)
    assert claims.take(tmp_path, 5).fruitless() == [claims.DIED]
    make_old(move_to_another_machine(tmp_path), 2 * claims.STALE_AFTER)
    assert claims.take(tmp_path, 6).fruitless() == []


@pytest.mark.slow
def test_two_processes_over_the_same_runs_do_each_once(tmp_path):
    command = [
        *(sys.executable, "-m", "benchmark.run", "--method", "erm", "joint", "--dataset"),
        *("synthetic", "--dataset-option", "domains=3", "samples_per_class=5", "--all-splits"),
        *("--seeds", "0", "1", "--epochs", "2", "--threads", "1", "--results", str(tmp_path)),
    ]
    both = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    texts = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert all("12 runs: 12 done" in text for text in texts), texts
    folders = [path.parent for path in tmp_path.rglob("result.json")]
    assert len(folders) == 12
    logs = [(folder / "log.txt").read_text() for folder in folders]
    assert [log.count("started") for log in logs] == [1] * 12
    assert not any("resumed" in log for log in logs)
    first = [json.loads((folder / "claim-1.json").read_text()) for folder in folders]
    pids = {claim["pid"] for claim in first}
    assert pids == {process.pid for process in both}, "one process did everything"


def test_a_process_that_comes_back_too_late_leaves_the_run_alone(tmp_path, monkeypatch):
    _, whole = tiny_run(tmp_path / "whole")
    (spec,) = tiny_specs(tmp_path)
    folder = Store(tmp_path).folder(spec)
    how = RunSettings(tmp_path, threads=1, checkpoint_every=0)

    class Asleep(Silent):
        def step(self, step, total):
            if step == 3:  # a laptop closes, and opens when another has finished the run
                path = move_to_another_machine(folder.path)
                make_old(path, 2 * claims.STALE_AFTER)
                assert execute(spec, how, Silent()).state == "done"

    assert execute(spec, how, Asleep()).state == "running"
    assert numbers(folder) == numbers(whole)
    assert claims.owner(folder.path)["released"]
    assert folder.status().state == "done"


def test_a_run_whose_processes_die_at_one_point_fails_with_the_reason(tmp_path, monkeypatch):
    (spec,) = tiny_specs(tmp_path)
    folder = Store(tmp_path).folder(spec)
    how = RunSettings(tmp_path, threads=1)

    def die(self, watcher):
        os._exit(137)

    for _ in range(MOST_DEATHS):
        if (child := os.fork()) == 0:
            Training.run = die
            execute(spec, how, Silent())
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 137
    assert execute(spec, how, Silent()).state == "failed"
    error = folder.status().error
    assert error.startswith("NoProgressError: 3 processes in a row were killed before the run had")
    folder.await_retry()
    assert execute(spec, how, Silent()).state == "done"
