"""The provenance of a result: code, versions and machine."""

import importlib.metadata
import os
import platform
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import torch

from benchmark.records.claims import host

COMMIT_FILE = "COMMIT"
"""Names the commit beside a copy of the code, which has no history of its own."""
PACKAGES = ("torch", "torchvision", "torchaudio", "numpy", "scipy")


def collect(device: torch.device) -> dict[str, Any]:
    """Return commit, package versions, device, threads, host and SLURM job of this process."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
        "device": device_name(device),
        "threads": torch.get_num_threads(),
        "host": host(),
        "slurm_job": os.environ.get("SLURM_JOB_ID"),
    }


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


def peak_memory_mb(device: torch.device) -> float:
    """Return the peak memory so far in MiB: of the GPU, or of the whole process on a CPU."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
