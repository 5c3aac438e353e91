"""What SLURM's queue says of runs, in words, and taking their jobs out of it.

Nothing here needs what jobs need: a login node answers at once, without torch or data.
"""

import re
import shutil
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from benchmark.launch import cluster
from benchmark.launch.cluster import Job
from benchmark.launch.submitted import Submitted
from benchmark.records.spec import RunSpec
from mmdg_common import UsageError

Queues = Iterable[tuple[str, Mapping[str, Job]]]
"""The owners of jobs, each with the jobs in the queue by number."""

MEND = "--cancel, change the profile, and submit again"
ADVICE = {
    "JobHeldUser": "held; to let it start: scontrol {on}release {arrays}",
    "JobHeldAdmin": "held by the site; ask its administrators",
    "JobHoldMaxRequeue|.*requeued.held": (
        "held after a start that failed; to let it start: scontrol {on}release {arrays}"
    ),
    "BadConstraints": f"never starts: no node has all that the profile asks for; {MEND}",
    "PartitionTimeLimit|.*MaxWall.*": (
        f"never starts: `time` in the profile is more than allowed; {MEND}"
    ),
    "PartitionNodeLimit|PartitionConfig|.*Max.*Per(Job|Node)(Limit)?": (
        f"never starts: the profile asks for more than a job may have; {MEND}"
    ),
    "(Assoc|QOS)Grp.*": (
        "waits for other jobs of your group; never starts if it alone asks for more than the "
        "group may have"
    ),
    "Invalid(Account|QOS)|(Account|QOS)NotAllowed": (
        f"never starts: the account or QOS is not allowed; {MEND}"
    ),
    "Partition(Down|Inactive)": "waits until the site opens the partition again",
    "DependencyNeverSatisfied": f"never starts; {MEND}",
}
"""By the reason that `squeue` gives for waiting, a pattern: what a user is to know of such a job.
Other reasons go away by themselves."""


def queued(results: Path) -> dict[str, str]:
    """Return by run id what the queue says of the jobs that are to carry it out.

    Raises:
        UsageError: the scheduler does not answer, or its commands are not on this machine.
    """
    submitted = Submitted(results)
    if not submitted.any():
        return {}
    if shutil.which("squeue") is None:
        raise UsageError(
            "no squeue on this machine: which runs are in SLURM's queue is not known here"
        )
    groups = _groups(submitted, cluster.queues(submitted.owners()))
    return {run: words for runs, jobs in groups for words in [in_words(jobs)] for run in runs}


def cancel(specs: Sequence[RunSpec], results: Path) -> int:
    """Take the jobs that would carry out any of the runs out of the queue; return how many.

    Raises:
        UsageError: the scheduler does not answer, or its commands are not on this machine.
    """
    submitted = Submitted(results)
    if not submitted.any():
        return 0
    cluster.require()
    wanted = {spec.id for spec in specs}
    groups = _groups(submitted, cluster.queues(submitted.owners()))
    found = dict.fromkeys(j for runs, jobs in groups if not wanted.isdisjoint(runs) for j in jobs)
    cluster.cancel(found)
    return len(found)


def jobs_of_runs(submitted: Submitted, queues: Queues) -> dict[str, tuple[Job, ...]]:
    """Return by run id the jobs in the queue that are to carry it out.

    Args:
        submitted: what was given to SLURM.
        queues: as `cluster.queues` yields them.
    """
    groups = _groups(submitted, queues)
    return {run: jobs for runs, jobs in groups for run in runs}


def _groups(submitted: Submitted, queues: Queues) -> list[tuple[list[str], tuple[Job, ...]]]:
    """Return runs that the same arrays are to carry out, and their jobs in the queue.

    Many thousand runs may share as many jobs: what holds for all of them is found once.
    """
    alive: list[list[Job]] = []
    arrays: dict[str, tuple[int, ...]] = {}
    for owner, live in queues:
        for array in submitted.arrays(owner).values():
            if jobs := [live[job] for job in array["jobs"] if job in live]:
                for run in array["runs"]:
                    arrays[run] = (*arrays.get(run, ()), len(alive))
                alive.append(jobs)
    runs: dict[tuple[int, ...], list[str]] = {}
    for run, of in arrays.items():
        runs.setdefault(of, []).append(run)
    return [(ids, tuple(job for i in of for job in alive[i])) for of, ids in runs.items()]


def in_words(jobs: Sequence[Job]) -> str:
    """Return what a user wants to know of jobs: `3 jobs: 1 running, 2 pending (Priority)`.

    Of jobs that may never start it says what to do.
    """
    states = Counter(map(_state, jobs))
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    first = f"job {jobs[0].id}: {next(iter(states))}"
    told = [first if len(jobs) == 1 else f"{len(jobs)} jobs: {counts}"]
    for reason in dict.fromkeys(_reason(job) for job in jobs):
        arrays = dict.fromkeys(j.id.partition("_")[0] for j in jobs if _reason(j) == reason)
        advice = (text for name, text in ADVICE.items() if re.fullmatch(name, reason))
        on = f"-M {jobs[0].on} " if jobs[0].on else ""
        told += [f"{reason}: {text.format(arrays=' '.join(arrays), on=on)}" for text in advice]
    return ". ".join(told)


def _state(job: Job) -> str:
    reason = _reason(job)
    return job.state.lower() + (f" ({reason})" if reason else "")


def _reason(job: Job) -> str:
    """Return why a job waits, without what differs from job to job."""
    return "" if job.reason == "None" else job.reason.partition(",")[0]
