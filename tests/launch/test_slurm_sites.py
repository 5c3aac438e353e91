"""Jobs on a cluster of two nodes that lets no job be queued again unless it asks for it."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from slurm_cluster import Cluster, running
from slurm_sweeps import ONE, Sweeps, queue, starts
from support import until
from support_folder import FOURS, table, vectors

from benchmark.launch.submitted import Submitted
from benchmark.records.store import Store

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]

FAULTY = '''
import os
import signal
from pathlib import Path
from methods import register
from methods.erm import ERM

NODE = os.environ.get("SLURMD_NODENAME")

class Faulty(ERM):
    def loss(self, batch):
        if self.run.step == 3:
            self.meet()
        return super().loss(batch)

@register("bad_gpu")
class BadGpu(Faulty):
    """Meets a GPU that fails on one of the nodes."""
    def meet(self):
        if NODE == "node1":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")

@register("hungry")
class Hungry(Faulty):
    """Is killed as the kernel does it where memory runs out, until there is more."""
    def meet(self):
        if int(os.environ["SLURM_MEM_PER_NODE"]) < 300:
            os.kill(os.getpid(), signal.SIGKILL)

@register("dies_once")
class DiesOnce(Faulty):
    """Ends its process, but for the second time."""
    def meet(self):
        mark = Path(__file__).with_name("died")
        if not mark.exists():
            mark.touch()
            os._exit(1)

@register("wrong")
class Wrong(Faulty):
    """Fails wherever it runs."""
    def meet(self):
        raise LookupError("no such thing")
'''


@pytest.fixture(scope="module")
def two_nodes() -> Iterator[Cluster]:
    with running(nodes=2, options="JobRequeue=0\n") as cluster:
        yield cluster


@pytest.fixture
def sweeps(tmp_path: Path, two_nodes: Cluster) -> Sweeps:
    return Sweeps.with_methods(tmp_path, "faulty", FAULTY)


def nodes_of(sweeps: Sweeps) -> set[str]:
    return {f.result()["provenance"]["host"] for f in sweeps.folders()}


def test_a_bad_node_is_left_and_eats_no_run(sweeps):
    sweeps.grid("method: bad_gpu\nseeds: [0, 1]\nsteps: 20\ncheckpoint-every: 0\n")
    sweeps.submit("--jobs", "2")
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    assert nodes_of(sweeps) == {"node2"}
    (fault,) = Submitted(sweeps.folder / "slurm").faults()
    assert fault["host"] == "node1" and "illegal memory access" in fault["reason"]
    assert re.search(r"left node1: node1 cannot carry out", sweeps.run("--status")[1])
    assert not [f for f in sweeps.folders() if starts(f)[0] > 1]  # what was saved is not lost


@pytest.mark.parametrize("at_once", [1, 2])
def test_a_job_killed_for_memory_comes_back_with_more_and_loses_no_other_run(sweeps, at_once):
    """The kernel kills its only process, or one of two."""
    (sweeps.folder / "site.yaml").write_text(
        f"time: 30\nmemory: [200M, 400M]\nruns_at_once: {at_once}\n"
    )
    sweeps.grid("method: [erm, hungry, joint]\nsteps: 6\n")
    sweeps.submit("--jobs", "1")
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)
    assert re.search(r"9 runs +9 ", out), out
    assert [f for f in sweeps.folders() if starts(f)[0] > 1], "no run was killed"


def test_a_run_fails_once_two_nodes_have_found_so(sweeps):
    (sweeps.folder / "grid.yaml").write_text(ONE + "method: [wrong, erm]\nsteps: 6\n")
    sweeps.submit("--jobs", "1")
    code, out, err = sweeps.run("--watch")
    assert code == 1 and "LookupError: no such thing" in err, (out, err)
    logs = {
        s.method: (f.path / "log.txt").read_text() for s, f in Store(sweeps.folder / "slurm").all()
    }
    assert re.findall(r"\w+ on (\w+): LookupError", logs["wrong"]) in (
        ["node1", "node2"],
        ["node2", "node1"],
    )


def test_where_a_job_cannot_queue_itself_the_same_command_submits_what_is_left(sweeps):
    tools = sweeps.folder / "tools"
    tools.mkdir()
    for name in ("bash", "sleep", "hostname", "wc", "cat", "seq", "mkdir", "srun", "tr"):
        (tools / name).symlink_to(Path("/usr/bin") / name)
    (sweeps.folder / "site.yaml").write_text(f"time: 30\nsetup: [export PATH={tools}]\n")
    (sweeps.folder / "grid.yaml").write_text(ONE + "method: [dies_once, erm]\nsteps: 9\n")
    sweeps.submit("--jobs", "1")
    until("an empty queue", lambda: not queue())
    log = sweeps.logs()
    assert "this node has no scontrol to queue the job again" in log
    assert re.search(r"2 runs +· +· +· +1 +· +1", sweeps.run("--status")[1])
    sweeps.submit("--jobs", "1")
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)


def test_a_dataset_is_copied_once_to_each_node_and_the_numbers_are_the_originals(sweeps, two_nodes):
    origin = sweeps.folder / "origin"
    table(origin, vectors(origin, FOURS))
    (sweeps.folder / "site.yaml").write_text(
        "time: 30\nruns_at_once: 2\nsbatch: {exclusive: true}\n"
        f"stage: {sweeps.folder}/$SLURMD_NODENAME\n"
    )
    (sweeps.folder / "grid.yaml").write_text(
        f"dataset: folder\nmethod: erm\nall-splits: true\nseeds: {[*range(12)]}\nsteps: 20\n"
    )
    data = ("--data-root", f"folder={origin}")
    two_nodes.drain()
    try:
        sweeps.submit("--jobs", "2", *data)
    finally:
        two_nodes.resume()
    code, out, err = sweeps.run("--watch", *data)
    assert (code, err) == (0, ""), (out, err)
    assert nodes_of(sweeps) == {"node1", "node2"}
    for folder in sweeps.folders():
        host = folder.result()["provenance"]["host"]
        copy = rf"folder is read from {sweeps.folder}/{host}/folder/\S+/data, a copy of {origin}"
        assert re.search(copy, (folder.path / "log.txt").read_text())
    assert sweeps.logs().count("copying folder from") == 2, sweeps.logs()
    assert sweeps.run(*data, results="inline")[0] == 0
    assert sweeps.numbers("slurm") == sweeps.numbers("inline")
