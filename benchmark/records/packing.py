"""Packing finished runs into a set of committed results, and unpacking them again."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.records import committed, ledger, validations
from benchmark.records.committed import (
    CommittedRun,
    CommittedSet,
    Row,
    Samples,
    Whole,
    arrays_of,
)
from benchmark.records.predictions import WITHOUT_LOGITS, Predicted, smallest
from benchmark.records.read import Record
from benchmark.records.result import in_a_commit
from benchmark.records.run_folder import RunFolder
from benchmark.records.selection import OWN
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import NUMBERS_VERSION
from mmdg_common import UsageError, make_folder, written_atomically

Arrays = Mapping[str, NDArray[Any]]

RESULT = ("schema", "id", "rules", "classes", "left_out", "method", "parameters", "passes")
PROVENANCE = (
    *("commit", "python", "packages", "device", "driver", "cpu", "threads", "kernels", "weights"),
    *("feature_cache", "wall_s", "peak_memory_mb", "segments", "start", "end"),
)
"""What is kept of a result, its provenance and the segments in it: nothing that tells of folders
and host names."""


@dataclass
class Packed:
    """One run in the form that is committed."""

    row: Row
    arrays: dict[str, NDArray[Any]]

    @property
    def digest(self) -> str:
        """Return 16 hexadecimal digits of all that is kept of the run."""
        return digest(self.row, self.arrays)

    @property
    def numbers(self) -> str:
        """Return 16 hexadecimal digits of what a second training gives again: no provenance."""
        bare = {"rules": self.row.result["rules"]}
        spec = replace(self.row.spec, asked=None)
        return digest(replace(self.row, spec=spec, result=bare), self.arrays)


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


def text_of(rows: Iterable[Row]) -> bytes:
    """Return what the file of some runs holds."""
    lines = (json.dumps(line_of(row), separators=(",", ":")) for row in sorted(rows, key=place))
    return "".join(f"{line}\n" for line in lines).encode()


def place(row: Row) -> tuple[Any, ...]:
    """Return what rows are sorted by: their file, and in it modalities, split and seed."""
    spec = row.spec
    split = (spec.target, spec.sources, spec.seed, spec.id)
    return str(row.path), len(spec.modalities), spec.modalities, *split


def by_run(arrays: Arrays) -> dict[str, dict[str, NDArray[Any]]]:
    """Return the arrays of a file by the id of their run."""
    found: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        found.setdefault(name.split("/")[0], {})[name] = array
    return found


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

    def add(self, key: str, part: Whole) -> None:
        """Add a part unless it is there.

        Raises:
            UnreadableError: its groups have more or fewer levels than those that are there.
        """
        ids, groups, labels = part
        levels = groups.shape[1]
        if self.groups and len(self.groups[0]) != levels:
            raise UnreadableError(
                f"samples in {levels} levels of groups, not {len(self.groups[0])}"
            )
        if key not in self.parts:
            whole = zip(ids.tolist(), map(tuple, groups.tolist()), labels.tolist(), strict=True)
            self.parts[key] = np.array([self._number(*sample) for sample in whole], dtype=np.int32)

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
            **{f"{committed.PART}{key}": rows for key, rows in self.parts.items()},
        }


def pack(record: Record, path: Path, known: dict[str, Whole]) -> Packed:
    """Return a finished run in the form that is committed.

    Args:
        record: of a results folder.
        path: the file that its line will be in.
        known: by key, the samples of parts; gains those of the run.

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
        for part in committed.PARTS:
            found = record.predicted(rule, part)
            if found is None:
                raise UnreadableError("its predictions are missing or damaged; train it again")
            whole = (found.ids, found.groups, found.labels)
            key = committed.key_of(*whole)
            if parts.setdefault(part, key) != key:
                raise UnreadableError(f"its rules were scored on different {part} samples")
            known.setdefault(key, whole)
            arrays[f"{record.spec.id}/{at['step']}/{part}"] = _small(found)
    metrics = record.metrics()
    if not metrics:
        raise UnreadableError("its validations are missing or damaged; train it again")
    for name, array in zip(validations.ARRAYS, validations.flattened(metrics), strict=True):
        arrays[f"{record.spec.id}/{name}"] = array
    result = {key: record.result[key] for key in RESULT if key in record.result}
    result["rules"] = rules
    if "left_out" in result:  # the reasons name folders
        result["left_out"] = dict.fromkeys(result["left_out"], "it could not be read")
    result["provenance"] = _kept(record.result["provenance"])
    if "segments" in result["provenance"]:
        result["provenance"]["segments"] = list(map(_kept, result["provenance"]["segments"]))
    return Packed(Row(path, record.spec, result, parts), arrays)


def _kept(provenance: Mapping[str, Any]) -> dict[str, Any]:
    return {key: provenance[key] for key in PROVENANCE if key in provenance}


def _small(found: Predicted) -> NDArray[Any]:
    return found.classes.astype(smallest(found.size))


def _require(record: Record) -> None:
    """Raise UnreadableError unless a run is one that others can rely on."""
    spec, result = record.spec, record.result
    if result is None:
        raise UnreadableError(f"it is not done: {record.state}; repeat its command first")
    if not spec.target:
        raise UnreadableError("it has no target, and so no accuracy to compare")
    if spec.fabricated:
        raise UnreadableError("its data were fabricated; train on real ones")
    if spec.numbers_version != NUMBERS_VERSION:
        raise UnreadableError(
            f"its numbers are of version {spec.numbers_version}, not {NUMBERS_VERSION}; train it "
            "again with this version of the suite"
        )
    if not in_a_commit(result):
        raise UnreadableError(
            "it was trained by code that is in no commit; train from a clean clone"
        )


def arrays_beside(path: Path) -> dict[str, NDArray[Any]]:
    """Return the arrays of a file of runs.

    Raises:
        UnreadableError: they are missing or damaged.
    """
    beside = path.with_suffix(".npz")
    try:
        return arrays_of(beside)
    except UnreadableError as error:
        raise UnreadableError(f"{beside}: {error}") from None


def there(to: CommittedSet, paths: Iterable[Path]) -> dict[str, Packed]:
    """Return by id the runs that are in some of the files of a set.

    Raises:
        UnreadableError: a file is damaged.
    """
    found: dict[str, Packed] = {}
    for path in paths:
        if rows := list(to.rows(path)):
            arrays = by_run(arrays_beside(path))
            found |= {row.spec.id: Packed(row, arrays.get(row.spec.id, {})) for row in rows}
    return found


def add(to: CommittedSet, packed: Iterable[Packed], known: Mapping[str, Whole]) -> None:
    """Write runs into the files of a set, in place of runs of the same id.

    Everything that is there is read before anything is written, and a file is written whole or not
    at all. What is stopped on the way is finished by doing it again.

    Args:
        to: the set.
        packed: the runs, in the order in which samples are numbered.
        known: the samples of their parts, by key.

    Raises:
        UnreadableError: a file of the set is damaged, or the samples do not fit those of the set.
    """
    new: dict[Path, list[Packed]] = {}
    samples: dict[Path, NewSamples] = {}
    for run in packed:
        new.setdefault(run.row.path, []).append(run)
        dataset = run.row.spec.dataset
        path = to.root / dataset / committed.SAMPLES
        if path not in samples:
            samples[path] = NewSamples.of(to.samples(dataset)) if path.exists() else NewSamples()
        for key in run.row.parts.values():
            try:
                samples[path].add(key, known[key])
            except UnreadableError as error:
                raise UnreadableError(f"{path}: {error}") from None
    runs = {
        path: there(to, [path]) | {run.row.spec.id: run for run in of} for path, of in new.items()
    }
    for path, numbered in samples.items():
        _write_arrays(path, numbered.arrays())
    for path, of_file in runs.items():
        arrays = {name: array for run in of_file.values() for name, array in run.arrays.items()}
        _write_arrays(path.with_suffix(".npz"), arrays)
        with written_atomically(path) as file:
            file.write(text_of(run.row for run in of_file.values()))


def _write_arrays(path: Path, arrays: Arrays) -> None:
    with written_atomically(path) as file:
        np.savez_compressed(file, allow_pickle=False, **{k: arrays[k] for k in sorted(arrays)})


def opened(root: Path) -> CommittedSet:
    """Return the set in a folder, which `create` has yet to make where there is none.

    Raises:
        UsageError: the folder has other contents, or its set is of another version of the numbers.
        UnreadableError: its mark is damaged.
    """
    found = CommittedSet(root)
    if not committed.is_set(root):
        if root.exists() and not (root.is_dir() and all(map(_hidden, root.iterdir()))):
            raise UsageError(f"{root} is no set of results; name another folder with --set")
    elif found.numbers_version != NUMBERS_VERSION:
        raise UsageError(
            f"{root} holds numbers of version {found.numbers_version}, and these are of version "
            f"{NUMBERS_VERSION}; start a new set with --set"
        )
    return found


def _hidden(path: Path) -> bool:
    """Return whether a file is one that a killed process left, or the file system's own."""
    return path.name.startswith(".")


def create(of: CommittedSet) -> None:
    """Write the mark of a set, and an empty ledger, unless it has them."""
    if not committed.is_set(of.root):
        values = {"schema": committed.SCHEMA, "numbers_version": NUMBERS_VERSION}
        with written_atomically(of.root / committed.MARK) as file:
            file.write((json.dumps(values) + "\n").encode())
        ledger.add(of.root / committed.LEDGER, [])


def unpack(run: CommittedRun, folder: RunFolder) -> None:
    """Write a committed run into a results folder, where it counts as done.

    Its `result.json` says which set it was taken from. It has no logits and no weights.

    Raises:
        UnreadableError: what belongs to it is damaged; nothing is written.
    """
    row = run.row
    arrays: dict[str, NDArray[Any]] = {WITHOUT_LOGITS: np.array(True)}
    for rule in row.result["rules"]:
        for part in committed.PARTS:
            found = run.predicted(rule, part)
            arrays |= {
                f"{rule}/{part}/{name}": array
                for name, array in (
                    *(("ids", found.ids), ("groups", found.groups), ("labels", found.labels)),
                    ("predicted", _small(found)),
                )
            }
    metrics = run.metrics()
    make_folder(folder.path)
    folder.write_spec(row.spec)
    folder.write_metrics(metrics)
    folder.write_predictions(arrays)
    folder.log(f"taken from the committed results {run.of.name}")
    folder.write_result({**row.result, "reused": run.of.name})
