"""How many cores a process may use: what its affinity, its SLURM job and its container leave it."""

import os
from collections.abc import Iterator
from pathlib import Path

SLURM = ("SLURM_CPUS_PER_TASK", "SLURM_CPUS_ON_NODE")
"""A job's share of its node, which without task affinity or cgroups nothing else tells."""


def available_cores(root: Path = Path("/")) -> int:
    """Return how many cores this process may use: the least that anything allows, at least 1.

    Args:
        root: of the file system that shows the kernel's state.
    """
    return max(1, int(min([_affinity(), *_of_job(), *_quotas(root)])))


def _affinity() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _of_job() -> Iterator[int]:
    for name in SLURM:
        if (text := os.environ.get(name, "")).isdecimal() and int(text):
            yield int(text)


def _quotas(root: Path) -> Iterator[float]:
    """Yield the cores whose time the control groups of this process may take, where limited."""
    mounted = root / "sys/fs/cgroup"
    for line in _read(root / "proc/self/cgroup").splitlines():
        _, controllers, group = (*line.split(":", 2), "", "")[:3]
        if not controllers:
            hierarchy, of_folder = mounted, _of_version_2
        elif "cpu" in controllers.split(","):
            hierarchy, of_folder = mounted / "cpu", _of_version_1
        else:
            continue
        # Each group's limit holds for those below. A container may see its own at the top, and not
        # the folder that the kernel names.
        own = hierarchy / group.strip("/")
        for folder in (own, *own.parents):
            if folder.is_relative_to(hierarchy):
                yield from of_folder(folder)


def _of_version_2(folder: Path) -> Iterator[float]:
    quota, period = (*_read(folder / "cpu.max").split(), "", "")[:2]
    yield from _ratio(quota, period)


def _of_version_1(folder: Path) -> Iterator[float]:
    quota, period = (_read(folder / f"cpu.cfs_{name}_us").strip() for name in ("quota", "period"))
    yield from _ratio(quota, period)


def _ratio(quota: str, period: str) -> Iterator[float]:
    """Yield a quota per period; nothing where there is none, `max` or -1."""
    if quota.isdecimal() and period.isdecimal() and int(period):
        yield int(quota) / int(period)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except (OSError, ValueError):
        return ""
