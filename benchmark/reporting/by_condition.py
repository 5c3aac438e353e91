"""Runs by condition: what shares a table, and what tables of averages have in common."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmark.records.read import Record
from benchmark.records.spec import SETTINGS, RunSpec
from benchmark.reporting import blocks, captions, conditions
from benchmark.reporting.blocks import Block, View, column_of
from benchmark.reporting.model import Cell, Missing, Plain, Table

MARKED = (
    "The best mean of a column stands in stars or bold, the second in underscores or underlined."
)
SPREAD = (
    "mean ± sample standard deviation (n − 1) over seeds, (n) the number of seeds, one seed has "
    "no ±"
)


@dataclass(frozen=True)
class Part:
    """The runs of one condition and set of modalities."""

    told: tuple[str, ...]
    """What tells the condition from the others of its dataset and setting."""
    block: Block

    @property
    def spec(self) -> RunSpec:
        """Some run of the part; all share its condition."""
        return self.block.records[0].spec

    @property
    def columns(self) -> tuple[str, ...]:
        """The splits: what the average is over."""
        return self.block.columns[:-1]

    @property
    def modalities(self) -> str:
        """The set of modalities."""
        return "+".join(self.spec.modalities)

    @property
    def seeds(self) -> list[int]:
        """The seeds that any run has."""
        return sorted({record.spec.seed for record in self.block.records})


def parts(records: Iterable[Record], view: View) -> list[Part]:
    """Return the runs by condition, in order of dataset, setting, condition and modalities."""
    families: dict[tuple[str, str], dict[str, list[Record]]] = {}
    for record in records:
        family = families.setdefault((record.spec.dataset, record.spec.setting), {})
        key = conditions.key(conditions.facts(record.spec, view.rule))
        family.setdefault(key, []).append(record)
    found = []
    for family in families.values():
        facts = [conditions.facts(group[0].spec, view.rule) for group in family.values()]
        told = conditions.distinctions(facts)
        for group, differs in zip(family.values(), told, strict=True):
            found.append(Part(differs, blocks.build(group, view)))
    return sorted(found, key=_order)


def _order(part: Part) -> tuple[str, int, tuple[str, ...], int, tuple[str, ...]]:
    spec, told = part.spec, part.told
    return spec.dataset, SETTINGS.index(spec.setting), told, len(spec.modalities), spec.modalities


def together(found: Iterable[Part], view: View) -> list[list[Part]]:
    """Return the parts, those together that differ in the set of modalities alone."""
    groups: dict[tuple[object, ...], list[Part]] = {}
    for part in found:
        spec = part.spec
        shared = conditions.key(conditions.shared(spec, view.rule))
        key = (spec.dataset, spec.setting, part.told, part.columns, shared)
        groups.setdefault(key, []).append(part)
    return list(groups.values())


def averaged(
    runs: Iterable[Record],
    columns: Sequence[str],
    seeds: Iterable[int],
    value: Callable[[Record], float | None],
) -> Cell:
    """Return by seed the mean over all columns of a value of runs that are done.

    A seed that lacks the value of any column is missing, as in the average of accuracies.
    """
    found = {
        (column_of(run.spec), run.spec.seed): x
        for run in runs
        if run.result is not None and (x := value(run)) is not None
    }
    whole = {
        seed: fmean(found[column, seed] for column in columns)
        for seed in sorted(seeds)
        if all((column, seed) in found for column in columns)
    }
    return Cell(whole, tuple(seed for seed in sorted(seeds) if seed not in whole))


def difference(a: Cell, b: Cell) -> Plain:
    """Return b minus a over the seeds of both, as `+1.20 ± 0.30 (3)`."""
    shared = sorted(a.values.keys() & b.values.keys())
    if not shared:
        return Plain(captions.EMPTY)
    cell = Cell({seed: b.values[seed] - a.values[seed] for seed in shared}, ())
    spread = f" ± {cell.std:.2f}" if cell.n > 1 else ""
    return Plain(f"{cell.mean:+.2f}{spread} ({cell.n})", cell.mean)


def frame(name: str, of: Sequence[Part], view: View) -> Table:
    """Return a table without columns and rows; the set of modalities is told if all share it."""
    spec = of[0].spec
    sets = dict.fromkeys(part.modalities for part in of)
    return Table(
        name=name,
        subject=(spec.dataset, spec.setting, *(sets if len(sets) == 1 else ()), *of[0].told),
        columns=(),
        rows=(),
        rule=view.rule,
        metric=view.metric,
        scores=False,
        fabricated=spec.fabricated,
        numbers_version=spec.numbers_version,
        mixtures=conditions.mixtures(record for part in of for record in part.block.records),
    )


def gaps(of: Mapping[str, Part]) -> tuple[Missing, ...]:
    """Return what several parts lack, each named after what tells it from the others."""
    return tuple(
        replace(gap, column=f"{gap.column} with {name}")
        for name, part in of.items()
        for gap in part.block.missing
    )


def splits(columns: Sequence[str]) -> str:
    """Return e.g. `the mean over its 3 splits`, as a note says it."""
    return f"the mean over {len(columns)} splits" if len(columns) > 1 else "that of the one split"
