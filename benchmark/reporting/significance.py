"""Which rows of a table may be the best of a column, from stored predictions."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import TypeVar

import numpy as np

from benchmark.reporting import statistics
from benchmark.reporting.answers import INFLUENCES, Answers, answers, few_groups
from benchmark.reporting.model import Row, Score, Table
from benchmark.reporting.statistics import LEVEL, SEEN, Estimate, Variance

LEAST_SEEDS = 2
"""With fewer seeds in common two rows are not compared."""
ByColumn = Mapping[str, Answers]
"""The answers of a row."""
K = TypeVar("K")


def compare(
    a: Mapping[K, Answers],
    b: Mapping[K, Answers],
    columns: Mapping[K, float] | Sequence[K],
    variances: "tuple[Variance | None, Variance | None]" = (None, None),
) -> Estimate | None:
    """Return how much better b is than a on a column, or on an average over several.

    Only the seeds that both have on all columns count.

    Args:
        a: the answers of one row.
        b: of the other.
        columns: to compare on, all of them or none; with their weights, or else equal ones.
        variances: of the runs of a and of b on that average, where a table knows them better.

    Returns:
        The estimate; None where predictions or a common seed are missing.
    """
    if not isinstance(columns, Mapping):
        columns = dict.fromkeys(columns, 1 / len(columns))
    if any(c not in a or c not in b or a[c].test != b[c].test for c in columns):
        return None
    seeds = sorted(_seeds(a, columns) & _seeds(b, columns))
    if not seeds:
        return None
    values, tests = np.zeros(len(seeds)), dict[str, statistics.Array]()
    for column, weight in columns.items():
        one, two = a[column], b[column]
        values += [weight * (two.values[s] - one.values[s]) for s in seeds]
        parts = weight * np.stack([two.parts[s] - one.parts[s] for s in seeds])
        tests[one.test] = tests.get(one.test, 0) + parts
    mine, theirs = variances
    of_seeds = None
    if mine and theirs:
        of_seeds = Variance(mine.value + theirs.value, min(mine.freedom, theirs.freedom))
    return statistics.estimate(values, list(tests.values()), of_seeds)


def _seeds(row: Mapping[K, Answers], columns: Iterable[K]) -> set[int]:
    return set.intersection(*(set(row[c].values) for c in columns))


def variances(
    rows: Sequence[Mapping[K, Answers]], columns: Mapping[K, float] | Sequence[K]
) -> list[Variance | None]:
    """Return the variances over seeds of the rows' averages over columns, shrunk to each other.

    Rows that lack a seed that most others have are left out: theirs is None.

    Args:
        rows: the answers of each.
        columns: with their weights, or else equal ones.
    """
    if not isinstance(columns, Mapping):
        columns = dict.fromkeys(columns, 1 / len(columns))
    whole = [row.keys() >= set(columns) for row in rows]
    seeds = [
        frozenset(_seeds(row, columns)) if there else frozenset[int]()
        for row, there in zip(rows, whole, strict=True)
    ]
    usual = Counter(s for s in seeds if len(s) >= LEAST_SEEDS)
    found: list[Variance | None] = [None] * len(rows)
    if not usual:
        return found
    wanted = max(usual, key=lambda s: (usual[s], len(s)))
    at = [i for i, s in enumerate(seeds) if s >= wanted]
    if len(at) < 2:
        return found
    values = [
        [sum(w * rows[i][c].values[s] for c, w in columns.items()) for s in sorted(wanted)]
        for i in at
    ]
    for i, variance in zip(at, statistics.shrunk(np.array(values)), strict=True):
        found[i] = variance
    return found


def against(rows: Sequence[ByColumn], best: int, columns: Sequence[str]) -> list[Estimate | None]:
    """Return how much better one row is than each row on the average over columns.

    None for the row itself, and where fewer than two seeds or no predictions are in common.
    """
    known = variances(rows, columns)
    found = [
        compare(row, rows[best], columns, (known[i], known[best])) if i != best else None
        for i, row in enumerate(rows)
    ]
    return [one if one is not None and one.error is not None else None for one in found]


def may_be_best(leads: Sequence[Estimate]) -> list[bool]:
    """Return which rows are not significantly worse than the best mean, from its leads over them.

    One-sided tests, Holm-corrected. So the row that is best in the long run is left out in at most
    5 % of columns: where it is not the best mean, and significantly worse than that. The best mean
    counts as one of the tests, as it was chosen by the same data.
    """
    p = [1 - (lead.below(0.0) or 0.0) for lead in leads]
    return [adjusted >= LEVEL for adjusted in statistics.holm([*p, 1.0])[: len(p)]]


@dataclass(frozen=True)
class _Against:
    """How much better the best of a column is than a row; None where they are not compared."""

    row: int
    column: int
    group: str
    lead: Estimate | None

    @property
    def place(self) -> tuple[int, int]:
        """Row and column."""
        return self.row, self.column


def marked(table: Table) -> Table:
    """Return the table with the rows marked that may be the best, and notes on what marks mean."""
    rows = [row for row in table.rows if row.kind == "method"]
    if table.part != "target":
        return replace(table, notes=(*table.notes, CHOSEN))
    if table.metric not in INFLUENCES or len(rows) < 2:
        return table
    known = {id(row): answers(row.records, row.rule, table.metric) for row in rows}
    compared = list(_compared(table, rows, known))
    notes = list(table.notes)
    notes += _floors(table, rows, known)
    if not any(one.lead for one in compared):
        return replace(table, notes=(*notes, NOT_TESTED))
    close = set(_close(compared))
    untested = {one.place for one in compared if one.lead is None}
    made = tuple(
        replace(
            row,
            cells=tuple(
                replace(cell, close=(i, j) in close, untested=(i, j) in untested)
                if isinstance(cell, Score)
                else cell
                for j, cell in enumerate(row.cells)
            ),
        )
        for i, row in enumerate(table.rows)
    )
    notes += [TESTED, *([UNTESTED] if untested else []), *_detectable(table, compared)]
    return replace(table, rows=made, notes=tuple(notes))


TESTED = (
    "≈ marks a mean that may be the best of its column, as it is not significantly worse than the "
    "best one: one-sided t-test over the seeds that both rows have, Holm-corrected within the "
    f"column, p ≥ {LEVEL}. The standard error covers other seeds and other test samples from the "
    "same targets; variances over seeds are drawn together across the rows."
)
UNTESTED = (
    "? marks a mean that is not compared: stored predictions have fewer than two seeds in common "
    "with the best."
)
NOT_TESTED = (
    "No test of significance was made: it needs stored predictions of two rows with at least two "
    "seeds in common."
)
FEW = (
    "Figures hold for these subjects or recordings, and say little about others where a "
    "target has so few: {}."
)
CHOSEN = (
    "Epochs and settings were chosen on these samples, which makes the figures too good: by one to "
    "two standard errors where many were tried. Nothing is tested for significance."
)


def _compared(
    table: Table, rows: Sequence[Row], known: Mapping[int, ByColumn]
) -> Iterator[_Against]:
    """Yield every row of every column against the best mean of its group there."""
    places = {id(row): i for i, row in enumerate(table.rows)}
    for group in dict.fromkeys(row.group for row in rows):
        for j, column in enumerate(table.columns):
            columns = table.columns[:-1] if j == len(table.columns) - 1 else (column,)
            members = [r for r in rows if r.group == group and _shown(r, j)]
            best = [i for i, row in enumerate(members) if _best(row, j)]
            if not best:
                continue
            leads = against([known[id(row)] for row in members], best[0], columns)
            for row, lead in zip(members, leads, strict=True):
                if not _best(row, j):
                    yield _Against(places[id(row)], j, group, lead)


def _shown(row: Row, column: int) -> bool:
    cell = row.cells[column]
    return isinstance(cell, Score) and cell.n > 0


def _best(row: Row, column: int) -> bool:
    cell = row.cells[column]
    return isinstance(cell, Score) and cell.best


def _close(compared: Iterable[_Against]) -> Iterator[tuple[int, int]]:
    """Yield the places of rows that may be the best of their column."""
    for members in _by_column(compared).values():
        found = may_be_best([lead for _, lead in members])
        yield from (place for (place, _), close in zip(members, found, strict=True) if close)


def _by_column(
    compared: Iterable[_Against],
) -> dict[tuple[str, int], list[tuple[tuple[int, int], Estimate]]]:
    """Return the places and leads of those that are compared, by group and column."""
    found: dict[tuple[str, int], list[tuple[tuple[int, int], Estimate]]] = {}
    for one in compared:
        if one.lead is not None:
            found.setdefault((one.group, one.column), []).append((one.place, one.lead))
    return found


def _detectable(table: Table, compared: Iterable[_Against]) -> Iterator[str]:
    """Yield how large a difference must be to be seen."""
    errors: dict[int, list[float]] = {}
    for (_, column), members in _by_column(compared).items():
        errors.setdefault(column, []).extend(lead.error or 0.0 for _, lead in members)
    said = [f"{table.columns[j]} {100 * SEEN * median(of):.1f}" for j, of in errors.items()]
    if said:
        yield (
            "A true difference between two rows of so many points is seen in about 80 % of cases, "
            f"before the correction: {', '.join(said)}."
        )


def _floors(table: Table, rows: Sequence[Row], known: Mapping[int, ByColumn]) -> Iterator[str]:
    """Yield how far a mean can be off because of which samples a test set happens to have."""
    said, few = [], []
    for j, column in enumerate(table.columns[:-1]):
        best = next((row for row in rows if _best(row, j)), None)
        if best is None or (of := known[id(best)].get(column)) is None:
            continue
        error = 100 * statistics.sampling_error(np.stack(list(of.parts.values())))
        where = f"{of.samples} samples" if of.groups == of.samples else (
            f"{of.samples} samples in {of.groups} groups"
        )  # fmt: skip
        said.append(f"{column} ±{error:.1f} ({where})")
        few += few_groups(known[id(best)], [column])
    if said:
        yield (
            "Standard error of the best mean due to the choice of test samples alone: "
            f"{', '.join(said)}."
        )
    if few:
        yield FEW.format(", ".join(few))
