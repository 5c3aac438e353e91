"""What becomes of methods when a modality carries a cue that breaks in the target."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from benchmark.records.read import Record
from benchmark.records.spec import RunSpec
from benchmark.reporting import blocks, by_condition, captions, conditions
from benchmark.reporting.blocks import View
from benchmark.reporting.by_condition import Part
from benchmark.reporting.captions import EMPTY
from benchmark.reporting.model import Cell, Plain, Row, Table

STRENGTH, MODALITY = "spurious_strength", "spurious_modality"
DROP = "drop"


def build(records: Sequence[Record], view: View) -> list[Table]:
    """Return a table for each condition and modality with a cue of two strengths or more."""
    groups: dict[str, list[Part]] = {}
    for part in by_condition.parts(_with_option(records), view):
        groups.setdefault(_but_for_cue(part.spec, view), []).append(part)
    tables = []
    for of in groups.values():
        carriers = {part.spec.options.get(MODALITY): None for part in of if _strength(part) > 0}
        for modality in carriers:
            strengths = _strengths(of, modality)
            if len(strengths) > 1:
                tables.append(_table(strengths, modality, view))
    return tables


def _with_option(records: Iterable[Record]) -> list[Record]:
    return [record for record in records if STRENGTH in record.spec.options]


def _but_for_cue(spec: RunSpec, view: View) -> str:
    facts = conditions.facts(spec, view.rule)
    left_out = {("data", ""), ("options", STRENGTH), ("options", MODALITY)}
    return conditions.key({name: value for name, value in facts.items() if name not in left_out})


def _strength(part: Part) -> float:
    return float(part.spec.options[STRENGTH])


def _strengths(of: Iterable[Part], modality: object) -> dict[float, Part]:
    """Return the parts by strength; without a cue it does not matter who would carry it."""
    found: dict[float, Part] = {}
    for part in of:
        same = part.spec.options.get(MODALITY) == modality
        if same or (not _strength(part) and 0.0 not in found):
            found[_strength(part)] = part
    return dict(sorted(found.items()))


def _table(strengths: Mapping[float, Part], modality: object, view: View) -> Table:
    labels: dict[str, dict[float, Row]] = {}
    for strength, part in strengths.items():
        for row in part.block.rows:
            labels.setdefault(row.label, {})[strength] = row
    rows = blocks.mark_best(
        [_row(label, labels[label], list(strengths)) for label in sorted(labels)]
    )
    table = by_condition.frame("spurious", list(strengths.values()), view)
    cue = f"{MODALITY}={modality}"
    told = [fact for fact in table.subject if not fact.startswith((STRENGTH, MODALITY, "data="))]
    return replace(
        table,
        subject=(*told, cue),
        columns=(*(f"strength {strength:g}" for strength in strengths), DROP),
        rows=rows,
        missing=by_condition.gaps(
            {f"strength {strength:g}": part for strength, part in strengths.items()}
        ),
        notes=tuple(_notes(strengths, rows, view)),
    )


def _row(label: str, of: Mapping[float, Row], strengths: Sequence[float]) -> Row:
    none = Cell({}, ())
    cells = [of[strength].cells[-1] if strength in of else none for strength in strengths]
    first, last = cells[0], cells[-1]
    drop = Plain(EMPTY)
    if strengths[0] == 0 and isinstance(first, Cell) and isinstance(last, Cell):
        drop = by_condition.difference(last, first)
    some = next(iter(of.values()))
    tried = max(row.tried for row in of.values())
    return Row(label, some.rule, (*cells, drop), tried=tried, records=some.records)


def _notes(strengths: Mapping[float, Part], rows: Sequence[Row], view: View) -> Iterator[str]:
    columns = next(iter(strengths.values())).columns
    yield (
        "A cue as strong as the column says tells the class in the source domains, in one modality "
        "alone, and misleads in the target; strength 0 is the same data without it."
    )
    yield (
        f"Cells: {by_condition.SPREAD}, of the {view.metric} on the target domain in percent. That "
        f"of a seed is {by_condition.splits(columns)}; {EMPTY}: no seed has every split. "
        f"{by_condition.MARKED}"
    )
    yield (
        f"{DROP}: what strength 0 reaches more than strength {max(strengths):g}, over the seeds of "
        "both, in points; the further above 0, the more a method relies on the cue."
        + ("" if 0 in strengths else " There are no runs of strength 0.")
    )
    yield from captions.rule_notes(rows, view.rule)
    yield from dict.fromkeys(note for part in strengths.values() for note in part.block.notes)
