"""Is one method better than another? The difference on every target, and a verdict."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.reporting import conditions, significance, statistics
from benchmark.reporting.model import (
    Cell,
    Count,
    Form,
    Interval,
    Number,
    Row,
    Score,
    Table,
)
from benchmark.reporting.request import Wanted
from benchmark.reporting.rows import Block, Line
from benchmark.reporting.sheets import Sheet, sheets
from benchmark.reporting.statistics import Comparison
from mmdg_common import AVERAGE, UsageError, unknown

LEVEL = significance.LEVEL
NOTE = (
    "Difference: the accuracy of {b} minus that of {a} in points, over the seeds that both have. "
    "The 95 % interval comes from a bootstrap over seeds and test samples (the same samples for "
    "every seed); p is two-sided and Holm-corrected over the rows of this table. One seed says "
    "nothing about other seeds, and two or three say little."
)


@dataclass(frozen=True)
class _Pair:
    """One comparison: where, the two means, and the bootstrap."""

    group: str
    column: str
    seeds: int
    means: tuple[float, float]
    found: Comparison


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
    return [*found, overall(a, b, every)]


def _both(a: str, b: str, block: Block) -> tuple[Line, Line] | None:
    """Return the two rows of a block; None where one is missing."""
    first, second = (
        next((line for line in block.lines if line.label == name), None) for name in (a, b)
    )
    return None if first is None or second is None else (first, second)


def _common(x: Score, y: Score) -> tuple[float, float] | None:
    """Return the means over the seeds that both have; None where they share none."""
    seeds = sorted(x.values.keys() & y.values.keys())
    if not seeds:
        return None
    return fmean(x.values[s] for s in seeds), fmean(y.values[s] for s in seeds)


def _pairs(a: str, b: str, block: Block, part: str) -> Iterator[_Pair]:
    both = _both(a, b, block)
    if both is None:
        return
    first, second = both
    answers = [significance.answers(line.records, line.rule, part) for line in both]
    for column, x, y in zip((*block.splits, AVERAGE), first.cells, second.cells, strict=True):
        splits = block.splits if column == AVERAGE else (column,)
        found = significance.compare(answers[0], answers[1], splits)
        means = _common(x, y)
        if found is not None and means is not None:
            seeds = len(x.values.keys() & y.values.keys())
            yield _Pair(block.modalities, column, seeds, means, found)


def _table(a: str, b: str, sheet: Sheet, rule: str, pairs: Sequence[_Pair]) -> Table:
    adjusted = statistics.holm([pair.found.p for pair in pairs])
    rows = tuple(
        Row(pair.column, rule, _cells(pair, p), group=pair.group)
        for pair, p in zip(pairs, adjusted, strict=True)
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
        notes=(_verdict(a, b, sheet, pairs, adjusted), NOTE.format(a=a, b=b)),
        mixtures=conditions.mixtures(sheet.records),
    )


def _cells(pair: _Pair, p: float) -> tuple[Cell, ...]:
    found = pair.found
    return (
        *map(Number, pair.means),
        Number(100 * found.difference, Form.SIGNED),
        Interval(100 * found.low, 100 * found.high),
        Number(p, Form.P),
        Count(pair.seeds),
    )


def _verdict(
    a: str, b: str, sheet: Sheet, pairs: Sequence[_Pair], adjusted: Sequence[float]
) -> str:
    """Return what can be said in a sentence: of the average, where every target is compared."""
    said = []
    for pair, p in zip(pairs, adjusted, strict=True):
        if pair.column != AVERAGE:
            continue
        where = f" with {pair.group}" if sheet.grouped else ""
        points, p_said = 100 * pair.found.difference, statistics.p_text(p, equals=True)
        by = f"{points:+.2f} points on average{where}, p {p_said}"
        if p >= LEVEL:
            said.append(f"{a} and {b} cannot be told apart ({by})")
        elif pair.found.difference > 0:
            said.append(f"{b} is better than {a} ({by})")
        else:
            said.append(f"{b} is worse than {a} ({by})")
    if not said:
        return "Verdict: none on the average, because no seed of both methods has every target."
    return f"Verdict: {'; '.join(said)}."


def overall(a: str, b: str, every: Sequence[Sheet]) -> Table:
    """Return the test over one value per dataset, setting, target and set of modalities."""
    blocks = [block for sheet in every for block in sheet.blocks]
    both = [pair for block in blocks if (pair := _both(a, b, block)) is not None]
    means = [
        _common(x, y) for one, two in both for x, y in zip(one.scores, two.scores, strict=True)
    ]
    pairs = [pair for pair in means if pair is not None]
    first, second = [x for x, _ in pairs], [y for _, y in pairs]
    result = statistics.wilcoxon(first, second)
    if result is None:
        text = (
            f"No test over all {len(pairs)} targets together: with fewer than {statistics.LEAST} "
            "values, no difference can be significant."
        )
        return Table(f"{b} versus {a}", ("all tables",), (), (), scores=False, notes=(text,))
    cells = (
        Count(result.n),
        Number(result.difference, Form.SIGNED),
        Number(result.p, Form.P),
        Number(result.effect, Form.SIGNED),
        Number(statistics.cohens_d(first, second), Form.SIGNED),
    )
    note = (
        "One value per dataset, setting, target and set of modalities: the mean over the seeds "
        "that both have. p: Wilcoxon's signed-rank test, two-sided. effect: matched-pairs "
        "rank-biserial correlation. d: Cohen's d of paired values. Targets of one dataset share "
        "training data, so they are less independent than the test assumes."
    )
    return Table(
        f"{b} versus {a}",
        ("all tables",),
        ("values", "mean difference", "p", "effect", "d"),
        (Row("all", "", cells),),
        first="over",
        scores=False,
        notes=(note,),
    )
