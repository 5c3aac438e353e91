"""Accuracy when a modality carries a cue that breaks in the target."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from benchmark.records.spec import RunSpec
from benchmark.reporting import conditions
from benchmark.reporting.captions import EMPTY, SPREAD, rule_notes
from benchmark.reporting.kinds.frame import (
    MARKED,
    difference,
    frame,
    gaps,
    mean_over,
    notes_of,
)
from benchmark.reporting.model import NONE, Cell, Row, Score, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block, Line, mark_best

STRENGTH, MODALITY = "spurious_strength", "spurious_modality"
DROP = "drop"


def build(wanted: Wanted) -> list[Table]:
    """Return a table for each condition and modality with a cue of two strengths or more."""
    view = wanted.view
    groups: dict[str, list[Block]] = {}
    for block in wanted.blocks:
        if STRENGTH in block.spec.options:
            groups.setdefault(_but_for_cue(block.spec, view), []).append(block)
    tables = []
    for of in groups.values():
        carriers = {block.spec.options.get(MODALITY): None for block in of if _strength(block) > 0}
        for modality in carriers:
            strengths = _strengths(of, modality)
            if len(strengths) > 1:
                tables.append(_table(strengths, modality, view))
    return tables


def _but_for_cue(spec: RunSpec, view: View) -> str:
    facts = conditions.facts(spec, view.rule)
    left_out = {("data", ""), ("options", STRENGTH), ("options", MODALITY)}
    return conditions.key({name: value for name, value in facts.items() if name not in left_out})


def _strength(block: Block) -> float:
    return float(block.spec.options[STRENGTH])


def _strengths(of: Iterable[Block], modality: object) -> dict[float, Block]:
    """Return the blocks by strength; without a cue, that of any modality will do."""
    found: dict[float, Block] = {}
    for block in of:
        same = block.spec.options.get(MODALITY) == modality
        if same or (not _strength(block) and 0.0 not in found):
            found[_strength(block)] = block
    return dict(sorted(found.items()))


def _table(strengths: Mapping[float, Block], modality: object, view: View) -> Table:
    labels: dict[str, dict[float, Line]] = {}
    for strength, block in strengths.items():
        for line in block.lines:
            labels.setdefault(line.label, {})[strength] = line
    rows = mark_best([_row(label, labels[label], list(strengths)) for label in sorted(labels)])
    table = frame("spurious", list(strengths.values()), view)
    cue = f"{MODALITY}={modality}"
    told = [fact for fact in table.subject if not fact.startswith((STRENGTH, MODALITY, "data="))]
    return replace(
        table,
        subject=(*told, cue),
        columns=(*(f"strength {strength:g}" for strength in strengths), DROP),
        rows=rows,
        missing=gaps({f"strength {strength:g}": block for strength, block in strengths.items()}),
        notes=tuple(_notes(strengths, rows, view)),
    )


def _row(label: str, of: Mapping[float, Line], strengths: Sequence[float]) -> Row:
    averages = [of[strength].average if strength in of else Score({}) for strength in strengths]
    drop = difference(averages[-1], averages[0]) if strengths[0] == 0 else NONE
    some = next(iter(of.values()))
    tried = max(line.tried for line in of.values())
    cells: tuple[Cell, ...] = (*averages, drop)
    return Row(label, some.rule, cells, tried=tried, records=tuple(some.records))


def _notes(strengths: Mapping[float, Block], rows: Sequence[Row], view: View) -> Iterator[str]:
    splits = next(iter(strengths.values())).splits
    yield (
        "In the source domains, one modality carries a cue to the class, as strong as the column "
        "says; in the target the cue misleads. Strength 0 is the same data without the cue."
    )
    yield (
        f"Each cell is the {view.metric} on the target domain in percent: {SPREAD}. A seed counts "
        f"with {mean_over(splits)}; {EMPTY} means that no seed has every split. {MARKED}"
    )
    yield (
        f"{DROP}: strength 0 minus strength {max(strengths):g} in points, over the seeds that both "
        "have. The larger it is, the more the method relies on the cue."
        + ("" if 0 in strengths else " There are no runs of strength 0.")
    )
    yield from rule_notes(rows, view.rule)
    yield from notes_of(strengths.values())
