"""Accuracy tables from records: a row a method, a column a target, and the average.

Runs made under different conditions never share a table, but sets of modalities of one condition
stand in one, each a group of rows. Only a table of what public scripts report, which differ in
protocol and recipe, tells rows apart by these as well. Upper bounds, trained on the target itself,
stand below the rows of several sources and are never the best of a column.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from benchmark.planning import search
from benchmark.records.read import Record
from benchmark.records.spec import MULTI_SOURCE, UPPER_BOUND
from benchmark.reporting import blocks, by_condition, conditions, significance
from benchmark.reporting.blocks import Block, View
from benchmark.reporting.by_condition import Part
from benchmark.reporting.model import Cell, Table


def build(records: Iterable[Record], view: View) -> list[Table]:
    """Return a table for each condition among the records, its groups the sets of modalities.

    Args:
        records: runs in any state.
        view: what is looked at of every run.
    """
    parts = by_condition.parts(records, view)
    bounds = {_beside(p, view): p for p in parts if p.spec.setting == UPPER_BOUND}
    several = {_beside(p, view) for p in parts if p.spec.setting == MULTI_SOURCE}
    shown = []
    for part in parts:
        below = bounds.get(_beside(part, view))
        if part.spec.setting == UPPER_BOUND and _beside(part, view) in several:
            continue  # it stands below that table's rows
        if part.spec.setting == MULTI_SOURCE and below is not None:
            block = _with_upper_bound(part.block, below.block.records, view)
            part = replace(part, block=block)
        shown.append(part)
    return [_table(of, view) for of in by_condition.together(shown, view)]


def _beside(part: Part, view: View) -> str:
    """Return what a condition and its upper bound share."""
    return conditions.without_setting(part.spec, view.rule)


def _table(of: Sequence[Part], view: View) -> Table:
    rows = [replace(row, group=part.modalities) for part in of for row in part.block.rows]
    table = replace(
        by_condition.frame(of[0].spec.setting, of, view),
        columns=of[0].block.columns,
        rows=tuple(rows),
        scores=True,
        grouped="modalities" if len(of) > 1 else "",
        part=view.part,
        missing=tuple(gap for part in of for gap in part.block.missing),
        notes=tuple(dict.fromkeys(note for part in of for note in part.block.notes)),
    )
    return significance.marked(replace(table, notes=(*table.notes, *floors(table))))


def floors(table: Table) -> list[str]:
    """Return how far a mean can be off because a target set has so many samples and no more."""
    from benchmark.reporting.statistics import binomial_error

    said: list[str] = []
    if table.metric != "accuracy":
        return said
    for column in table.columns[:-1]:
        sizes, best = set(), 0.0
        for row in table.rows:
            if row.kind != "method":
                continue
            cell = row.cells[table.columns.index(column)]
            if isinstance(cell, Cell) and cell.n:
                best = max(best, cell.mean / 100)
            sizes |= {
                record.result["rules"][row.rule][table.part].get("n")
                for record in row.records
                if record.result and blocks.column_of(record.spec) == column
            }
        known = sorted(size for size in sizes if size)
        if len(known) == 1:
            error = 100 * binomial_error(min(best, 1.0), known[0])
            said.append(f"{column} ±{error:.1f} (n = {known[0]})")
    if not said:
        return []
    return [
        f"Standard error that the number of samples alone gives the best mean: {', '.join(said)}."
    ]


def _with_upper_bound(block: Block, below: Sequence[Record], view: View) -> Block:
    """Return a block with the rows of upper bounds, in its own columns, below the others."""
    bound = blocks.build(below, view, columns=block.columns[:-1])
    rows = [
        replace(
            row,
            label=f"{row.label}, upper bound",
            kind="upper bound",
            cells=tuple(unmarked(cell) for cell in row.cells),
        )
        for row in bound.rows
    ]
    return Block(
        records=(*block.records, *below),
        columns=block.columns,
        rows=(*block.rows, *rows),
        missing=(*block.missing, *bound.missing),
        notes=(*block.notes, *bound.notes),
    )


def unmarked(cell: Any) -> Any:
    """Return a cell that is compared with no other."""
    return replace(cell, best=False, second=False) if isinstance(cell, Cell) else cell


def tuned(records: Iterable[Record], rule: str) -> list[Record]:
    """Return of runs that differ in hyper-parameters alone the best one on source validation."""
    by_id = {record.spec.id: record for record in records}
    chosen = []
    for group in search.groups(record.spec for record in by_id.values()):
        # Equals go to the default, which a search tries first.
        members = sorted(
            (by_id[spec.id] for spec in group),
            key=lambda r: (len(group) > 1 and not blocks.is_default(r.spec), r.spec.id),
        )
        best = search.best([record.result for record in members], rule)
        done = sum(record.result is not None for record in members)
        chosen.append(replace(members[best or 0], tried=max(done, 1)))
    return chosen
