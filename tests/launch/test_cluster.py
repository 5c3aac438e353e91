"""SLURM's commands for another cluster, which needs accounting; they are scripts here."""

import getpass
import os

import pytest

from benchmark.launch import cluster
from benchmark.launch.profile import Profile
from benchmark.launch.submitted import Submitted
from mmdg_common import UsageError

COMMANDS = {
    # As with --clusters and a header; the header of a cluster stays where that of columns goes.
    "squeue": """
        case "$*" in
        *--clusters=far*) echo "CLUSTER: far"; echo "7_0|PENDING|Priority" ;;
        *--clusters=gone*) echo "squeue: error: 'gone' can't be reached now" >&2; exit 1 ;;
        *) echo "7_0|RUNNING|None"; echo "8_0|RUNNING|None" ;;
        esac""",
    "scontrol": """
        case "$*" in
        *--clusters=far*) echo "ClusterName = far"; echo "MaxArraySize = 5" ;;
        *--clusters=*) echo "scontrol: error: can't be reached now" >&2 ;;
        *) echo "ClusterName = near"; echo "MaxArraySize = 1001" ;;
        esac""",
    "sinfo": """
        case "$*" in
        *--all*--clusters=*|*--clusters=*--all*) echo "CLUSTER: far"; echo "long" ;;
        *--all*) echo "debug"; echo "gpu" ;;
        *--clusters=far*--partition=long,short*) echo "n1|idle"; echo "n2|down*"; echo "n1|mix" ;;
        esac""",
    "scancel": "true",
}


@pytest.fixture
def asked(tmp_path, monkeypatch):
    """Stand in for SLURM's commands; return what gives the command lines so far."""
    log = tmp_path / "asked"
    (tmp_path / "bin").mkdir()
    for name, text in COMMANDS.items():
        path = tmp_path / "bin" / name
        path.write_text(f'#!/bin/sh\necho "{name} $*" >> {log}\n{text}\n')
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    cluster._config.cache_clear()
    yield lambda: log.read_text().splitlines()
    cluster._config.cache_clear()


def test_jobs_of_the_same_number_on_two_clusters_stay_apart(asked, tmp_path, capsys):
    me = getpass.getuser()
    submitted = Submitted(tmp_path)
    for folder, owner in enumerate((f"{me}@near", f"{me}@far", "other@near", f"{me}@gone")):
        submitted.write_array(owner, [f"{5 + folder}_0"], [])
    assert submitted.owners() == [f"{me}@near", f"{me}@far", "other@near", f"{me}@gone"]
    found = dict(cluster.queues(submitted.owners()))
    assert found.keys() == {f"{me}@near", f"{me}@far"}
    here, there = found[f"{me}@near"]["7_0"], found[f"{me}@far"]["7_0"]
    assert (here.state, here.on, there.state, there.on) == ("RUNNING", "", "PENDING", "far")
    assert "the queue of gone is not known here: squeue failed" in capsys.readouterr().err
    cluster.cancel([here, there])
    assert asked()[-2:] == ["scancel 7_0", "scancel --clusters=far 7_0"]


def test_another_cluster_is_asked_for_what_it_has(asked):
    cluster.check_partitions("long", "far")
    with pytest.raises(UsageError, match=r"unknown partition 'gpu'.*Valid: long\."):
        cluster.check_partitions("long,gpu", "far")
    cluster.check_partitions("gpu,debug")
    assert (cluster.most_tasks("far"), cluster.most_tasks()) == (5, 1001)
    assert cluster.machines("long,short", "far") == 1
    with pytest.raises(UsageError, match=r"scontrol failed .scontrol: error: can't be reached"):
        cluster.most_tasks("lost")  # scontrol itself says that all is well


def test_the_cluster_of_this_machine_needs_no_accounting_by_its_name(asked):
    assert (cluster.other("near"), cluster.other("far"), cluster.other("")) == ("", "far", "")
    assert cluster.owner(cluster.other("near")) == f"{getpass.getuser()}@near"
    assert cluster.owner("far") == f"{getpass.getuser()}@far"


def test_what_the_script_asks_for_there():
    made = Profile(cluster="far", srun={"mpi": "none", "overlap": True}, sbatch={"hold": True})
    assert made.parameters(1, "far")["additional_parameters"] == {
        "requeue": True,
        "clusters": "far",
        "hold": True,
    }
    assert made.parameters(1, "far")["srun_args"] == ["--mpi=none", "--overlap"]
    assert "clusters" not in made.parameters(1)["additional_parameters"]
