"""Checking committed results: that every number follows from what is stored, and none has gone."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.records import committed, ledger, packing
from benchmark.records.committed import CommittedSet, Row, Samples, arrays_of
from benchmark.records.scores import scores
from benchmark.records.selection import BY_ACCURACY
from benchmark.records.shape import UnreadableError

LARGEST = 10 * 2**20
"""Bytes of a file."""
SINGLE = 1e-6
"""How far a number kept in single precision may be off."""

Arrays = Mapping[str, NDArray[Any]]


@dataclass
class Checked:
    """What was found in a set."""

    runs: dict[str, Row] = field(default_factory=dict)
    digests: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def check(of: CommittedSet) -> Checked:
    """Return the runs of a set, and all that is wrong with it."""
    found = Checked()
    try:
        version = of.numbers_version
    except UnreadableError as error:
        found.problems.append(str(error))
        return found
    if not (of.root / committed.LABBOOK).is_file():
        found.problems.append(f"{of.root}: no {committed.LABBOOK}")
    for path in of.files():
        found.problems += [f"{path}: {text}" for text in _file(of, path, version, found)]
    for path in sorted(of.root.rglob("*")):
        if path.is_file() and path.stat().st_size > LARGEST:
            found.problems.append(f"{path}: larger than {LARGEST >> 20} MB")
    for dataset in sorted({row.spec.dataset for row in found.runs.values()}):
        found.problems += [f"{dataset}: {text}" for text in _samples(of, dataset)]
    found.problems += _splits(found.runs.values())
    try:
        entries = ledger.read(of.root / committed.LEDGER)
        found.problems += [f"{of.root}: {text}" for text in ledger.problems(entries, found.digests)]
    except UnreadableError as error:
        found.problems.append(str(error))
    return found


def _file(of: CommittedSet, path: Path, version: int, found: Checked) -> Iterator[str]:
    try:
        rows = list(of.rows(path))
        arrays = arrays_of(path.with_suffix(".npz"))
        samples = of.samples(path.relative_to(of.root).parts[0])
    except UnreadableError as error:
        yield str(error)
        return
    by_run: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        by_run.setdefault(name.split("/")[0], {})[name] = array
    for row in rows:
        key = row.spec.id
        mine = by_run.pop(key, {})
        if key in found.runs:
            yield f"run {key} is there twice"
        found.runs[key] = row
        found.digests[key] = packing.digest(row, mine)
        if row.spec.numbers_version != version:
            yield f"run {key}: numbers of version {row.spec.numbers_version}, not {version}"
        if of.file_of(row.spec) != path:
            yield f"run {key} belongs into {of.file_of(row.spec)}"
        yield from (f"run {key}: {text}" for text in run_problems(row, mine, samples))
    yield from (f"arrays of {name}, which is no run of the file" for name in by_run)


def run_problems(row: Row, arrays: Arrays, samples: Samples) -> Iterator[str]:
    """Yield what is wrong with one run: its id, its scores, or the validation that was chosen.

    Args:
        row: its line.
        arrays: its arrays.
        samples: of its dataset.
    """
    if row.result.get("id") != row.spec.id:
        yield f"its id is {row.result.get('id')}, and that of its spec {row.spec.id}"
    if row.spec.fabricated:
        yield "its data were fabricated"
    commit = row.result["provenance"].get("commit")
    if not commit or commit.endswith("+dirty"):
        yield "trained by code that is in no commit"
    try:
        for rule, at in row.result["rules"].items():
            for part in ("val", "target"):
                yield from _rescored(row, arrays, samples, rule, part)
            yield from _chosen(row, arrays, rule, at)
    except (KeyError, IndexError, ValueError) as error:
        yield f"what belongs to it is missing or damaged: {type(error).__name__}: {error}"


def _rescored(row: Row, arrays: Arrays, samples: Samples, rule: str, part: str) -> Iterator[str]:
    at = row.result["rules"][rule]
    said = at[part]
    _, _, labels = samples.of(row.parts[part])
    predicted = arrays[f"{row.spec.id}/{at['step']}/{part}"].astype(np.int64)
    if predicted.shape != labels.shape or predicted.max() >= len(said["per_class"]):
        yield f"its predictions under {rule} do not fit the {part} samples"
        return
    again = scores(labels.astype(np.int64), predicted, len(said["per_class"]))
    for name, value in vars(again).items():
        if not _equal(said[name], value):
            yield f"{part} {name} under {rule} is not what its predictions give"
    if said.get("n", len(labels)) != len(labels):
        yield f"the number of {part} samples under {rule} is wrong"


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Sequence) and isinstance(b, Sequence):
        return len(a) == len(b) and all(map(_equal, a, b))
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=0, abs_tol=1e-12)


def _chosen(row: Row, arrays: Arrays, rule: str, at: Mapping[str, Any]) -> Iterator[str]:
    """Check that a rule chose the validation that its records say it must."""
    if rule not in BY_ACCURACY:
        return
    columns = arrays[f"{row.spec.id}/columns"].tolist()
    values = arrays[f"{row.spec.id}/metrics"]

    def column(*place: str) -> NDArray[Any]:
        found: NDArray[Any] = values[:, columns.index(committed.column_of(place))]
        return found

    part = BY_ACCURACY[rule]
    accuracies = column(part, "fused", "accuracy")
    (numbers,) = np.nonzero(column("step") == at["step"])
    if not len(numbers) or accuracies[numbers[0]] < accuracies.max() - SINGLE:
        yield f"{rule} did not choose the best validation"
    elif abs(accuracies[numbers[0]] - at[part]["accuracy"]) > SINGLE:
        yield f"{part} accuracy under {rule} is not that of its validation"


def _samples(of: CommittedSet, dataset: str) -> Iterator[str]:
    samples = of.samples(dataset)
    for key in samples.parts:
        try:
            right = committed.key_of(*samples.of(key)) == key
        except IndexError:
            right = False
        if not right:
            yield f"the samples of part {key} were changed"


def _splits(rows: Iterable[Row]) -> Iterator[str]:
    """Yield the splits whose runs were not all scored on the same samples."""
    seen: dict[tuple[Any, ...], tuple[str, str]] = {}
    for row in rows:
        spec = row.spec
        split = (spec.dataset, spec.data, spec.setting, spec.sources, spec.target, spec.modalities)
        for part, key in row.parts.items():
            first = seen.setdefault((*split, part), (key, spec.id))
            if first[0] != key:
                yield f"runs {first[1]} and {spec.id} of one split have other {part} samples"
