"""Checking committed results: that every number follows from what is stored, and none has gone."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmark.records import committed, committed_analyses, ledger, packing, validations
from benchmark.records.committed import PARTS, CommittedSet, Row, Samples
from benchmark.records.result import in_a_commit
from benchmark.records.scores import Classes, scores
from benchmark.records.selection import OWN, REFERENCE, RULES, last, later_best_val
from benchmark.records.shape import UnreadableError

LARGEST = 10 * 2**20
"""Bytes of a file."""
SINGLE = 1e-6
"""How far a number kept in single precision may be off."""

CHOOSERS = (*RULES.items(), (REFERENCE, last), (REFERENCE, later_best_val))
"""What a validation can have been chosen by, under the name of each rule."""

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
    all_read = True
    for path in of.files():
        try:
            found.problems += [f"{path}: {text}" for text in _file(of, path, version, found)]
        except UnreadableError as error:
            found.problems.append(str(error))
            all_read = False
    for path in sorted(of.root.rglob(f"{committed_analyses.FOLDER}/*")):
        try:
            found.problems += [f"{path}: {text}" for text in _measures(of, path, found)]
        except UnreadableError as error:
            found.problems.append(str(error))
            all_read = False
    found.problems += _strangers(of.root)
    for path in sorted(of.root.glob(f"*/{committed.SAMPLES}")):
        found.problems += _samples(of, path)
    found.problems += _splits(found.runs.values())
    try:
        entries = ledger.read(of.root / committed.LEDGER)
        wrong = ledger.problems(entries, found.digests, all_read)
        found.problems += [f"{of.root}: {text}" for text in wrong]
    except UnreadableError as error:
        found.problems.append(str(error))
    found.problems = list(dict.fromkeys(found.problems))
    return found


def _file(of: CommittedSet, path: Path, version: int, found: Checked) -> Iterator[str]:
    """Yield what is wrong with a file of runs, which are added to those that were found.

    Raises:
        UnreadableError: the file, or what belongs to it, is damaged.
    """
    rows = list(of.rows(path))
    arrays = packing.by_run(packing.arrays_beside(path))
    if path.read_bytes() != packing.text_of(rows):
        yield "not as `add` writes it: a line was added, moved or changed by hand"
    samples = None
    try:
        samples = of.samples(path.relative_to(of.root).parts[0])
    except UnreadableError as error:
        yield str(error)
    for row in rows:
        key, mine = row.spec.id, arrays.get(row.spec.id, {})
        if key in found.runs:
            yield f"run {key} is there twice, here and in {found.runs[key].path}"
        found.runs[key] = row
        found.digests[key] = packing.digest(row, mine)
        if row.spec.numbers_version != version:
            yield f"run {key}: numbers of version {row.spec.numbers_version}, not {version}"
        if of.file_of(row.spec) != path:
            yield f"run {key} belongs into {of.file_of(row.spec)}"
        if samples is not None:
            yield from (f"run {key}: {text}" for text in _run(row, mine, samples))
    strange = arrays.keys() - {row.spec.id for row in rows}
    yield from (f"arrays of {name}, which is no run of the file" for name in sorted(strange))


def _measures(of: CommittedSet, path: Path, found: Checked) -> Iterator[str]:
    """Yield what is wrong with a file of measures, whose digests are added to those of the runs.

    Raises:
        UnreadableError: it is damaged.
    """
    lines = committed_analyses.read(path)
    if path.read_bytes() != committed_analyses.text_of(lines):
        yield "not as `add` writes it: a line was added, moved or changed by hand"
    for line in lines:
        if line.name in found.digests:
            yield f"{line.name} is there twice"
        found.digests[line.name] = line.digest
        row = found.runs.get(line.run)
        if row is None or of.file_of(row.spec) != committed_analyses.runs_of(path):
            yield f"{line.name} is of no run in {committed_analyses.runs_of(path)}"
        if not in_a_commit({"provenance": line.measured.provenance}):
            yield f"{line.name} was measured by code that is in no commit"


def _run(row: Row, arrays: Arrays, samples: Samples) -> Iterator[str]:
    try:
        labels = {part: samples.of(row.parts[part])[2] for part in PARTS}
    except UnreadableError as error:
        yield str(error)
    else:
        yield from run_problems(row, arrays, labels)


def _strangers(root: Path) -> Iterator[str]:
    """Yield the files of a set that should not be there, or are missing."""
    if not (root / committed.LABBOOK).is_file():
        yield f"{root}: no {committed.LABBOOK}"
    for path in sorted(root.rglob("*")):
        if path.is_symlink():
            yield f"{path}: a link; put the file itself there"
        elif path.name.startswith("."):
            yield f"{path}: hidden, and no file of a set; remove it"
        elif path.is_file() and path.stat().st_size > LARGEST:
            yield f"{path}: larger than {LARGEST >> 20} MB"
    for path in sorted(root.glob("*/*/*.npz")):
        if not path.with_suffix(".jsonl").exists():
            yield f"{path}: arrays of runs whose {path.stem}.jsonl is gone"


def run_problems(row: Row, arrays: Arrays, labels: Mapping[str, Classes]) -> Iterator[str]:
    """Yield what is wrong with one run: its id, its scores, or the validation that was chosen.

    Args:
        row: its line.
        arrays: its arrays.
        labels: of its samples, by part.
    """
    if row.result.get("id") != row.spec.id:
        yield f"its id is {row.result.get('id')}, and that of its spec {row.spec.id}"
    if row.spec.fabricated:
        yield "its data were fabricated"
    if not in_a_commit(row.result):
        yield "trained by code that is in no commit"
    sizes = {len(at[part]["per_class"]) for at in row.result["rules"].values() for part in labels}
    named = len(row.result.get("classes", ()))
    if sizes != {named}:
        yield f"it has scores of {_listed(map(str, sizes))} classes, and {named} are named"
    steps = {at["step"] for at in row.result["rules"].values()}
    names = {f"{step}/{part}" for step in steps for part in labels} | {*validations.ARRAYS}
    mine = {name.partition("/")[2]: array for name, array in arrays.items()}
    if mine.keys() != names:
        yield f"its arrays are {_listed(mine)}, and should be {_listed(names)}"
        return
    for rule, at in row.result["rules"].items():
        for part, right in labels.items():
            wrong = _rescored(at[part], mine[f"{at['step']}/{part}"], right)
            yield from (f"{part} {text} (rule {rule})" for text in wrong)
    try:
        records = validations.read(*(mine[name] for name in validations.ARRAYS))
        for rule, at in row.result["rules"].items():
            yield from (f"rule {rule}: {text}" for text in _chosen(records, rule, at))
    except UnreadableError as error:
        yield str(error)


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(names)) or "missing"


def _rescored(said: Mapping[str, Any], predicted: NDArray[Any], labels: Classes) -> Iterator[str]:
    """Yield which scores do not follow from predictions."""
    size = len(said["per_class"])
    fits = predicted.dtype.kind in "iu" and predicted.shape == labels.shape
    if not fits or predicted.min() < 0 or max(predicted.max(), labels.max()) >= size:
        yield f"predictions do not fit its {len(labels)} samples and {size} classes"
        return
    again = scores(labels, predicted.astype(np.int64), size)
    for name, value in vars(again).items():
        if not _equal(said[name], value):
            yield f"{name} is not what the predictions give"
    if said.get("n", len(labels)) != len(labels):
        yield f"n is {said['n']}, and it has {len(labels)} samples"


def _equal(a: Any, b: Any) -> bool:
    if isinstance(a, Sequence) and isinstance(b, Sequence):
        return len(a) == len(b) and all(map(_equal, a, b))
    if a is None or b is None:
        return a is b
    return math.isclose(a, b, rel_tol=0, abs_tol=1e-12)


def _chosen(
    records: Sequence[Mapping[str, Any]], rule: str, at: Mapping[str, Any]
) -> Iterator[str]:
    """Yield why a rule cannot have chosen the validation that its scores are of."""
    numbers = [
        number
        for number, record in enumerate(records)
        if (record["epoch"], record["step"]) == (at["epoch"], at["step"])
    ]
    if len(numbers) != 1:
        yield f"there is no validation at epoch {at['epoch']}, step {at['step']}"
    elif rule == OWN:  # the weights exist only after the last validation
        if numbers[0] != len(records) - 1:
            yield "it counts after the last validation"
    else:
        chosen = records[numbers[0]]
        right = [records[of(records)] for name, of in CHOOSERS if name == rule]
        if rule == "best-val":  # losses that differ can be equal in single precision
            right = [chosen for one in right if one["val"]["fused"] == chosen["val"]["fused"]]
        if not any(one is chosen for one in right):
            yield f"the validation at step {at['step']} is not the one that it chooses"
        for part in PARTS:
            if abs(chosen[part]["fused"]["accuracy"] - at[part]["accuracy"]) > SINGLE:
                yield f"the validation at step {at['step']} has another {part} accuracy"


def _samples(of: CommittedSet, path: Path) -> Iterator[str]:
    try:
        samples = of.samples(path.parent.name)
    except UnreadableError as error:
        yield str(error)
        return
    for key in samples.parts:
        if committed.key_of(*samples.of(key)) != key:
            yield f"{path}: the samples of part {key} were changed; restore the file"


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
