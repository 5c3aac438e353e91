"""The SLURM launcher: arrays of jobs that share the runs, and the command returns.

How a run ended is in the store; the scheduler is never asked. A job that is preempted, timed out,
requeued or killed starts again, and takes the runs that nobody has; see `Work`.
"""

import io
import math
import os
import shlex
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar

from benchmark.launch import cluster, profile
from benchmark.launch.costs import Costs
from benchmark.launch.device import Device
from benchmark.launch.execute import MOST_DEATHS, OUT_OF_TIME
from benchmark.launch.job import AGAIN, ELSEWHERE, GIVE_UP, Work
from benchmark.launch.profile import Profile
from benchmark.launch.submitted import Submitted
from benchmark.planning.flag_kinds import is_line
from benchmark.records.spec import RunSpec
from benchmark.settings import RANDOM, RunSettings
from mmdg_common import UsageError, make_folder

USUAL_JOBS = 16
"""Jobs at most where the user does not say how many."""
MOST_ENDS = MOST_DEATHS + 2
"""Unexpected ends in a row after which a job is not queued again: its runs have failed before."""

# The script around the process queues the job again. Requeueing a job ends its script, so that
# the signal is ignored until what changes for the next start is said.
AGAIN_SCRIPT = """
status=$?
trap '' TERM
queue_again() {{
  if ! command -v scontrol > /dev/null; then
    echo "this node has no scontrol to queue the job again: repeat the sweep command," \
      "which submits the runs that are left, or leave --watch running" >&2
    return
  fi
  for wait in 0 2 5 10; do sleep $wait; scontrol requeue $SLURM_JOB_ID && break; done
  [ $# -eq 0 ] || scontrol update JobId=$SLURM_JOB_ID "$@"
}}
notes={notes}/$SLURM_JOB_ID
case $status in
0 | {give_up}) ;;
{again} | {out_of_time}) queue_again ;;
{elsewhere})
  nodes=$(echo {excluded} $(cat "$notes.excluded") | tr ' ' ,)
  queue_again ExcNodeList=$nodes
  ;;
*)
  mkdir -p {notes}
  echo "ended with code $status on $(hostname)" >> "$notes.ends"
  ends=$(wc -l < "$notes.ends")
  set -- {memory}
  for _ in $(seq $ends); do [ $# -le 1 ] || shift; done
  if [ $ends -lt {most} ]; then
    queue_again ${{1:+MinMemoryNode=$1}}
  else
    echo "$ends unexpected ends in a row: this job is not queued again" >&2
  fi
  ;;
esac
exit $status
"""


@dataclass(frozen=True)
class Slurm:
    """Submits jobs that share the runs; see `Launcher`."""

    waits: ClassVar[bool] = False
    profile: Profile
    name: str = "mmdg"
    jobs: int = 0
    """Jobs that share the runs; 0: one for each run, and not more than USUAL_JOBS."""

    def check(self, settings: RunSettings) -> None:
        """Raise UsageError if there is no SLURM here, or not what the profile asks it for.

        What runs compute on is the nodes' affair: they have what this machine may lack.
        """
        for text in (str(settings.results.resolve()), self.name):
            if not is_line(text):
                raise UsageError(f"the job script cannot hold {text!r}: rename the folder or grid")
        cluster.require()
        if self.profile.partition:
            cluster.check_partition(self.profile.partition)

    def device(self, settings: RunSettings) -> Device:
        """Return what the runs compute on."""
        return Device.on_nodes(settings, self.profile)

    def launch(self, specs: Sequence[RunSpec], settings: RunSettings) -> None:
        """Submit jobs for the runs that no job in the queue is for, and say how many there are.

        Where there is a job for every run already, jobs are added up to the number asked for.
        """
        settings.check_features(specs)
        submitted, live, owner = Submitted(settings.results), cluster.jobs(), cluster.owner()
        submitted.forget(live, owner)
        queued = _queued(submitted, live, owner)
        new = [spec for spec in specs if spec.id not in queued]
        there = {job.id for spec in specs for job in queued.get(spec.id, ())}
        if new:
            self._submit(new, min(self.jobs or USUAL_JOBS, len(new)), settings)
        elif more := max(min(self.jobs, len(specs)) - len(there), 0):
            self._submit(specs, more, settings)
        print(f"{len(specs) - len(new)} runs were in the queue already, {len(new)} are new")

    def queued(self, results: Path) -> dict[str, str]:
        """Return by run id what the queue says of the jobs that are to carry it out."""
        submitted = Submitted(results)
        if not submitted.any():
            return {}
        if shutil.which("squeue") is None:
            print("no squeue on this machine: which runs are in SLURM's queue is not known here")
            return {}
        found: dict[tuple[cluster.Job, ...], str] = {}
        queued = _queued(submitted, cluster.jobs(), cluster.owner())
        return {run: found.setdefault(jobs, _in_words(jobs)) for run, jobs in queued.items()}

    def cancel(self, specs: Sequence[RunSpec], results: Path) -> int:
        """Take the jobs that would carry out any of the runs out of the queue; return how many."""
        submitted = Submitted(results)
        if not submitted.any():
            return 0
        cluster.require()
        queued = _queued(submitted, cluster.jobs(), cluster.owner())
        jobs = dict.fromkeys(job.id for spec in specs for job in queued.get(spec.id, ()))
        cluster.cancel(list(jobs))
        return len(jobs)

    def _submit(self, specs: Sequence[RunSpec], jobs: int, settings: RunSettings) -> None:
        """Submit jobs that share runs, in as many arrays as the cluster makes of them."""
        import submitit

        from benchmark.launch import snapshot  # imports torch

        submitted = Submitted(settings.results)
        place, owner = submitted.root, cluster.owner()
        for folder in (submitted.logs, place / "notes"):  # others write there, with umasks
            make_folder(folder)
        minutes = self._minutes(specs, settings)
        work = self._work(submitted.write_runs(specs), settings, minutes)
        executor = submitit.SlurmExecutor(folder=submitted.logs)
        executor.update_parameters(
            **self.profile.parameters(max(settings.threads, 1) + (settings.workers or 0)),
            time=minutes,
            job_name=self.name,
            setup=[*self.profile.setup, *_use(snapshot.take(submitted.code))],
            teardown=self._teardown(place / "notes"),
            array_parallelism=10**6,
            stderr_to_stdout=True,
        )
        most, done = cluster.most_tasks(), 0
        while done < jobs:
            size = min(jobs - done, most)
            try:
                array = _sbatch(executor, [work] * size)
            except _TooManyError as error:
                most = size // 2
                if not most and not done:
                    raise UsageError(f"sbatch refused: {error}") from None
                if not most:
                    print(f"the site takes no more than {done} of the {jobs} jobs now: {error}")
                    return
                continue
            submitted.write_array(owner, array, specs)
            done += size
            print(f"submitted {done} of {jobs} jobs", flush=True)

    def _minutes(self, specs: Sequence[RunSpec], settings: RunSettings) -> int:
        """Return the time limit of a job: that of the profile, or such that every run fits."""
        if self.profile.time is not None:
            return self.profile.time
        costs = Costs(settings, self.device(settings))
        return math.ceil(max(map(costs.limit, specs)) / 60)

    def _work(self, runs: Path, settings: RunSettings, minutes: int) -> Work:
        return Work(
            runs,
            replace(_absolute(settings), stage=self.profile.stage),
            minutes=minutes,
            spare=self.profile.signal,
            gpus=self.profile.gpus != "0",
            runs_at_once=self.profile.runs_at_once,
            machines=cluster.machines(self.profile.partition),
        )

    def _teardown(self, notes: Path) -> list[str]:
        text = AGAIN_SCRIPT.format(
            notes=shlex.quote(str(notes)),
            give_up=GIVE_UP,
            again=AGAIN,
            out_of_time=OUT_OF_TIME,
            elsewhere=ELSEWHERE,
            excluded=self.profile.exclude and shlex.quote(self.profile.exclude),
            memory=" ".join(str(profile.megabytes(text)) for text in self.profile.memory),
            most=MOST_ENDS,
        )
        return text.strip().splitlines()


def _queued(
    submitted: Submitted, live: Mapping[str, cluster.Job], owner: str
) -> dict[str, tuple[cluster.Job, ...]]:
    """Return by run id the jobs in the queue that are to carry it out."""
    found: dict[str, tuple[cluster.Job, ...]] = {}
    for array in submitted.arrays(owner).values():
        jobs = tuple(live[job] for job in array["jobs"] if job in live)
        for run in array["runs"] if jobs else ():
            found[run] = found.get(run, ()) + jobs
    return found


def _in_words(jobs: Sequence[cluster.Job]) -> str:
    """Return what a user wants to know of jobs: `3 jobs: 1 running, 2 pending (Priority)`."""
    states = Counter(
        job.state.lower() + (f" ({job.reason})" if job.reason not in ("", "None") else "")
        for job in jobs
    )
    counts = ", ".join(f"{number} {state}" for state, number in states.items())
    return f"job {jobs[0].id}: {next(iter(states))}" if len(jobs) == 1 else f"jobs: {counts}"


class _TooManyError(Exception):
    """The site does not let the user have so many jobs."""


def _sbatch(executor: Any, work: Sequence[Work]) -> list[str]:
    """Submit an array, and return its jobs.

    Raises:
        UsageError: sbatch refused.
    """
    from submitit.core.utils import FailedJobError

    try:
        # The error below repeats what sbatch says.
        with redirect_stderr(io.StringIO()), _outside_of_jobs():
            return [job.job_id for job in executor.submit_array(list(work))]
    except FailedJobError as error:
        if "SubmitJob" in str(error) or "job submit limit" in str(error):
            raise _TooManyError(_reason(error)) from None
        raise UsageError(f"sbatch refused: {_reason(error)}") from None


@contextmanager
def _outside_of_jobs() -> Iterator[None]:
    """Hide the allocation that this command runs in, whose variables sbatch would pass on."""
    of_job = ("SLURM_", "SLURMD_", "SRUN_")
    hidden = {k: v for k, v in os.environ.items() if k.startswith(of_job) and k != "SLURM_CONF"}
    for name in hidden:
        del os.environ[name]
    try:
        yield
    finally:
        os.environ.update(hidden)


def _absolute(settings: RunSettings) -> RunSettings:
    """Return the same with paths that hold wherever a job starts."""
    files = {
        k: str(Path(w).resolve()) if w != RANDOM and Path(w).is_file() else w
        for k, w in settings.weights.items()
    }
    return replace(
        settings,
        results=settings.results.resolve(),
        feature_cache=settings.features and settings.features.resolve(),
        homes=[home.resolve() for home in settings.homes],
        data_roots={name: root.resolve() for name, root in settings.data_roots.items()},
        weights=files,
    )


def _use(code: Path) -> list[str]:
    """Return the shell lines that let Python import a copy of the code and no other."""
    return [
        f'export PYTHONPATH={shlex.quote(str(code))}"${{PYTHONPATH:+:$PYTHONPATH}}"',
        "export PYTHONSAFEPATH=1  # not the working directory's code first",
    ]


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "error:" in line]
    return lines[0] if lines else str(error).strip().splitlines()[0]
