"""Copies of one command, as the page on clusters starts them: they share the runs by claims."""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from launcher_contract import GRID, PROJECT
from support import numbers, until

from benchmark.records import claims
from benchmark.records.store import Store

LONG = "steps: 400\nvalidate-every: 40\ncheckpoint-every: 0.2\nseeds: [0, 1, 2, 3]\n"


def blocks(language: str) -> list[str]:
    """Return the files of a language that the page shows."""
    page = (PROJECT / "docs" / "clusters.md").read_text()
    return re.findall(rf"```{language}\n(.*?)```", page, re.S)


def job_of_kubernetes() -> dict:
    (manifest,) = blocks("yaml")
    return yaml.safe_load(manifest)


def command_lines() -> list[list[str]]:
    """Return how each cluster starts a copy; the machines of tests have no GPU."""
    (container,) = job_of_kubernetes()["spec"]["template"]["spec"]["containers"]
    shells = [
        ["bash", "-c", text.replace("--device cuda", "--device cpu")] for text in blocks("sh")
    ]
    return [*shells, [{"cuda": "cpu"}.get(word, word) for word in container["command"]]]


@pytest.fixture
def start(tmp_path):
    """Return a function that starts a copy in a folder with a grid of the page's name."""
    (tmp_path / "sweeps").mkdir()
    (tmp_path / "sweeps" / "utd_mhad.yaml").write_text(GRID + LONG)
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "activate").touch()
    python = str(Path(sys.executable).parent)
    environment = os.environ | {
        "PYTHONPATH": str(PROJECT),
        "PATH": f"{python}{os.pathsep}{os.environ['PATH']}",
        "PBS_O_WORKDIR": str(tmp_path),
    }

    def begin(command: list[str], *more: str) -> subprocess.Popen[str]:
        pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
        return subprocess.Popen([*command, *more], cwd=tmp_path, env=environment, **pipes)

    return begin


@pytest.mark.slow
def test_copies_make_up_for_one_that_is_killed_and_give_the_numbers_of_one_command(start, tmp_path):
    lines = command_lines()
    assert len(lines) == 3
    copies = {copy.pid: copy for copy in map(start, lines)}
    store = Store(tmp_path / "results")
    until("a checkpoint", lambda: [f for _, f in store.all() if f.checkpoint.exists()])
    victim = next(folder for _, folder in store.all() if folder.checkpoint.exists())
    killed = copies.pop(int(claims.owner(victim.path)["pid"]))  # exec: the script is the process
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    for copy in copies.values():
        out, err = copy.communicate(timeout=280)
        assert copy.returncode == 0, (out, err)
    logs = {folder.path: (folder.path / "log.txt").read_text() for _, folder in store.all()}
    assert len(logs) == 4 and all(log.count("started") == 1 for log in logs.values())
    assert "resumed at step" in logs[victim.path]
    assert {folder.status().state for _, folder in store.all()} == {"done"}
    shared = {spec.id: numbers(folder) for spec, folder in store.all()}
    owners = {p.read_text() for p in (tmp_path / "results").rglob("claim-*.json")}
    assert len({json.loads(owner)["pid"] for owner in owners}) == 3
    shutil.rmtree(tmp_path / "results" / "runs")
    alone = start(lines[-1])
    assert (alone.communicate(timeout=280)[1], alone.returncode) == ("", 0)
    assert {spec.id: numbers(folder) for spec, folder in store.all()} == shared


@pytest.mark.slow
def test_when_all_copies_are_killed_the_same_again_trains_what_is_left(start, tmp_path):
    line, store = command_lines()[0], Store(tmp_path / "results")
    copy = start(line)
    until("one run done and one with a checkpoint", lambda: stopped_between(copy, store))
    copy.send_signal(signal.SIGKILL)
    copy.communicate()
    assert copy.returncode == -signal.SIGKILL
    again = start(line)
    out, err = again.communicate(timeout=280)
    assert (again.returncode, err) == (0, ""), out
    logs = [(folder.path / "log.txt").read_text() for _, folder in store.all()]
    assert [log.count("started") for log in logs] == [1] * 4
    assert sum(log.count("resumed at step") for log in logs) == 1


def stopped_between(copy: subprocess.Popen[str], store: Store) -> bool:
    """Stop a copy; let it go on unless some run is done and the one under way can be resumed."""
    copy.send_signal(signal.SIGSTOP)
    folders = [folder for _, folder in store.all()]
    under_way = [folder for folder in folders if folder.result() is None]
    if len(folders) > len(under_way) > 0 and all(f.checkpoint.exists() for f in under_way):
        return True
    copy.send_signal(signal.SIGCONT)
    return False


def test_the_job_of_kubernetes_is_whole():
    job = job_of_kubernetes()
    assert (job["apiVersion"], job["kind"]) == ("batch/v1", "Job")
    spec = job["spec"]
    pod = spec["template"]["spec"]
    # A policy for failures is allowed only with this.
    assert spec["podFailurePolicy"] and pod["restartPolicy"] == "Never"
    assert spec["completions"] == spec["parallelism"]
    mounts = {mount["name"] for c in pod["containers"] for mount in c["volumeMounts"]}
    assert mounts == {volume["name"] for volume in pod["volumes"]}


def test_wrong_use_has_the_exit_code_that_ends_the_job(start, tmp_path):
    (tmp_path / "sweeps" / "utd_mhad.yaml").unlink()
    copies = [start(line) for line in command_lines()]
    assert [copy.wait(120) for copy in copies] == [2, 2, 2]
    rules = job_of_kubernetes()["spec"]["podFailurePolicy"]["rules"]
    assert [r["onExitCodes"]["values"] for r in rules if r["action"] == "FailJob"] == [[2]]
