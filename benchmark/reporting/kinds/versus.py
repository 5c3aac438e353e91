"""Is one method better than another? The difference on every target, and a verdict."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.reporting import significance, statistics
from benchmark.reporting.model import AVERAGE, Cell, Plain, Row, Table
from benchmark.reporting.request import Wanted, accuracy_tables
from benchmark.reporting.statistics import Comparison
from mmdg_common import UsageError, unknown

LEVEL = significance.LEVEL
NOTE = (
    "Difference: the accuracy of {b} minus that of {a}, in points, over the seeds that both have. "
    "The interval holds 95 % of the differences of a bootstrap over seeds and test samples (the "
    "same samples for every seed); p is two-sided and Holm-corrected over the rows of this table. "
    "One seed says nothing about other seeds, and two or three say little."
)


@dataclass(frozen=True)
class _Line:
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
    tables = accuracy_tables(wanted)
    labels = dict.fromkeys(row.label for table in tables for row in table.rows)
    for name in (a, b):
        if name not in labels:
            raise unknown("row", name, labels)
    found = [_table(a, b, table, lines) for table in tables if (lines := _lines(a, b, table))]
    if not found:
        raise UsageError(
            f"{a} and {b} have no table, seed and stored predictions in common to be compared on"
        )
    return [*found, _overall(a, b, tables)]


def _lines(a: str, b: str, table: Table) -> list[_Line]:
    lines = []
    for group in dict.fromkeys(row.group for row in table.rows):
        pair = [
            next((r for r in table.rows if r.group == group and r.label == name), None)
            for name in (a, b)
        ]
        first, second = pair
        if first is None or second is None:
            continue
        answers = significance.answers(first, table.part), significance.answers(second, table.part)
        for j, column in enumerate(table.columns):
            cells = first.cells[j], second.cells[j]
            one, two = cells
            found = significance.compare(*answers, significance.involved(table, column))
            if found is not None and isinstance(one, Cell) and isinstance(two, Cell):
                seeds = sorted(one.values.keys() & two.values.keys())
                means = fmean(one.values[s] for s in seeds), fmean(two.values[s] for s in seeds)
                lines.append(_Line(group, column, len(seeds), means, found))
    return lines


def _table(a: str, b: str, table: Table, lines: Sequence[_Line]) -> Table:
    adjusted = statistics.holm([line.found.p for line in lines])
    rows = tuple(
        Row(line.column, table.rule, _cells(line, p), group=line.group)
        for line, p in zip(lines, adjusted, strict=True)
    )
    notes = [_verdict(a, b, table, lines, adjusted), NOTE.format(a=a, b=b)]
    return Table(
        name=f"{b} versus {a}",
        subject=table.subject,
        columns=(a, b, "difference", "95 % interval", "p", "seeds"),
        rows=rows,
        rule=table.rule,
        first="target",
        grouped=table.grouped,
        scores=False,
        fabricated=table.fabricated,
        notes=tuple(notes),
        mixtures=table.mixtures,
    )


def _cells(line: _Line, p: float) -> tuple[Plain, ...]:
    difference, low, high = (
        100 * x for x in (line.found.difference, line.found.low, line.found.high)
    )
    return (
        *(Plain(f"{mean:.2f}", mean) for mean in line.means),
        Plain(f"{difference:+.2f}", difference),
        Plain(f"{low:+.2f} to {high:+.2f}"),
        Plain(statistics.p_text(p), p),
        Plain(str(line.seeds), line.seeds),
    )


def _verdict(
    a: str, b: str, table: Table, lines: Sequence[_Line], adjusted: Sequence[float]
) -> str:
    """Return what can be said in a sentence: of the average, where every target is compared."""
    said = []
    for line, p in zip(lines, adjusted, strict=True):
        if line.column != AVERAGE:
            continue
        where = f" with {line.group}" if table.grouped else ""
        points, p_said = 100 * line.found.difference, statistics.p_text(p, equals=True)
        by = f"{points:+.2f} points on average{where}, p {p_said}"
        if p >= LEVEL:
            said.append(f"{a} and {b} cannot be told apart ({by})")
        elif line.found.difference > 0:
            said.append(f"{b} is better than {a} ({by})")
        else:
            said.append(f"{b} is worse than {a} ({by})")
    if not said:
        return "Verdict: none on the average, as the two do not share a seed on every target."
    return f"Verdict: {'; '.join(said)}."


def _overall(a: str, b: str, tables: Sequence[Table]) -> Table:
    """Return the test over one value a dataset, setting, target and set of modalities."""
    pairs: list[tuple[float, ...]] = []
    for table in tables:
        for group in dict.fromkeys(row.group for row in table.rows):
            rows = {r.label: r for r in table.rows if r.group == group}
            if a in rows and b in rows:
                for x, y in zip(rows[a].cells[:-1], rows[b].cells[:-1], strict=True):
                    if isinstance(x, Cell) and isinstance(y, Cell):
                        seeds = x.values.keys() & y.values.keys()
                        if seeds:
                            means = (fmean(c.values[s] for s in seeds) for c in (x, y))
                            pairs.append(tuple(means))
    first, second = [x for x, _ in pairs], [y for _, y in pairs]
    result = statistics.wilcoxon(first, second)
    if result is None:
        text = (
            f"Over all {len(pairs)} targets together no test is made: with fewer than "
            f"{statistics.LEAST} values none can be significant."
        )
        return Table(f"{b} versus {a}", ("all tables",), (), (), scores=False, notes=(text,))
    size = statistics.cohens_d(first, second)
    cells = (
        Plain(str(result.n), result.n),
        Plain(f"{result.difference:+.2f}", result.difference),
        Plain(statistics.p_text(result.p), result.p),
        Plain(f"{result.effect:+.2f}", result.effect),
        Plain("—" if size is None else f"{size:+.2f}", size),
    )
    note = (
        "One value a dataset, setting, target and set of modalities: the mean over the seeds that "
        "both have. Wilcoxon's signed-rank test, two-sided; effect: matched-pairs rank-biserial "
        "correlation; "
        "d: Cohen's d of paired values. Targets of one dataset share training data, so they are "
        "less independent than the test takes them to be."
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
