"""What was given to SLURM, as files in `slurm/` of a results folder.

code/<digest>/        copies of the code that jobs run
runs/<digest>.jsonl   runs that the jobs of a submission share, one spec per line
jobs/<array>.json     the jobs of an array, whose they are, and their file of runs
notes/<job>.*         what the starts of a job and its script tell each other
faults/<host>.json    why a job last left a machine
logs/                 what jobs print
"""

import hashlib
import json
import shutil
import sys
import time
from collections.abc import Iterator, Mapping, Sequence, Set
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, TypedDict

from benchmark.records import shape
from benchmark.records.run_folder import write_atomically
from benchmark.records.shape import UnreadableError, Within
from benchmark.records.spec import RunSpec
from mmdg_common import UsageError, group_permissions, make_folder, parse_json


class Array(TypedDict):
    """An array of jobs."""

    owner: str
    """Who submitted it, on which cluster."""
    jobs: list[str]
    runs: list[str]
    """The ids of the runs that they share."""


class Fault(TypedDict):
    """Why a job left a machine."""

    host: str
    reason: str
    job: str
    time: Annotated[float, Within(0)]


@dataclass(frozen=True)
class Notes:
    """The files of one job, under the number that its script knows as `$SLURM_JOB_ID`."""

    folder: Path
    job: str

    @property
    def ends(self) -> Path:
        """One line for each unexpected end since a run last came to an end of its own."""
        return self.folder / f"{self.job}.ends"

    @property
    def excluded(self) -> Path:
        """The machines that the job must not come to again, one per line."""
        return self.folder / f"{self.job}.excluded"


class Submitted:
    """The folder `slurm/` of a results folder."""

    def __init__(self, results: Path) -> None:
        self.root = results.resolve() / "slurm"

    @property
    def code(self) -> Path:
        """The copies of the code."""
        return self.root / "code"

    @property
    def logs(self) -> Path:
        """What jobs print, and what submitit keeps of them."""
        return self.root / "logs"

    def notes(self, job: str) -> Notes:
        """Return the notes of a job, or those that its script names, as `$SLURM_JOB_ID`."""
        return Notes(self.root / "notes", job)

    def any(self) -> bool:
        """Return whether anything was given to SLURM."""
        return any((self.root / "jobs").glob("*.json"))

    def write_runs(self, specs: Sequence[RunSpec]) -> Path:
        """Write the runs of a submission, and return the file."""
        lines = "".join(json.dumps(spec.to_json()) + "\n" for spec in specs).encode()
        path = self.root / "runs" / f"{hashlib.sha256(lines).hexdigest()[:12]}.jsonl"
        write_atomically(path, lines)
        return path

    def write_array(self, owner: str, jobs: Sequence[str], specs: Sequence[RunSpec]) -> None:
        """Record an array that was submitted for runs."""
        number = jobs[0].partition("_")[0]
        content = Array(owner=owner, jobs=list(jobs), runs=[spec.id for spec in specs])
        write_atomically(self.root / "jobs" / f"{number}.json", json.dumps(content).encode())

    def owners(self) -> list[str]:
        """Return whose arrays there are, but for those that `arrays` says are damaged."""
        found: dict[str, None] = {}
        for path in sorted((self.root / "jobs").glob("*.json")):
            with suppress(UnreadableError):
                if array := shape.load(path, Array):
                    found[array["owner"]] = None
        return list(found)

    def arrays(self, owner: str) -> dict[Path, Array]:
        """Return the arrays of a user on a cluster, by the file of each."""
        found: dict[Path, Array | None] = {
            path: _load(path, Array) for path in sorted((self.root / "jobs").glob("*.json"))
        }
        return {path: array for path, array in found.items() if array and array["owner"] == owner}

    def forget(self, live: Mapping[str, object], owner: str) -> None:
        """Forget arrays that have left the queue and have no logs, and with the last all notes.

        Until its log is gone, it is known of which runs a log is.

        Args:
            live: the jobs in the queue, by number.
            owner: whose they are.
        """
        over = dict(self._over(live, owner))
        for path, array in over.items():
            for job in array["jobs"]:
                for name in ("submitted", "0_result"):
                    (self.logs / f"{job}_{name}.pkl").unlink(missing_ok=True)
            if not any(self._log(job).exists() for job in array["jobs"]):
                (self.logs / f"{path.stem}_submission.sh").unlink(missing_ok=True)
                path.unlink(missing_ok=True)
        for link in self.logs.glob(".submission_file_*.sh"):
            if not link.exists():
                link.unlink(missing_ok=True)
        if over.keys() >= set((self.root / "jobs").glob("*.json")):
            for folder in (self.root / "notes", self.root / "faults", self.root / "runs"):
                shutil.rmtree(folder, ignore_errors=True)

    def drop_logs(self, done: Set[str], live: Mapping[str, object], owner: str) -> int:
        """Remove the logs of jobs that are over and had no other runs than these; return how many.

        Args:
            done: ids of runs.
            live: the jobs in the queue, by number.
            owner: whose they are.
        """
        count = 0
        for _, array in self._over(live, owner):
            for log in map(self._log, array["jobs"] if done >= set(array["runs"]) else ()):
                count += log.exists()
                log.unlink(missing_ok=True)
        self.forget(live, owner)
        return count

    def _over(self, live: Mapping[str, object], owner: str) -> Iterator[tuple[Path, Array]]:
        """Yield the arrays that have left the queue, by the file of each."""
        asked = time.time() - 60  # what was submitted since then is not in the queue's answer
        for path, array in self.arrays(owner).items():
            if path.stat().st_mtime <= asked and not any(job in live for job in array["jobs"]):
                yield path, array

    def _log(self, job: str) -> Path:
        return self.logs / f"{job}_0_log.out"

    def leave(self, host: str, reason: str, job: str) -> None:
        """Note that a job leaves a machine, to which it must not come again."""
        fault = Fault(host=host, reason=reason, job=job, time=time.time())
        write_atomically(self.root / "faults" / f"{host}.json", json.dumps(fault).encode())
        path = self.notes(job).excluded
        make_folder(path.parent)
        with path.open("a") as file:
            group_permissions(path)
            file.write(f"{host}\n")

    def faults(self) -> list[Fault]:
        """Return why jobs left machines, the last reason of each machine, the latest first."""
        found: Iterator[Fault | None] = (
            _load(path, Fault) for path in (self.root / "faults").glob("*.json")
        )
        return sorted((fault for fault in found if fault), key=lambda fault: -fault["time"])


def read_runs(path: Path) -> list[RunSpec]:
    """Return the runs of a submission.

    Raises:
        UsageError: the file is gone or damaged.
    """
    try:
        lines = path.read_bytes().splitlines()
        return [RunSpec.from_json(parse_json(line) or {}) for line in lines]
    except (OSError, UsageError) as error:
        raise UsageError(f"{path}: {error}; submit the sweep again") from None


def _load(path: Path, kind: Any) -> Any:
    """Return what a file holds; None, and a line on stderr, where it is damaged."""
    try:
        return shape.load(path, kind)
    except UnreadableError as error:
        print(f"left out: {path}: {error}", file=sys.stderr)
        return None
