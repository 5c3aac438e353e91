"""Reading records: from results folders, exported files, and sets of committed results."""

import json
import zipfile
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, TypedDict

from benchmark.records import analyses, result, shape
from benchmark.records.analyses import Measured
from benchmark.records.committed import CommittedRun, CommittedSet, is_set
from benchmark.records.predictions import Predicted
from benchmark.records.run_folder import PREDICTIONS, SPEC, RunFolder
from benchmark.records.selection import OWN, rule_of
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from benchmark.records.state import State, parse_state
from benchmark.records.store import Store
from mmdg_common import UsageError, parse_json, written_atomically


@dataclass(frozen=True)
class Record:
    """One run of the store."""

    spec: RunSpec
    state: State
    error: str = ""
    """Why the run failed or was interrupted."""
    result: Mapping[str, Any] | None = None
    """None until the run is done."""
    folder: Path | None = None
    """Where the run's files are; None for a record that was exported without them."""
    committed: CommittedRun | None = None
    """What a committed run keeps in place of a folder."""
    tried: int = 1
    """The settings among which source validation chose this run."""
    problems: list[str] = field(default_factory=list, compare=False, repr=False)
    """Gains a line for every file that turns out damaged when it is needed."""
    kept: dict[Hashable, Any] = field(default_factory=dict, init=False, compare=False, repr=False)
    """What was made of the run's files and is wanted again, so that they are read once."""

    @cached_property
    def has_predictions(self) -> bool:
        """Whether there is a whole file of predictions."""
        if self.result is None:
            return False
        if self.committed is not None:
            return zipfile.is_zipfile(self.committed.path)
        return self.folder is not None and RunFolder(self.folder).has_predictions()

    def predicted(self, rule: str, part: str = "target") -> Predicted | None:
        """Return the stored predictions; None, and a line in `problems`, where they are damaged.

        Args:
            rule: the selection rule that is wanted; a run with a rule of its own counts by that.
            part: `target`, or `val` for the validation part of the sources.
        """
        if self.result is None or not self.has_predictions:
            return None
        rule = rule_of(self.result, rule)
        size = len(self.result["rules"][rule][part]["per_class"])
        try:
            if self.committed is not None:
                path = self.committed.path
                return self.committed.predicted(rule, part)
            assert self.folder is not None  # it has predictions
            path = self.folder / PREDICTIONS
            return RunFolder(self.folder).predicted(rule, part, size)
        except UnreadableError as error:
            self._tell(path, error)
            return None

    def metrics(self) -> list[dict[str, Any]]:
        """Return the run's validations; none, and a line in `problems`, where they are damaged."""
        if self.committed is not None:
            path, read = self.committed.path, self.committed.metrics
        elif self.folder is not None:
            folder, tested = RunFolder(self.folder), bool(self.spec.target)
            path, read = folder.metrics_file, partial(folder.metrics, tested=tested)
        else:
            return []
        try:
            return read()
        except UnreadableError as error:
            self._tell(path, error)
            return []

    def measured(self, analysis: str) -> list[Measured]:
        """Return what an analysis measured of the run, once for each of its settings."""
        if "analyses" not in self.kept:
            self.kept["analyses"] = self._measured()
        return [one for one in self.kept["analyses"] if one.analysis == analysis]

    def _measured(self) -> list[Measured]:
        if self.folder is not None:
            return list(analyses.of(self.folder, self.problems))
        if self.committed is None:
            return []
        try:
            return self.committed.of.measured(self.committed.row)
        except UnreadableError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))
            return []

    def _tell(self, path: Path, error: UnreadableError) -> None:
        if not any(problem.startswith(f"{path}: ") for problem in self.problems):
            self.problems.append(f"{path}: {error}; the run counts without it")


@dataclass
class Found:
    """The records that were read, and what was left out with the reason."""

    records: list[Record] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Grows as long as the records are used, see `Record.problems`."""


def read(places: Sequence[Path], rule: str | None = None) -> Found:
    """Return the records of results folders, committed sets and exported `.jsonl` files.

    Of a run in several places the first record that is done counts, or else the first.

    Args:
        places: folders and files.
        rule: the selection rule that is wanted, so that no other is kept in memory. None: all.

    Raises:
        UsageError: an exported file cannot be opened.
    """
    found = Found()
    by_id: dict[str, Record] = {}
    for place in places:
        for record in _of_place(place, found):
            if rule and _lacks(record, rule):
                found.problems.append(f"{record.folder or place}: no figures under {rule}")
                continue
            before = by_id.get(record.spec.id)
            if before is None or (before.result is None and record.result is not None):
                by_id[record.spec.id] = _trimmed(record, rule)
    found.records = list(by_id.values())
    return found


def _of_place(place: Path, found: Found) -> Iterator[Record]:
    if place.suffix == ".jsonl":
        return _exported(place, found)
    return _committed(place, found) if is_set(place) else _stored(place, found)


def run(folder: Path) -> Record:
    """Return the record of one run that is done.

    Args:
        folder: of the run, the one that holds its spec.json.

    Raises:
        UsageError: it is no such folder, its files are damaged, or the run is not done.
    """
    try:
        spec = RunFolder(folder).spec()
    except (UnreadableError, UsageError) as error:
        raise UsageError(f"{folder / SPEC}: {error}") from None
    if spec is None:
        raise UsageError(
            f"{folder} is not the folder of a run, as it holds no {SPEC}; the command that "
            "trained the run prints it: repeat that one"
        )
    problems: list[str] = []
    record = of_folder(spec, RunFolder(folder), problems)
    if record.result is None:
        why = f" ({problems[0]})" if problems else ""
        raise UsageError(
            f"the run in {folder} is not done but {record.state}{why}; repeat the command that "
            "trains it"
        )
    return record


def data_roots(records: Iterable[Record]) -> dict[str, Path]:
    """Return by dataset the folder in which runs found their data, where it is still there."""
    found = {}
    for record in records:
        root = record.result["provenance"].get("data_root") if record.result else None
        if root and Path(root).is_dir():
            found[record.spec.dataset] = Path(root)
    return found


def _lacks(record: Record, rule: str) -> bool:
    result = record.result
    if result is None or not record.spec.target:  # which no table shows
        return False
    return rule_of(result, rule) not in result["rules"]


def export(records: Iterable[Record], path: Path) -> int:
    """Write records to a `.jsonl` file, one per line, without predictions; return how many."""
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
    return replace(record, result={**record.result, "rules": rules})


def _stored(root: Path, found: Found) -> Iterator[Record]:
    store = Store(root)
    for spec, folder in store.all():
        yield of_folder(spec, folder, found.problems)
    found.problems += store.problems


def _committed(root: Path, found: Found) -> Iterator[Record]:
    of = CommittedSet(root)
    try:
        of.require()
    except UnreadableError as error:
        found.problems.append(str(error))
        return
    for path in of.files():
        if not zipfile.is_zipfile(beside := path.with_suffix(".npz")):
            found.problems.append(f"{beside}: missing or not whole; its runs count without it")
        try:
            for row in of.rows(path, found.problems):
                run = CommittedRun(of, row)
                yield Record(
                    row.spec, State.DONE, "", row.result, committed=run, problems=found.problems
                )
        except UnreadableError as error:
            found.problems.append(str(error))


def of_folder(spec: RunSpec, folder: RunFolder, problems: list[str]) -> Record:
    """Return the record of a run's folder; `problems` gains what is wrong with its files."""
    status, values = folder.look()
    if status.problem:
        problems.append(f"{folder.path}/{status.problem}; the run counts as {status.state}")
    if values is None:
        return Record(spec, status.state, status.error, None, folder.path)
    try:
        _require_setting(values, spec)
    except UnreadableError as error:
        problems.append(f"{folder.path / result.NAME}: {error}; the run counts as {State.TO_DO}")
        return Record(spec, State.TO_DO, "", None, folder.path)
    problems += [f"{path}: not whole; the run counts without it" for path in folder.cut_off()]
    return Record(spec, State.DONE, "", values, folder.path, problems=problems)


def _require_setting(values: Mapping[str, Any], spec: RunSpec) -> None:
    """Raise UnreadableError unless a result is of the setting of a spec: some have no target."""
    setting = values.get("setting", spec.setting)
    if setting != spec.setting:
        raise UnreadableError(f"of setting {setting}, and the run is of {spec.setting}")


class _Line(TypedDict):
    """One line of an exported file."""

    spec: dict[str, object]
    state: str
    error: str
    result: dict[str, object] | None


def _exported(path: Path, found: Found) -> Iterator[Record]:
    try:
        file = path.open("rb")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
    with file:
        for number, line in enumerate(file, 1):
            try:
                yield _of_line(line)
            except (UnreadableError, UsageError) as error:
                found.problems.append(f"{path}, line {number}: {error}")


def _of_line(line: bytes) -> Record:
    values = parse_json(line)
    if values is None:
        raise UnreadableError("no record of this version")
    shape.require(values, _Line)
    spec, state = RunSpec.from_json(values["spec"]), parse_state(values["state"])
    if values["result"] is not None:
        result.require(values["result"])
        _require_setting(values["result"], spec)
    elif state is State.DONE:
        raise UnreadableError("done, but without a result")
    return Record(spec, state, values["error"], values["result"])
