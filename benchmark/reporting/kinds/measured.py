"""Tables of what analyses measured of finished runs: a row per method, means over splits."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.records.analyses import Measured
from benchmark.records.read import Record
from benchmark.reporting import rows
from benchmark.reporting.captions import EMPTY, SPREAD
from benchmark.reporting.conditions import column_of
from benchmark.reporting.kinds.frame import BASELINE, difference, frame, mean_over
from benchmark.reporting.kinds.layouts import LAYOUTS
from benchmark.reporting.kinds.layouts.layout import Column
from benchmark.reporting.model import NONE, Cell, Number, Row, Score, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block, Line

Of = Mapping[str, Measured]
"""What was measured, by run."""


@dataclass(frozen=True)
class Sheet:
    """What one analysis with one choice of settings measured of the runs of a block."""

    block: Block
    of: Of
    told: tuple[str, ...]
    """The settings that tell it from the other sheets of the block."""

    @property
    def values(self) -> list[Mapping[str, Any]]:
        """Return what was measured of each run."""
        return [one.values for one in self.of.values()]

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits of which any run was measured."""
        there = {column_of(r.spec) for r in self.block.records if r.spec.id in self.of}
        return tuple(split for split in self.block.splits if split in there)


def sheets(name: str, wanted: Wanted) -> Iterator[Sheet]:
    """Yield what an analysis measured, by block and settings: no ensembles of a grid's rows."""
    for block in wanted.of_plan().seen(part="target", ensembles=False).blocks:
        found: dict[str, dict[str, Measured]] = {}
        for record in block.records:
            for one in record.measured(name):
                settings = json.dumps(dict(one.settings), sort_keys=True)
                found.setdefault(settings, {})[record.spec.id] = one
        for settings, of in found.items():
            yield Sheet(block, of, _told(json.loads(settings), list(map(json.loads, found))))


def _told(settings: Mapping[str, Any], every: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    keys = sorted({key for one in every for key in one})
    differing = [key for key in keys if len({json.dumps(one.get(key)) for one in every}) > 1]
    return tuple(f"{key}={settings[key]}" for key in differing if key in settings)


def build(name: str, wanted: Wanted) -> list[Table]:
    """Return a table for each condition, set of modalities and settings that were measured."""
    analysis = LAYOUTS[name].analysis or name
    return [_table(name, sheet, wanted.view) for sheet in sheets(analysis, wanted)]


def _table(name: str, sheet: Sheet, view: View) -> Table:
    layout = LAYOUTS[name]
    columns = layout.columns(sheet.values)
    table = frame(name, [sheet.block], view)
    lines = [line for line in sheet.block.lines if of_line(line, sheet.of)]
    about = (*layout.notes, *layout.remarks(sheet.values), *_notes(sheet, columns))
    return replace(
        table,
        subject=(*table.subject, *sheet.told),
        columns=tuple(column.label for column in columns),
        rows=tuple(_row(line, sheet, columns) for line in lines),
        metric="",
        # Without a row, which settings are not shown is all that there is to say.
        notes=(*(about if lines else ()), *sheet.block.notes),
    )


def of_line(line: Line, of: Of) -> list[Record]:
    """Return the runs of a row that were measured."""
    return [record for record in line.records if record.spec.id in of]


def _row(line: Line, sheet: Sheet, columns: Sequence[Column]) -> Row:
    records = of_line(line, sheet.of)
    cells = tuple(cell(records, sheet, column) for column in columns)
    return Row(line.label, line.rule, cells, records=tuple(records), tried=line.tried)


def cell(records: Sequence[Record], sheet: Sheet, column: Column) -> Cell:
    """Return the mean over splits of what was measured, with its spread over seeds."""
    found = score(records, sheet, column)
    if column.gain:
        return difference(score(_baseline(sheet), sheet, column), found)
    if column.percent or not found.n:
        return Score(found.values) if found.n else NONE
    return Number(found.mean, column.form, found.std if found.n > 1 else None, found.n)


def score(records: Sequence[Record], sheet: Sheet, column: Column) -> Score:
    """Return the mean over splits of what was measured, by seed."""
    factor = 100 if column.percent else 1
    values = {
        record.spec.id: factor * value
        for record in records
        if (value := column.look(sheet.of[record.spec.id].values)) is not None
    }
    seeds = {record.spec.seed for record in records}
    return rows.averaged(rows.by_split(records, values), sheet.splits, seeds)


def _baseline(sheet: Sheet) -> Sequence[Record]:
    """Return the runs of the baseline with its default hyper-parameters."""
    lines = (line for line in sheet.block.lines if line.label == BASELINE)
    return next((of_line(line, sheet.of) for line in lines), ())


def _notes(sheet: Sheet, columns: Sequence[Column]) -> Iterator[str]:
    yield (
        f"{SPREAD.capitalize()}. A seed counts with {mean_over(sheet.splits)} "
        f"({', '.join(sheet.splits)}); {EMPTY} means that no seed has every split."
        + (" Accuracies are in percent." if any(column.percent for column in columns) else "")
    )
    if lacking := len(sheet.block.records) - len(sheet.of):
        yield f"{lacking} of {len(sheet.block.records)} runs are not measured."
