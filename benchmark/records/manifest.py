"""Which runs a sweep has: written when a grid is launched, and read where its data is not at hand.

Each launched grid has a file in `sweeps/` of the results folder. What a user asks about a sweep is
answered by it, so that nothing has to be planned for it: neither data nor checkpoints are needed.
"""

import hashlib
import json
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any, TypedDict

from benchmark.records import shape
from benchmark.records.run_folder import write_atomically
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from mmdg_common import UsageError

SCHEMA = 1


@dataclass(frozen=True)
class SweepRow:
    """Runs that stand under one name in tables."""

    label: str
    """The name; '' for runs that stand under their methods' names."""
    specs: tuple[RunSpec, ...]
    search_seed: int | None = None
    """Of the search that the runs belong to; None where they are no search."""


@dataclass(frozen=True)
class Manifest:
    """The runs of a launched grid."""

    grid: str
    """The file, from the root."""
    digest: str
    """Of its text when it was launched."""
    left_out: tuple[str, ...]
    """Its datasets of which nothing was launched yet."""
    rows: tuple[SweepRow, ...]


class _Runs(TypedDict):
    spec: object
    """Of all of them, but for the seed."""
    seeds: list[int]
    """In which alone they differ: ten thousand runs are few specs."""


class _Row(TypedDict):
    label: str
    search_seed: int | None
    runs: list[_Runs]


class _File(TypedDict):
    schema: int
    grid: str
    digest: str
    left_out: list[str]
    rows: list[_Row]


def digest(grid: Path) -> str:
    """Return 16 hexadecimal digits of the text of a grid."""
    return hashlib.sha256(grid.read_bytes()).hexdigest()[:16]


def find(results: Path, grid: Path) -> Manifest | None:
    """Return what was last launched of a grid; None where nothing was.

    A grid that was moved or is mounted elsewhere is known by its text, an edited one by its place.

    Args:
        results: the results folder.
        grid: the file.
    """
    place, text = _path(results, grid), digest(grid)
    others = sorted(place.parent.glob(f"{_stem(grid)}-*.json"), key=lambda p: p != place)
    found = [one for path in others if (one := _read(path)) is not None]
    same = (one for one in found if one.digest == text)
    return next(same, None) or next((one for one in found if one.grid == _name(grid)), None)


def write(results: Path, grid: Path, rows: Sequence[SweepRow], lacking: Collection[str]) -> None:
    """Write what is launched of a grid.

    Args:
        results: the results folder.
        grid: the file.
        rows: its runs.
        lacking: the datasets of the grid that the rows leave out. What the same grid launched of
            them earlier is kept.
    """
    path, text = _path(results, grid), digest(grid)
    before = _read(path)
    kept = [
        row
        for row in (before.rows if before is not None and before.digest == text else ())
        if any(spec.dataset in lacking for spec in row.specs)
    ]
    there = {spec.dataset for row in kept for spec in row.specs}
    left_out = tuple(name for name in lacking if name not in there)
    made = Manifest(_name(grid), text, left_out, (*rows, *kept))
    if made != before:
        content = _File(
            schema=SCHEMA,
            grid=made.grid,
            digest=text,
            left_out=list(left_out),
            rows=list(map(_written, made.rows)),
        )
        write_atomically(path, json.dumps(content, separators=(",", ":")).encode())


def specs(rows: Iterable[SweepRow]) -> list[RunSpec]:
    """Return the runs of all rows, each once."""
    return list({spec.id: spec for row in rows for spec in row.specs}.values())


def _name(grid: Path) -> str:
    return str(grid.resolve())


def _stem(grid: Path) -> str:
    return "".join(c if c.isalnum() else "_" for c in grid.stem)


def _path(results: Path, grid: Path) -> Path:
    place = hashlib.sha256(_name(grid).encode()).hexdigest()[:8]
    return results / "sweeps" / f"{_stem(grid)}-{place}.json"


def _written(row: SweepRow) -> _Row:
    alike = groupby(row.specs, key=lambda spec: replace(spec, seed=0))
    runs = [_Runs(spec=of.to_json(), seeds=[s.seed for s in specs]) for of, specs in alike]
    return _Row(label=row.label, search_seed=row.search_seed, runs=runs)


def _specs(runs: Iterable[Mapping[str, Any]]) -> Iterator[RunSpec]:
    for of in runs:
        spec = RunSpec.from_json(of["spec"])
        yield from (replace(spec, seed=seed) for seed in of["seeds"])


def _read(path: Path) -> Manifest | None:
    """Return what a file holds; None, and a line on stderr, where it cannot be used."""
    try:
        values = shape.load(path, _File)
        if values is None:
            return None
        if values["schema"] != SCHEMA:
            raise UnreadableError(f"schema {values['schema']}, not {SCHEMA}")
        rows = [
            SweepRow(one["label"], tuple(_specs(one["runs"])), one["search_seed"])
            for one in values["rows"]
        ]
    except (UnreadableError, UsageError) as error:
        print(f"left out: {path}: {error}", file=sys.stderr)
        return None
    return Manifest(values["grid"], values["digest"], tuple(values["left_out"]), tuple(rows))
