"""Rows that are not significantly worse than the best of a column, from stored predictions."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.records.read import Record
from benchmark.reporting import statistics
from benchmark.reporting.conditions import column_of
from benchmark.reporting.model import Row, Score, Table

LEVEL = 0.05
ROUNDS = 1000
"""Rounds of the bootstrap behind a mark; a table may have thousands of marks."""
Correct = dict[int, NDArray[np.bool_]]


@dataclass(frozen=True)
class Answers:
    """The test samples of one column, and by seed those that the runs of a row got right."""

    ids: tuple[str, ...]
    correct: Correct


def answers(records: Iterable[Record], rule: str, part: str = "target") -> dict[str, Answers]:
    """Return the answers of a row by column; seeds that predicted other samples are left out."""
    found: dict[str, Answers] = {}
    for record in records:
        predicted = record.predicted(rule, part)
        if predicted is None:
            continue
        ids = tuple(predicted.ids.tolist())
        before = found.setdefault(column_of(record.spec), Answers(ids, {}))
        if before.ids == ids:
            before.correct[record.spec.seed] = predicted.right
    return found


def compare(
    a: Mapping[str, Answers],
    b: Mapping[str, Answers],
    columns: Sequence[str],
    least_seeds: int = 1,
    rounds: int = 2000,
) -> statistics.Comparison | None:
    """Return b against a on a column, or on the average over several.

    Args:
        a: the answers of one row.
        b: of the other.
        columns: to compare on; all of them or none.
        least_seeds: with fewer seeds in common nothing is compared.
        rounds: of the bootstrap.
    """
    pairs = []
    for column in columns:
        one, two = a.get(column), b.get(column)
        if one is None or two is None or one.ids != two.ids:
            return None
        if len(one.correct.keys() & two.correct.keys()) < least_seeds:
            return None
        pairs.append((one.correct, two.correct))
    return statistics.joint_bootstrap(pairs, rounds)


def marked(table: Table) -> Table:
    """Return the table with `close` marked, Holm-corrected within it, and a note on how."""
    rows = [row for row in table.rows if row.kind == "method"]
    if table.metric != "accuracy" or len(rows) < 2:
        return table
    found = list(_compared(table, rows))
    if not found:
        return replace(table, notes=(*table.notes, NOT_TESTED))
    adjusted = statistics.holm([p for _, _, p in found])
    close = {
        (row, column) for (row, column, _), p in zip(found, adjusted, strict=True) if p >= LEVEL
    }
    marked_rows = tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, close=(i, column) in close) if isinstance(cell, Score) else cell
                for column, cell in zip(table.columns, row.cells, strict=True)
            ),
        )
        for i, row in enumerate(table.rows)
    )
    return replace(table, rows=marked_rows, notes=(*table.notes, TESTED))


TESTED = (
    "≈ marks means that are not significantly worse than the best of their column: two-sided "
    "paired bootstrap over seeds and test samples (the same samples for every seed), "
    f"Holm-corrected over all comparisons of this table, p ≥ {LEVEL}. Two or three seeds say "
    "little about the spread over seeds. A row with fewer than two seeds in common with the best "
    "is not compared."
)
NOT_TESTED = (
    "No test of significance was made: it needs stored predictions of two rows with at least two "
    "seeds in common."
)


def _compared(table: Table, rows: Sequence[Row]) -> Iterator[tuple[int, str, float]]:
    """Yield the position of a row, a column, and the p-value against the best there."""
    places = {id(row): i for i, row in enumerate(table.rows)}
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        known = {id(row): answers(row.records, row.rule, table.part) for row in members}
        for j, column in enumerate(table.columns):
            best = [row for row in members if isinstance(c := row.cells[j], Score) and c.best]
            for row in members:
                cell = row.cells[j]
                if not isinstance(cell, Score) or cell.best or not cell.n:
                    continue
                last = column == table.columns[-1]
                columns = table.columns[:-1] if last else [column]
                found = compare(known[id(best[0])], known[id(row)], columns, 2, ROUNDS)
                if found is not None:
                    yield places[id(row)], column, found.p
