"""Accuracy tables from records: a row a method, a column a target, and the average.

Runs made under different conditions never share a table, but sets of modalities of one condition
stand in one, each a group of rows. Only a table of what public scripts report, which differ in
protocol and recipe, tells rows apart by these as well. Upper bounds, trained on the target itself,
stand below the rows of several sources and are never the best of a column.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from benchmark import search
from benchmark.reporting import blocks, conditions, significance
from benchmark.reporting.blocks import Block, View
from benchmark.reporting.parts import Cell, Record, Table
from benchmark.spec import MULTI_SOURCE, SETTINGS, UPPER_BOUND


def build(records: Iterable[Record], view: View) -> list[Table]:
    """Return a table for each condition among the records, its groups the sets of modalities.

    Args:
        records: runs in any state.
        view: what is looked at of every run.
    """
    found: dict[str, list[Record]] = {}
    for record in records:
        key = conditions.key(conditions.facts(record.spec, view.rule))
        found.setdefault(key, []).append(record)
    groups = sorted(found.values(), key=lambda g: (g[0].spec.dataset, g[0].spec.setting))
    bounds = {_beside(g, view): g for g in groups if g[0].spec.setting == UPPER_BOUND}
    several = {_beside(g, view) for g in groups if g[0].spec.setting == MULTI_SOURCE}
    together: dict[tuple[Any, ...], list[Block]] = {}
    for group, told in _told(groups, view):
        spec = group[0].spec
        if spec.setting == UPPER_BOUND and _beside(group, view) in several:
            continue  # it stands below that table's rows
        block = blocks.build(group, view)
        if spec.setting == MULTI_SOURCE and (below := bounds.get(_beside(group, view))):
            block = _with_upper_bound(block, below, view)
        shared = conditions.key(conditions.shared(spec, view.rule))
        place = (spec.dataset, SETTINGS.index(spec.setting), told, block.columns, shared)
        together.setdefault(place, []).append(block)
    return [_table(key, parts, view) for key, parts in sorted(together.items(), key=lambda p: p[0])]


def _beside(group: Sequence[Record], view: View) -> str:
    """Return what a condition and its upper bound share."""
    return conditions.without_setting(group[0].spec, view.rule)


def _told(
    groups: Sequence[list[Record]], view: View
) -> Iterator[tuple[list[Record], tuple[str, ...]]]:
    """Yield every group with what tells its condition from those of its dataset and setting."""
    families: dict[tuple[str, str], list[list[Record]]] = {}
    for group in groups:
        families.setdefault((group[0].spec.dataset, group[0].spec.setting), []).append(group)
    for family in families.values():
        facts = [conditions.facts(group[0].spec, view.rule) for group in family]
        yield from zip(family, conditions.distinctions(facts), strict=True)


def _table(key: tuple[Any, ...], parts: Sequence[Block], view: View) -> Table:
    dataset, setting, told, columns, _ = key
    sets = [part.records[0].spec.modalities for part in parts]
    order = sorted(range(len(parts)), key=lambda i: (len(sets[i]), sets[i]))
    spec = parts[0].records[0].spec
    rows = [replace(row, group="+".join(sets[i])) for i in order for row in parts[i].rows]
    subject = (dataset, SETTINGS[setting], *(["+".join(sets[0])] if len(parts) == 1 else []))
    table = Table(
        name=SETTINGS[setting],
        subject=(*subject, *told),
        columns=columns,
        rows=tuple(rows),
        rule=view.rule,
        metric=view.metric,
        grouped="modalities" if len(parts) > 1 else "",
        part=view.part,
        fabricated=spec.fabricated,
        numbers_version=spec.numbers_version,
        missing=tuple(gap for i in order for gap in parts[i].missing),
        notes=tuple(dict.fromkeys(note for part in parts for note in part.notes)),
        mixtures=mixtures([r for part in parts for r in part.records]),
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


def mixtures(records: Iterable[Record]) -> tuple[str, ...]:
    """Return in what runs differ that is no condition yet may move numbers, and what they lack."""
    done = [record.result for record in records if record.result is not None]
    provenances: list[Mapping[str, Any]] = [result["provenance"] for result in done]
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
    if counts := [n for result in done if (n := len(result.get("left_out", ())))]:
        lines.append(
            f"{len(counts)} of {len(done)} runs leave out samples that cannot be read, up to "
            f"{max(counts)} of them; result.json names them."
        )
    return tuple(lines)
