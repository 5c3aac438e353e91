"""What a job leaves behind when it ends, and what its script makes of that."""

import errno
import importlib
import os
import subprocess
from dataclasses import replace

import pytest
from support import tiny_specs

import methods
from benchmark.launch import job, job_script, local
from benchmark.launch.job import AGAIN, ELSEWHERE, GIVE_UP, Work
from benchmark.launch.job_script import MOST_ENDS
from benchmark.launch.profile import Profile
from benchmark.launch.submitted import Submitted, read_runs
from benchmark.records import claims
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.train import Training
from mmdg_common import UsageError

KILLED_ONCE = """
import os
import signal
from pathlib import Path

from methods import register
from methods.erm import ERM


@register("killed_once")
class KilledOnce(ERM):
    def loss(self, batch):
        mark = Path(__file__).with_name("mark")
        if self.run.step == 2 and not mark.exists():
            mark.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return super().loss(batch)
"""


@pytest.fixture
def specs(tmp_path):
    return tiny_specs(tmp_path, seeds=(0, 1))


@pytest.fixture
def work(specs, tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "12")
    return Work(
        Submitted(tmp_path).write_runs(specs),
        RunSettings(tmp_path, threads=1, device="cpu"),
        minutes=30,
        spare=60,
        gpus=False,
        runs_at_once=1,
        most_memory=0,
        machines=2,
    )


def code(work):
    with pytest.raises(SystemExit) as ended:
        work()
    return ended.value.code


def states(specs, tmp_path):
    return [Store(tmp_path).folder(spec).status().state for spec in specs]


def test_a_job_ends_well_when_no_run_is_left(work, specs, tmp_path):
    notes = Submitted(tmp_path).notes("12")
    notes.ends.parent.mkdir(parents=True)
    notes.ends.write_text("ended with code 1\n")
    work()
    assert states(specs, tmp_path) == ["done", "done"]
    assert not notes.ends.exists()  # a run came to its end, so that ends are counted anew
    work()
    assert Submitted(tmp_path).faults() == []


def test_runs_that_others_have_are_theirs(work, specs, tmp_path):
    folder = Store(tmp_path).folder(specs[0])
    with claims.take(folder.path):
        folder.write_status("running")
        work()
    assert states(specs[1:], tmp_path) == ["done"]


@pytest.mark.slow
def test_several_runs_at_once_are_the_same_runs(work, specs, tmp_path, capsys):
    replace(work, runs_at_once=2)()
    assert "2 processes trained for " in capsys.readouterr().out
    assert states(specs, tmp_path) == ["done", "done"]
    pids = {claims.owner(Store(tmp_path).folder(spec).path)["pid"] for spec in specs}
    assert len(pids) == 2 and os.getpid() not in pids


@pytest.mark.slow
@pytest.mark.parametrize(("memory", "goes_on"), [("1024", False), ("2048", True)])
def test_a_process_killed_for_memory_ends_the_job_while_there_is_more_to_have(
    work, tmp_path, monkeypatch, memory, goes_on
):
    """One of two processes is killed once, as the kernel does it; the script adds memory."""
    module = f"killed_with_{memory}"
    (tmp_path / f"{module}.py").write_text(KILLED_ONCE)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.setenv("SLURM_MEM_PER_NODE", memory)
    monkeypatch.setattr(methods._registry, "_items", dict(methods._registry._items))
    importlib.import_module(module)
    specs = tiny_specs(tmp_path, "killed_once", seeds=(0, 1))
    settings = replace(work.settings, modules=(module,), checkpoint_every=0)
    runs = Submitted(tmp_path).write_runs(specs)
    work = replace(work, runs=runs, settings=settings, runs_at_once=2, most_memory=2048)
    if not goes_on:
        assert code(work) == local.KILLED
        assert "interrupted" in states(specs, tmp_path)
        assert not list(tmp_path.rglob("*.excluded"))  # the machine is not at fault
    work()
    assert states(specs, tmp_path) == ["done", "done"]
    logs = [(Store(tmp_path).folder(spec).path / "log.txt").read_text() for spec in specs]
    assert sum("resumed at step" in log for log in logs) >= 1, logs


def test_too_little_time_for_the_next_run_is_asked_for_again(work, specs, tmp_path, monkeypatch):
    monkeypatch.setattr(job.Costs, "seconds", lambda self, spec: 40 * 60.0)
    assert code(work) == AGAIN
    assert states(specs, tmp_path) == ["done", "to do"]
    work()
    assert states(specs, tmp_path) == ["done", "done"]


@pytest.mark.parametrize(("machines", "wanted"), [(2, ELSEWHERE), (1, GIVE_UP)])
def test_a_machine_at_fault_is_left_if_there_is_another(
    work, specs, tmp_path, monkeypatch, machines, wanted
):
    def full(self, inputs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Training, "train_on", full)
    monkeypatch.setenv("SLURMD_NODENAME", "node7")
    assert code(replace(work, machines=machines)) == wanted
    assert states(specs, tmp_path) == ["interrupted", "to do"]
    (fault,) = Submitted(tmp_path).faults()
    assert (fault["host"], fault["job"]) == ("node7", "12")
    assert fault["reason"].startswith("node7 cannot carry out runs: no space left")
    assert Submitted(tmp_path).notes("12").excluded.read_text() == "node7\n"


def test_runs_that_failed_here_are_tried_elsewhere(work, specs, tmp_path, monkeypatch):
    plain = Training.train_on

    def fails(self, inputs):
        if self.spec.seed == 0:
            raise LookupError("no such thing")
        return plain(self, inputs)

    monkeypatch.setattr(Training, "train_on", fails)
    assert code(work) == ELSEWHERE
    assert states(specs, tmp_path) == ["interrupted", "done"]
    monkeypatch.setenv("SLURMD_NODENAME", "another")
    work()
    assert states(specs, tmp_path) == ["failed", "done"]


def test_alone_a_machine_fails_runs_by_itself(work, specs, tmp_path, monkeypatch):
    monkeypatch.setattr(Training, "train_on", lambda self, inputs: 1 / 0)
    replace(work, machines=1)()
    assert states(specs, tmp_path) == ["failed", "failed"]


@pytest.mark.parametrize("device", ["auto", "cuda"])
def test_a_job_with_gpus_never_trains_without_one(work, specs, tmp_path, device):
    settings = replace(work.settings, device=device)
    assert code(replace(work, settings=settings, gpus=True)) == ELSEWHERE
    assert states(specs, tmp_path) == ["to do", "to do"]
    assert "CUDA is missing or broken" in Submitted(tmp_path).faults()[0]["reason"]


def test_the_cpu_can_be_asked_for(work, specs, tmp_path):
    replace(work, gpus=True)()
    assert states(specs, tmp_path) == ["done", "done"]


def test_the_runs_of_a_submission_are_read_as_they_were_written(work, specs):
    assert [spec.id for spec in read_runs(work.runs)] == [spec.id for spec in specs]
    work.runs.write_text(work.runs.read_text()[:-30])
    with pytest.raises(UsageError, match=r"jsonl: .*; submit the sweep again"):
        read_runs(work.runs)


# The script


PLAIN = Profile()


def script(tmp_path, status, profile=PLAIN, scontrol='echo "$@" >> asked', **variables):
    """Run what the job's script does after the process; return what it asked of scontrol."""
    tools = tmp_path / "tools"
    tools.mkdir(exist_ok=True)
    for name in ("bash", "cat", "tr", "wc", "seq", "sleep", "mkdir", "hostname"):
        path = subprocess.run(["which", name], capture_output=True, text=True).stdout.strip()
        (tools / name).unlink(missing_ok=True)
        (tools / name).symlink_to(path)
    (tools / "scontrol").unlink(missing_ok=True)
    if scontrol:
        (tools / "scontrol").write_text(f"#!{tools}/bash\n{scontrol}\n")
        (tools / "scontrol").chmod(0o755)
    asked = tmp_path / "asked"
    asked.unlink(missing_ok=True)
    lines = "\n".join(job_script.teardown(profile, tmp_path / "no tes"))
    done = subprocess.run(
        [tools / "bash", "-c", f"(exit {status})\n{lines}"],
        cwd=tmp_path,
        env={"PATH": str(tools), "SLURM_JOB_ID": "12", **variables},
        capture_output=True,
        text=True,
    )
    assert done.returncode == status
    return asked.read_text().splitlines() if asked.exists() else [], done.stderr


def test_what_is_over_is_not_queued_again(tmp_path):
    assert script(tmp_path, 0) == ([], "")
    assert script(tmp_path, GIVE_UP) == ([], "")


@pytest.mark.parametrize("status", [AGAIN, job.OUT_OF_TIME])
def test_a_job_out_of_time_is_queued_again_however_often(tmp_path, status):
    for _ in range(2 * MOST_ENDS):
        assert script(tmp_path, status) == (["requeue 12"], "")


def test_a_task_with_the_number_of_its_array_queues_itself_and_no_other(tmp_path):
    (tmp_path / "no tes").mkdir()
    (tmp_path / "no tes" / "12.excluded").write_text("node7\n")
    task = {"SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3"}
    asked, _ = script(tmp_path, ELSEWHERE, **task)
    assert asked == ["requeue 12_3", "update JobId=12_3 ExcNodeList=node7"]


def test_a_job_comes_back_elsewhere(tmp_path):
    notes = tmp_path / "no tes"
    notes.mkdir()
    (notes / "12.excluded").write_text("node7\nnode3\n")
    asked, err = script(tmp_path, ELSEWHERE)
    assert (asked, err) == (["requeue 12", "update JobId=12 ExcNodeList=node7,node3"], "")
    asked, _ = script(tmp_path, ELSEWHERE, Profile(exclude="bad[1-3]"))
    assert asked[1] == "update JobId=12 ExcNodeList=bad[1-3],node7,node3"


def test_unexpected_ends_are_queued_again_with_more_memory_and_not_for_ever(tmp_path):
    profile = Profile(memory=("512M", "16G", "1T"))
    found = [script(tmp_path, status, profile)[0] for status in (1, 137, 9, 1)]
    assert found == [
        ["requeue 12", f"update JobId=12 MinMemoryNode={megabytes}"]
        for megabytes in (16384, 2**20, 2**20, 2**20)
    ]
    asked, err = script(tmp_path, 1, profile)
    assert asked == []
    assert f"{MOST_ENDS} unexpected ends in a row: this job is not queued again" in err
    assert len((tmp_path / "no tes" / "12.ends").read_text().splitlines()) == MOST_ENDS


def test_without_amounts_of_memory_none_is_changed(tmp_path):
    assert script(tmp_path, 1) == (["requeue 12"], "")


@pytest.mark.slow
def test_a_scheduler_that_does_not_answer_is_asked_again(tmp_path):
    flaky = 'echo "$@" >> asked; [ "$(wc -l < asked)" -gt 2 ]'
    assert script(tmp_path, AGAIN, scontrol=flaky)[0] == ["requeue 12"] * 3


def test_where_there_is_no_scontrol_the_log_says_what_to_do(tmp_path):
    asked, err = script(tmp_path, AGAIN, scontrol="")
    assert asked == [] and "this node has no scontrol" in err and "--watch" in err
