"""Packing finished runs into a set of committed results, and unpacking them again."""

import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.records import committed, ledger
from benchmark.records.committed import CommittedRun, CommittedSet, Row, Samples, arrays_of
from benchmark.records.predictions import WITHOUT_LOGITS
from benchmark.records.read import Record
from benchmark.records.selection import OWN
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import NUMBERS_VERSION
from benchmark.records.store import RunFolder
from mmdg_common import UsageError, written_atomically

Arrays = Mapping[str, NDArray[Any]]

RESULT = ("schema", "id", "rules", "classes", "left_out", "method", "parameters", "passes")
PROVENANCE = (
    *("commit", "python", "packages", "device", "threads", "kernels", "weights"),
    *("wall_s", "peak_memory_mb"),
)
"""What is kept of a result and its provenance: nothing that tells of folders and host names."""


@dataclass
class Packed:
    """One run in the form that is committed."""

    row: Row
    arrays: dict[str, NDArray[Any]]

    @property
    def digest(self) -> str:
        """Return 16 hexadecimal digits of all that is kept of the run."""
        return digest(self.row, self.arrays)


def digest(row: Row, arrays: Arrays) -> str:
    """Return 16 hexadecimal digits of all that is kept of a run."""
    found = hashlib.sha256(json.dumps(line_of(row), sort_keys=True).encode())
    for name in sorted(arrays):
        array = arrays[name]
        found.update(f"{name} {array.dtype.str} {array.shape}".encode() + array.tobytes())
    return found.hexdigest()[:16]


def line_of(row: Row) -> dict[str, Any]:
    """Return the JSON values of a line."""
    return {"spec": row.spec.to_json(), "result": dict(row.result), "parts": dict(row.parts)}


@dataclass
class NewSamples:
    """The samples of a dataset, to which parts are added."""

    ids: list[str] = field(default_factory=list)
    groups: list[tuple[str, ...]] = field(default_factory=list)
    labels: list[int] = field(default_factory=list)
    parts: dict[str, NDArray[np.int32]] = field(default_factory=dict)
    _place: dict[tuple[str, tuple[str, ...], int], int] = field(default_factory=dict)

    @classmethod
    def of(cls, samples: Samples) -> "NewSamples":
        """Return the samples of a file, ready for more."""
        groups = [tuple(of) for of in samples.groups.tolist()]
        new = cls(samples.ids.tolist(), groups, samples.labels.tolist())
        new.parts = {key: rows.astype(np.int32) for key, rows in samples.parts.items()}
        whole = zip(new.ids, new.groups, new.labels, strict=True)
        new._place = {sample: number for number, sample in enumerate(whole)}
        return new

    def add(
        self, ids: NDArray[np.str_], groups: NDArray[np.str_], labels: NDArray[np.int64]
    ) -> str:
        """Add a part unless it is there, and return its key."""
        key = committed.key_of(ids, groups, labels)
        if key not in self.parts:
            whole = zip(ids.tolist(), map(tuple, groups.tolist()), labels.tolist(), strict=True)
            self.parts[key] = np.array([self._number(*sample) for sample in whole], dtype=np.int32)
        return key

    def _number(self, name: str, groups: tuple[str, ...], label: int) -> int:
        sample = (name, groups, label)
        if sample not in self._place:
            self._place[sample] = len(self.ids)
            self.ids.append(name)
            self.groups.append(groups)
            self.labels.append(label)
        return self._place[sample]

    def arrays(self) -> dict[str, NDArray[Any]]:
        """Return the arrays of the file."""
        return {
            "ids": np.array(self.ids),
            "groups": np.array(self.groups),
            "labels": np.array(self.labels, dtype=np.int32),
            **{f"part/{key}": rows for key, rows in self.parts.items()},
        }


def pack(record: Record, samples: NewSamples, path: Path) -> Packed:
    """Return a finished run in the form that is committed; its parts are added to the samples.

    Args:
        record: of a results folder.
        samples: of its dataset.
        path: the file that its line will be in.

    Raises:
        UnreadableError: the run cannot be committed; the message says why.
    """
    _require(record)
    assert record.result is not None
    arrays: dict[str, NDArray[Any]] = {}
    parts: dict[str, str] = {}
    rules = record.result["rules"]
    if OWN in rules:  # no table shows what its student would score
        rules = {OWN: rules[OWN]}
    for rule, at in rules.items():
        for part in ("val", "target"):
            found = record.predicted(rule, part)
            if found is None:
                raise UnreadableError("its predictions are missing or damaged")
            key = samples.add(found.ids, found.groups, found.labels)
            if parts.setdefault(part, key) != key:
                raise UnreadableError(f"its rules were scored on different {part} samples")
            small = np.uint8 if found.size <= 256 else np.int32
            arrays[f"{record.spec.id}/{at['step']}/{part}"] = found.classes.astype(small)
    columns, values = committed.flattened(record.metrics())
    arrays |= {f"{record.spec.id}/columns": columns, f"{record.spec.id}/metrics": values}
    result = {key: record.result[key] for key in RESULT if key in record.result}
    provenance = record.result["provenance"]
    result["rules"] = rules
    result["provenance"] = {key: provenance[key] for key in PROVENANCE if key in provenance}
    return Packed(Row(path, record.spec, result, parts), arrays)


def _require(record: Record) -> None:
    """Raise UnreadableError unless a run is one that others can rely on."""
    spec, result = record.spec, record.result
    if result is None:
        raise UnreadableError(f"it is not done: {record.state}")
    if not spec.target:
        raise UnreadableError("it has no target, and so no accuracy to compare")
    if spec.fabricated:
        raise UnreadableError("its data were fabricated")
    if spec.numbers_version != NUMBERS_VERSION:
        raise UnreadableError(f"its numbers are of version {spec.numbers_version}")
    commit = result["provenance"].get("commit")
    if not commit or commit.endswith("+dirty"):
        raise UnreadableError(
            "it was trained by code that is in no commit; train from a clean clone"
        )


def add(
    to: CommittedSet, packed: Mapping[Path, Sequence[Packed]], samples: Mapping[str, NewSamples]
) -> None:
    """Write runs into the files of a set, in place of runs of the same id.

    Args:
        to: the set.
        packed: by the file that holds them.
        samples: of every dataset of them.
    """
    for dataset, of in samples.items():
        _write_arrays(to.root / dataset / committed.SAMPLES, of.arrays())
    for path, runs in packed.items():
        rows = {row.spec.id: row for row in to.rows(path)}
        beside = path.with_suffix(".npz")
        arrays = arrays_of(beside) if beside.exists() else {}
        for run in runs:
            key = run.row.spec.id
            rows[key] = run.row
            arrays = {k: v for k, v in arrays.items() if not k.startswith(f"{key}/")}
            arrays |= run.arrays
        _write_arrays(beside, arrays)
        lines = (
            json.dumps(line_of(row), separators=(",", ":")) for row in sorted_rows(rows.values())
        )
        with written_atomically(path) as file:
            file.write("".join(f"{line}\n" for line in lines).encode())


def sorted_rows(rows: Iterable[Row]) -> list[Row]:
    """Return rows in the order of their file: by modalities, split and seed."""

    def place(row: Row) -> tuple[Any, ...]:
        spec = row.spec
        return len(spec.modalities), spec.modalities, spec.target, spec.sources, spec.seed, spec.id

    return sorted(rows, key=place)


def _write_arrays(path: Path, arrays: Arrays) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with written_atomically(path) as file:
        np.savez_compressed(file, allow_pickle=False, **{k: arrays[k] for k in sorted(arrays)})


def create(root: Path) -> CommittedSet:
    """Return the set in a folder, made where there is none.

    Raises:
        UsageError: the folder has other contents, or its set is of another version of the numbers.
    """
    found = CommittedSet(root)
    if not committed.is_set(root):
        if root.exists() and any(root.iterdir()):
            raise UsageError(f"{root} is no set of results; name another folder with --set")
        root.mkdir(parents=True, exist_ok=True)
        values = {"schema": committed.SCHEMA, "numbers_version": NUMBERS_VERSION}
        with written_atomically(root / committed.MARK) as file:
            file.write((json.dumps(values) + "\n").encode())
        ledger.add(root / committed.LEDGER, [])
    if found.numbers_version != NUMBERS_VERSION:
        raise UsageError(
            f"{root} holds numbers of version {found.numbers_version}, and these are of version "
            f"{NUMBERS_VERSION}; start a new set with --set"
        )
    return found


def unpack(run: CommittedRun, folder: RunFolder) -> None:
    """Write a committed run into a results folder, where it counts as done.

    Its `result.json` says which set it was taken from. It has no logits and no weights.
    """
    row = run.row
    arrays: dict[str, NDArray[Any]] = {WITHOUT_LOGITS: np.array(True)}
    for rule in row.result["rules"]:
        for part in row.parts:
            found = run.predicted(rule, part)
            small = np.uint8 if found.size <= 256 else np.int32
            arrays |= {
                f"{rule}/{part}/{name}": array
                for name, array in (
                    *(("ids", found.ids), ("groups", found.groups), ("labels", found.labels)),
                    ("predicted", found.classes.astype(small)),
                )
            }
    folder.path.mkdir(parents=True, exist_ok=True)
    folder.write_spec(row.spec)
    folder.write_metrics(run.metrics())
    folder.write_predictions(arrays)
    folder.log(f"taken from the committed results {run.of.name}")
    folder.write_result({**row.result, "reused": run.of.name})
