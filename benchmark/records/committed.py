"""Committed results: sets of runs, packed so that a repository can carry them.

    results/CURRENT                              names the set that counts
    results/<set>/set.json                       the schema and the version of the numbers
    results/<set>/labbook.md                     who ran what, when, on which hardware
    results/<set>/ledger.csv                     a line for every run that was ever added
    results/<set>/<dataset>/samples.npz          ids, groups, labels, and the samples of parts
    results/<set>/<dataset>/<setting>/<method>.jsonl    one run per line: spec, result, parts
    results/<set>/<dataset>/<setting>/<method>.npz      what they predicted, and their validations
    results/<set>/<dataset>/<setting>/analyses/<method>.jsonl   what analyses measured of them

Of the predictions the class is kept, at every validation that a selection rule chose, so that every
score, mark and interval can be computed again. Logits and weights are not kept.
"""

import hashlib
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from numpy.typing import NDArray

from benchmark.records import committed_analyses, predictions, result, shape, validations
from benchmark.records.analyses import Measured
from benchmark.records.predictions import Predicted
from benchmark.records.selection import rule_of
from benchmark.records.shape import Count, UnreadableError
from benchmark.records.spec import RunSpec
from mmdg_common import UsageError, parse_json

HOME = Path(__file__).resolve().parents[2] / "results"
"""Where a clone of the repository has its committed results."""
SCHEMA = 1
MARK, SAMPLES, LEDGER, LABBOOK, CURRENT = (
    *("set.json", "samples.npz", "ledger.csv", "labbook.md", "CURRENT"),
)

PART = "part/"
"""Begins the names of the arrays of parts among those of the samples."""

Part = NDArray[np.int64]
"""Which samples of the dataset make a part, by number."""
Whole = tuple[NDArray[np.str_], NDArray[np.str_], NDArray[np.int64]]
"""Ids, groups and labels of the samples of a part."""


class SetFile(TypedDict):
    """`set.json`."""

    schema: Count
    numbers_version: Count


class Parts(TypedDict):
    """By part, the key of its samples."""

    val: str
    target: str


class Line(TypedDict):
    """One line of a `.jsonl` file."""

    spec: dict[str, object]
    result: dict[str, object]
    parts: Parts


PARTS = ("val", "target")
"""Of the data, on which a run has scores: the validation part of its sources, and its target."""


@dataclass(frozen=True)
class Row:
    """One committed run."""

    path: Path
    """Of the file that has its line."""
    spec: RunSpec
    result: Mapping[str, Any]
    parts: Mapping[str, str]
    """By part, `val` and `target`, the key of its samples."""


class Samples:
    """The samples of a dataset, and the parts that runs were validated and tested on.

    Raises:
        UnreadableError: arrays are missing, or of the wrong type or shape.
    """

    def __init__(self, arrays: Mapping[str, NDArray[Any]]) -> None:
        self.parts: dict[str, Part] = {
            name.removeprefix(PART): rows for name, rows in arrays.items() if name.startswith(PART)
        }
        others = {name: array for name, array in arrays.items() if not name.startswith(PART)}
        kinds = {name: (array.dtype.kind, array.ndim) for name, array in others.items()}
        if kinds != {"ids": ("U", 1), "groups": ("U", 2), "labels": ("i", 1)}:
            raise UnreadableError("its arrays are not ids, groups, labels and parts")
        self.ids, self.groups, self.labels = others["ids"], others["groups"], others["labels"]
        n = len(self.ids)
        if len(self.groups) != n or len(self.labels) != n or (n and self.labels.min() < 0):
            raise UnreadableError("ids, groups and labels do not fit together")
        for key, rows in self.parts.items():
            fits = rows.dtype.kind == "i" and rows.ndim == 1 and rows.size
            if not fits or rows.min() < 0 or rows.max() >= n:
                raise UnreadableError(f"part {key} does not consist of its samples")

    def of(self, key: str) -> Whole:
        """Return ids, groups and labels of a part.

        Raises:
            UnreadableError: there is no such part.
        """
        if key not in self.parts:
            raise UnreadableError(f"{SAMPLES} has no part {key}")
        rows = self.parts[key]
        return self.ids[rows], self.groups[rows], self.labels[rows].astype(np.int64)


def key_of(ids: NDArray[np.str_], groups: NDArray[np.str_], labels: NDArray[np.int64]) -> str:
    """Return 12 hexadecimal digits that name these samples in this order, with their labels."""
    text = json.dumps([ids.tolist(), groups.tolist(), labels.tolist()])
    return hashlib.sha256(text.encode()).hexdigest()[:12]


@dataclass(frozen=True)
class CommittedSet:
    """A set of committed runs; files are read when they are asked for."""

    root: Path
    _samples: dict[str, Samples] = field(default_factory=dict, compare=False, repr=False)
    _measured: dict[Path, dict[str, list[Measured]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @property
    def name(self) -> str:
        """Return what tables call it."""
        return self.root.resolve().name

    @cached_property
    def numbers_version(self) -> int:
        """Return the version that all its runs have.

        Raises:
            UnreadableError: `set.json` is damaged, or of another schema.
        """
        try:
            values = shape.load(self.root / MARK, SetFile)
        except UnreadableError as error:
            raise UnreadableError(f"{self.root / MARK}: {error}") from None
        if values is None or values["schema"] != SCHEMA:
            raise UnreadableError(f"{self.root / MARK}: not of schema {SCHEMA}")
        return int(values["numbers_version"])

    def require(self) -> None:
        """Raise UnreadableError, with the reason, unless the set is of this schema."""
        _ = self.numbers_version

    def files(self) -> list[Path]:
        """Return the files of runs, sorted."""
        return sorted(self.root.glob("*/*/*.jsonl"))

    def file_of(self, spec: RunSpec) -> Path:
        """Return the file that holds, or would hold, a run."""
        return self.root / spec.dataset / spec.setting / f"{spec.method}.jsonl"

    def rows(self, path: Path, problems: list[str] | None = None) -> Iterator[Row]:
        """Yield the runs of one of the files; none where there is no file.

        Args:
            path: the file.
            problems: gains the lines that are damaged, or of another version, and are passed over.
                None: they are errors.

        Raises:
            UnreadableError: the file cannot be read.
        """
        for number, line in enumerate(shape.lines(path), 1):
            try:
                yield _row(path, line)
            except (UnreadableError, UsageError) as error:
                if problems is None:
                    raise UnreadableError(f"{path}, line {number}: {error}") from None
                problems.append(f"{path}, line {number}: {error}")

    def done(
        self,
        dataset: str | None = None,
        method: str | None = None,
        modalities: Sequence[str] | None = None,
    ) -> Iterator[tuple[RunSpec, Mapping[str, Any]]]:
        """Yield runs with their results, as `Store.done` does; what is damaged is passed over."""
        for path in sorted(self.root.glob(f"{dataset or '*'}/*/{method or '*'}.jsonl")):
            with suppress(UnreadableError):
                for row in self.rows(path, []):
                    if modalities is None or row.spec.modalities == tuple(modalities):
                        yield row.spec, row.result

    def measured(self, row: "Row") -> list[Measured]:
        """Return what was measured of one of its runs.

        Raises:
            UnreadableError: the file is damaged.
        """
        path = committed_analyses.file_of(row.path)
        if path not in self._measured:
            found = self._measured.setdefault(path, {})
            for line in committed_analyses.read(path):
                found.setdefault(line.run, []).append(line.measured)
        return self._measured[path].get(row.spec.id, [])

    def samples(self, dataset: str) -> Samples:
        """Return the samples of a dataset.

        Raises:
            UnreadableError: they are missing or damaged.
        """
        if dataset not in self._samples:
            path = self.root / dataset / SAMPLES
            try:
                self._samples[dataset] = Samples(arrays_of(path))
            except UnreadableError as error:
                raise UnreadableError(f"{path}: {error}") from None
        return self._samples[dataset]


@dataclass(frozen=True)
class CommittedRun:
    """What a committed run predicted, and its validations."""

    of: CommittedSet
    row: Row

    @property
    def path(self) -> Path:
        """Return the file of its arrays."""
        return self.row.path.with_suffix(".npz")

    def predicted(self, rule: str, part: str) -> Predicted:
        """Return the predictions; see `predictions.read`.

        Raises:
            UnreadableError: they are damaged.
        """
        at = self.row.result["rules"][rule_of(self.row.result, rule)]
        try:
            ids, groups, labels = self.of.samples(self.row.spec.dataset).of(self.row.parts[part])
            with np.load(self.path, allow_pickle=False) as arrays:
                classes = arrays[f"{self.row.spec.id}/{at['step']}/{part}"].astype(np.int64)
        except UnreadableError:
            raise
        except Exception as error:  # as in `predictions.read`
            raise UnreadableError(f"cannot be read: {type(error).__name__}: {error}") from None
        size = len(at[part]["per_class"])
        return predictions.checked(Predicted(self.path, ids, groups, labels, None, classes, size))

    def metrics(self) -> list[dict[str, Any]]:
        """Return the validations, one dictionary each, as `metrics.jsonl` has them.

        Raises:
            UnreadableError: they are damaged.
        """
        try:
            with np.load(self.path, allow_pickle=False) as arrays:
                columns, values = (
                    arrays[f"{self.row.spec.id}/{name}"] for name in validations.ARRAYS
                )
        except Exception as error:
            raise UnreadableError(f"cannot be read: {type(error).__name__}") from None
        return validations.read(columns, values)


def arrays_of(path: Path) -> dict[str, NDArray[Any]]:
    """Return all arrays of a file.

    Raises:
        UnreadableError: it is missing or damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
    except Exception as error:
        raise UnreadableError(f"cannot be read: {type(error).__name__}") from None
    if strange := [name for name, one in arrays.items() if not isinstance(one, np.ndarray)]:
        raise UnreadableError(f"{strange[0]} is no array")
    return arrays


def _row(path: Path, line: bytes) -> Row:
    values = parse_json(line)
    if values is None:
        raise UnreadableError("not whole")
    shape.require(values, Line)
    result.require(values["result"])
    shape.require(values["result"], result.Result)  # which has a target in any case
    spec = RunSpec.from_json(values["spec"])
    if not spec.target:
        raise UnreadableError("a run without a target")
    return Row(path, spec, values["result"], values["parts"])


def is_set(path: Path) -> bool:
    """Return whether a folder is a set of committed runs."""
    return os.path.isfile(path / MARK)  # False for whatever cannot be a path


def current(home: Path | None = None) -> CommittedSet | None:
    """Return the set that `CURRENT` names in a folder, `HOME` by default; None where there is none.

    Raises:
        UsageError: it names something else.
    """
    home = HOME if home is None else home
    try:
        name = (home / CURRENT).read_text(encoding="utf-8", errors="replace").strip()
    except OSError:
        return None
    if not is_set(home / name):
        raise UsageError(f"{home / CURRENT} names {name!r}, which is no set of results")
    return CommittedSet(home / name)


def find(place: Path) -> CommittedSet | None:
    """Return the set in a folder, or the one that its `CURRENT` names; None without committed ones.

    Raises:
        UsageError: the folder is not the suite's own and has neither.
    """
    found = CommittedSet(place) if is_set(place) else current(place)
    if found is None and place != HOME:
        raise UsageError(f"{place} has no committed results: neither {MARK} nor {CURRENT}")
    return found
