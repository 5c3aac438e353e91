"""The rows of one condition: which runs belong to a row, what they say, and what is missing.

A block holds the runs of one condition: everything that can move a number, except the method and
its hyper-parameters (the rows), the domains (the columns) and the seed.
"""

import itertools
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean
from typing import Any

from benchmark.planning import flags
from benchmark.records.read import Record
from benchmark.records.selection import REFERENCE, rule_of
from benchmark.records.spec import MULTI_SOURCE, UPPER_BOUND, RunSpec
from benchmark.records.state import State
from benchmark.reporting import conditions
from benchmark.reporting.model import AVERAGE, METRICS, Cell, Missing, Row


@dataclass(frozen=True)
class View:
    """What is looked at of every run."""

    rule: str = "best-val"
    metric: str = "accuracy"
    part: str = "target"
    """`target`, or `val` for the validation part of the sources."""
    all_rows: bool = False
    """Show settings of hyper-parameters beside the default, too."""
    ensembles: bool = False
    """Add a row for the ensemble of each row's seeds."""


@dataclass(frozen=True)
class Block:
    """The rows of one condition."""

    records: tuple[Record, ...]
    columns: tuple[str, ...]
    """The domains and, last, the average."""
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]
    notes: tuple[str, ...]


Labelled = tuple[str, list[Record]]
Columns = Mapping[str, tuple[tuple[str, ...], str]]
"""Sources and target of every column, by its label."""


def build(group: Sequence[Record], view: View, columns: Sequence[str] = ()) -> Block:
    """Return the block of runs of one condition; its columns are theirs unless given."""
    wanted = dict(columns_of(group)) | {name: ((name,), name) for name in columns}
    rows, notes = _shown(group, view)
    return fill(group, rows, wanted, view, notes)


def fill(
    group: Sequence[Record],
    labelled: Sequence[Labelled],
    wanted: Columns,
    view: View,
    notes: Sequence[str] = (),
) -> Block:
    """Return the block with these rows and columns."""
    seeds = sorted({record.spec.seed for record in group})
    root = data_root(group)
    rows: list[Row] = []
    missing: list[Missing] = []
    for label, members in labelled:
        runs = {(column_of(record.spec), record.spec.seed): record for record in members}
        rows.append(_row(label, runs, wanted, seeds, view))
        missing += _gaps(rows[-1], runs, wanted, root)
    more = _ensembles(labelled, rows, wanted, view) if view.ensembles else ()
    return Block(
        records=tuple(group),
        columns=(*wanted, AVERAGE),
        rows=(*mark_best(rows), *more),
        missing=tuple(missing),
        notes=tuple(notes),
    )


def data_root(records: Iterable[Record]) -> str | None:
    """Return where the data of some run was."""
    done = (record.result for record in records if record.result is not None)
    return next((root for result in done if (root := result["provenance"].get("data_root"))), None)


def column_of(spec: RunSpec) -> str:
    """Return the label of the column that a run stands in."""
    if spec.setting in (MULTI_SOURCE, UPPER_BOUND):
        return spec.target
    return f"{'+'.join(spec.sources)} → {spec.target}"


def columns_of(group: Sequence[Record]) -> Columns:
    """Return every column that a whole table of these runs has."""
    domains = sorted({d for r in group for d in (*r.spec.sources, r.spec.target)})
    if group[0].spec.setting == MULTI_SOURCE:
        return {t: (tuple(d for d in domains if d != t), t) for t in domains}
    if group[0].spec.setting == UPPER_BOUND:
        return {t: ((t,), t) for t in domains}
    return {f"{s} → {t}": ((s,), t) for s, t in itertools.permutations(domains, 2)}


def _shown(group: Sequence[Record], view: View) -> tuple[list[Labelled], list[str]]:
    """Return the rows to show, and what is said of the others."""
    rows: list[Labelled] = []
    notes = []
    for method, variants in sorted(_variants(group, view.rule).items()):
        tried = sorted({record.tried for runs in variants for record in runs})
        if tried[-1] > 1:
            several = f"best of {'-'.join(map(str, dict.fromkeys((tried[0], tried[-1]))))}"
            rows.append((f"{method} ({several})", [r for runs in variants for r in runs]))
            continue
        default = [runs for runs in variants if len(variants) > 1 and is_default(runs[0].spec)]
        if not default or view.rule == REFERENCE:
            rows += _told(method, variants, view.rule)
            continue
        rows.append((method, default[0]))
        others = [pair for pair in _told(method, variants, view.rule) if pair[1] is not default[0]]
        if view.all_rows:
            rows += others
        else:
            names = ", ".join(label for label, _ in others)
            notes.append(
                f"Not shown: {names}. --all-rows adds such rows below {method}, the default."
            )
    return rows, notes


def is_default(spec: RunSpec) -> bool:
    """Return whether a run has the default hyper-parameters of its method."""
    return not flags.method_flags(spec)


def _variants(group: Sequence[Record], rule: str) -> dict[str, list[list[Record]]]:
    """Return by method the runs of each setting of its hyper-parameters."""
    methods: dict[str, dict[str, list[Record]]] = {}
    for record in group:
        settings = json.dumps(_settings(record.spec, rule), sort_keys=True)
        methods.setdefault(record.spec.method, {}).setdefault(settings, []).append(record)
    return {method: list(variants.values()) for method, variants in methods.items()}


def _told(method: str, variants: Sequence[list[Record]], rule: str) -> list[Labelled]:
    """Return the rows of a method's settings, labelled by what differs, in order."""
    told = _telling([_settings(runs[0].spec, rule) for runs in variants])
    rows = []
    for values, runs in sorted(zip(told, variants, strict=True), key=lambda p: _order(p[0])):
        text = ", ".join(f"{name}={conditions.text(value)}" for name, value in values.items())
        rows.append((f"{method} ({text})" if text else method, runs))
    return rows


def _settings(spec: RunSpec, rule: str) -> dict[str, Any]:
    """Return by dotted name what tells the rows of one method apart."""
    values = conditions.flat(spec.hyperparameters)
    if rule == REFERENCE:
        for field in conditions.BY_SCRIPT:
            values |= conditions.flat({field: spec.to_json()[field]})
    return values


def _telling(variants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of each variant what differs among them, under the shortest clear names."""
    names = sorted({n for v in variants for n in v if any(w.get(n) != v[n] for w in variants)})
    short = {name: name.split(".", 1)[1] for name in names}
    if len(set(short.values())) < len(names):
        short = {name: name for name in names}
    return [{short[name]: v[name] for name in names if name in v} for v in variants]


def _order(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    # The type first, as a number and a text cannot be compared; nor can mappings.
    return [
        (type(v).__name__, conditions.text(v) if isinstance(v, Mapping) else v)
        for v in values.values()
    ]


def scored(result: Mapping[str, Any], rule: str, view: View) -> float:
    """Return the figure of a result in percent, under a rule that it has."""
    return 100 * METRICS[view.metric](result["rules"][rule][view.part])


def _row(
    label: str,
    runs: Mapping[tuple[str, int], Record],
    columns: Iterable[str],
    seeds: Sequence[int],
    view: View,
) -> Row:
    results = {key: run.result for key, run in runs.items() if run.result is not None}
    # A method reports by its own rule always or never, so any result tells.
    used = next((rule_of(result, view.rule) for result in results.values()), view.rule)
    figures = {key: scored(result, used, view) for key, result in results.items()}
    cells = []
    for column in columns:
        values = {seed: figures[column, seed] for seed in seeds if (column, seed) in figures}
        cells.append(Cell(values, tuple(seed for seed in seeds if seed not in values)))
    complete = [seed for seed in seeds if all(seed in cell.values for cell in cells)]
    averages = {seed: fmean(cell.values[seed] for cell in cells) for seed in complete}
    cells.append(Cell(averages, tuple(seed for seed in seeds if seed not in averages)))
    tried = max(run.tried for run in runs.values())
    return Row(label, used, tuple(cells), tried=tried, records=tuple(runs.values()))


def _ensembles(
    labelled: Sequence[Labelled], rows: Sequence[Row], columns: Iterable[str], view: View
) -> Iterator[Row]:
    """Yield for every row of two seeds or more the ensemble of them, column by column."""
    from benchmark.reporting import ensembles

    for (label, members), row in zip(labelled, rows, strict=True):
        cells = []
        for column in columns:
            here = [record for record in members if column_of(record.spec) == column]
            done = [found for record in here if (found := record.predicted(row.rule))]
            score = ensembles.score(done, view.metric) if len(done) > 1 else None
            cells.append(Cell({} if score is None else {0: 100 * score}, ()))
        whole = all(cell.n for cell in cells)
        cells.append(Cell({0: fmean(cell.mean for cell in cells)} if whole else {}, ()))
        if any(cell.n for cell in cells):
            yield Row(
                f"{label}, ensemble", row.rule, tuple(cells), kind="ensemble", records=row.records
            )


def mark_best(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the highest mean of each column and the one below it, and all that print the same."""
    columns = []
    for cells in zip(*(row.cells for row in rows), strict=True):
        printed = [round(c.mean, 2) for c in cells if isinstance(c, Cell) and c.n]
        first, second, *_ = (*sorted(set(printed), reverse=True), None, None)
        columns.append(
            [
                replace(c, best=round(c.mean, 2) == first, second=round(c.mean, 2) == second)
                if isinstance(c, Cell) and c.n
                else c
                for c in cells
            ]
        )
    marked = zip(*columns, strict=True)
    return tuple(replace(row, cells=cells) for row, cells in zip(rows, marked, strict=True))


def _gaps(
    row: Row, runs: Mapping[tuple[str, int], Record], columns: Columns, root: str | None
) -> Iterator[Missing]:
    some = next(iter(runs.values())).spec
    tried = max(run.tried for run in runs.values())
    # The average comes last and is no cell of its own to fill.
    for (column, (sources, target)), cell in zip(columns.items(), row.cells[:-1], strict=True):
        assert isinstance(cell, Cell)
        wanted = replace(some, sources=sources, target=target)
        found = {seed: runs.get((column, seed)) for seed in cell.missing}
        failed = {
            seed for seed, run in found.items() if run is not None and run.state == State.FAILED
        }
        for seeds, retry in ((found.keys() - failed, False), (failed, True)):
            if seeds:
                states = {seed: _state(found[seed]) for seed in sorted(seeds)}
                yield Missing(row.label, column, states, wanted, retry, root, tried)


def _state(run: Record | None) -> str:
    if run is None or run.state == State.TO_DO:
        return "not run"
    if run.state == State.FAILED:
        return f"failed: {textwrap.shorten(run.error, 200) or 'no reason recorded'}"
    return run.state
