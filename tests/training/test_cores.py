"""How many cores a process may use: the least that affinity, SLURM job and container allow."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from benchmark import cores

CODE = "from benchmark.cores import available_cores; print(available_cores())"
MANY = 64


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """Return a function that writes files of a kernel and counts the cores there; it has 64."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(MANY)))
    for name in cores.SLURM:
        monkeypatch.delenv(name, raising=False)

    def count(groups: str = "", **files: str) -> int:
        (tmp_path / "proc/self").mkdir(parents=True, exist_ok=True)
        (tmp_path / "proc/self/cgroup").write_text(groups)
        for name, text in files.items():
            path = tmp_path / "sys/fs/cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        return cores.available_cores(tmp_path)

    return count


def counted(*before: str, **environment: str) -> int:
    """Return what a process of its own counts."""
    bare = {name: value for name, value in os.environ.items() if name not in cores.SLURM}
    command = [*before, sys.executable, "-c", CODE]
    return int(subprocess.check_output(command, text=True, env={**bare, **environment}))


def test_a_process_counts_the_cores_that_it_is_bound_to():
    if shutil.which("taskset") is None:
        pytest.skip("there is no taskset on this machine")
    assert counted("taskset", "-c", str(min(os.sched_getaffinity(0)))) == 1


def test_a_process_of_a_job_counts_the_share_of_the_job():
    """As on a node without task affinity, where the process sees every core."""
    assert counted(SLURM_CPUS_ON_NODE="1") == 1
    assert counted(SLURM_CPUS_ON_NODE=str(MANY), SLURM_CPUS_PER_TASK="1") == 1
    assert counted(SLURM_CPUS_PER_TASK=str(10 * MANY)) == counted()


@pytest.mark.parametrize(
    ("per_task", "on_node", "cores_then"),
    [("4", "8", 4), ("", "8", 8), ("4", "", 4), ("99", "", MANY), ("0", "", MANY), ("x", "", MANY)],
)
def test_the_least_counts_and_what_is_no_number_does_not(
    machine, monkeypatch, per_task, on_node, cores_then
):
    monkeypatch.setenv("SLURM_CPUS_PER_TASK", per_task)
    monkeypatch.setenv("SLURM_CPUS_ON_NODE", on_node)
    assert machine() == cores_then


def test_a_container_may_have_a_quota(machine):
    assert machine("0::/\n", **{"cpu.max": "max 100000\n"}) == MANY
    assert machine("0::/\n", **{"cpu.max": "300000 100000\n"}) == 3
    assert machine("0::/\n", **{"cpu.max": "350000 100000\n"}) == 3
    assert machine("0::/\n", **{"cpu.max": "50000 100000\n"}) == 1
    assert machine("0::/\n", **{"cpu.max": "damaged"}) == MANY


def test_the_quota_of_a_group_holds_for_the_groups_below(machine):
    quotas = {
        "cpu.max": "max 100000\n",
        "job/cpu.max": "200000 100000\n",
        "job/step/cpu.max": "500000 100000\n",
        "other/cpu.max": "100000 100000\n",
    }
    assert machine("0::/job/step\n", **quotas) == 2
    assert machine("0::/elsewhere\n", **quotas) == MANY


def test_quotas_of_the_first_version_count_where_that_controls_the_cpu(machine):
    files = {
        "cpu/cpu.cfs_quota_us": "-1\n",
        "cpu/cpu.cfs_period_us": "100000\n",
        "cpu/docker/ab/cpu.cfs_quota_us": "150000\n",
        "cpu/docker/ab/cpu.cfs_period_us": "50000\n",
        "memory/cpu.cfs_quota_us": "50000\n",
        "memory/cpu.cfs_period_us": "50000\n",
    }
    assert machine("5:memory:/\n4:cpu,cpuacct:/docker/ab\n", **files) == 3
    assert machine("5:memory:/\n4:cpuacct,cpu:/\n0::/\n", **files) == MANY
    # Some containers see their own group at the top, and not the one that the kernel names.
    files["cpu/cpu.cfs_quota_us"] = "200000\n"
    assert machine("4:cpu,cpuacct:/kubepods/pod1\n", **files) == 2


def test_a_machine_without_control_groups_is_counted_all_the_same(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5})
    for name in cores.SLURM:
        monkeypatch.delenv(name, raising=False)
    assert cores.available_cores(Path("/nowhere")) == 2
