"""SLURM's own commands: the queue, the configuration, cancelling.

None needs accounting, unless it is `on` another cluster than the one that this machine belongs to.
"""

import getpass
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
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
    on: str = ""
    """The cluster, where that is another one than this machine's."""


def require() -> None:
    """Raise UsageError if this machine cannot submit jobs."""
    for command in ("sbatch", "squeue", "scontrol", "scancel", "srun"):
        if shutil.which(command) is None:
            raise UsageError(
                f"there is no {command} on this machine: run this where SLURM's commands are, "
                "or add --launcher local"
            )


def jobs(on: str = "") -> dict[str, Job]:
    """Return the user's jobs in the queue by id: waiting, running, or about to end.

    Raises:
        UsageError: the controller does not answer.
    """
    asked = ("squeue", "--me", "--noheader", "--array", "--format=%i|%T|%r")
    lines = (map(str.strip, line.split("|", 2)) for line in _ask(*asked, on=on).splitlines())
    return {id: Job(id, state, reason, on) for id, state, reason in lines}


def queues(owners: Iterable[str]) -> Iterator[tuple[str, dict[str, Job]]]:
    """Yield the owners that are this user on some cluster, each with the jobs in its queue.

    Raises:
        UsageError: the controller of this machine's cluster does not answer.
    """
    mine = owner()
    for one in owners:
        user, _, on = one.rpartition("@")
        if one == mine:
            yield one, jobs()
        elif user == getpass.getuser():
            try:
                yield one, jobs(on)
            except UsageError as error:  # the folder may come from another site
                print(f"the queue of {on} is not known here: {error}", file=sys.stderr)


def check_partitions(names: str, on: str = "") -> None:
    """Raise UsageError if the cluster lacks one of the partitions, which commas separate."""
    # With --all also those that are hidden from users who may use them.
    lines = _ask("sinfo", "--all", "--noheader", "--format=%R", on=on).splitlines()
    there = dict.fromkeys(line.strip() for line in lines)
    for name in names.split(","):
        if name not in there:
            raise unknown("partition", name, there)


def check_options(command: str, options: Sequence[str]) -> None:
    """Raise UsageError, in the words of a command, if it does not know options of the profile."""
    # Whichever comes first ends the command: an option that is wrong, or the last.
    done = subprocess.run(
        [command, *options, "--version"], capture_output=True, text=True, stdin=subprocess.DEVNULL
    )
    if done.returncode:
        raise UsageError(f"{_reason(done.stderr)}; correct `{command}` in the profile")


def machines(partitions: str = "", on: str = "") -> int:
    """Return how many machines of partitions, or of the cluster, are not down."""
    which = [f"--partition={partitions}"] if partitions else []
    lines = _ask("sinfo", "--noheader", "--Node", "--responding", "--format=%N|%t", *which, on=on)
    nodes = (line.strip().split("|") for line in lines.splitlines())
    return len({name for name, state in nodes if not state.startswith(("down", "fail"))})


def owner(on: str = "") -> str:
    """Return who owns the jobs that `jobs` lists: the user on the cluster."""
    return f"{getpass.getuser()}@{on or _config().get('ClusterName')}"


def most_tasks(on: str = "") -> int:
    """Return how many tasks an array may have there."""
    return max(int(_config(on).get("MaxArraySize", 1000)), 1)


def other(name: str) -> str:
    """Return the name of a cluster; empty where it is the one that this machine belongs to."""
    return "" if name == _config().get("ClusterName") else name


@cache
def _config(on: str = "") -> Mapping[str, str]:
    """Return the cluster's configuration, which is asked for once per process."""
    lines = (line.partition("=") for line in _ask("scontrol", "show", "config", on=on).splitlines())
    return {key.strip(): value.strip() for key, _, value in lines}


def cancel(jobs: Iterable[Job]) -> None:
    """Cancel jobs."""
    of: dict[str, list[str]] = {}
    for job in jobs:
        of.setdefault(job.on, []).append(job.id)
    for on, ids in of.items():
        for start in range(0, len(ids), 500):  # a command line has its limits
            _ask("scancel", *ids[start : start + 500], on=on)


def _ask(command: str, *arguments: str, on: str = "") -> str:
    where = [f"--clusters={on}"] if on else []
    try:
        done = subprocess.run(
            [command, *where, *arguments], capture_output=True, text=True, timeout=120
        )
    except FileNotFoundError:
        raise UsageError(f"there is no {command} on this machine") from None
    except subprocess.TimeoutExpired:
        raise UsageError(f"{command} does not answer; try again later") from None
    # scontrol ends as if nothing had happened where it cannot reach another cluster.
    if done.returncode or (on and not done.stdout and done.stderr):
        raise UsageError(f"{command} failed ({_reason(done.stderr)}); try again later")
    lines = done.stdout.splitlines(keepends=True)
    return "".join(line for line in lines if not (on and line.startswith("CLUSTER:")))


def _reason(errors: str) -> str:
    """Return the first line of what a command says of itself that went wrong."""
    return (errors.strip() or "no reason given").splitlines()[0]
