"""The provenance of a result: code, versions and machine of every process that trained the run."""

import importlib.metadata
import os
import platform
import re
import resource
import subprocess
import sys
from collections.abc import Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any

import torch

from benchmark.records.claims import host

COMMIT_FILE = "COMMIT"
"""Names the commit beside a copy of the code, which has no history of its own."""
PACKAGES = ("torch", "torchvision", "torchaudio", "numpy", "scipy")


def collect(device: torch.device) -> dict[str, Any]:
    """Return commit, versions, device, driver, CPU, threads, host and SLURM job of this process."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": device_name(device),
        "driver": driver() if device.type == "cuda" else None,
        "cpu": cpu(),
        "threads": torch.get_num_threads(),
        "host": host(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


class History:
    """The processes that trained a run: a segment for each start whose steps count.

    It travels in the checkpoint, in one file with the state that these processes made: so whoever
    goes on from a state knows its makers, however they ended. Steps that were lost with a crash are
    in no checkpoint, and those who took them in no segment. A file beside the checkpoint could be
    older or newer than the state.

    Args:
        own: what is told of this process.
    """

    def __init__(self, own: Mapping[str, Any]) -> None:
        self._own = own
        self._start = 0
        self._before: list[dict[str, Any]] = []

    def until(self, step: int) -> list[dict[str, Any]]:
        """Return the segments of a run that has come to a step; the last is of this process."""
        return [*self._before, {"start": self._start, "end": step, **self._own}]

    def resume(self, before: Sequence[Mapping[str, Any]] | None, step: int) -> None:
        """Go on from the state of a step.

        Args:
            before: its segments; None where an earlier version saved it and did not say who made
                it.
            step: the steps that were taken.
        """
        self._start = step
        self._before = [{"start": 0, "end": step}] if before is None else list(map(dict, before))


def commit() -> str | None:
    """Return the commit of this code, with `+dirty` where files differ; None outside git."""
    here = Path(__file__).resolve().parents[2]
    if (copied := here / COMMIT_FILE).is_file():
        return copied.read_text().strip() or None
    try:
        run = [
            subprocess.run(["git", *args], cwd=here, capture_output=True, text=True, check=True)
            for args in (["rev-parse", "HEAD"], ["status", "--porcelain", "--untracked-files=no"])
        ]
    except (OSError, subprocess.CalledProcessError):
        return None
    return run[0].stdout.strip() + ("+dirty" if run[1].stdout.strip() else "")


def device_name(device: torch.device) -> str:
    """Return the name of a device, such as `cpu (x86_64)` or that of the GPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"{device.type} ({platform.machine()})"


@cache
def driver() -> str | None:
    """Return the version of the GPU's driver; None where it does not say."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return next(iter(done.stdout.split()), None)


@cache
def cpu() -> str | None:
    """Return the model of the CPU; None where the system does not say."""
    found = None
    with suppress(OSError):
        found = re.search(r"(?m)^model name\s*: *(.+)$", Path("/proc/cpuinfo").read_text())
    return found[1] if found else platform.processor() or None


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory so far in MiB: of the GPU, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
