"""Committed analyses: what was measured of committed runs, one measure per line.

The lines of the runs in `<setting>/<method>.jsonl` are in `<setting>/analyses/<method>.jsonl`.
"""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from benchmark.records import analyses, shape
from benchmark.records.analyses import Measured
from benchmark.records.result import in_a_commit
from benchmark.records.shape import UnreadableError
from mmdg_common import parse_json, written_atomically

if TYPE_CHECKING:
    from benchmark.records.read import Record

FOLDER = "analyses"
PROVENANCE = ("commit", "python", "packages", "device", "driver", "cpu", "threads", "wall_s")
"""What is kept of where a measure was taken: nothing that tells of folders and host names."""


@dataclass(frozen=True)
class Line:
    """One measure of one run."""

    run: str
    """The id."""
    measured: Measured

    @property
    def name(self) -> str:
        """Return what the ledger calls it."""
        return f"{self.run}/{self.measured.key}"

    @cached_property
    def digest(self) -> str:
        """Return 16 hexadecimal digits of all that is kept."""
        return hashlib.sha256(self.text.encode()).hexdigest()[:16]

    @property
    def numbers(self) -> Mapping[str, Any]:
        """Return what a second call gives again: no provenance."""
        return asdict(replace(self.measured, provenance={}))

    @cached_property
    def text(self) -> str:
        """Return the line of the file."""
        values = {"run": self.run, **analyses.to_json(self.measured)}
        return json.dumps(values, separators=(",", ":"), allow_nan=False)


class _Values(TypedDict):
    run: str


def file_of(runs: Path) -> Path:
    """Return the file with the measures of the runs in a file."""
    return runs.parent / FOLDER / runs.name


def runs_of(path: Path) -> Path:
    """Return the file of the runs that the measures in a file are of."""
    return path.parents[1] / path.name


def read(path: Path) -> list[Line]:
    """Return the measures in a file; none where there is no file.

    Raises:
        UnreadableError: it cannot be read, or a line is damaged.
    """
    found = []
    for number, line in enumerate(shape.lines(path), 1):
        try:
            found.append(_line(line))
        except UnreadableError as error:
            raise UnreadableError(f"{path}, line {number}: {error}") from None
    return found


def _line(text: bytes) -> Line:
    values = parse_json(text)
    if values is None:
        raise UnreadableError("not whole")
    shape.require(values, _Values)
    return Line(values["run"], analyses.parse(values))


def text_of(lines: Iterable[Line]) -> bytes:
    """Return what a file of measures holds."""
    ordered = sorted(lines, key=lambda line: (line.measured.analysis, line.name))
    return "".join(f"{line.text}\n" for line in ordered).encode()


def pack(record: "Record") -> list[Line]:
    """Return what was measured of a run of a results folder, in the form that is committed.

    Raises:
        UnreadableError: a measure was taken by code that is in no commit.
    """
    assert record.folder is not None
    lines = []
    for measured in analyses.of(record.folder, record.problems):
        if not in_a_commit({"provenance": measured.provenance}):
            raise UnreadableError(
                f"{measured.analysis} was measured by code that is in no commit; measure again "
                "from a clean clone, with --force"
            )
        kept = {key: measured.provenance[key] for key in PROVENANCE if key in measured.provenance}
        lines.append(Line(record.spec.id, replace(measured, provenance=kept)))
    return lines


def add(path: Path, lines: Iterable[Line]) -> None:
    """Write measures into a file, in place of those of the same name; whole or not at all.

    Raises:
        UnreadableError: the file is damaged.
    """
    merged = {line.name: line for line in (*read(path), *lines)}
    with written_atomically(path) as file:
        file.write(text_of(merged.values()))
