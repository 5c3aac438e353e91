"""Reading records: from results folders, and from files that were exported from them."""

import json
import math
import os
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from benchmark.records.selection import OWN, rule_of
from benchmark.records.spec import RunSpec
from benchmark.records.store import DONE, SCHEMA, RunFolder, Store
from mmdg_common import UsageError, read_json, written_atomically


@dataclass(frozen=True)
class Record:
    """One run of the store; `result` is None until it is done, `error` says why it failed."""

    spec: RunSpec
    state: str
    error: str = ""
    result: Mapping[str, Any] | None = None
    folder: Path | None = None
    """Where the run's files are; None for a record that was exported without them."""
    tried: int = 1
    """The settings among which source validation chose this run."""

    @cached_property
    def predictions(self) -> Path | None:
        """Return the file of a run's predictions, where there is a whole one."""
        path = self.folder / "predictions.npz" if self.folder and self.result else None
        return path if path and zipfile.is_zipfile(path) else None


@dataclass
class Found:
    """What was read, and what was left out with the reason."""

    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def read(places: Sequence[Path], rule: str | None = None) -> Found:
    """Return the records of results folders and exported `.jsonl` files, each run once.

    A run that is in several places counts where it is done, and in the first of them.

    Args:
        places: folders and files.
        rule: the selection rule that is wanted; the others are not kept in memory. None: all.

    Raises:
        UsageError: a place is not there.
    """
    found = Found()
    by_id: dict[str, Record] = {}
    for place in places:
        one = _exported if place.suffix == ".jsonl" else _stored
        for record in one(place, found):
            if (
                rule
                and record.result
                and rule_of(record.result, rule) not in record.result["rules"]
            ):
                found.problems.append(f"{record.folder or place}: no figures under {rule}")
                continue
            before = by_id.get(record.spec.id)
            if before is None or (before.result is None and record.result is not None):
                by_id[record.spec.id] = _trimmed(record, rule)
    found.records = list(by_id.values())
    return found


def export(records: Iterable[Record], path: Path) -> int:
    """Write records to a `.jsonl` file, a line each, without predictions; return how many."""
    count = 0
    with written_atomically(path) as file:
        for record in records:
            line = {
                "spec": record.spec.to_json(),
                "state": record.state,
                "error": record.error,
                "result": record.result,
            }
            file.write((json.dumps(line) + "\n").encode())
            count += 1
    return count


def _trimmed(record: Record, rule: str | None) -> Record:
    if rule is None or record.result is None:
        return record
    rules = {k: v for k, v in record.result["rules"].items() if k in (rule, OWN)}
    return Record(
        record.spec, record.state, record.error, {**record.result, "rules": rules}, record.folder
    )


def _stored(root: Path, found: Found) -> Iterator[Record]:
    store = Store(root)
    for spec, folder in store.all():
        record = _of_folder(spec, folder, found)
        if record is not None:
            yield record
    for path in store.unreadable:
        whole = read_json(path) is not None
        reason = "spec.json of another version of the suite" if whole else "no whole spec.json"
        found.problems.append(f"{path.parent}: {reason}")
    found.problems += [f"{path}: no file of the suite" for path in store.foreign]


def _of_folder(spec: RunSpec, folder: RunFolder, found: Found) -> Record | None:
    path = folder.path / "result.json"
    result = read_json(path)
    if result is None:
        if path.exists():
            found.problems.append(f"{path}: not whole; the run counts as not done")
        status = folder.status()
        return Record(spec, status["state"], str(status.get("error", "")), None, folder.path)
    if reason := _unusable(result):
        found.problems.append(f"{path}: {reason}")
        return None
    record = Record(spec, DONE, "", result, folder.path)
    for name, whole in {
        "predictions.npz": record.predictions is not None,
        "metrics.jsonl": _ends_whole(folder.path / "metrics.jsonl"),
    }.items():
        if not whole and (folder.path / name).exists():
            found.problems.append(f"{folder.path / name}: not whole; the run counts without it")
    return record


def _ends_whole(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            file.seek(-1, os.SEEK_END)
            return file.read() == b"\n"
    except OSError:
        return False


def _unusable(result: dict[str, Any]) -> str | None:
    """Return why a result cannot be reported, None if it can."""
    if result.get("schema") != SCHEMA:
        return f"of schema {result.get('schema', 'unknown')}, not {SCHEMA}: run it again"
    try:
        accuracies = [rule["target"]["accuracy"] for rule in result["rules"].values()]
        whole = bool(accuracies) and all(map(math.isfinite, accuracies))
        return None if whole and isinstance(result["provenance"], dict) else "no whole result"
    except (AttributeError, KeyError, TypeError):
        return "no result of the suite"


def _exported(path: Path, found: Found) -> Iterator[Record]:
    try:
        file = path.open(encoding="utf-8", errors="replace")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, 1):
            try:
                values = json.loads(line)
                spec = RunSpec.from_json(values["spec"])
                result, state, why = values["result"], values["state"], values["error"]
            except (ValueError, KeyError, TypeError):  # also a wrong spec
                found.problems.append(f"{path}, line {number}: no record of this version")
                continue
            if result is not None and (reason := _unusable(result)):
                found.problems.append(f"{path}, line {number}: {reason}")
                continue
            yield Record(spec, state, why, result)
