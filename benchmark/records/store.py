"""The records on disk: a folder per run, written so that a killed process leaves no half file."""

import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.records import claims
from benchmark.records.spec import RunSpec
from mmdg_common import UsageError, read_json, written_atomically

SCHEMA = 1
DEPTH = 5
"""Folders between `runs/` and the files of a run: dataset, method, split, modalities, id."""

QUEUED, RUNNING, DONE, FAILED, PREEMPTED = "queued", "running", "done", "failed", "preempted"
INTERRUPTED = "interrupted"
"""Said of a run that goes on from its last checkpoint: its process is gone, or the machine failed
it, by a full disk for example. `status.json` then has the reason."""
LASTING = ("retry", "forced")
"""What a status says of the command that asked for a run, and keeps until the run has ended."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all."""
    with written_atomically(path) as file:
        file.write(data)


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.claim: claims.Claim | None = None
        """The claim of this process, if it carries the run out."""
        self._told = 0.0

    @property
    def checkpoint(self) -> Path:
        """The file to resume from."""
        return self.path / "checkpoint.pt"

    def mark(self) -> int:
        """Return a number that tells from where the run resumes; 0: from its start."""
        try:
            return self.checkpoint.stat().st_mtime_ns
        except OSError:
            return 0

    def result(self) -> dict[str, Any] | None:
        """Return the result; a run is done when there is a whole one, and never otherwise."""
        return read_json(self.path / "result.json")

    def status(self) -> dict[str, Any]:
        """Return the status with a `state` as it is now: a dead process is `interrupted`."""
        if self.result() is not None:
            return {"state": DONE}
        status = read_json(self.path / "status.json") or {"state": QUEUED}
        if status["state"] == DONE or (status["state"] == RUNNING and not claims.held(self.path)):
            # The result may have come after the first look at it, and before the look at the rest.
            return {**status, "state": INTERRUPTED if self.result() is None else DONE}
        return status

    def write_spec(self, spec: RunSpec) -> None:
        """Write `spec.json`."""
        self._write_json("spec.json", spec.to_json())

    def write_status(self, state: str, **details: Any) -> None:
        """Write the state."""
        self._told = time.monotonic()
        before = read_json(self.path / "status.json") or {}
        # So that the command that asked for it goes on with it.
        kept = ("forced",) if state in (DONE, FAILED) else LASTING
        details |= {name: before[name] for name in kept if name in before}
        self._write_json("status.json", {"state": state, "time": time.time(), **details})

    def tell(self, step: int, total: int) -> None:
        """Write how far the run has come, if that was last told some seconds ago."""
        if time.monotonic() - self._told > claims.BEAT_EVERY:
            self.write_status(RUNNING, step=step, total=total)

    def to_write(self, name: str) -> Path:
        """Return the path of a file of the run that is about to be written.

        Raises:
            ClaimLostError: the run was taken over, so that this process must not write there.
        """
        if self.claim is not None:
            self.claim.check()
        return self.path / name

    def await_retry(self) -> None:
        """Let a failed run be carried out again, from its start; `log.txt` keeps the reason."""
        self.keep_checkpoint_aside("failed")
        self.write_status(QUEUED, retry=True)

    def await_forced(self, token: str) -> None:
        """Set an earlier attempt aside and let the run be carried out again.

        Args:
            token: names the command that wants it, which goes on with it when it is repeated.
        """
        self.set_aside()
        self.write_status(QUEUED, forced=token)

    def forced(self) -> str:
        """Return the token of the command that last forced the run; empty where none did."""
        return str((read_json(self.path / "status.json") or {}).get("forced", ""))

    def keep_checkpoint_aside(self, reason: str) -> None:
        """Let the run start anew, but keep its checkpoint, as `checkpoint-<reason>.pt`."""
        with suppress(FileNotFoundError):
            self.checkpoint.rename(self.to_write(f"checkpoint-{reason}.pt"))

    def remove_checkpoints(self) -> None:
        """Remove what a run that is done could still have been resumed from."""
        for path in self.path.glob("checkpoint*.pt"):
            path.unlink(missing_ok=True)

    def write_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write `metrics.jsonl`, one line a validation."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(self.to_write("metrics.jsonl"), lines.encode())

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records written so far."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def write_predictions(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write `predictions.npz`."""
        with written_atomically(self.to_write("predictions.npz")) as file:
            np.savez_compressed(file, allow_pickle=False, **dict(arrays))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, which makes the run done."""
        self._write_json("result.json", {"schema": SCHEMA, **result})

    def log(self, text: str) -> None:
        """Append a line to `log.txt`."""
        self.path.mkdir(parents=True, exist_ok=True)
        with self.to_write("log.txt").open("a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def tidy(self) -> None:
        """Remove what processes that were killed while writing left; for the owner of the run."""
        for path in self.path.glob(".*"):
            path.unlink(missing_ok=True)

    def set_aside(self) -> None:
        """Move an earlier attempt out of the way, to `<id>~1`, `<id>~2` and so on."""
        if self.path.exists():
            number = 1
            while (aside := self.path.with_name(f"{self.path.name}~{number}")).exists():
                number += 1
            self.path.rename(aside)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.to_write(name), (json.dumps(value, indent=1) + "\n").encode())


class Store:
    """The results folder: `runs/` and `cache/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.cache = root / "cache"
        self.unreadable: list[Path] = []
        """The specs that `all` could not read, as they are cut off or of another version."""
        self.foreign: list[Path] = []
        """The files that `all` found where only folders belong."""

    def folder(self, spec: RunSpec) -> RunFolder:
        """Return the folder of a run, which need not exist yet."""
        split = f"{'+'.join(spec.sources)}_to_{spec.target}"
        parts = (spec.dataset, spec.method, split, "+".join(spec.modalities), spec.id)
        return RunFolder(self.runs.joinpath(*parts))

    def all(self) -> Iterator[tuple[RunSpec, RunFolder]]:
        """Yield every run that has a spec, sorted by path; attempts set aside are left out."""
        self.unreadable, self.foreign = [], []
        for folder in self._folders(self.runs, DEPTH):
            path = folder / "spec.json"
            if "~" in folder.name or not path.exists():
                continue
            try:
                spec = RunSpec.from_json(read_json(path) or {})
            except UsageError:
                self.unreadable.append(path)
            else:
                yield spec, RunFolder(folder)

    def _folders(self, path: Path, depth: int) -> Iterator[Path]:
        try:
            entries = sorted(os.scandir(path), key=lambda entry: entry.name)
        except OSError:
            return
        for entry in entries:
            if not entry.is_dir():
                self.foreign.append(Path(entry.path))
            elif depth == 1:
                yield Path(entry.path)
            else:
                yield from self._folders(Path(entry.path), depth - 1)
