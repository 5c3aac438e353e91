"""The records on disk: a folder per run, written so that a killed process leaves no half file."""

import json
import os
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmark.spec import RunSpec
from mmdg_common import written_atomically

SCHEMA = 1
STALE_AFTER = 300.0
"""Seconds without a heartbeat after which a running run counts as interrupted."""

QUEUED, RUNNING, DONE, FAILED, PREEMPTED = "queued", "running", "done", "failed", "preempted"
INTERRUPTED = "interrupted"
"""Said of a run marked as running whose process is gone; never written."""


def write_atomically(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all."""
    with written_atomically(path) as file:
        file.write(data)


def read_json(path: Path) -> dict[str, Any] | None:
    """Return the object in a JSON file; None where there is no whole one."""
    try:
        value = json.loads(path.read_text())
    except (OSError, ValueError):
        return None
    return value if isinstance(value, dict) else None


class RunFolder:
    """The files of one run."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._last_beat = 0.0

    @property
    def checkpoint(self) -> Path:
        """The file to resume from."""
        return self.path / "checkpoint.pt"

    def result(self) -> dict[str, Any] | None:
        """Return the result; a run is done when there is a whole one, and never otherwise."""
        return read_json(self.path / "result.json")

    def status(self) -> dict[str, Any]:
        """Return the status with a `state` as it is now: a dead process is `interrupted`."""
        status = read_json(self.path / "status.json") or {"state": QUEUED}
        if self.result() is not None:
            return {**status, "state": DONE}
        if status["state"] == DONE or (status["state"] == RUNNING and not _alive(status)):
            return {**status, "state": INTERRUPTED}
        return status

    def write_spec(self, spec: RunSpec) -> None:
        """Write `spec.json`."""
        self._write_json("spec.json", spec.to_json())

    def write_status(self, state: str, **details: Any) -> None:
        """Write the state with this process's name and a heartbeat."""
        self._last_beat = time.time()
        owner = {**_process(), "heartbeat": self._last_beat}
        self._write_json("status.json", {"state": state, **owner, **details})

    def runs_elsewhere(self) -> bool:
        """Return whether another process is at this run."""
        status = self.status()
        mine = _process().items() <= status.items()
        return status["state"] == RUNNING and not mine

    def beat(self, **details: Any) -> None:
        """Renew the heartbeat if the last one is some seconds old."""
        if time.time() - self._last_beat > 10:
            self.write_status(RUNNING, **details)

    def write_metrics(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write `metrics.jsonl`, one line a validation."""
        lines = "".join(json.dumps(record) + "\n" for record in records)
        write_atomically(self.path / "metrics.jsonl", lines.encode())

    def metrics(self) -> list[dict[str, Any]]:
        """Return the records written so far."""
        path = self.path / "metrics.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def write_predictions(self, arrays: Mapping[str, np.ndarray]) -> None:
        """Write `predictions.npz`."""
        with written_atomically(self.path / "predictions.npz") as file:
            np.savez_compressed(file, allow_pickle=False, **dict(arrays))

    def write_result(self, result: Mapping[str, Any]) -> None:
        """Write `result.json`, which makes the run done."""
        self._write_json("result.json", {"schema": SCHEMA, **result})

    def log(self, text: str) -> None:
        """Append a line to `log.txt`."""
        self.path.mkdir(parents=True, exist_ok=True)
        with open(self.path / "log.txt", "a") as file:
            file.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {text}\n")

    def set_aside(self) -> None:
        """Move an earlier attempt out of the way, to `<id>~1`, `<id>~2` and so on."""
        if self.path.exists():
            number = 1
            while (aside := self.path.with_name(f"{self.path.name}~{number}")).exists():
                number += 1
            self.path.rename(aside)

    def _write_json(self, name: str, value: Mapping[str, Any]) -> None:
        write_atomically(self.path / name, (json.dumps(value, indent=1) + "\n").encode())


class Store:
    """The results folder: `runs/` and `cache/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.cache = root / "cache"
        self.unreadable: list[Path] = []
        """The specs that `all` could not read, as another version of the suite wrote them."""

    def folder(self, spec: RunSpec) -> RunFolder:
        """Return the folder of a run, which need not exist yet."""
        split = f"{'+'.join(spec.sources)}_to_{spec.target}"
        parts = (spec.dataset, spec.method, split, "+".join(spec.modalities), spec.id)
        return RunFolder(self.runs.joinpath(*parts))

    def all(self) -> Iterator[tuple[RunSpec, RunFolder]]:
        """Yield every run that has a spec, sorted by path; attempts set aside are left out."""
        self.unreadable = []
        for path in sorted(self.runs.glob("*/*/*/*/*/spec.json")):
            if "~" in path.parent.name:
                continue
            try:
                spec = RunSpec.from_json(read_json(path) or {})
            except (KeyError, TypeError):
                self.unreadable.append(path)
            else:
                yield spec, RunFolder(path.parent)


def _process() -> dict[str, Any]:
    return {"host": socket.gethostname(), "pid": os.getpid()}


def _alive(status: Mapping[str, Any]) -> bool:
    if time.time() - float(status.get("heartbeat", 0)) > STALE_AFTER:
        return False
    if status.get("host") != socket.gethostname():
        return True
    try:
        os.kill(int(status["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
