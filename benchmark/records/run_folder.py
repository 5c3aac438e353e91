"""The files of one run, in its folder or packed; a killed process leaves no half file."""

import json
import os
import re
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import replace
from io import BytesIO
from itertools import count
from pathlib import Path
from typing import IO, Any

import numpy as np

from benchmark.records import archive, claims, predictions, result, shape, state
from benchmark.records.predictions import Predicted
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State, Status
from mmdg_common import group_permissions, make_folder, written_atomically

SPEC, STATUS, METRICS, PREDICTIONS, LOG = (
    *("spec.json", "status.json", "metrics.jsonl", "predictions.npz", "log.txt"),
)
TEMPORARY = re.compile(r"\.(.+\.\d+|now)\.[0-9a-f]{8}")
"""The names of temporary files, of `written_atomically` and of claims."""

# Made once, as most of many thousand runs say no more than their state.
_TO_DO, _DONE = Status(State.TO_DO), Status(State.DONE)


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file whole or not at all."""
    with written_atomically(path) as file:
        file.write(data)


class RunFolder:
    """The files of one run.

    Args:
        path: of the folder, which need not exist.
        bare: it was not there a moment ago, so that it need not be asked for.
    """

    def __init__(self, path: Path, bare: bool = False) -> None:
        self.path, self._bare = path, bare
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
        return self.path / METRICS

    @property
    def own(self) -> bool:
        """Whether the folder has a record of its own, beside which a packed one does not count.

        A run that was forced after it was packed has one from the start.
        """
        return self._holds(result.NAME) or self._holds(STATUS)

    def _holds(self, name: str) -> bool:
        """Return whether a file is in the folder."""
        return not self._bare and os.access(os.path.join(self.path, name), os.F_OK)

    @property
    def packed(self) -> bool:
        """Whether the run is packed and its folder has no record of its own."""
        try:
            return not self.own and bool(archive.names(self.path))
        except UnreadableError:  # as good as no pack
            return False

    @property
    def place(self) -> Path:
        """Where a user finds the record: the folder, or the pack."""
        return self.path.parents[1] / archive.NAME if self.packed else self.path

    def read(self, name: str) -> bytes | None:
        """Return what a file of the record holds, be it packed; None where there is none.

        Raises:
            UnreadableError: it cannot be read, or is damaged in its pack.
        """
        data = None if self._bare else shape.content(os.path.join(self.path, name))
        # The pack comes last: it was there before files were removed from the folder.
        if data is None and not self.own:
            data = archive.read(self.path, name)
        return data

    def names(self, below: str) -> list[str]:
        """Return the names of the JSON files in a folder of the record, packed ones included."""
        found = {f"{below}/{path.name}" for path in (self.path / below).glob("*.json")}
        if self.packed:
            found |= {name for name in archive.names(self.path) if name.startswith(f"{below}/")}
        return sorted(found)

    def spec(self) -> RunSpec | None:
        """Return the run; None where there is none in the folder.

        Raises:
            UnreadableError: the file is damaged.
            UsageError: it is of another version of the suite.
        """
        data = self.read(SPEC)
        return None if data is None else RunSpec.from_json(shape.parse(data, dict))

    def mark(self) -> int:
        """Return a number that names the point where the run resumes; 0: its start."""
        try:
            return self.checkpoint.stat().st_mtime_ns
        except OSError:
            return 0

    def result(self) -> dict[str, Any] | None:
        """Return the result; a run is done when there is a usable one, and never otherwise."""
        try:
            return self._result()
        except UnreadableError:
            return None

    def _result(self) -> dict[str, Any] | None:
        data = self.read(result.NAME)
        return None if data is None else result.parse(data)

    def status(self) -> Status:
        """Return the state as it is now: a run whose process is gone is interrupted."""
        return self.look()[0]

    def look(self) -> tuple[Status, dict[str, Any] | None]:
        """Return the state as it is now, and the result of a run that is done."""
        problem = ""
        try:
            if found := self._result():
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
            data = self.read(STATUS)
            return _TO_DO if data is None else state.parse(shape.parse(data, dict))
        except UnreadableError as error:
            return Status(self._unfinished(), problem=f"{STATUS}: {error}")

    def _unfinished(self) -> State:
        return State.INTERRUPTED if self.checkpoint.exists() else State.TO_DO

    def write_spec(self, spec: RunSpec) -> None:
        """Write `spec.json`."""
        self._write_json(SPEC, spec.to_json())

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
        self._write_json(STATUS, {"state": state, "time": time.time(), **details})

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

    def await_forced(self, token: str = "") -> None:
        """Set an earlier attempt aside and let the run start anew.

        A packed one stays where it is, as the folder's own status comes before it.

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
        return result.metrics(self.read(METRICS) or b"", tested)

    def has_predictions(self) -> bool:
        """Return whether there is a whole file of predictions; only whole ones are packed."""
        if zipfile.is_zipfile(self.path / PREDICTIONS):
            return True
        gone = not self._holds(PREDICTIONS)
        return gone and self.packed and PREDICTIONS in archive.names(self.path)

    def predicted(self, rule: str, part: str, size: int | None) -> Predicted:
        """Return the predictions; see `predictions.read`."""
        path = self.path / PREDICTIONS
        file: IO[bytes] | None
        try:
            file = path.open("rb")
        except OSError:
            packed = self.read(PREDICTIONS)
            file = None if packed is None else BytesIO(packed)
        with file or nullcontext():
            return predictions.read(path, rule, part, size, file)

    def cut_off(self) -> Iterable[Path]:
        """Yield the files of a record that is done which are not whole."""
        for name, whole in ((PREDICTIONS, zipfile.is_zipfile), (METRICS, _ends_whole)):
            path = self.path / name
            # Asked again, as it may have been packed and removed in between.
            if self._holds(name) and not whole(path) and self._holds(name):
                yield path

    def write_predictions(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write `predictions.npz`."""
        with written_atomically(self.to_write(PREDICTIONS)) as file:
            np.savez_compressed(file, allow_pickle=False, **dict(arrays))

    def write_result(self, values: Mapping[str, Any]) -> None:
        """Write `result.json`, which makes the run done."""
        self._write_json(result.NAME, {"schema": result.SCHEMA, **values})

    def log(self, text: str) -> None:
        """Append a line to `log.txt`."""
        make_folder(self.path)
        with self.to_write(LOG).open("a") as file:
            group_permissions(self.path / LOG)
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def tidy(self) -> None:
        """Remove temporary files of killed processes, and keep an unusable result aside.

        For the owner of the run.
        """
        for path in list(self.path.iterdir()):
            if TEMPORARY.fullmatch(path.name):
                path.unlink(missing_ok=True)
        path = self.path / result.NAME
        try:
            if (data := shape.content(path)) is not None:
                result.parse(data)
        except UnreadableError as error:
            if isinstance(error.__cause__, OSError) and not path.is_dir():
                raise error.__cause__ from None  # the file may be good and only out of reach
            aside = _free(self.path / "result-unusable-{}.json")
            path.rename(aside)
            self.log(f"{result.NAME} is kept as {aside.name}, as it cannot be used: {error}")

    def set_aside(self) -> None:
        """Move the folder of an earlier attempt out of the way, to `<id>~1`, `<id>~2` and so on."""
        if self.path.exists():
            self.path.rename(_free(self.path.with_name(f"{self.path.name}~{{}}")))

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.to_write(name), (json.dumps(value, indent=1) + "\n").encode())


def _free(pattern: Path) -> Path:
    """Return the first path that does not exist: `{}` in the name is replaced by 1, 2 and so on."""
    paths = (pattern.with_name(pattern.name.format(number)) for number in count(1))
    return next(path for path in paths if not path.exists())


def _ends_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
    except OSError:
        return False
