"""What analyses measured of finished runs: one file beside each run, per analysis and settings."""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path, PurePath
from typing import Any, TypedDict

from benchmark.records import shape
from benchmark.records.run_folder import RunFolder, write_atomically
from benchmark.records.shape import UnreadableError

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


def write(run: Path, measured: Measured) -> None:
    """Write what was measured of the run in a folder, whole or not at all."""
    text = json.dumps(to_json(measured), indent=1, allow_nan=False)
    write_atomically(run / FOLDER / f"{measured.key}.json", (text + "\n").encode())


class _File(TypedDict):
    schema: int
    analysis: str
    version: int
    settings: dict[str, object]
    values: dict[str, object]
    provenance: dict[str, object]


def there(run: Path, key: str) -> bool:
    """Return whether a run has a whole measure of an analysis with some settings."""
    try:
        _read(RunFolder(run), f"{FOLDER}/{key}.json")
    except UnreadableError:
        return False
    return True


def _read(folder: RunFolder, name: str) -> Measured:
    data = folder.read(name)
    if data is None:
        raise UnreadableError("there is no such file")
    measured = parse(shape.parse(data, _File))
    if PurePath(name).stem != measured.key:
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
    folder = RunFolder(run)
    for name in folder.names(FOLDER):
        try:
            yield _read(folder, name)
        except UnreadableError as error:
            problems.append(f"{run / name}: {error}; remove it, and analyze the run again")
