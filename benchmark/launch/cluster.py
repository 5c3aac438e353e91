"""SLURM's own commands: the queue, the configuration, cancelling. None needs accounting."""

import getpass
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from mmdg_common import UsageError, unknown


@dataclass(frozen=True)
class Job:
    """A job, or one task of an array, that SLURM has not forgotten yet."""

    id: str
    """Such as `123`, or `123_4` for task 4 of an array."""
    state: str
    reason: str
    """Why it waits."""


def require() -> None:
    """Raise UsageError if this machine cannot submit jobs."""
    for command in ("sbatch", "squeue", "scontrol", "scancel", "srun"):
        if shutil.which(command) is None:
            raise UsageError(
                f"there is no {command} on this machine: run this where SLURM's commands are, "
                "or add --launcher local"
            )


def jobs() -> dict[str, Job]:
    """Return the user's jobs in the queue by id: waiting, running, or about to end.

    Raises:
        UsageError: the controller does not answer.
    """
    lines = _ask("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r").splitlines()
    found = (Job(*(part.strip() for part in line.split("|", 2))) for line in lines)
    return {job.id: job for job in found}


def check_partition(name: str) -> None:
    """Raise UsageError if the cluster has no such partition."""
    there = [line.strip() for line in _ask("sinfo", "--noheader", "--format=%R").splitlines()]
    if name not in there:
        raise unknown("partition", name, dict.fromkeys(there))


def machines(partition: str = "") -> int:
    """Return how many machines of a partition, or of the cluster, are not down."""
    which = [f"--partition={partition}"] if partition else []
    lines = _ask("sinfo", "--noheader", "--Node", "--responding", "--format=%N|%t", *which)
    nodes = (line.strip().split("|") for line in lines.splitlines())
    return len({name for name, state in nodes if not state.startswith(("down", "fail"))})


def owner() -> str:
    """Return who owns the jobs that `jobs` lists: the user on this cluster."""
    return f"{getpass.getuser()}@{_config().get('ClusterName')}"


def most_tasks() -> int:
    """Return how many tasks an array may have here."""
    return max(int(_config().get("MaxArraySize", 1000)), 1)


@cache
def _config() -> Mapping[str, str]:
    """Return the cluster's configuration, which is asked for once per process."""
    lines = (line.partition("=") for line in _ask("scontrol", "show", "config").splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def cancel(ids: Sequence[str]) -> None:
    """Cancel jobs."""
    for start in range(0, len(ids), 500):  # a command line has its limits
        _ask("scancel", *ids[start : start + 500])


def _ask(*command: str) -> str:
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    except FileNotFoundError:
        raise UsageError(f"there is no {command[0]} on this machine") from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"{command[0]} does not answer; try again later") from None
    if done.returncode:
        reason = (done.stderr.strip() or "no reason given").splitlines()[0]
        raise UsageError(f"{command[0]} failed ({reason}); try again later")
    return done.stdout
