"""What a SLURM job does: it takes the runs that nobody has until there is no time, or none left.

Whatever ends a job, its runs are safe: all state is in the store, and the next start of the job, or
another job, goes on from there. The script around the process decides by its exit code whether the
job is queued again; within the process a scheduler that does not answer would fail the run.
"""

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NoReturn

from benchmark.launch import faults, inline, local
from benchmark.launch.costs import Costs
from benchmark.launch.device import Device
from benchmark.launch.execute import OUT_OF_TIME
from benchmark.launch.submitted import Submitted, read_runs
from benchmark.launch.todo import Shared
from benchmark.records import claims
from benchmark.settings import RunSettings

AGAIN = 75
"""The exit code of a process that left runs which its next start can carry out."""
ELSEWHERE = 76
"""... that left runs which this machine cannot carry out, and others may."""
GIVE_UP = 77
"""... that left runs which no other machine is there for."""


@dataclass(frozen=True)
class Work:
    """The work of one job. SLURM may start it any number of times, on any of its machines."""

    runs: Path
    """The file with the runs that all workers share."""
    settings: RunSettings
    minutes: int
    """The time limit of the job."""
    spare: int
    """Seconds before the limit at which SLURM tells the job to stop."""
    gpus: bool
    """Whether the job has asked for GPUs, so that its runs must not be trained on anything else."""
    runs_at_once: int
    """Runs beside each other on each GPU, or on the job's cores."""
    most_memory: int
    """Megabytes that the job may come to have; 0: it keeps what it has."""
    machines: int
    """How many there are that could carry out the job."""

    def __call__(self) -> None:
        """Carry out runs until none is left to take.

        Raises:
            SystemExit: some are left; the code says why.
        """
        if fault := self._gpu_fault():
            self._leave(fault)
        notes = Submitted(self.settings.results).notes(os.environ["SLURM_JOB_ID"])
        todo = Shared(
            read_runs(self.runs),
            self.settings.results,
            until=time.monotonic() + 60 * self.minutes - self.spare,
            cost=Costs(self.settings, Device.here(self.settings)).seconds,
            progressed=lambda: notes.ends.unlink(missing_ok=True),
        )
        reason = self._carry_out(todo)
        late, tried = todo.left()
        if not reason and tried:
            reason = f"{tried} runs did not come to their end here, and others may do better"
        if reason:
            self._leave(reason)
        if late:
            print(f"{late} runs are left for the next start of this job", flush=True)
            raise SystemExit(AGAIN)

    def checkpoint(self) -> NoReturn:
        """End the process; submitit calls this when SLURM says that the time is up."""
        raise SystemExit(OUT_OF_TIME)

    def _carry_out(self, todo: Shared) -> str:
        # Without a GPU the run is to stop, not to go on on the CPU.
        device = "cuda" if self.gpus and self.settings.device == "auto" else self.settings.device
        settings = replace(self.settings, device=device, confirm_failures=self.machines > 1)
        slots = [gpu for gpu in local.gpus(settings) or [""] for _ in range(self.runs_at_once)]
        if len(slots) == 1:
            return inline.carry_out(todo, todo.total, settings)
        # The kernel kills a process for memory. The job's script gets more for the next start.
        more = int(os.environ.get("SLURM_MEM_PER_NODE", 0)) < self.most_memory
        return local.carry_out(todo, todo.total, slots, settings, end_if_killed=more)

    def _gpu_fault(self) -> str:
        """Return why no run can be trained on the GPU that the job has asked for, if so."""
        if not self.gpus or self.settings.device == "cpu":
            return ""
        import torch

        try:
            torch.zeros(1, device="cuda").sum().item()
        except (RuntimeError, AssertionError) as error:
            return faults.described(f"CUDA is missing or broken ({str(error).splitlines()[0]})")
        return ""

    def _leave(self, reason: str) -> NoReturn:
        """End the job here, to come back on another machine if there is one."""
        print(reason, flush=True)
        job = os.environ["SLURM_JOB_ID"]
        Submitted(self.settings.results).leave(claims.host(), reason, job)
        raise SystemExit(ELSEWHERE if self.machines > 1 else GIVE_UP)
