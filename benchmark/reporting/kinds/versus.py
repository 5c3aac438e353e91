"""Is one method better than another? The average first, then every target, then all datasets."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.reporting import conditions, significance, statistics
from benchmark.reporting.answers import answers
from benchmark.reporting.kinds import gains
from benchmark.reporting.model import Cell, Count, Form, Number, Row, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.rows import Block, Line
from benchmark.reporting.sheets import Sheet, sheets
from benchmark.reporting.statistics import LEAST_DATASETS, LEVEL, Estimate
from mmdg_common import AVERAGE, UsageError, unknown

NOTE = (
    "Difference: the accuracy of {b} minus that of {a} in points, over the seeds that both have. "
    "p is of a two-sided t-test, and the 95 % interval is the one that lacks zero where p is below "
    "0.05. Both allow for other seeds and other test samples of the same targets. The average is "
    "tested first and alone; p of the targets is Holm-corrected over them. One seed says nothing "
    "about others."
)
Tested = tuple[float | None, tuple[float, float] | None]


@dataclass(frozen=True)
class _Pair:
    """One comparison: where, the two means, and the difference."""

    group: str
    column: str
    seeds: int
    means: tuple[float, float]
    found: Estimate


def build(a: str, b: str, wanted: Wanted) -> list[Table]:
    """Return for each accuracy table that has both rows how they differ, and the verdict.

    Raises:
        UsageError: a row is nowhere, no table has both, or another metric than accuracy is wanted.
    """
    if wanted.view.metric != "accuracy":
        raise UsageError("--versus compares accuracies; leave --metric out")
    every = sheets(wanted)
    labels = dict.fromkeys(line.label for s in every for block in s.blocks for line in block.lines)
    for name in (a, b):
        if name not in labels:
            raise unknown("row", name, labels)
    part = wanted.view.part
    found = [
        _table(a, b, sheet, wanted.view.rule, pairs)
        for sheet in every
        if (pairs := [p for block in sheet.blocks for p in _pairs(a, b, block, part)])
    ]
    if not found:
        raise UsageError(
            f"{a} and {b} have no table, seed and stored predictions in common to be compared on"
        )
    parts = gains.by_protocol(wanted)
    several = len(parts) > 1
    over = [overall(a, b, part, (told,) if several else ()) for told, part in parts]
    return [*found, *(table for table in over if table.rows)]


def _both(a: str, b: str, block: Block) -> tuple[Line, Line] | None:
    """Return the two rows of a block; None where one is missing."""
    first, second = (
        next((line for line in block.lines if line.label == name), None) for name in (a, b)
    )
    return None if first is None or second is None else (first, second)


def _pairs(a: str, b: str, block: Block, part: str) -> Iterator[_Pair]:
    both = _both(a, b, block)
    if both is None:
        return
    first, second = both
    known = [answers(line.records, line.rule, part=part) for line in both]
    cells = list(zip((*block.splits, AVERAGE), first.cells, second.cells, strict=True))
    for column, x, y in (cells[-1], *cells[:-1]):
        splits = block.splits if column == AVERAGE else (column,)
        found = significance.compare(known[0], known[1], splits)
        seeds = sorted(x.values.keys() & y.values.keys())
        if found is not None and seeds:
            means = fmean(x.values[s] for s in seeds), fmean(y.values[s] for s in seeds)
            yield _Pair(block.modalities, column, len(seeds), means, found)


def _table(a: str, b: str, sheet: Sheet, rule: str, pairs: Sequence[_Pair]) -> Table:
    tested = _tested(pairs)
    rows = tuple(
        Row(pair.column, rule, _cells(pair, one), group=pair.group)
        for pair, one in zip(pairs, tested, strict=True)
    )
    return Table(
        name=f"{b} versus {a}",
        subject=sheet.subject,
        columns=(a, b, "difference", "95 % interval", "p", "seeds"),
        rows=rows,
        rule=rule,
        first="target",
        grouped="modalities" if sheet.grouped else "",
        scores=False,
        fabricated=sheet.blocks[0].spec.fabricated,
        notes=(_verdict(a, b, sheet, pairs, tested), NOTE.format(a=a, b=b)),
        mixtures=conditions.mixtures(sheet.records),
    )


def _tested(pairs: Sequence[_Pair]) -> list[Tested]:
    """Return p and interval of each pair: averages are corrected for each other alone."""
    found: dict[int, Tested] = {}
    for average in (True, False):
        at = [i for i, pair in enumerate(pairs) if (pair.column == AVERAGE) == average]
        found |= dict(zip(at, statistics.adjusted([pairs[i].found for i in at]), strict=True))
    return [found[i] for i in range(len(pairs))]


def _cells(pair: _Pair, tested: Tested) -> tuple[Cell, ...]:
    p, ends = tested
    return (
        *map(Number, pair.means),
        Number(100 * pair.found.value, Form.SIGNED),
        gains.interval(ends),
        gains.p_value(p),
        Count(pair.seeds),
    )


def _verdict(a: str, b: str, sheet: Sheet, pairs: Sequence[_Pair], tested: Sequence[Tested]) -> str:
    """Return what can be said in a sentence: of the average, where every target is compared."""
    said = []
    for pair, (p, _) in zip(pairs, tested, strict=True):
        if pair.column != AVERAGE:
            continue
        where = f" with {pair.group}" if sheet.grouped else ""
        by = f"{100 * pair.found.value:+.2f} points on average{where}"
        if p is None:
            said.append(f"one seed cannot tell {a} and {b} apart ({by})")
            continue
        by += f", p {statistics.p_text(p, equals=True)}"
        if p >= LEVEL:
            said.append(f"{a} and {b} cannot be told apart ({by})")
        elif pair.found.value > 0:
            said.append(f"{b} is better than {a} ({by})")
        else:
            said.append(f"{b} is worse than {a} ({by})")
    if not said:
        return "Verdict: none on the average, because no seed of both methods has every target."
    return f"Verdict: {'; '.join(said)}."


def overall(a: str, b: str, wanted: Wanted, subject: tuple[str, ...] = ()) -> Table:
    """Return how much better b is on each dataset, on all of them, and on new ones."""
    cells = gains.Cells(sheets(wanted), wanted.view, pooled=False)
    cells.keep_common()
    found = cells.differences(a, b)
    rows = [
        Row(dataset, "", _row(one.found, one.targets, gains.p_value(one.found.p)))
        for dataset, one in found.items()
    ]
    notes = [
        "Settings and sets of modalities are averaged within a target, targets within a dataset. "
        "Of those of a dataset, the ones count that most methods have. Interval and p allow for "
        "other seeds and other test samples of the same targets."
    ]
    if len(found) > 1:
        here, new = gains.overall(found)
        targets = sum(one.targets for one in found.values())
        rows.append(Row("all datasets", "", _row(here, targets, gains.p_value(here.p))))
        p = gains.p_of_new(new, len(found))
        rows.append(Row("new datasets", "", _row(new, targets, p)))
        notes.append(
            "All datasets: their mean, each counts the same. New datasets: a t-test over the means "
            f"of datasets; p from {LEAST_DATASETS} datasets on."
        )
    return Table(
        f"{b} versus {a}",
        ("all tables", *subject),
        ("difference", "95 % interval", "p", "targets"),
        tuple(rows),
        first="dataset",
        scores=False,
        notes=tuple(notes),
    )


def _row(found: Estimate, targets: int, p: Cell) -> tuple[Cell, ...]:
    return (
        Number(100 * found.value, Form.SIGNED),
        gains.interval(found.interval()),
        p,
        Count(targets),
    )
