"""Sweeps on a real SLURM cluster: every run ends once, whatever happens to jobs and daemons."""

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from slurm_cluster import Cluster, slurm  # noqa: F401  (a fixture)
from slurm_sweeps import ONE, PROFILE, PROJECT, SLURM, Sweeps, queue, starts
from support import until

from benchmark.records import claims
from benchmark.records.run_folder import RunFolder
from benchmark.records.store import Store
from mmdg_common import parse_json

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture
def sweeps(tmp_path: Path, slurm: Cluster) -> Sweeps:  # noqa: F811
    return Sweeps(tmp_path)


def went_on(folder: RunFolder) -> list[int]:
    """Return the steps at which a run resumed, having checked that nothing saved was thrown away.

    A job may be killed before its run first saved, before it began, or even before its claim was
    written; what each process found when it took the run is in its claim.
    """
    claimed = [parse_json(path.read_bytes()) for path in folder.path.glob("claim-*.json")]
    found = [claim["mark"] for claim in claimed if claim]
    started, resumed = starts(folder)
    assert 1 <= started <= found.count(0), "a run began anew although its state was saved"
    assert len(resumed) <= len(found) - found.count(0)
    assert resumed == sorted(resumed) and 0 not in resumed
    return resumed


def table(sweeps: Sweeps, results: str) -> str:
    command = [sys.executable, "-m", "benchmark.report", "--results", results, "--format", "csv"]
    shown = subprocess.run(
        command,
        cwd=sweeps.folder,
        env=sweeps.environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return shown.stdout


def test_two_jobs_share_the_runs_and_give_the_inline_table_bit_for_bit(sweeps, slurm):  # noqa: F811
    sweeps.grid("method: [erm, ema, swad+mbcd, rna_net]\nseeds: [0, 1]\nepochs: 2\n")
    slurm.drain()
    try:
        out = sweeps.submit("--jobs", "1")
        assert "submitted 1 of 1 jobs" in out and "24 are new" in out
        again = sweeps.submit("--jobs", "1")
        assert "submitted" not in again and "24 runs were in the queue already" in again
        more = sweeps.submit("--jobs", "2")
        assert "submitted 1 of 1 jobs" in more and "24 runs were in the queue already" in more
        assert len(queue()) == 2
    finally:
        slurm.resume()
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    assert re.search(r"24 runs +24 +· +· +· +·", out), out
    assert sweeps.run(results="inline")[0] == 0
    assert len(sweeps.numbers("slurm")) == 24
    assert sweeps.numbers("slurm") == sweeps.numbers("inline")
    assert table(sweeps, "slurm") == table(sweeps, "inline")
    assert all(starts(folder) == (1, []) for folder in sweeps.folders())
    where = [folder.result() for folder in sweeps.folders()]
    assert len({w["provenance"]["slurm_job"] for w in where} - {None}) == 2
    assert all(w["provenance"]["threads"] == 1 for w in where)
    code, out, _ = sweeps.run("--launcher", "local", "--dry-run")
    assert code == 0 and "24" in out


def test_disturbed_runs_end_with_the_same_numbers_none_lost_none_twice(sweeps, slurm):  # noqa: F811
    """Requeued, signalled, killed, out of time, and the controller restarted: all in one sweep."""
    grid = "method: [mbcd, swad+mbcd]\nsteps: 400\nvalidate-every: 50\ncheckpoint-every: 0.5\n"
    sweeps.grid(grid)
    # Where two minutes do not suffice, a job gets through by its checkpoints. With one minute the
    # signal comes early, and a busy machine does little but start jobs.
    short = PROFILE.replace("time: 30", "time: 2")
    (sweeps.folder / "site.yaml").write_text(short)
    sweeps.submit("--jobs", "2")
    first, second = until("two runs at work", lambda: under_way(sweeps, at_least=2))

    subprocess.run(["scontrol", "requeue", job_of(first)], check=True)
    pid = claims.owner(second.path)["pid"]
    os.kill(pid, signal.SIGKILL)
    until("both to be left", lambda: not (claims.held(first.path) or claims.held(second.path)))
    third = until("a run that a signal interrupts", lambda: signalled(sweeps))
    slurm.stop_controller()
    time.sleep(3)
    slurm.start_controller()

    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    resumed = {folder.path: went_on(folder) for folder in sweeps.folders()}
    assert len(resumed) == 6
    assert all(resumed[folder.path] for folder in (first, second, third))
    # Local processes give the inline launcher's bits, as another test shows, in half the time.
    assert sweeps.run("--launcher", "local", results="local")[0] == 0
    assert sweeps.numbers("slurm") == sweeps.numbers("local")


def under_way(sweeps: Sweeps, at_least: int = 1) -> list[RunFolder]:
    """Return the runs that a living process has saved and is at, far from their end.

    What is done to them must reach them before they end. None if there are fewer than `at_least`.
    """
    held = [f for f in sweeps.folders() if claims.held(f.path)]
    saved = [f for f in held if f.mark() not in (0, claims.owner(f.path).get("mark"))]
    found = [f for f in saved if len(f.metrics()) <= 3]
    return found if len(found) >= at_least else []


def signalled(sweeps: Sweeps) -> RunFolder | None:
    """Have SLURM signal a run under way and return it; None if it ended before the signal came."""
    found = under_way(sweeps)
    if not found:
        return None
    subprocess.run(["scancel", "--signal=USR2", job_of(found[0])], check=True)
    until("the signal's work", lambda: not claims.held(found[0].path))
    return found[0] if found[0].status().state == "interrupted" else None


def job_of(folder: RunFolder) -> str:
    return str(claims.owner(folder.path)["job"])


def test_a_signal_while_no_scheduler_answers_fails_no_run(sweeps, slurm):  # noqa: F811
    (sweeps.folder / "grid.yaml").write_text(
        ONE + "method: mbcd\nsteps: 600\nvalidate-every: 100\ncheckpoint-every: 0.5\n"
    )
    sweeps.submit()
    (folder,) = until("a run that can be resumed", lambda: under_way(sweeps))
    slurm.stop_controller()
    try:
        os.kill(claims.owner(folder.path)["pid"], signal.SIGUSR2)
        until("the signal's work", lambda: not claims.held(folder.path))
        time.sleep(3)
        assert folder.status().state == "interrupted"
    finally:
        slurm.start_controller()
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    assert went_on(folder)


SLOW = '''
import os
import time
from methods import register
from methods.mbcd import MBCD

@register("slow")
class Slow(MBCD):
    """Needs more than a minute in a job's first start, on the fastest machine."""
    def loss(self, batch):
        if "SLURM_JOB_ID" in os.environ and not int(os.environ.get("SLURM_RESTART_COUNT", 0)):
            time.sleep(0.25)
        return super().loss(batch)
'''


def test_a_job_at_its_time_limit_is_queued_again_and_resumes(tmp_path, slurm):  # noqa: F811
    sweeps = Sweeps.with_methods(tmp_path, "slow", SLOW)
    (sweeps.folder / "grid.yaml").write_text(
        ONE + "method: slow\nsteps: 300\nvalidate-every: 50\ncheckpoint-every: 1\n"
    )
    (sweeps.folder / "site.yaml").write_text(PROFILE.replace("time: 30", "time: 1"))
    sweeps.submit()
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    (folder,) = sweeps.folders()
    assert went_on(folder)
    log = sweeps.logs()
    assert "Caught signal SIGUSR2" in log
    assert sweeps.run(results="inline")[0] == 0
    assert sweeps.numbers("slurm") == sweeps.numbers("inline")


BROKEN = '''
import resource
import torch
from methods import register
from methods.erm import ERM

class Broken(ERM):
    def loss(self, batch):
        terms = super().loss(batch)
        return terms if self.run.step < 3 else self.broken(terms)

@register("raising")
class Raising(Broken):
    """Raises."""
    def broken(self, terms):
        raise LookupError("no such thing")

@register("hungry")
class Hungry(Broken):
    """Asks for more memory than it may have."""
    def broken(self, terms):
        used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (used + 2**28, resource.RLIM_INFINITY))
        try:
            torch.ones(2**30)
        finally:
            resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

@register("diverging")
class Diverging(Broken):
    """Ends in NaN."""
    def broken(self, terms):
        return {name: term * float("nan") for name, term in terms.items()}
'''


def test_runs_that_fail_are_recorded_and_the_rest_completes(tmp_path, slurm):  # noqa: F811
    sweeps = Sweeps.with_methods(tmp_path, "broken", BROKEN)
    (tmp_path / "grid.yaml").write_text(
        ONE + "steps: 6\nmethod: [erm, raising, hungry, diverging, joint]\n"
    )
    sweeps.submit("--jobs", "1")
    code, out, err = sweeps.run("--watch")
    assert code == 1
    assert re.search(r"5 runs +2 +· +· +· +3", out), out
    assert "LookupError: no such thing" in err
    assert "not finite at step 3" in err
    assert "can't allocate memory" in err or "MemoryError" in err
    states = {spec.method: f.status() for spec, f in Store(tmp_path / "slurm").all()}
    assert {name: s.state for name, s in states.items()} == {
        **dict.fromkeys(("erm", "joint"), "done"),
        **dict.fromkeys(("raising", "hungry", "diverging"), "failed"),
    }
    for name in ("raising", "hungry", "diverging"):
        where = "broken.py" if name != "diverging" else "methods/logs.py"
        assert "Traceback" in states[name].traceback and where in states[name].traceback
    assert sweeps.run("--status")[0] == 1
    # A plain command leaves them alone, the retry runs just them: now with a package that is whole.
    code, out, _ = sweeps.run(*SLURM)
    assert code == 1 and "submitted" not in out
    (sweeps.folder / "site" / "broken.py").write_text(BROKEN.replace("< 3", "< 10**9"))
    assert "3 are new" in sweeps.submit("--retry-failed")
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    assert {spec.method: starts(f)[0] for spec, f in Store(tmp_path / "slurm").all()} == {
        "erm": 1, "joint": 1, "raising": 2, "hungry": 2, "diverging": 2,
    }  # fmt: skip


def test_two_sweeps_at_once_share_the_work_without_a_duplicate(sweeps):
    """And a local sweep beside them, which comes once a job is at a run: it starts faster."""
    sweeps.grid("method: [erm, mbcd]\nseeds: [0, 1]\nepochs: 30\n")
    submitting = [sweeps.start(*SLURM, "--jobs", n) for n in ("2", "12")]
    until("a job at a run", lambda: any(claims.held(f.path) for f in sweeps.folders()))
    local = sweeps.start("--launcher", "local")
    for process in (*submitting, local):
        out, err = process.communicate(timeout=300)
        # The local one may end while jobs are still at the last runs, and then says so.
        assert process.returncode == 0 or "queued or running elsewhere" in err, (out, err)
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    until("an empty queue", lambda: not queue())
    assert len(sweeps.folders()) == 12
    assert [starts(folder) for folder in sweeps.folders()] == [(1, [])] * 12
    jobs = {folder.result()["provenance"]["slurm_job"] for folder in sweeps.folders()}
    assert None in jobs and len(jobs) > 1, f"only {jobs} did any of the work"
    # Local processes give the inline launcher's bits, as another test shows, in half the time.
    assert sweeps.run("--launcher", "local", results="alone")[0] == 0
    assert sweeps.numbers("slurm") == sweeps.numbers("alone")


def test_edits_after_submission_do_not_reach_queued_jobs(tmp_path, slurm):  # noqa: F811
    for part in ("benchmark", "methods", "datasets", "mmdg_common.py"):
        copy = shutil.copytree if (PROJECT / part).is_dir() else shutil.copy
        copy(PROJECT / part, tmp_path / part)
    # Run from the code's own folder, as from a clone, without a path that names it.
    sweeps = Sweeps(tmp_path, {"PYTHONPATH": ""})
    sweeps.grid("method: erm\nepochs: 1\n")
    slurm.drain()
    try:
        sweeps.submit()
        train = tmp_path / "benchmark/training/train.py"
        whole = train.read_text()
        train.write_text("raise RuntimeError('edited')\n")
    finally:
        slurm.resume()
    until("the runs", lambda: not queue())
    train.write_text(whole)
    code, out, err = sweeps.run("--status")
    assert (code, err) == (0, ""), (out, err)
    assert re.search(r"3 runs +3 +·", out), out


def test_cancel_takes_the_sweeps_jobs_out_of_the_queue_and_no_others(sweeps, slurm):  # noqa: F811
    sweeps.grid("method: erm\nepochs: 1\n")
    slurm.drain()
    try:
        other = subprocess.run(
            ["sbatch", "--parsable", "--wrap", "true", "-o", "/dev/null"],
            capture_output=True, text=True, check=True,
        ).stdout.strip()  # fmt: skip
        sweeps.submit()
        code, out, _ = sweeps.run("--status")
        assert code == 0 and re.search(r"3 runs +· +· +3 +·", out), out
        code, out, _ = sweeps.run("--cancel")
        assert code == 0 and "cancelled 3 jobs" in out
        until("the others", lambda: queue() == [f"{other} PENDING"])
        code, out, _ = sweeps.run("--status")
        assert re.search(r"3 runs +· +· +· +3", out), out
    finally:
        slurm.resume()
    sweeps.submit()
    assert sweeps.run("--watch")[0] == 0


def test_wrong_use_is_one_clear_line(sweeps):
    sweeps.grid("method: erm\nepochs: 1\n")
    for profile, error in (
        ("partition: debgu", "unknown partition 'debgu'. Did you mean 'debug'? Valid: debug."),
        (
            "partitoin: debug",
            "site.yaml, line 1: unknown key 'partitoin'. Did you mean 'partition'?",
        ),
        ("time: soon", "site.yaml, line 1: time is in minutes or hours:minutes"),
        ("constraint: h100", "sbatch refused: sbatch: error: Batch job submission failed"),
    ):
        (sweeps.folder / "site.yaml").write_text(profile)
        code, _, err = sweeps.run(*SLURM)
        assert code == 2 and err.startswith(f"error: {error}") and err.count("\n") == 1, err
    assert queue() == []


def test_without_slurm_the_error_says_what_to_do_instead(sweeps):
    sweeps.grid("method: erm\nepochs: 1\n")
    sweeps.environment["PATH"] = "/nowhere"
    code, _, err = sweeps.run("--launcher", "slurm")
    assert code == 2 and err.count("\n") == 1
    assert "there is no sbatch on this machine" in err and "--launcher local" in err
