"""The SLURM launcher: arrays of jobs that share the runs, and the command returns.

How a run ended is in the store; the scheduler is never asked. A job that is preempted, timed out,
requeued or killed starts again, and takes the runs that nobody has; see `Work`.
"""

import io
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from benchmark.launch import cluster, profile, queue
from benchmark.launch.device import Device
from benchmark.launch.profile import Profile, megabytes
from benchmark.launch.submitted import Submitted
from benchmark.planning.flag_kinds import is_line
from benchmark.records.spec import RunSpec
from benchmark.settings import RANDOM, RunSettings
from mmdg_common import UsageError, make_folder

if TYPE_CHECKING:
    from benchmark.launch.job import Work

USUAL_JOBS = 16
"""Jobs at most where the user does not say how many."""


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
        for one in self.profile.variants():
            if one.partition:
                cluster.check_partitions(one.partition, cluster.other(one.cluster))
            for command, options in (("sbatch", one.sbatch), ("srun", one.srun)):
                if options:
                    cluster.check_options(command, profile.flags(options))

    def device(self, settings: RunSettings) -> Device:
        """Return what the runs compute on."""
        return Device.on_nodes(settings, self.profile)

    def launch(self, specs: Sequence[RunSpec], settings: RunSettings) -> None:
        """Submit jobs for the runs that no job in the queue is for, and say how many there are.

        Where there is a job for every run already, jobs are added up to the number asked for. Runs
        whose jobs need other resources have jobs of their own, with a share of that number.
        """
        settings.check_features(specs)
        submitted = Submitted(settings.results)
        queues = list(cluster.queues(submitted.owners()))
        for owner, live in queues:
            submitted.forget(live, owner)
        queued, new = queue.jobs_of_runs(submitted, queues), 0
        for needs, group in self.profile.groups(specs):
            share = max(round((self.jobs or USUAL_JOBS) * len(group) / len(specs)), 1)
            one = replace(self, profile=needs, jobs=share if self.jobs else 0)
            new += one._launch(group, share, queued, settings)
        print(f"{len(specs) - new} runs were in the queue already, {new} are new")

    def _launch(
        self,
        specs: Sequence[RunSpec],
        most: int,
        queued: Mapping[str, tuple[cluster.Job, ...]],
        settings: RunSettings,
    ) -> int:
        """Submit jobs for runs whose jobs need the same; return how many runs had none."""
        new = [spec for spec in specs if spec.id not in queued]
        there = {job for spec in specs for job in queued.get(spec.id, ())}
        if new:
            self._submit(new, min(most, len(new)), settings)
        elif more := max(min(self.jobs, len(specs)) - len(there), 0):
            self._submit(specs, more, settings, len(there))
        return len(new)

    def queued(self, results: Path) -> dict[str, str]:
        """Return by run id what the queue says of the jobs that are to carry it out."""
        return queue.queued(results)

    def cancel(self, specs: Sequence[RunSpec], results: Path) -> int:
        """Take the jobs that would carry out any of the runs out of the queue; return how many."""
        return queue.cancel(specs, results)

    def _submit(
        self, specs: Sequence[RunSpec], jobs: int, settings: RunSettings, there: int = 0
    ) -> None:
        """Submit jobs that share runs, in as many arrays as the cluster makes of them.

        Args:
            specs: the runs.
            jobs: how many.
            settings: how the runs are carried out.
            there: how many jobs they have in the queue already.
        """
        submitted, on = Submitted(settings.results), cluster.other(self.profile.cluster)
        executor, work = self._executor(submitted, on, settings), self._work(specs, on, settings)
        executor.update_parameters(time=work.minutes)
        most, done = cluster.most_tasks(on), 0
        while done < jobs:
            size = min(jobs - done, most)
            try:
                array = _sbatch(executor, [work] * size)
            except _TooManyError as error:
                most = size // 2
                if not most and not done + there:
                    raise UsageError(f"sbatch refused: {error}") from None
                if not most:
                    print(
                        f"the site takes no more than {done + there} of the {jobs + there} jobs "
                        f"now: {error}"
                    )
                    return
                continue
            submitted.write_array(cluster.owner(on), array, specs)
            done += size
            print(f"submitted {done} of {jobs} jobs", flush=True)

    def _executor(self, submitted: Submitted, on: str, settings: RunSettings) -> Any:
        """Return submitit's executor for jobs on a cluster, whose time is still to be said."""
        import submitit

        from benchmark.launch import job_script, snapshot  # with torch

        notes = submitted.root / "notes"
        for folder in (submitted.logs, notes):  # others write there, with umasks
            make_folder(folder)
        python = job_script.python(self.profile, _folders(settings))
        executor = submitit.SlurmExecutor(folder=submitted.logs, python=python)
        executor.update_parameters(
            **self.profile.parameters(max(settings.threads, 1) + (settings.workers or 0), on),
            job_name=self.name,
            setup=job_script.setup(self.profile, snapshot.take(submitted.code)),
            teardown=job_script.teardown(self.profile, notes),
            array_parallelism=10**6,
            stderr_to_stdout=True,
        )
        return executor

    def _work(self, specs: Sequence[RunSpec], on: str, settings: RunSettings) -> "Work":
        from benchmark.launch.job import Work  # with torch

        return Work(
            Submitted(settings.results).write_runs(specs),
            replace(_absolute(settings), stage=self.profile.stage),
            minutes=self._minutes(specs, settings),
            spare=self.profile.signal,
            gpus=self.profile.gpus != "0",
            runs_at_once=self.profile.runs_at_once,
            most_memory=max(map(megabytes, self.profile.memory), default=0),
            machines=cluster.machines(self.profile.partition, on),
        )

    def _minutes(self, specs: Sequence[RunSpec], settings: RunSettings) -> int:
        """Return the time limit of a job: that of the profile, or such that every run fits."""
        if self.profile.time is not None:
            return self.profile.time
        from benchmark.launch.costs import Costs  # with torch

        costs = Costs(settings, self.device(settings))
        return math.ceil(max(map(costs.limit, specs)) / 60)


class _TooManyError(Exception):
    """The site does not let the user have so many jobs."""


def _sbatch(executor: Any, work: "Sequence[Work]") -> list[str]:
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


def _folders(settings: RunSettings) -> list[Path]:
    """Return the folders that runs read and write, as far as they are there."""
    where = _absolute(settings)
    files = [Path(file) for file in where.weights.values() if Path(file).is_file()]
    found = [where.results, *where.homes, *where.data_roots.values(), *files]
    found += [where.feature_cache] if where.feature_cache else []
    return [path for path in found if path.exists()]


def _reason(error: Exception) -> str:
    lines = [line.strip() for line in str(error).splitlines() if "error:" in line]
    return lines[0] if lines else str(error).strip().splitlines()[0]
