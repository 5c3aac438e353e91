"""Does another modality help? The average accuracy by the number of modalities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmark.records.read import Record
from benchmark.reporting import blocks, by_condition, captions
from benchmark.reporting.blocks import View
from benchmark.reporting.by_condition import Part
from benchmark.reporting.captions import EMPTY
from benchmark.reporting.model import Cell, Plain, Row, Table

GAIN = "largest − best smaller"


@dataclass(frozen=True)
class _Line:
    """One method: its average by set of modalities, where a seed has every split."""

    rows: Mapping[str, Row]
    sets: Mapping[int, Sequence[str]]
    """All sets of each size, whether the method has them or not."""

    def average(self, name: str) -> Cell:
        """Return the average of a set; empty where it is missing."""
        cell = self.rows[name].cells[-1] if name in self.rows else None
        return cell if isinstance(cell, Cell) else Cell({}, ())

    def best_first(self, sizes: Sequence[int]) -> list[str]:
        """Return the sets of these sizes that have an average, the best first."""
        there = [name for size in sizes for name in self.sets[size] if self.average(name).n]
        return sorted(there, key=lambda name: -self.average(name).mean)

    def size(self, size: int, seeds: Sequence[int]) -> Cell:
        """Return by seed the mean over all sets of a size."""
        cells = [self.average(name).values for name in self.sets[size]]
        whole = {s: fmean(c[s] for c in cells) for s in seeds if all(s in c for c in cells)}
        return Cell(whole, tuple(seed for seed in seeds if seed not in whole))

    def compared(self) -> tuple[str, str] | None:
        """Return the largest set and the best smaller one, the best where there are several."""
        sizes = sorted(self.sets)
        largest, smaller = self.best_first(sizes[-1:]), self.best_first(sizes[:-1])
        return (largest[0], smaller[0]) if largest and smaller else None


def build(records: Sequence[Record], view: View) -> list[Table]:
    """Return a table for each condition that has sets of two sizes."""
    return [
        _table(of, view)
        for of in by_condition.together(by_condition.parts(records, view), view)
        if len({len(part.spec.modalities) for part in of}) > 1
    ]


def _table(of: Sequence[Part], view: View) -> Table:
    sets: dict[int, list[str]] = {}
    labels: dict[str, dict[str, Row]] = {}
    for part in of:
        sets.setdefault(len(part.spec.modalities), []).append(part.modalities)
        for row in part.block.rows:
            labels.setdefault(row.label, {})[part.modalities] = row
    seeds = sorted({seed for part in of for seed in part.seeds})
    lines = {label: _Line(rows, sets) for label, rows in sorted(labels.items())}
    rows = blocks.mark_best([_row(label, line, seeds) for label, line in lines.items()])
    return replace(
        by_condition.frame("modality-count", of, view),
        columns=(*map(_column, sets), GAIN),
        rows=rows,
        missing=by_condition.gaps({part.modalities: part for part in of}),
        notes=tuple(_notes(of, lines, rows, view)),
    )


def _column(size: int) -> str:
    return f"{size} modalit{'y' if size == 1 else 'ies'}"


def _row(label: str, line: _Line, seeds: Sequence[int]) -> Row:
    some = next(iter(line.rows.values()))
    sets = line.compared()
    gain = Plain(EMPTY)
    if sets:
        largest, smaller = map(line.average, sets)
        gain = by_condition.difference(smaller, largest)
    return Row(
        label,
        some.rule,
        (*(line.size(size, seeds) for size in line.sets), gain),
        tried=max(row.tried for row in line.rows.values()),
    )


def _notes(
    of: Sequence[Part], lines: Mapping[str, _Line], rows: Sequence[Row], view: View
) -> Iterator[str]:
    yield (
        f"Cells: {by_condition.SPREAD}, of the {view.metric} on the target domain in percent. That "
        f"of a seed is {by_condition.splits(of[0].columns)} and over all sets of that many "
        f"modalities; {EMPTY}: no seed has all of them. {by_condition.MARKED}"
    )
    sets = next(iter(lines.values())).sets
    listed = (f"{size}: {', '.join(names)}" for size, names in sets.items())
    yield f"Sets: {'; '.join(listed)}."
    if lacking := list(_lacking(lines)):
        yield f"Methods without any run of a set: {'; '.join(lacking)}."
    yield from _extremes(lines)
    named = "; ".join(_named(lines)) or "No method has both"
    yield (
        f"{GAIN}: the largest set minus the best smaller one, over the seeds of both, in points; "
        "above 0, an additional modality helps. The smaller set is chosen by its score on the "
        f"target, in its favour. {named}."
    )
    yield from captions.rule_notes(rows, view.rule)
    yield from dict.fromkeys(note for part in of for note in part.block.notes)


def _lacking(lines: Mapping[str, _Line]) -> Iterator[str]:
    for label, line in lines.items():
        names = [name for of in line.sets.values() for name in of if name not in line.rows]
        if names:
            yield f"{label}: {', '.join(names)}"


def _extremes(lines: Mapping[str, _Line]) -> Iterator[str]:
    """Yield for each size that has several sets which is best and worst for every method."""
    for size, names in next(iter(lines.values())).sets.items():
        said = []
        for label, line in lines.items():
            order = [f"{name} {line.average(name).mean:.2f}" for name in line.best_first([size])]
            if len(order) > 1:
                said.append(f"{label}: {order[0]} and {order[-1]}")
        if len(names) > 1 and said:
            yield f"Best and worst set of {_column(size)}: {'; '.join(said)}."


def _named(lines: Mapping[str, _Line]) -> Iterator[str]:
    for label, line in lines.items():
        if sets := line.compared():
            yield f"{label}: {sets[0]} against {sets[1]}"
