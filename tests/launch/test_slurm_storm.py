"""Many short runs on a cluster where everything goes wrong: each ends once, with its numbers."""

import os
import re
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any

import pytest
from slurm_cluster import Cluster, running
from slurm_sweeps import ONE, Sweeps, queue
from support import until

from benchmark.launch.submitted import Submitted
from benchmark.records import claims
from benchmark.records.run_folder import RunFolder
from benchmark.training import seeds

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(1800)]

RUNS, STEPS = 200, 20
OUT_OF_MEMORY = 7
"""The seed of a run that has too little memory the first time."""
MOST_IDLE = 0.05
MOST_STARTS = 4 + 5 + 2 * 4
"""Of jobs: their first, one for each event that ends one job, and two for machines that a job
leaves: the broken one, and that where memory ran out if the run is all that is left."""

# Four workers, each on a GPU of its own, with two runs at once; the second node has room for them
# all once they have left the first.
PROFILE = "gpus: 1\ncpus: 1\nruns_at_once: 2\ntime: 30\nsignal: 10\n"
STORMY = f'''
import os
from pathlib import Path
import torch
from methods import register
from methods.erm import ERM

@register("stormy")
class Stormy(ERM):
    """Meets a GPU that fails on one node, and once too little memory."""
    def setup(self, model, run):
        self.hungry = torch.initial_seed() == {seeds.stream(OUT_OF_MEMORY, "method", "init")}
        super().setup(model, run)

    def loss(self, batch):
        if os.environ.get("SLURMD_NODENAME") == "node1":
            raise RuntimeError("CUDA error: an illegal memory access was encountered")
        mark = Path(__file__).with_name("hungry")
        if self.hungry and self.run.step == 3 and not mark.exists():
            mark.touch()
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")
        return super().loss(batch)
'''


class Storm:
    """Disturbs the jobs of a sweep, in an order that a seed decides."""

    def __init__(self, sweeps: Sweeps, cluster: Cluster, seed: int) -> None:
        self.sweeps, self.cluster, self.random = sweeps, cluster, Random(seed)

    def blow(self) -> None:
        """Let everything happen, one after the other, while runs come to their ends."""
        events = [self.requeue] * 3 + [self.kill_run] * 4
        events += [self.kill_job, self.tell_time, self.restart, self.crash, self.reconfigure]
        self.random.shuffle(events)
        for number, event in enumerate(events, start=1):
            share = RUNS * number // (len(events) + 2)
            until(f"{share} runs", lambda share=share: self.done() >= share, seconds=900)
            until(event.__name__, event)

    def done(self) -> int:
        return len(list((self.sweeps.folder / "slurm/runs").rglob("result.json")))

    def requeue(self) -> bool:
        return self._asked("scontrol", "requeue", self._job())

    def tell_time(self) -> bool:
        return self._asked("scancel", "--signal=USR2", self._job())

    def reconfigure(self) -> bool:
        return self._asked("scontrol", "reconfigure")

    def kill_run(self) -> bool:
        return kill(self._process())

    def kill_job(self) -> bool:
        """Kill the process that gives runs to those that train them."""
        with suppress(OSError):
            stat = Path(f"/proc/{self._process()}/stat").read_text()
            parent = int(stat.rpartition(")")[2].split()[1])
            # An orphan has another parent.
            return b"submitit" in Path(f"/proc/{parent}/cmdline").read_bytes() and kill(parent)
        return False

    def restart(self) -> bool:
        self.cluster.stop_controller()
        time.sleep(3)
        self.cluster.start_controller()
        return True

    def crash(self) -> bool:
        """Kill the controller just after it has saved how all jobs stand, which it does late.

        A start that it forgets it repeats. Where it meets the first one it drains the node, and
        holds the job until an administrator releases it.
        """
        began = time.time()
        if not self._asked("scontrol", "update", f"JobId={self._job()}", "Comment=to be saved"):
            return False
        state = self.cluster.folder / "state" / "job_state"
        until("a saved state", lambda: state.stat().st_mtime > began)
        self.cluster.stop_controller(signal.SIGKILL)
        self.cluster.start_controller()
        return True

    def _job(self) -> str:
        """Return a job that is running, as `<array>_<task>`: one task has the array's number."""
        asked = ["squeue", "-hr", "-trunning", "-o%i"]
        jobs = until("a job", lambda: subprocess.check_output(asked, text=True).split())
        return self.random.choice(jobs)

    def _process(self) -> int:
        """Return a process that has one of the runs under way."""
        held = until("a run", lambda: [f for f in self.sweeps.folders() if claims.held(f.path)])
        return int(claims.owner(self.random.choice(held).path)["pid"])

    def _asked(self, *command: str) -> bool:
        return subprocess.run(command, capture_output=True).returncode == 0


def kill(pid: int) -> bool:
    """Kill a process as the kernel does; return whether it was there."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
        return True
    return False


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(nodes=3, options="JobRequeue=0\n") as found:
        yield found


@pytest.fixture
def sweeps(tmp_path: Path, cluster: Cluster) -> Sweeps:
    found = Sweeps.with_methods(tmp_path, "stormy", STORMY)
    (tmp_path / "site.yaml").write_text(PROFILE)
    return found


def log_of(folder: RunFolder) -> str:
    return (folder.path / "log.txt").read_text()


def test_in_a_storm_every_run_ends_once_with_the_numbers_of_a_quiet_one(sweeps, cluster):
    (sweeps.folder / "grid.yaml").write_text(
        f"{ONE}method: stormy\nseeds: {[*range(RUNS)]}\nsteps: {STEPS}\n"
        "validate-every: 10\ncheckpoint-every: 0.2\n"
    )
    sweeps.submit("--jobs", "4")
    Storm(sweeps, cluster, seed=0).blow()
    until("an empty queue", lambda: not queue(), seconds=900)  # and nobody submits again

    code, out, err = sweeps.run("--status")
    assert (code, err) == (0, ""), (out, err)
    folders = sweeps.folders()
    assert len(folders) == RUNS
    starts = Counter(len(list(folder.path.glob("claim-*.json"))) for folder in folders)
    print(f"runs by the number of processes that claimed them: {dict(sorted(starts.items()))}")
    for folder in folders:
        log = log_of(folder)
        assert log.count(" done\n") <= 1 and not log.partition(" done\n")[2], log
        parts = segments(folder)
        ends = [0, *(part["end"] for part in parts)]
        assert [part["start"] for part in parts] == ends[:-1] and ends[-1] == STEPS
        assert {part["host"] for part in parts} <= {"node2", "node3"}, "node1 is broken"
    (hungry,) = [f for f in folders if "out of memory" in log_of(f)]
    told = re.search(r"on (\w+): OutOf.*; to be tried on another machine", log_of(hungry))
    assert told, log_of(hungry)
    faults = Submitted(sweeps.folder / "slurm").faults()
    assert {fault["host"] for fault in faults} - {told[1]} == {"node1"}, faults
    logs = sweeps.logs()
    assert logs.count("Starting with JobEnvironment") <= MOST_STARTS, "a job's end ended others"
    assert idle(logs) < MOST_IDLE
    assert sweeps.run("--launcher", "inline", results="quiet")[0] == 0
    assert sweeps.numbers("slurm") == sweeps.numbers("quiet")


def segments(folder: RunFolder) -> list[dict[str, Any]]:
    """Return who took which steps of a run."""
    provenance = folder.result()["provenance"]
    parts = provenance.get("segments", [{**provenance, "start": 0, "end": STEPS}])
    return [part for part in parts if part["start"] < part["end"]]


def idle(logs: str) -> float:
    """Return the share of their time that workers waited between runs, by the logs of the jobs.

    The starts of processes are not in it: each takes as long as several of these runs.
    """
    told = re.findall(r"2 processes trained for ([\d.]+) s and waited for ([\d.]+) s", logs)
    assert len(told) >= 4, logs
    trained, waited = (sum(map(float, column)) for column in zip(*told, strict=True))
    print(f"{len(told)} starts of jobs trained for {trained:.0f} s and waited for {waited:.1f} s")
    return waited / (trained + waited)
