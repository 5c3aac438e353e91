"""The records on disk: one folder per run, written so that a killed process leaves no half file."""

import hashlib
import json
import os
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.records import claims, result, shape, state
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State, Status
from mmdg_common import UsageError, written_atomically

LONGEST_NAME = 255
"""Bytes in the name of a folder, on most file systems."""
EVERYTHING = (None,) * 5
"""The levels of folders from `runs/` to a run: dataset, method, split, modalities, id."""

# Made once, as most of many thousand runs say no more than their state.
_TO_DO, _DONE = Status(State.TO_DO), Status(State.DONE)
_TEMPORARY = re.compile(r"\.(.+\.\d+|now)\.[0-9a-f]{8}")
"""The names of temporary files, of `written_atomically` and of claims."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with written_atomically(path) as file:
        file.write(data)


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.claim: claims.Claim | None = None
        """The claim of this process, if it carries out the run."""
        self._told = 0.0

    @property
    def checkpoint(self) -> Path:
        """The file to resume from."""
        return self.path / "checkpoint.pt"

    @property
    def metrics_file(self) -> Path:
        """The validations so far, one JSON object per line."""
        return self.path / "metrics.jsonl"

    def mark(self) -> int:
        """Return a number that names the point where the run resumes; 0: its start."""
        try:
            return self.checkpoint.stat().st_mtime_ns
        except OSError:
            return 0

    def result(self) -> dict[str, Any] | None:
        """Return the result; a run is done when there is a usable one, and never otherwise."""
        try:
            return result.load(self.path)
        except UnreadableError:
            return None

    def status(self) -> Status:
        """Return the state as it is now: a run whose process is gone is interrupted."""
        return self.look()[0]

    def look(self) -> tuple[Status, dict[str, Any] | None]:
        """Return the state as it is now, and the result of a run that is done."""
        problem = ""
        try:
            if found := result.load(self.path):
                return _DONE, found
        except UnreadableError as error:
            problem = f"{result.NAME}: {error}"
        status = self.noted()
        ended = status.state is State.DONE
        died = status.state is State.RUNNING and not claims.held(self.path)
        if (ended or died) and (found := self.result()):  # written since the first look at it
            return _DONE, found
        if ended:
            status = replace(status, state=self._unfinished())
        elif died:
            status = replace(status, state=State.INTERRUPTED)
        if problem and not status.problem:
            status = replace(status, problem=problem)
        return status, None

    def noted(self) -> Status:
        """Return what `status.json` says, which later events may have overtaken."""
        try:
            values = shape.load(os.path.join(self.path, "status.json"), dict)
            return _TO_DO if values is None else state.parse(values)
        except UnreadableError as error:
            return Status(self._unfinished(), problem=f"status.json: {error}")

    def _unfinished(self) -> State:
        return State.INTERRUPTED if self.checkpoint.exists() else State.TO_DO

    def write_spec(self, spec: RunSpec) -> None:
        """Write `spec.json`."""
        self._write_json("spec.json", spec.to_json())

    def write_status(self, state: str, **details: Any) -> None:
        """Write the state, and what the command that asked for the run wants to find again."""
        self._told = time.monotonic()
        before = self.noted()
        if before.forced:
            details = {"forced": before.forced, **details}
        if before.retry and state not in ENDED:
            details = {"retry": True, **details}
        if before.failed_on and state not in ENDED:
            details = {"failed_on": before.failed_on, **details}
        self._write_json("status.json", {"state": state, "time": time.time(), **details})

    def tell(self, step: int, total: int) -> None:
        """Write how far the run has come, at most once every few seconds."""
        if time.monotonic() - self._told > claims.BEAT_EVERY:
            self.write_status(State.RUNNING, step=step, total=total)

    def to_write(self, name: str) -> Path:
        """Return the path of a file that this process is about to write.

        Raises:
            ClaimLostError: the run was taken over, so that this process must not write there.
        """
        if self.claim is not None:
            self.claim.check()
        return self.path / name

    def await_retry(self) -> None:
        """Let a failed run start anew; `log.txt` keeps the reason of the failure."""
        self.keep_checkpoint_aside("failed")
        self.write_status(State.TO_DO, retry=True)

    def await_forced(self, token: str) -> None:
        """Set an earlier attempt aside and let the run start anew.

        Args:
            token: names the command that asks for it, so that repeating the command goes on with
                this attempt.
        """
        self.set_aside()
        self.write_status(State.TO_DO, forced=token)

    def keep_checkpoint_aside(self, reason: str) -> None:
        """Let the run start anew; its checkpoint is kept as `checkpoint-<reason>.pt`."""
        with suppress(FileNotFoundError):
            self.checkpoint.rename(self.to_write(f"checkpoint-{reason}.pt"))

    def remove_checkpoints(self) -> None:
        """Remove the checkpoints of a run that is done."""
        for path in self.path.glob("checkpoint*.pt"):
            path.unlink(missing_ok=True)

    def write_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write `metrics.jsonl`, one line per validation."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(self.to_write(self.metrics_file.name), lines.encode())

    def metrics(self, tested: bool = True) -> list[dict[str, Any]]:
        """Return the validations written so far; `tested`: the run has a target.

        Raises:
            UnreadableError: `metrics.jsonl` is damaged.
        """
        return result.metrics(self.metrics_file, tested)

    def write_predictions(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write `predictions.npz`."""
        with written_atomically(self.to_write("predictions.npz")) as file:
            np.savez_compressed(file, allow_pickle=False, **dict(arrays))

    def write_result(self, values: Mapping[str, Any]) -> None:
        """Write `result.json`, which makes the run done."""
        self._write_json(result.NAME, {"schema": result.SCHEMA, **values})

    def log(self, text: str) -> None:
        """Append a line to `log.txt`."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.to_write("log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def tidy(self) -> None:
        """Remove temporary files of killed processes, and keep an unusable result aside.

        For the owner of the run.
        """
        for path in list(self.path.iterdir()):
            if _TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)
        path = self.path / result.NAME
        try:
            result.load(self.path)
        except UnreadableError as error:
            if isinstance(error.__cause__, OSError) and not path.is_dir():
                raise error.__cause__ from None  # the file may be good and only out of reach
            aside = _free(self.path / "result-unusable-{}.json")
            path.rename(aside)
            self.log(f"{result.NAME} is kept as {aside.name}, as it cannot be used: {error}")

    def set_aside(self) -> None:
        """Move an earlier attempt out of the way, to `<id>~1`, `<id>~2` and so on."""
        if self.path.exists():
            self.path.rename(_free(self.path.with_name(f"{self.path.name}~{{}}")))

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.to_write(name), (json.dumps(value, indent=1) + "\n").encode())


def _free(pattern: Path) -> Path:
    """Return the first path that does not exist: `{}` in the name is replaced by 1, 2 and so on."""
    paths = (pattern.with_name(pattern.name.format(number)) for number in count(1))
    return next(path for path in paths if not path.exists())


def _kind(path: Path) -> tuple[str, ...]:
    """Return what is the same in the paths of runs that differ in split, settings or seed."""
    *_, dataset, method, _, modalities, _ = path.parts
    return dataset, method, modalities


def split_folder(sources: Sequence[str], target: str) -> str:
    """Return the name of the folder that holds the runs of a split, with or without a target."""
    return f"{'+'.join(sources)}_to_{target}" if target else "all_domains"


def modalities_folder(modalities: Sequence[str]) -> str:
    """Return the name of the folder that holds the runs of a set of modalities.

    The names, or their number and a hash where a file system would refuse to take them all.
    """
    name = "+".join(modalities)
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{len(modalities)}_modalities_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


class Store:
    """The results folder: `runs/` and `cache/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.cache = root / "cache"
        self.problems: list[str] = []
        """The files that `all` passed over, with the reason: damaged, or not of the suite."""

    @classmethod
    def of(cls, folder: Path) -> "Store | None":
        """Return the results folder that the folder of a run lies in; None where it was copied."""
        above = len(EVERYTHING) - 1
        for path in (folder, folder.resolve()):
            if len(path.parents) > above and path.parents[above].name == "runs":
                return cls(path.parents[above].parent)
        return None

    def folder(self, spec: RunSpec) -> RunFolder:
        """Return the folder of a run, which need not exist yet."""
        split = split_folder(spec.sources, spec.target)
        parts = (spec.dataset, spec.method, split, modalities_folder(spec.modalities), spec.id)
        return RunFolder(self.runs.joinpath(*parts))

    def all(self) -> Iterator[tuple[RunSpec, RunFolder]]:
        """Yield every run that has a spec, sorted by path; attempts set aside are left out."""
        self.problems = []
        return self._read(self._folders(self.runs, EVERYTHING))

    def done(
        self,
        dataset: str | None = None,
        method: str | None = None,
        modalities: Sequence[str] | None = None,
        each: int = 2**31,
    ) -> Iterator[tuple[RunSpec, dict[str, Any]]]:
        """Yield done runs with their results, each read when it is asked for.

        Args:
            dataset: by name; None here and below: any.
            method: the composition.
            modalities: by name, all of the run.
            each: how many of each method and set of modalities on a dataset, at most.
        """
        folder = None if modalities is None else modalities_folder(modalities)
        number: Counter[tuple[str, ...]] = Counter()
        for spec, run in self._read(
            path
            for path in self._folders(self.runs, (dataset, method, None, folder, None))
            if number[_kind(path)] < each
        ):
            if found := run.result():
                number[_kind(run.path)] += 1
                yield spec, found

    def _read(self, folders: Iterable[Path]) -> Iterator[tuple[RunSpec, RunFolder]]:
        """Yield the runs that have a spec."""
        for folder in folders:
            path = folder / "spec.json"
            try:
                values = shape.load(path, dict)
                spec = None if values is None else RunSpec.from_json(values)
            except (UnreadableError, UsageError) as error:
                self.problems.append(f"{path}: {error}")
                continue
            if spec is not None:
                yield spec, RunFolder(folder)

    def _folders(self, path: Path, levels: Sequence[str | None]) -> Iterator[Path]:
        """Yield the folders of runs below a folder, sorted; a level that is None may be any."""
        if not levels:
            if "~" not in path.name:
                yield path
            return
        name, *rest = levels
        if name is not None:
            yield from self._folders(path / name, rest)
            return
        for entry in self._entries(path):
            if entry.is_dir():
                yield from self._folders(Path(entry.path), rest)
            elif not entry.name.startswith("."):  # hidden files are the file system's own
                self.problems.append(f"{entry.path}: no file of the suite")

    def _entries(self, path: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            self.problems.append(f"{path}: {error.strerror}")
            return []
