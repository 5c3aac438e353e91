"""The rows of one condition in numbers: scores by split, their average, and what is missing."""

import textwrap
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmark.records.read import Record
from benchmark.records.selection import rule_of
from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.reporting import labels
from benchmark.reporting.conditions import column_of
from benchmark.reporting.group import Condition, Splits, splits_of
from benchmark.reporting.labels import Labelled
from benchmark.reporting.model import Missing, Row, Score, Table
from benchmark.reporting.results import View


@dataclass(frozen=True)
class Line:
    """One composition with one setting of its hyper-parameters."""

    label: str
    rule: str
    """The selection rule that its scores rest on."""
    scores: tuple[Score, ...]
    """One per split."""
    average: Score
    """Over splits, for each seed that has all of them."""
    records: Sequence[Record]
    kind: str = "method"
    """As in `Row`."""
    tried: int = 1
    """The settings that source validation chose from, for each cell and seed."""

    @property
    def cells(self) -> tuple[Score, ...]:
        """Return the scores, the average last."""
        return (*self.scores, self.average)

    def row(self, group: str = "") -> Row:
        """Return the line as a row of a table."""
        return Row(
            self.label, self.rule, self.cells, group, self.kind, self.tried, tuple(self.records)
        )


@dataclass(frozen=True)
class Block:
    """The rows of one condition and set of modalities."""

    told: tuple[str, ...]
    """The differences from the other conditions of the dataset and setting."""
    records: Sequence[Record]
    splits: tuple[str, ...]
    lines: tuple[Line, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...] = ()

    @property
    def spec(self) -> RunSpec:
        """Return the spec of some run; all share the condition."""
        return self.records[0].spec

    @property
    def modalities(self) -> str:
        """Return the set of modalities as rows name it."""
        return "+".join(self.spec.modalities)

    @property
    def seeds(self) -> list[int]:
        """Return the seeds that any run has."""
        return sorted({record.spec.seed for record in self.records})


def block(
    condition: Condition, values: Mapping[str, float], view: View, splits: Iterable[str] = ()
) -> Block:
    """Return the block of a condition; its splits are those of its runs and the ones given."""
    labelled, notes = labels.shown(condition, view.rule, view.all_rows)
    wanted = dict(splits_of(condition.records)) | {name: ((name,), name) for name in splits}
    filled = fill(condition.records, labelled, wanted, values, view)
    return replace(filled, told=condition.told, notes=tuple(notes))


def fill(
    records: Sequence[Record],
    labelled: Sequence[Labelled],
    splits: Splits,
    values: Mapping[str, float],
    view: View,
) -> Block:
    """Return the block with these rows and splits.

    Args:
        records: of all rows.
        labelled: the rows.
        splits: the columns but for the average.
        values: in percent by run, of `Results.percent`.
        view: under which they are.
    """
    seeds = sorted({record.spec.seed for record in records})
    root = data_root(records)
    lines: list[Line] = []
    missing: list[Missing] = []
    for label, members in labelled:
        lines.append(_line(label, members, tuple(splits), seeds, values, view))
        missing += _gaps(lines[-1], splits, root)
    more = _ensembles(lines, tuple(splits), view) if view.ensembles else ()
    return Block((), records, tuple(splits), (*lines, *more), tuple(missing))


def data_root(records: Iterable[Record]) -> str | None:
    """Return where the data of some run was."""
    done = (record.result for record in records if record.result is not None)
    told = (result["provenance"] for result in done)
    given = (p for p in told if p.get("data_root_given", True))
    return next((root for p in given if (root := p.get("data_root"))), None)


def by_split(records: Iterable[Record], values: Mapping[str, float]) -> dict[str, dict[int, float]]:
    """Return values by split and seed, from those by run."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        if (value := values.get(record.spec.id)) is not None:
            found.setdefault(column_of(record.spec), {})[record.spec.seed] = value
    return found


def averaged(
    values: Mapping[str, Mapping[int, float]], splits: Sequence[str], seeds: Iterable[int]
) -> Score:
    """Return by seed the mean over all splits; a seed that lacks one of them is missing."""
    whole = {
        seed: fmean(values[split][seed] for split in splits)
        for seed in sorted(seeds)
        if all(seed in values.get(split, {}) for split in splits)
    }
    return Score(whole, tuple(seed for seed in sorted(seeds) if seed not in whole))


def _line(
    label: str,
    records: Sequence[Record],
    splits: Sequence[str],
    seeds: Sequence[int],
    values: Mapping[str, float],
    view: View,
) -> Line:
    # A method reports by its own rule always or never, so any result tells.
    rules = (rule_of(r.result, view.rule) for r in records if r.result is not None)
    found = by_split(records, values)
    scores = []
    for split in splits:
        have = found.get(split, {})
        measured = {seed: have[seed] for seed in seeds if seed in have}
        scores.append(Score(measured, tuple(seed for seed in seeds if seed not in measured)))
    return Line(
        label,
        next(rules, view.rule),
        tuple(scores),
        averaged(found, splits, seeds),
        records,
        tried=max(record.tried for record in records),
    )


def _ensembles(lines: Sequence[Line], splits: Sequence[str], view: View) -> Iterator[Line]:
    """Yield for every row of two seeds or more the ensemble of them, split by split."""
    from benchmark.reporting import ensembles

    for line in lines:
        scores = []
        for split in splits:
            here = [record for record in line.records if column_of(record.spec) == split]
            answers = [found for record in here if (found := record.predicted(line.rule))]
            done = [one for one in answers if one.logits is not None]
            score = ensembles.score(done, view.metric) if len(done) > 1 else None
            scores.append(Score({} if score is None else {0: 100 * score}))
        if any(score.n for score in scores):
            whole = all(score.n for score in scores)
            average = Score({0: fmean(score.mean for score in scores)} if whole else {})
            label = f"{line.label}, ensemble"
            yield Line(label, line.rule, tuple(scores), average, line.records, "ensemble")


def mark_best(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the best mean of each column among methods, and the second, with all that print alike.

    Means are compared over the seeds that all rows of the column have, if they are two or more.
    Rows of another kind stay as they are.
    """
    methods = [row for row in rows if row.kind == "method"]
    columns = [
        [cell for cell in cells if isinstance(cell, Score) and cell.n]
        for cells in zip(*(row.cells for row in methods), strict=True)
    ]
    shared = [_shared(cells) for cells in columns]
    marks = [
        (*sorted({_over(c, seeds) for c in cells}, reverse=True), None, None)[:2]
        for cells, seeds in zip(columns, shared, strict=True)
    ]
    return tuple(_marked(row, shared, marks) if row.kind == "method" else row for row in rows)


def _shared(cells: Sequence[Score]) -> set[int]:
    seeds = set.intersection(*(set(c.values) for c in cells)) if cells else set()
    return seeds if len(seeds) > 1 else set()


def _over(score: Score, seeds: Collection[int]) -> float:
    """Return the printed mean over some seeds, or over all that there are."""
    return round(fmean(score.values[s] for s in sorted(seeds) or score.values), 2)


def _marked(
    row: Row, shared: Sequence[Collection[int]], marks: Sequence[Sequence[float | None]]
) -> Row:
    cells = []
    for cell, seeds, (first, second) in zip(row.cells, shared, marks, strict=True):
        if isinstance(cell, Score) and cell.n:
            mean = _over(cell, seeds)
            cell = replace(cell, best=mean == first, second=mean == second)
        cells.append(cell)
    return replace(row, cells=tuple(cells))


def by_average(table: Table) -> Table:
    """Return an accuracy table with the methods of each group ordered by their average, best first.

    Rows without an average come after them, and rows of another kind stay last.
    """
    if not table.scores:
        return table
    groups = list(dict.fromkeys(row.group for row in table.rows))

    def place(row: Row) -> tuple[int, bool, bool, float]:
        average = row.cells[-1].value if row.kind == "method" else None
        return groups.index(row.group), row.kind != "method", average is None, -(average or 0.0)

    return replace(table, rows=tuple(sorted(table.rows, key=place)))


def _gaps(line: Line, splits: Splits, root: str | None) -> Iterator[Missing]:
    runs = {(column_of(record.spec), record.spec.seed): record for record in line.records}
    some = line.records[0].spec
    for (split, (sources, target)), score in zip(splits.items(), line.scores, strict=True):
        wanted = replace(some, sources=sources, target=target)
        found = {seed: runs.get((split, seed)) for seed in score.missing}
        # A run that is done and lacks the value, as older records may, is not worth running again.
        found = {s: run for s, run in found.items() if run is None or run.result is None}
        failed = {
            seed for seed, run in found.items() if run is not None and run.state == State.FAILED
        }
        for seeds, retry in ((found.keys() - failed, False), (failed, True)):
            if seeds:
                states = {seed: _state(found[seed]) for seed in sorted(seeds)}
                yield Missing(line.label, split, states, wanted, retry, root, line.tried)


def _state(run: Record | None) -> str:
    if run is None or run.state == State.TO_DO:
        return "not run"
    if run.state == State.FAILED:
        return f"failed: {textwrap.shorten(run.error, 200) or 'no reason recorded'}"
    return run.state
