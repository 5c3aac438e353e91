"""Tables of a grid: exactly its runs, its labels for rows, and what of it is not run yet."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from benchmark.planning.grid import Row as GridRow
from benchmark.records.read import Record
from benchmark.records.state import State
from benchmark.reporting import blocks, conditions, significance
from benchmark.reporting.blocks import View
from benchmark.reporting.kinds.accuracy import floors
from benchmark.reporting.model import AVERAGE, Missing, Row, Table
from mmdg_common import UsageError


def build(rows: Sequence[GridRow], records: Iterable[Record], view: View, name: str) -> list[Table]:
    """Return a table for each dataset and setting of a grid, its groups the sets of modalities.

    Args:
        rows: of the grid, planned.
        records: all there are; what is not of the grid is left out.
        view: what is looked at of every run.
        name: of the kind of table.
    """
    known = {record.spec.id: record for record in records}
    found: dict[tuple[str, str], dict[tuple[str, ...], dict[str, list[Record]]]] = {}
    for row in rows:
        for spec in row.plan.specs:
            sets = found.setdefault((spec.dataset, spec.setting), {})
            labels = sets.setdefault(spec.modalities, {})
            record = known.get(spec.id) or Record(spec, State.TO_DO)
            runs = labels.setdefault(row.label or spec.method, [])
            if record not in runs:
                runs.append(record)
    return [_table(key, sets, view, name) for key, sets in found.items()]


def _check_labels(sets: Mapping[tuple[str, ...], Mapping[str, list[Record]]]) -> None:
    """Raise UsageError if a row would hold two runs of one column and seed."""
    for labels in sets.values():
        for label, runs in labels.items():
            places = {(blocks.column_of(run.spec), run.spec.seed) for run in runs}
            if len(places) < len(runs):
                raise UsageError(
                    f"the row {label!r} of the grid holds several runs of one target and seed; "
                    "give its entries or variants labels that tell them apart"
                )


def _table(
    key: tuple[str, str],
    sets: Mapping[tuple[str, ...], Mapping[str, list[Record]]],
    view: View,
    name: str,
) -> Table:
    everything = [r for labels in sets.values() for runs in labels.values() for r in runs]
    columns = {
        blocks.column_of(r.spec): (r.spec.sources, r.spec.target)
        for r in sorted(everything, key=lambda r: blocks.column_of(r.spec))
    }
    _check_labels(sets)
    rows: list[Row] = []
    missing: list[Missing] = []
    notes: list[str] = []
    for modalities, labels in sets.items():
        group = [record for runs in labels.values() for record in runs]
        block = blocks.fill(group, list(labels.items()), columns, view)
        rows += [replace(row, group="+".join(modalities)) for row in block.rows]
        missing += block.missing
        notes += block.notes
    one = ["+".join(next(iter(sets)))] if len(sets) == 1 else []
    table = Table(
        name=name,
        subject=(*key, *one),
        columns=(*columns, AVERAGE),
        rows=tuple(rows),
        rule=view.rule,
        metric=view.metric,
        first="row",
        grouped="" if one else "modalities",
        part=view.part,
        fabricated=everything[0].spec.fabricated,
        numbers_version=everything[0].spec.numbers_version,
        missing=tuple(missing),
        notes=tuple(dict.fromkeys(notes)),
        mixtures=conditions.mixtures(everything),
    )
    return significance.marked(replace(table, notes=(*table.notes, *floors(table))))
