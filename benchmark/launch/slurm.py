"""The SLURM launcher: runs become job arrays, and the command returns.

How a run ended is in the store; the scheduler is never asked. A job that is preempted, timed
out, requeued or killed starts again with the same runs: those that are done are skipped, and the
one it was at resumes from its checkpoint.
"""

import io
import json
import shlex
import signal
import sys
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import redirect_stderr
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NoReturn, TypedDict

from benchmark.launch import cluster, snapshot
from benchmark.launch.inline import carry_out
from benchmark.launch.profile import Profile
from benchmark.records import shape
from benchmark.records.run_folder import write_atomically
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from benchmark.settings import RANDOM, RunSettings
from mmdg_common import UsageError

# A process that a signal killed leaves 128 + its number. The script around it queues the job again:
# within the process, where submitit does it, a scheduler that does not answer would fail the run.
AGAIN_IF_KILLED = (
    "status=$?",
    "if [ $status -gt 128 ] && [ $status -lt 193 ]; then",
    "  if ! command -v scontrol > /dev/null; then",
    '    echo "this node has no scontrol to queue the job again: repeat the sweep command, which '
    'submits the runs that are left" >&2',
    "  else",
    "    for wait in 0 2 5 10; do sleep $wait; scontrol requeue $SLURM_JOB_ID && break; done",
    "  fi",
    "fi",
    "exit $status",
)


class Work:
    """The work of one job: its runs in their order. SLURM may start it any number of times."""

    def __init__(self, specs: Sequence[RunSpec], settings: RunSettings) -> None:
        self.specs, self.settings = list(specs), settings

    def __call__(self) -> None:
        """Carry out the runs that are not done."""
        carry_out(self.specs, self.settings)

    def checkpoint(self) -> NoReturn:
        """End the process, as submitit calls this on a signal; all state is in the store."""
        raise SystemExit(128 + signal.SIGUSR2)


@dataclass(frozen=True)
class Slurm:
    """Submits runs as job arrays; see `Launcher`."""

    waits: ClassVar[bool] = False
    profile: Profile
    name: str = "mmdg"
    max_parallel: int = 0
    """Jobs at a time; 0: as many as the cluster gives."""
    runs_per_job: int = 1
    array_size: int = 0
    """Tasks in one array; 0: the site's limit."""

    def launch(self, specs: Sequence[RunSpec], settings: RunSettings) -> None:
        """Submit the runs that no job in the queue is for, and say how many there were."""
        settings.check_features(specs)
        live = cluster.jobs()
        _tidy(settings.results, live)
        queued = queued_runs(settings.results, live)
        todo = [spec for spec in specs if spec.id not in queued]
        work = [Work(part, _absolute(settings)) for part in _parts(todo, self.runs_per_job)]
        size = min(self.array_size or cluster.most_tasks(), cluster.most_tasks())
        submitted = 0
        for array in self._submit(list(_parts(work, size)), settings):
            submitted += array
            print(f"submitted {submitted} of {len(work)} jobs", flush=True)
        print(f"{len(specs) - len(todo)} runs were in the queue already, {len(todo)} are new")

    def check(self, settings: RunSettings) -> None:
        """Raise UsageError if there is no SLURM here, or not this partition.

        What runs compute on is the nodes' affair: they have what this machine may lack.
        """
        cluster.require()
        if self.profile.partition:
            cluster.check_partition(self.profile.partition)

    def _submit(self, arrays: Sequence[Sequence[Work]], settings: RunSettings) -> Iterator[int]:
        """Submit arrays, record their jobs, and yield how many each has."""
        import submitit
        from submitit.core.utils import FailedJobError

        place, owner = _place(settings.results), cluster.owner()
        code = snapshot.take(place / "code")
        executor = submitit.SlurmExecutor(folder=logs(settings.results))
        usual = {
            **self.profile.parameters(max(settings.threads, 1) + (settings.workers or 0)),
            "job_name": self.name,
            "setup": [*self.profile.setup, *_use(code)],
            "teardown": list(AGAIN_IF_KILLED),
            "array_parallelism": self.max_parallel or 10**6,
            "stderr_to_stdout": True,
        }
        before = ""
        for work in arrays:
            # A limit holds within an array, so with one the arrays follow each other.
            after = {"dependency": f"afterany:{before}"} if before and self.max_parallel else {}
            executor.update_parameters(**usual, **after)
            try:
                # The error below repeats what sbatch says.
                with redirect_stderr(io.StringIO()):
                    jobs = executor.submit_array(work)
            except FailedJobError as error:
                raise UsageError(f"sbatch refused: {_reason(error)}") from None
            before = jobs[0].job_id.partition("_")[0]
            runs = [[spec.id for spec in w.specs] for w in work]
            content = {"owner": owner, "jobs": [job.job_id for job in jobs], "runs": runs}
            write_atomically(place / "jobs" / f"{before}.json", json.dumps(content).encode())
            yield len(jobs)


def queued_runs(results: Path, live: Mapping[str, cluster.Job]) -> dict[str, cluster.Job]:
    """Return by run id the job in the queue that is to carry it out."""
    return {
        run: live[job]
        for record in _records(results)
        for job, runs in zip(record["jobs"], record["runs"], strict=True)
        if job in live
        for run in runs
    }


def has_submitted(results: Path) -> bool:
    """Return whether any runs were given to SLURM."""
    return any((_place(results) / "jobs").glob("*.json"))


class Array(TypedDict):
    """What is recorded of a submitted array: who owns it, its jobs, and the runs of each job."""

    owner: str
    jobs: list[str]
    runs: list[list[str]]


def _records(results: Path) -> list[Array]:
    """Return the arrays of this user on this cluster; `squeue` tells nothing of others."""
    paths, owner = sorted((_place(results) / "jobs").glob("*.json")), cluster.owner()
    return [record for record in map(_read, paths) if record and record["owner"] == owner]


def _read(path: Path) -> Array | None:
    """Return the record of an array; None, and a line on stderr, where it is damaged."""
    try:
        record: Array | None = shape.load(path, Array)
        if record and len(record["jobs"]) != len(record["runs"]):
            raise UnreadableError("jobs and runs differ in number")
    except UnreadableError as error:
        print(f"left out: {path}: {error}", file=sys.stderr)
        return None
    return record


def drop_logs(results: Path, done: Set[str]) -> int:
    """Remove the logs of jobs that are over and have no other runs than these; return how many.

    Raises:
        UsageError: the queue cannot be asked.
    """
    live, count = cluster.jobs(), 0
    for _, record in _over(results, live):
        for job, runs in zip(record["jobs"], record["runs"], strict=True):
            log = _log(results, job)
            if done >= set(runs) and log.exists():
                log.unlink(missing_ok=True)
                count += 1
    _tidy(results, live)
    return count


def _tidy(results: Path, live: Mapping[str, cluster.Job]) -> None:
    """Forget arrays that have left the queue; whose runs a log is of is known until it is gone."""
    for path, record in _over(results, live):
        for job in record["jobs"]:
            for name in ("submitted", "0_result"):
                (logs(results) / f"{job}_{name}.pkl").unlink(missing_ok=True)
        if not any(_log(results, job).exists() for job in record["jobs"]):
            (logs(results) / f"{path.stem}_submission.sh").unlink(missing_ok=True)
            path.unlink(missing_ok=True)
    for link in logs(results).glob(".submission_file_*.sh"):
        if not link.exists():
            link.unlink(missing_ok=True)


def _over(results: Path, live: Mapping[str, cluster.Job]) -> Iterator[tuple[Path, Array]]:
    """Yield the records of this user's arrays that have left the queue, with their files."""
    owner, asked = cluster.owner(), time.time() - 60
    for path in (_place(results) / "jobs").glob("*.json"):
        record = _read(path)
        if not record or record["owner"] != owner or path.stat().st_mtime > asked:
            continue  # of another user or cluster, or submitted since the queue was asked
        if not any(job in live for job in record["jobs"]):
            yield path, record


def logs(results: Path) -> Path:
    """Return the folder of the logs of jobs."""
    return _place(results) / "logs"


def _log(results: Path, job: str) -> Path:
    return logs(results) / f"{job}_0_log.out"


def _place(results: Path) -> Path:
    return results.resolve() / "slurm"


def _parts(items: Sequence[Any], size: int) -> Iterator[Sequence[Any]]:
    return (items[start : start + size] for start in range(0, len(items), size))


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
