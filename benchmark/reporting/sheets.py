"""The results that belong in one accuracy table: of records by condition, or of a grid."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmark.records.read import Record
from benchmark.records.spec import MULTI_SOURCE, UPPER_BOUND, WITH_TARGET, RunSpec
from benchmark.records.state import State
from benchmark.reporting import conditions, rows
from benchmark.reporting.conditions import column_of
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block
from mmdg_common import UsageError

if TYPE_CHECKING:
    from benchmark.planning.grid import Row as GridRow


@dataclass(frozen=True)
class Sheet:
    """Blocks that differ in the set of modalities alone, or are of one grid."""

    name: str
    """The kind of table."""
    subject: tuple[str, ...]
    """Dataset, setting, modalities if all blocks share them, condition."""
    blocks: tuple[Block, ...]
    first: str = "method"
    """The heading of the rows' labels."""

    @property
    def grouped(self) -> bool:
        """Return whether the rows are told apart by their sets of modalities."""
        return len(self.blocks) > 1

    @property
    def splits(self) -> tuple[str, ...]:
        """Return the splits, which all blocks share."""
        return self.blocks[0].splits

    @property
    def records(self) -> list[Record]:
        """Return the runs of all blocks."""
        return [record for block in self.blocks for record in block.records]


def sheets(wanted: Wanted, settings: Collection[str] = WITH_TARGET, name: str = "") -> list[Sheet]:
    """Return what each accuracy table holds.

    Args:
        wanted: records, view and perhaps a grid.
        settings: only these.
        name: of the tables of a grid, by default that of several sources.
    """
    if wanted.plan is not None:
        return _of_grid(wanted, wanted.plan, settings, name or MULTI_SOURCE)
    return [
        Sheet(blocks[0].spec.setting, subject(blocks), tuple(blocks))
        for blocks in together(_with_bounds(wanted, settings), wanted.view)
    ]


def together(blocks: Iterable[Block], view: View) -> list[list[Block]]:
    """Return the blocks, those together that differ in the set of modalities alone."""
    groups: dict[tuple[object, ...], list[Block]] = {}
    for block in blocks:
        shared = conditions.key(conditions.shared(block.spec, view.rule))
        key = (block.spec.dataset, block.spec.setting, block.told, block.splits, shared)
        groups.setdefault(key, []).append(block)
    return list(groups.values())


def subject(blocks: Sequence[Block]) -> tuple[str, ...]:
    """Return what the title of blocks of one condition says."""
    spec = blocks[0].spec
    sets = dict.fromkeys(block.modalities for block in blocks)
    return (spec.dataset, spec.setting, *(sets if len(sets) == 1 else ()), *blocks[0].told)


def _with_bounds(wanted: Wanted, settings: Collection[str]) -> list[Block]:
    """Return the blocks of these settings, upper bounds below the rows of several sources."""
    pairs = [
        (condition, block)
        for condition, block in zip(wanted.results.conditions, wanted.blocks, strict=True)
        if block.spec.setting in settings
    ]
    view = wanted.view
    bounds = {_beside(c.spec, view): c for c, _ in pairs if c.spec.setting == UPPER_BOUND}
    several = {_beside(c.spec, view) for c, _ in pairs if c.spec.setting == MULTI_SOURCE}
    shown = []
    for condition, block in pairs:
        beside = _beside(condition.spec, view)
        if block.spec.setting == UPPER_BOUND and beside in several:
            continue  # it stands below that table's rows
        if block.spec.setting == MULTI_SOURCE and beside in bounds:
            values = wanted.results.percent(view.part, view.metric)
            block = _joined(block, rows.block(bounds[beside], values, view, block.splits))
        shown.append(block)
    return shown


def _beside(spec: RunSpec, view: View) -> str:
    """Return what a condition and its upper bound share."""
    return conditions.without_setting(spec, view.rule)


def _joined(block: Block, bound: Block) -> Block:
    """Return a block with the rows of its upper bounds below the others."""
    below = [
        replace(line, label=f"{line.label}, upper bound", kind="upper bound")
        for line in bound.lines
    ]
    return replace(
        block,
        records=(*block.records, *bound.records),
        lines=(*block.lines, *below),
        missing=(*block.missing, *bound.missing),
        notes=(*block.notes, *bound.notes),
    )


Labels = Mapping[str, Sequence[Record]]
"""The runs of a grid by the label of their row."""


def _of_grid(
    wanted: Wanted, grid: "Sequence[GridRow]", settings: Collection[str], name: str
) -> list[Sheet]:
    """Return a sheet per dataset and setting: exactly the grid's runs, its labels for rows."""
    known = {record.spec.id: record for record in wanted.records}
    found: dict[tuple[str, str], dict[tuple[str, ...], dict[str, list[Record]]]] = {}
    for row in grid:
        for spec in row.plan.specs:
            if spec.setting not in settings:
                continue
            sets = found.setdefault((spec.dataset, spec.setting), {})
            runs = sets.setdefault(spec.modalities, {}).setdefault(row.label or spec.method, [])
            record = known.get(spec.id) or Record(spec, State.TO_DO)
            if record not in runs:
                runs.append(record)
    return [_grid_sheet(place, list(sets.values()), wanted, name) for place, sets in found.items()]


def _grid_sheet(place: tuple[str, str], sets: Sequence[Labels], wanted: Wanted, name: str) -> Sheet:
    every = [record for labels in sets for runs in labels.values() for record in runs]
    splits = {
        column_of(record.spec): (record.spec.sources, record.spec.target)
        for record in sorted(every, key=lambda record: column_of(record.spec))
    }
    view = wanted.view
    values = wanted.results.percent(view.part, view.metric)
    blocks = []
    for labels in sets:
        _check(labels)
        records = [record for runs in labels.values() for record in runs]
        blocks.append(rows.fill(records, list(labels.items()), splits, values, view))
    return Sheet(name, (*place, *subject(blocks)[2:]), tuple(blocks), "row")


def _check(labels: Labels) -> None:
    """Raise UsageError if a row would hold two runs of one split and seed."""
    for label, runs in labels.items():
        places = {(column_of(run.spec), run.spec.seed) for run in runs}
        if len(places) < len(runs):
            raise UsageError(
                f"the row {label!r} of the grid holds several runs of one target and seed; "
                "give its entries or variants labels that tell them apart"
            )
