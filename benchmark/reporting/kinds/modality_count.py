"""Does another modality help? The average accuracy by the number of modalities."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmark.reporting.captions import EMPTY, SPREAD, rule_notes
from benchmark.reporting.kinds.frame import (
    MARKED,
    difference,
    frame,
    gaps,
    mean_over,
    notes_of,
)
from benchmark.reporting.model import NONE, Row, Score, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block, Line, mark_best
from benchmark.reporting.sheets import together

GAIN = "largest − best smaller"


@dataclass(frozen=True)
class _Method:
    """One method: its average by set of modalities, where a seed has every split."""

    lines: Mapping[str, Line]
    sets: Mapping[int, Sequence[str]]
    """All sets of each size, whether the method has them or not."""

    def average(self, name: str) -> Score:
        """Return the average of a set; empty where it is missing."""
        return self.lines[name].average if name in self.lines else Score({})

    def best_first(self, sizes: Sequence[int]) -> list[str]:
        """Return the sets of these sizes that have an average, the best first."""
        there = [name for size in sizes for name in self.sets[size] if self.average(name).n]
        return sorted(there, key=lambda name: -self.average(name).mean)

    def size(self, size: int, seeds: Sequence[int]) -> Score:
        """Return by seed the mean over all sets of a size."""
        cells = [self.average(name).values for name in self.sets[size]]
        whole = {s: fmean(c[s] for c in cells) for s in seeds if all(s in c for c in cells)}
        return Score(whole, tuple(seed for seed in seeds if seed not in whole))

    def compared(self) -> tuple[str, str] | None:
        """Return the largest set and the best smaller one, the best where there are several."""
        sizes = sorted(self.sets)
        largest, smaller = self.best_first(sizes[-1:]), self.best_first(sizes[:-1])
        return (largest[0], smaller[0]) if largest and smaller else None


def build(wanted: Wanted) -> list[Table]:
    """Return a table for each condition that has sets of two sizes."""
    return [
        _table(of, wanted.view)
        for of in together(wanted.blocks, wanted.view)
        if len({len(block.spec.modalities) for block in of}) > 1
    ]


def _table(of: Sequence[Block], view: View) -> Table:
    sets: dict[int, list[str]] = {}
    labels: dict[str, dict[str, Line]] = {}
    for block in of:
        sets.setdefault(len(block.spec.modalities), []).append(block.modalities)
        for line in block.lines:
            labels.setdefault(line.label, {})[block.modalities] = line
    seeds = sorted({seed for block in of for seed in block.seeds})
    methods = {label: _Method(lines, sets) for label, lines in sorted(labels.items())}
    rows = mark_best([_row(label, method, seeds) for label, method in methods.items()])
    return replace(
        frame("modality-count", of, view),
        columns=(*map(_column, sets), GAIN),
        rows=rows,
        missing=gaps({block.modalities: block for block in of}),
        notes=tuple(_notes(of, methods, rows, view)),
    )


def _column(size: int) -> str:
    return f"{size} modalit{'y' if size == 1 else 'ies'}"


def _row(label: str, method: _Method, seeds: Sequence[int]) -> Row:
    some = next(iter(method.lines.values()))
    sets = method.compared()
    gain = NONE
    if sets:
        largest, smaller = map(method.average, sets)
        gain = difference(smaller, largest)
    return Row(
        label,
        some.rule,
        (*(method.size(size, seeds) for size in method.sets), gain),
        tried=max(line.tried for line in method.lines.values()),
    )


def _notes(
    of: Sequence[Block], methods: Mapping[str, _Method], rows: Sequence[Row], view: View
) -> Iterator[str]:
    yield (
        f"Each cell is the {view.metric} on the target domain in percent: {SPREAD}. A seed counts "
        f"with {mean_over(of[0].splits)}, averaged over all sets of that many modalities; {EMPTY} "
        f"means that no seed has all of them. {MARKED}"
    )
    sets = next(iter(methods.values())).sets
    listed = (f"{size}: {', '.join(names)}" for size, names in sets.items())
    yield f"Sets: {'; '.join(listed)}."
    if lacking := list(_lacking(methods)):
        yield f"Sets on which a method has no run: {'; '.join(lacking)}."
    yield from _extremes(methods)
    named = "; ".join(_named(methods)) or "No method has both"
    yield (
        f"{GAIN}: the largest set minus the best smaller one in points, over the seeds that both "
        "have; above 0, an additional modality helps. The smaller set is chosen by its score on "
        f"the target, which favours it. {named}."
    )
    yield from rule_notes(rows, view.rule)
    yield from notes_of(of)


def _lacking(methods: Mapping[str, _Method]) -> Iterator[str]:
    for label, method in methods.items():
        names = [name for of in method.sets.values() for name in of if name not in method.lines]
        if names:
            yield f"{label}: {', '.join(names)}"


def _extremes(methods: Mapping[str, _Method]) -> Iterator[str]:
    """Yield for each size that has several sets which is best and worst for every method."""
    for size, names in next(iter(methods.values())).sets.items():
        said = []
        for label, method in methods.items():
            best = method.best_first([size])
            order = [f"{name} {method.average(name).mean:.2f}" for name in best]
            if len(order) > 1:
                said.append(f"{label}: {order[0]} and {order[-1]}")
        if len(names) > 1 and said:
            yield f"Best and worst sets of {_column(size)}: {'; '.join(said)}."


def _named(methods: Mapping[str, _Method]) -> Iterator[str]:
    for label, method in methods.items():
        if sets := method.compared():
            yield f"{label}: {sets[0]} against {sets[1]}"
