"""Tables from records: which runs belong together, what they say, and what is missing.

A table holds the runs of one condition: everything that can move a number, except the method
and its hyper-parameters (the rows), the domains (the columns) and the seed. Runs made under
different conditions never share a table. Only a table of what public scripts report, which differ
in protocol and recipe, tells rows apart by these as well. Upper bounds, trained on the target
itself, stand below the rows of several sources and are never the best of a column.
"""

import itertools
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from benchmark import search
from benchmark.reporting import conditions
from benchmark.reporting.parts import (
    AVERAGE,
    Cell,
    Missing,
    Record,
    Row,
    Table,
)
from benchmark.selection import REFERENCE, rule_of
from benchmark.spec import MULTI_SOURCE, SETTINGS, UPPER_BOUND, RunSpec
from benchmark.store import FAILED


def build(
    records: Iterable[Record], rule: str, metric: str, ensembles: bool = False
) -> list[Table]:
    """Return one table for each condition among the records.

    Args:
        records: runs in any state.
        rule: the selection rule asked for.
        metric: one of `METRICS`.
        ensembles: add a row for the ensemble of each row's seeds.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        key = conditions.key(conditions.facts(record.spec, rule))
        groups.setdefault(key, []).append(record)
    families: dict[tuple[str, str, tuple[str, ...]], list[list[Record]]] = {}
    for group in groups.values():
        spec = group[0].spec
        families.setdefault((spec.dataset, spec.setting, spec.modalities), []).append(group)
    tables = []
    by_setting: dict[str, dict[str, list[Record]]] = {setting: {} for setting in SETTINGS}
    for group in groups.values():
        spec = group[0].spec
        by_setting[spec.setting][conditions.without_setting(spec, rule)] = group
    for _, family in sorted(families.items()):
        told = conditions.distinctions([conditions.facts(group[0].spec, rule) for group in family])
        for condition, group in sorted(zip(told, family, strict=True), key=lambda p: p[0]):
            setting, key = group[0].spec.setting, conditions.without_setting(group[0].spec, rule)
            if setting == UPPER_BOUND and key in by_setting[MULTI_SOURCE]:
                continue  # it stands below that table's rows
            table = _table(group, condition, rule, metric, ensembles)
            if setting == MULTI_SOURCE:
                below = by_setting[UPPER_BOUND].get(key, [])
                table = _with_upper_bound(table, below, rule, metric)
            tables.append(table)
    return tables


def _with_upper_bound(table: Table, below: Sequence[Record], rule: str, metric: str) -> Table:
    """Return a table with the rows of upper bounds, in its own columns, below the others."""
    if not below:
        return table
    bound = _table(below, (), rule, metric, columns=table.columns[:-1])
    rows = [
        replace(
            row,
            label=f"{row.label}, upper bound",
            kind="upper bound",
            cells=tuple(replace(cell, best=False) for cell in row.cells),
        )
        for row in bound.rows
    ]
    mixtures = dict.fromkeys((*table.mixtures, *bound.mixtures))
    return replace(
        table,
        rows=(*table.rows, *rows),
        missing=(*table.missing, *bound.missing),
        mixtures=tuple(mixtures),
    )


def tuned(records: Iterable[Record], rule: str) -> list[Record]:
    """Return of runs that differ in hyper-parameters alone the best one on source validation."""
    by_id = {record.spec.id: record for record in records}
    chosen = []
    for group in search.groups(record.spec for record in by_id.values()):
        members = [by_id[spec.id] for spec in group]
        best = search.best([record.result for record in members], rule)
        done = sum(record.result is not None for record in members)
        chosen.append(replace(members[best or 0], tried=max(done, 1)))
    return chosen


def _table(
    group: Sequence[Record],
    condition: tuple[str, ...],
    rule: str,
    metric: str,
    ensembles: bool = False,
    columns: Sequence[str] = (),
) -> Table:
    """Return the table of one group; its columns are those of the group unless given."""
    spec = group[0].spec
    wanted = _columns(group) | {name: ((name,), name) for name in columns}
    seeds = sorted({record.spec.seed for record in group})
    done = [record.result for record in group if record.result is not None]
    root = next((r for result in done if (r := result["provenance"].get("data_root"))), None)
    rows: list[Row] = []
    missing: list[Missing] = []
    for label, members in _rows(group, rule):
        runs = {(_column(record.spec), record.spec.seed): record for record in members}
        rows.append(_row(label, runs, wanted, seeds, rule, metric))
        missing += _gaps(rows[-1], runs, wanted, root)
    return Table(
        dataset=spec.dataset,
        setting=spec.setting,
        modalities=spec.modalities,
        condition=condition,
        fabricated=spec.fabricated,
        numbers_version=spec.numbers_version,
        rule=rule,
        metric=metric,
        columns=(*wanted, AVERAGE),
        rows=(
            *_mark_best(rows),
            *(_ensembles(group, rows, wanted, rule, metric) if ensembles else ()),
        ),
        missing=tuple(missing),
        mixtures=(*_mixtures([result["provenance"] for result in done]), *_left_out(done)),
    )


def _column(spec: RunSpec) -> str:
    if spec.setting in (MULTI_SOURCE, UPPER_BOUND):
        return spec.target
    return f"{'+'.join(spec.sources)} → {spec.target}"


def _columns(group: Sequence[Record]) -> dict[str, tuple[tuple[str, ...], str]]:
    """Return sources and target of every column a whole table has, by its label."""
    domains = sorted({d for r in group for d in (*r.spec.sources, r.spec.target)})
    if group[0].spec.setting == MULTI_SOURCE:
        return {t: (tuple(d for d in domains if d != t), t) for t in domains}
    if group[0].spec.setting == UPPER_BOUND:
        return {t: ((t,), t) for t in domains}
    return {f"{s} → {t}": ((s,), t) for s, t in itertools.permutations(domains, 2)}


def _rows(group: Sequence[Record], rule: str) -> list[tuple[str, list[Record]]]:
    """Return the runs of every row under its label, sorted."""
    methods: dict[str, dict[str, list[Record]]] = {}
    for record in group:
        settings = json.dumps(_settings(record.spec, rule), sort_keys=True)
        methods.setdefault(record.spec.method, {}).setdefault(settings, []).append(record)
    rows = []
    for method, variants in sorted(methods.items()):
        tried = sorted({record.tried for runs in variants.values() for record in runs})
        if tried[-1] > 1:
            several = f"best of {'-'.join(map(str, dict.fromkeys((tried[0], tried[-1]))))}"
            together = [record for runs in variants.values() for record in runs]
            rows.append((f"{method} ({several})", together))
            continue
        members = list(variants.values())
        told = _telling([_settings(runs[0].spec, rule) for runs in members])
        for values, runs in sorted(zip(told, members, strict=True), key=lambda p: _order(p[0])):
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


def _row(
    label: str,
    runs: Mapping[tuple[str, int], Record],
    columns: Iterable[str],
    seeds: Sequence[int],
    rule: str,
    metric: str,
) -> Row:
    results = {key: run.result for key, run in runs.items() if run.result is not None}
    # A method reports by its own rule always or never, so any result tells.
    used = next((rule_of(result, rule) for result in results.values()), rule)
    figures = {k: 100 * result["rules"][used]["target"][metric] for k, result in results.items()}
    cells = []
    for column in columns:
        values = {seed: figures[column, seed] for seed in seeds if (column, seed) in figures}
        cells.append(Cell(values, tuple(seed for seed in seeds if seed not in values)))
    complete = [seed for seed in seeds if all(seed in cell.values for cell in cells)]
    averages = {seed: fmean(cell.values[seed] for cell in cells) for seed in complete}
    cells.append(Cell(averages, tuple(seed for seed in seeds if seed not in averages)))
    tried = max(run.tried for run in runs.values())
    return Row(label, used, tuple(cells), tried=tried)


def _ensembles(
    group: Sequence[Record],
    rows: Sequence[Row],
    columns: Iterable[str],
    rule: str,
    metric: str,
) -> Iterator[Row]:
    """Yield for every row of two seeds or more the ensemble of them, column by column."""
    from benchmark.reporting import ensembles

    for (label, members), row in zip(_rows(group, rule), rows, strict=True):
        cells = []
        for column in columns:
            done = [
                record.predictions
                for record in members
                if _column(record.spec) == column and record.result and record.predictions
            ]
            score = ensembles.score(done, row.rule, metric) if len(done) > 1 else None
            cells.append(Cell({} if score is None else {0: 100 * score}, ()))
        whole = all(cell.n for cell in cells)
        cells.append(Cell({0: fmean(cell.mean for cell in cells)} if whole else {}, ()))
        if any(cell.n for cell in cells):
            yield Row(f"{label}, ensemble", row.rule, tuple(cells), kind="ensemble")


def _mark_best(rows: Sequence[Row]) -> tuple[Row, ...]:
    """Mark the highest mean of each column, and all that print the same."""
    columns = []
    for cells in zip(*(row.cells for row in rows), strict=True):
        best = max((round(cell.mean, 2) for cell in cells if cell.n), default=None)
        columns.append([replace(c, best=bool(c.n) and round(c.mean, 2) == best) for c in cells])
    marked = zip(*columns, strict=True)
    return tuple(replace(row, cells=cells) for row, cells in zip(rows, marked, strict=True))


def _mixtures(provenances: Sequence[Mapping[str, Any]]) -> tuple[str, ...]:
    lines = []
    commits = [str(p.get("commit") or "unknown")[:10] for p in provenances]
    for what, values in (
        ("devices", [str(p.get("device", "unknown")) for p in provenances]),
        ("thread counts", [str(p.get("threads", "unknown")) for p in provenances]),
        ("commits", commits),
    ):
        if len(found := sorted(set(values))) > 1:
            lines.append(f"runs come from {len(found)} {what}: {', '.join(found)}.")
    dirty = [str(p.get("commit")).endswith("+dirty") for p in provenances]
    if any(dirty):
        lines.append(
            f"{sum(dirty)} of {len(dirty)} runs come from code with uncommitted changes, which "
            "no commit tells."
        )
    return tuple(lines)


def _left_out(results: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield how many samples could not be read, where any was left out."""
    if counts := [n for result in results if (n := len(result.get("left_out", ())))]:
        yield (
            f"{len(counts)} of {len(results)} runs leave out samples that cannot be read, up to "
            f"{max(counts)} of them; result.json names them."
        )


def _gaps(
    row: Row,
    runs: Mapping[tuple[str, int], Record],
    columns: Mapping[str, tuple[tuple[str, ...], str]],
    data_root: str | None,
) -> Iterator[Missing]:
    some = next(iter(runs.values())).spec
    tried = max(run.tried for run in runs.values())
    # The average comes last and is no cell of its own to fill.
    for (column, (sources, target)), cell in zip(columns.items(), row.cells[:-1], strict=True):
        wanted = replace(some, sources=sources, target=target)
        found = {seed: runs.get((column, seed)) for seed in cell.missing}
        failed = {seed for seed, run in found.items() if run is not None and run.state == FAILED}
        for seeds, retry in ((found.keys() - failed, False), (failed, True)):
            if seeds:
                states = {seed: _state(found[seed]) for seed in sorted(seeds)}
                yield Missing(row.label, column, states, wanted, retry, data_root, tried)


def _state(run: Record | None) -> str:
    if run is None:
        return "not run"
    if run.state == FAILED:
        return f"failed: {textwrap.shorten(run.error, 200) or 'no reason recorded'}"
    return run.state
