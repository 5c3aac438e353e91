"""What SLURM's queue says of runs, in words; the commands are scripts that say what SLURM's say."""

import os
from pathlib import Path

import pytest
from support_reports import toy_spec

from benchmark.launch import cluster, queue
from benchmark.launch.cluster import Job
from benchmark.launch.submitted import Submitted

SPECS = [toy_spec(seed=seed) for seed in range(3)]


def words(*jobs: tuple[str, str, str]) -> str:
    return queue.in_words([Job(*job) for job in jobs])


def test_jobs_are_counted_by_state_and_reason() -> None:
    assert words(("7_0", "RUNNING", "None")) == "job 7_0: running"
    assert words(("7_0", "PENDING", "Priority")) == "job 7_0: pending (Priority)"
    several = [("7_0", "RUNNING", "None"), ("7_1", "PENDING", "Resources")]
    several += [(f"8_{i}", "PENDING", "Priority") for i in range(3)]
    assert words(*several) == ("5 jobs: 1 running, 1 pending (Resources), 3 pending (Priority)")
    nodes = [(f"7_{i}", "PENDING", f"ReqNodeNotAvail, UnavailableNodes:n{i}") for i in range(2)]
    assert words(*nodes) == "2 jobs: 2 pending (ReqNodeNotAvail)"


@pytest.mark.parametrize(
    ("reason", "told"),
    [
        ("JobHeldUser", "to let it start: scontrol release 7 8"),
        ("JobHeldAdmin", "held by the site"),
        ("JobHoldMaxRequeue", "scontrol release 7 8"),
        ("launch failed requeued held", "scontrol release 7 8"),
        ("BadConstraints", "never starts: no node has"),
        ("PartitionTimeLimit", "never starts: `time` in the profile"),
        ("QOSMaxWallDurationPerJobLimit", "never starts: `time` in the profile"),
        ("QOSMaxGRESPerJob", "more than a job may have"),
        ("AssocMaxCpuPerJobLimit", "more than a job may have"),
        ("AssocGrpGRES", "waits for other jobs of your group; never starts if it alone"),
        ("InvalidQOS", "not allowed"),
    ],
)
def test_jobs_that_do_not_start_by_themselves_come_with_what_to_do(reason: str, told: str) -> None:
    held = [("7_0", "PENDING", reason), ("7_1", "PENDING", reason), ("8", "PENDING", reason)]
    found = words(("9", "PENDING", "Priority"), *held)
    assert found.startswith(f"4 jobs: 1 pending (Priority), 3 pending ({reason}). {reason}: ")
    assert told in found and found.count(told) == 1


@pytest.mark.parametrize(
    "reason", ["Priority", "Resources", "Dependency", "QOSMaxJobsPerUserLimit", "AssocMaxJobsLimit"]
)
def test_what_goes_away_by_itself_comes_without(reason: str) -> None:
    assert words(("7", "PENDING", reason)) == f"job 7: pending ({reason})"


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with the commands; `queue` in it is what squeue says, and `cancelled` is a list."""
    for name, script in {
        "squeue": f"echo asked >> {tmp_path}/asked; cat {tmp_path}/queue",
        "scontrol": "echo 'ClusterName = test'",
        "scancel": f'echo "$@" >> {tmp_path}/cancelled',
        "sbatch": "exit 1",
        "srun": "exit 1",
    }.items():
        path = tmp_path / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    cluster._config.cache_clear()
    return tmp_path


def test_runs_are_joined_with_the_jobs_that_share_them(slurm: Path) -> None:
    submitted, owner = Submitted(slurm), cluster.owner()
    submitted.write_array(owner, ["7_0", "7_1"], SPECS[:2])
    submitted.write_array(owner, ["8_0"], SPECS[1:])
    submitted.write_array("someone@else", ["9_0"], SPECS)
    (slurm / "queue").write_text("7_0|RUNNING|None\n8_0|PENDING|Priority\n9_0|RUNNING|None\n")
    assert queue.queued(slurm) == {
        SPECS[0].id: "job 7_0: running",
        SPECS[1].id: "2 jobs: 1 running, 1 pending (Priority)",
        SPECS[2].id: "job 8_0: pending (Priority)",
    }
    assert (slurm / "asked").read_text() == "asked\n"
    assert queue.cancel([SPECS[0]], slurm) == 1
    assert queue.cancel(SPECS, slurm) == 2
    assert (slurm / "cancelled").read_text().splitlines() == ["7_0", "7_0 8_0"]


def test_many_jobs_that_share_many_runs_are_no_matter_of_their_product(slurm: Path) -> None:
    """Each of 2,000 runs with each of 2,000 jobs would be four million pairs."""
    specs = [toy_spec(seed=seed) for seed in range(2000)]
    jobs = [f"{7 + i // 100}_{i % 100}" for i in range(2000)]
    for start in range(0, 2000, 100):
        Submitted(slurm).write_array(cluster.owner(), jobs[start : start + 100], specs)
    (slurm / "queue").write_text("".join(f"{job}|PENDING|Priority\n" for job in jobs))
    found = queue.queued(slurm)
    assert len(found) == 2000
    assert {id(text) for text in found.values()} == {id(found[specs[0].id])}
    assert found[specs[0].id] == "2000 jobs: 2000 pending (Priority)"
