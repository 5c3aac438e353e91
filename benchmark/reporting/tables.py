"""Tables from records: which runs belong together, what they say, and what is missing.

A table holds the runs of one condition: everything that can move a number, except the method
and its hyper-parameters (the rows), the domains (the columns) and the seed. Runs made under
different conditions never share a table.
"""

import itertools
import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean, stdev
from typing import Any

from benchmark.selection import rule_of
from benchmark.spec import RunSpec
from benchmark.store import FAILED

MULTI_SOURCE, SINGLE_SOURCE = SETTINGS = ("multi-source", "single-source")
METRICS = ("accuracy", "macro_f1")
AVERAGE = "average"
NOT_CONDITIONS = frozenset({"method", "hyperparameters", "sources", "target", "seed"})

Facts = Mapping[tuple[str, str], Any]
"""The condition of a run, by field of the spec and key within it (empty for a plain field)."""


@dataclass(frozen=True)
class Record:
    """One run of the store; `result` is None until it is done, `error` says why it failed."""

    spec: RunSpec
    state: str
    error: str = ""
    result: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class Cell:
    """The figures of one row in one column: percent by seed, and the seeds that lack one."""

    values: Mapping[int, float]
    missing: tuple[int, ...]
    best: bool = False

    @property
    def n(self) -> int:
        """Return the number of seeds measured."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Return the mean over seeds; there must be one."""
        return fmean(self.values.values())

    @property
    def std(self) -> float:
        """Return the sample standard deviation (n - 1) over seeds; there must be two."""
        return stdev(self.values.values())


@dataclass(frozen=True)
class Row:
    """One composition with one setting of its hyper-parameters; the last cell is the average."""

    label: str
    rule: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Missing:
    """Seeds that a cell lacks and that one command runs; failed ones need a command apart."""

    row: str
    column: str
    states: Mapping[int, str]
    """What became of each seed, in words."""
    run: RunSpec
    """One of the runs that fill the cell; the others differ in the seed."""
    failed: bool
    data_root: str | None
    """Where the data of the table's other runs was."""


@dataclass(frozen=True)
class Table:
    """All that any format prints."""

    dataset: str
    setting: str
    modalities: tuple[str, ...]
    condition: tuple[str, ...]
    """What tells this table from others of its dataset, setting and modalities."""
    fabricated: bool
    numbers_version: int
    rule: str
    metric: str
    columns: tuple[str, ...]
    """The domains and, last, the average."""
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]
    mixtures: tuple[str, ...]
    """In what the runs differ that is no condition yet may move numbers, and what they lack."""


def build(records: Iterable[Record], rule: str, metric: str) -> list[Table]:
    """Return one table for each condition among the records.

    Args:
        records: runs in any state.
        rule: the selection rule asked for.
        metric: one of `METRICS`.
    """
    groups: dict[str, list[Record]] = {}
    for record in records:
        key = json.dumps([[*name, value] for name, value in sorted(facts(record.spec).items())])
        groups.setdefault(key, []).append(record)
    families: dict[tuple[str, str, tuple[str, ...]], list[list[Record]]] = {}
    for group in groups.values():
        spec = group[0].spec
        families.setdefault((spec.dataset, spec.setting, spec.modalities), []).append(group)
    tables = []
    for _, family in sorted(families.items()):
        conditions = distinctions([facts(group[0].spec) for group in family])
        for condition, group in sorted(zip(conditions, family, strict=True), key=lambda p: p[0]):
            tables.append(_table(group, condition, rule, metric))
    return tables


def facts(spec: RunSpec) -> Facts:
    """Return the condition of a run.

    With several sources it includes the set of domains, as fewer sources for the same target
    are another experiment.
    """
    values = {k: v for k, v in spec.to_json().items() if k not in NOT_CONDITIONS}
    if spec.setting == MULTI_SOURCE:
        values["domains"] = "+".join(sorted({*spec.sources, spec.target}))
    return {
        (field, key): value
        for field, entry in values.items()
        for key, value in (entry.items() if isinstance(entry, dict) else [("", entry)])
    }


def distinctions(conditions: Sequence[Facts]) -> list[tuple[str, ...]]:
    """Return for each condition the values in which it differs from the others, as texts."""
    data, fabricated = ("data", ""), ("fabricated", "")
    names = list(dict.fromkeys(name for condition in conditions for name in condition))
    differ = [n for n in names if any(c.get(n) != conditions[0].get(n) for c in conditions)]
    telling = [name for name in differ if name not in (data, fabricated)]
    told = {tuple(str(c.get(name)) for name in (*telling, fabricated)) for c in conditions}
    if len(told) < len(conditions):
        # Other options make other data, so the fingerprint is named only where nothing else
        # tells two tables apart.
        telling.append(data)
    return [tuple(_fact(name, c[name]) for name in telling if name in c) for c in conditions]


def _fact(name: tuple[str, str], value: Any) -> str:
    field, key = name
    if field == "encoders":
        return f"{key} encoder={value}"
    return f"{key or field}={value[:8] if field == 'data' else value}"


def _table(group: Sequence[Record], condition: tuple[str, ...], rule: str, metric: str) -> Table:
    spec = group[0].spec
    columns = _columns(group)
    seeds = sorted({record.spec.seed for record in group})
    done = [record.result for record in group if record.result is not None]
    root = next((r for result in done if (r := result["provenance"].get("data_root"))), None)
    rows: list[Row] = []
    missing: list[Missing] = []
    for label, members in _rows(group):
        runs = {(_column(record.spec), record.spec.seed): record for record in members}
        rows.append(_row(label, runs, columns, seeds, rule, metric))
        missing += _gaps(rows[-1], runs, columns, root)
    return Table(
        dataset=spec.dataset,
        setting=spec.setting,
        modalities=spec.modalities,
        condition=condition,
        fabricated=spec.fabricated,
        numbers_version=spec.numbers_version,
        rule=rule,
        metric=metric,
        columns=(*columns, AVERAGE),
        rows=_mark_best(rows),
        missing=tuple(missing),
        mixtures=(*_mixtures([result["provenance"] for result in done]), *_left_out(done)),
    )


def _column(spec: RunSpec) -> str:
    if spec.setting == MULTI_SOURCE:
        return spec.target
    return f"{'+'.join(spec.sources)} → {spec.target}"


def _columns(group: Sequence[Record]) -> dict[str, tuple[tuple[str, ...], str]]:
    """Return sources and target of every column a whole table has, by its label."""
    domains = sorted({d for r in group for d in (*r.spec.sources, r.spec.target)})
    if group[0].spec.setting == MULTI_SOURCE:
        return {t: (tuple(d for d in domains if d != t), t) for t in domains}
    return {f"{s} → {t}": ((s,), t) for s, t in itertools.permutations(domains, 2)}


def _rows(group: Sequence[Record]) -> list[tuple[str, list[Record]]]:
    """Return the runs of every row under its label, sorted."""
    methods: dict[str, dict[str, list[Record]]] = {}
    for record in group:
        settings = json.dumps(flat(record.spec.hyperparameters), sort_keys=True)
        methods.setdefault(record.spec.method, {}).setdefault(settings, []).append(record)
    rows = []
    for method, variants in sorted(methods.items()):
        members = list(variants.values())
        told = _telling([flat(runs[0].spec.hyperparameters) for runs in members])
        for values, runs in sorted(zip(told, members, strict=True), key=lambda p: _order(p[0])):
            text = ", ".join(f"{name}={value}" for name, value in values.items())
            rows.append((f"{method} ({text})" if text else method, runs))
    return rows


def _telling(variants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return of each variant what differs among them, under the shortest clear names."""
    names = sorted({n for v in variants for n in v if any(w.get(n) != v[n] for w in variants)})
    short = {name: name.split(".", 1)[1] for name in names}
    if len(set(short.values())) < len(names):
        short = {name: name for name in names}
    return [{short[name]: v[name] for name in names if name in v} for v in variants]


def _order(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    # The type first, as a number and a text cannot be compared.
    return [(type(value).__name__, value) for value in values.values()]


def flat(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return hyper-parameters under `component.name`."""
    return {f"{c}.{k}": value for c, values in settings.items() for k, value in values.items()}


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
    return Row(label, used, tuple(cells))


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
    # The average comes last and is no cell of its own to fill.
    for (column, (sources, target)), cell in zip(columns.items(), row.cells[:-1], strict=True):
        wanted = replace(some, sources=sources, target=target)
        found = {seed: runs.get((column, seed)) for seed in cell.missing}
        failed = {seed for seed, run in found.items() if run is not None and run.state == FAILED}
        for seeds, retry in ((found.keys() - failed, False), (failed, True)):
            if seeds:
                states = {seed: _state(found[seed]) for seed in sorted(seeds)}
                yield Missing(row.label, column, states, wanted, retry, data_root)


def _state(run: Record | None) -> str:
    if run is None:
        return "not run"
    if run.state == FAILED:
        return f"failed: {textwrap.shorten(run.error, 200) or 'no reason recorded'}"
    return run.state
