"""Accuracy tables: one row per method, one column per target, and the average.

Runs made under different conditions never share a table, but sets of modalities of one condition
stand in one, each a group of rows. Only a table of what public scripts report, which differ in
protocol and recipe, tells rows apart by these as well. Upper bounds, trained on the target itself,
stand below the rows of several sources and are never the best of a column.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from benchmark.planning import search
from benchmark.records.read import Record
from benchmark.records.spec import WITH_TARGET
from benchmark.reporting import conditions, labels, significance
from benchmark.reporting.kinds.frame import notes_of
from benchmark.reporting.model import Score, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import averaged, by_split, mark_best
from benchmark.reporting.sheets import Sheet, sheets
from mmdg_common import AVERAGE

UNEVEN = 1.0
"""Points between accuracy and balanced accuracy from which on a note gives both."""


def build(wanted: Wanted, settings: Collection[str] = WITH_TARGET, name: str = "") -> list[Table]:
    """Return the accuracy tables.

    Args:
        wanted: records, view and perhaps a grid.
        settings: only these.
        name: of the tables of a grid.
    """
    balanced = wanted.results.percent(wanted.view.part, "balanced-accuracy")
    return [_table(sheet, wanted.view, balanced) for sheet in sheets(wanted, settings, name)]


def _table(sheet: Sheet, view: View, balanced: Mapping[str, float]) -> Table:
    spec = sheet.blocks[0].spec
    table = Table(
        name=sheet.name,
        subject=sheet.subject,
        columns=(*sheet.splits, AVERAGE),
        rows=tuple(
            row
            for block in sheet.blocks
            for row in mark_best([line.row(block.modalities) for line in block.lines])
        ),
        rule=view.rule,
        metric=view.metric,
        first=sheet.first,
        grouped="modalities" if sheet.grouped else "",
        part=view.part,
        fabricated=spec.fabricated,
        numbers_version=spec.numbers_version,
        missing=tuple(gap for block in sheet.blocks for gap in block.missing),
        notes=tuple(notes_of(sheet.blocks)),
        mixtures=conditions.mixtures(sheet.records),
    )
    notes = (*table.notes, *_balanced(table, balanced))
    return significance.marked(replace(table, notes=notes))


def _balanced(table: Table, values: Mapping[str, float]) -> list[str]:
    """Return the balanced accuracies where large classes decide what the accuracies are.

    Args:
        table: of accuracies.
        values: balanced accuracies in percent by run, for the runs that have one.
    """
    if table.metric != "accuracy":
        return []
    found: dict[str, tuple[float, float]] = {}
    for row in table.rows:
        average = row.cells[-1]
        if row.kind != "method" or not isinstance(average, Score) or not average.n:
            continue
        balanced = averaged(by_split(row.records, values), table.columns[:-1], average.values)
        if balanced.n:
            label = f"{row.label} with {row.group}" if table.grouped else row.label
            found[label] = average.mean, balanced.mean
    if not any(abs(accuracy - balanced) >= UNEVEN for accuracy, balanced in found.values()):
        return []
    listed = ", ".join(f"{label} {balanced:.2f}" for label, (_, balanced) in found.items())
    return [
        "The classes differ in size. With the mean of the classes' accuracies instead, the "
        f"{AVERAGE} is: {listed} (all columns: --metric balanced-accuracy)."
    ]


def tuned(records: Iterable[Record], rule: str) -> list[Record]:
    """Return of runs that differ in hyper-parameters alone the best one on source validation."""
    by_id = {record.spec.id: record for record in records}
    chosen = []
    for group in search.groups(record.spec for record in by_id.values()):
        # Equals go to the default, which a search tries first.
        members = sorted(
            (by_id[spec.id] for spec in group),
            key=lambda r: (len(group) > 1 and not labels.is_default(r.spec), r.spec.id),
        )
        best = search.best([record.result for record in members], rule)
        done = sum(record.result is not None for record in members)
        chosen.append(replace(members[best or 0], tried=max(done, 1)))
    return chosen
