"""What analyses measured of finished runs: one file beside each run, per analysis and settings."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from benchmark.records import shape
from benchmark.records.shape import UnreadableError
from benchmark.records.store import write_atomically

FOLDER = "analysis"
SCHEMA = 1


@dataclass(frozen=True)
class Measured:
    """What one analysis measured of one run."""

    analysis: str
    version: int
    """Of the analysis: raised when the same settings give other numbers."""
    settings: Mapping[str, Any]
    values: Mapping[str, Any]
    provenance: Mapping[str, Any]
    """Device, threads, versions, seconds: what does not belong to the numbers."""

    @property
    def key(self) -> str:
        """Return what tells it from other measures of the same run."""
        return key(self.analysis, self.version, self.settings)


def key(analysis: str, version: int, settings: Mapping[str, Any]) -> str:
    """Return the name of an analysis with these settings, as files bear it."""
    text = json.dumps([version, dict(settings)], sort_keys=True)
    return f"{analysis}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def file(run: Path, key: str) -> Path:
    """Return where a run's folder holds what was measured."""
    return run / FOLDER / f"{key}.json"


def write(run: Path, measured: Measured) -> None:
    """Write what was measured of the run in a folder, whole or not at all."""
    text = json.dumps(to_json(measured), indent=1, allow_nan=False)
    write_atomically(file(run, measured.key), (text + "\n").encode())


class _File(TypedDict):
    schema: int
    analysis: str
    version: int
    settings: dict[str, object]
    values: dict[str, object]
    provenance: dict[str, object]


def read(path: Path) -> Measured:
    """Return what a file holds.

    Raises:
        UnreadableError: it is damaged, or of another version of the suite.
    """
    found = shape.load(path, _File)
    if found is None:
        raise UnreadableError("there is no such file")
    measured = parse(found)
    if path.stem != measured.key:
        raise UnreadableError("its name is not that of its analysis and settings")
    return measured


def parse(values: Mapping[str, Any]) -> Measured:
    """Return what was written as a JSON object.

    Raises:
        UnreadableError: it is something else, or of another version of the suite.
    """
    shape.require(values, _File)
    if values["schema"] != SCHEMA:
        raise UnreadableError(f"of schema {values['schema']}, and this suite reads {SCHEMA}")
    return Measured(**{one.name: values[one.name] for one in fields(Measured)})


def to_json(measured: Measured) -> dict[str, Any]:
    """Return what is written of a measure."""
    return {"schema": SCHEMA, **asdict(measured)}


def of(run: Path, problems: list[str]) -> Iterator[Measured]:
    """Yield what was measured of the run in a folder; `problems` gains the files passed over."""
    for path in sorted((run / FOLDER).glob("*.json")):
        try:
            yield read(path)
        except UnreadableError as error:
            problems.append(f"{path}: {error}; remove it, and analyze the run again")
