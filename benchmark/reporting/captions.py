"""The words of a table that all formats share: title, labels, notes, and missing cells."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
from typing import Any

from benchmark.planning.flags import command, method_flags
from benchmark.records.selection import OWN
from benchmark.records.spec import NUMBERS_VERSION
from benchmark.reporting.model import Missing, Row, Score, Table
from mmdg_common import AVERAGE

CLOSE, UNTESTED = "≈", "?"
DAGGER = "†"
MARKS = {"upper bound": "‡", "ensemble": "§"}
KIND_TEXTS = {
    "upper bound": "Trained on the target's own train part, except a fifth that validates, and "
    "tested on the target's held-out part. The test set is not that of the other rows, so they "
    "are not compared.",
    "ensemble": "The fused logits of all seeds of the row of that name, summed. This gives one "
    "figure without ±, which is not compared with single runs.",
}
EMPTY = "—"
SPREAD = (
    "mean ± sample standard deviation (n − 1) over seeds, with the number of seeds in parentheses; "
    "one seed has no ±"
)
RULE_TEXTS = {
    "best-val": "the validation with the highest accuracy on the source domains",
    "last": "the last validation",
    "oracle": "the validation with the highest accuracy on the target domain itself; it shows "
    "what selection costs and is not a result",
    "reference": "what the public script of each method reports: either the validation with the "
    "highest accuracy on the source domains (the later one in a tie) or the last. Rows may differ "
    "in protocol and recipe, as the scripts do",
}


def title(table: Table) -> str:
    """Return what was measured, under which condition."""
    names = {"multi-source", "single-source", "upper-bound"}
    kind = [] if table.name in names else [table.name]
    metric = [table.metric] if table.metric not in ("", "accuracy") else []
    made_up = ["fabricated data"] if table.fabricated else []
    return " · ".join([*kind, *table.subject, *metric, *made_up])


def header(table: Table) -> list[str]:
    """Return the names of all columns, those of the labels first."""
    return [*filter(None, (table.grouped,)), table.first, *table.columns]


def groups(table: Table) -> list[list[Row]]:
    """Return the rows, those of one group together."""
    found: dict[str, list[Row]] = {}
    for row in table.rows:
        found.setdefault(row.group, []).append(row)
    return list(found.values())


def labels(table: Table, row: Row) -> list[str]:
    """Return what stands before the cells of a row."""
    return [*([row.group] if table.grouped else []), labelled(row)]


def labelled(row: Row) -> str:
    """Return the label of a row, with the marks of the footnotes that it has."""
    marks = (DAGGER if row.rule == OWN else "", MARKS.get(row.kind, ""))
    return " ".join(filter(None, (row.label, *marks)))


def notes(table: Table, marks: str) -> Iterator[str]:
    """Yield what the figures mean, a paragraph each; `marks` says how the best are marked."""
    if table.scores:
        yield from _score_notes(table, marks)
    if any(row.tried > 1 for row in table.rows):
        yield (
            "Best of n: the setting, among n, with the highest accuracy on the source domains, "
            "chosen separately for every cell and seed. A row without this mark has no "
            "hyper-parameters to search."
        )
    for kind in dict.fromkeys(row.kind for row in table.rows if row.kind in MARKS):
        yield f"{MARKS[kind]} {KIND_TEXTS[kind]}"
    yield from table.notes
    if table.fabricated:
        yield (
            f"Fabricated data: made-up files stand in for {table.subject[0]}; these figures say "
            "nothing about the real dataset."
        )
    yield from (f"Note: {line}" for line in table.mixtures)


def _score_notes(table: Table, marks: str) -> Iterator[str]:
    if table.grouped:
        marks = f"Among rows of the same {table.grouped}, {marks[0].lower()}{marks[1:]}"
    where = {"target": "the target domain", "val": "the validation part of the source domains"}
    yield (
        f"Each cell is the {table.metric} on {where[table.part]} in percent: {SPREAD}. {marks}; "
        "means that round to the same value share the mark."
    )
    yield (
        f"The {AVERAGE} is the mean over the {len(table.columns) - 1} columns, computed for each "
        "seed that has all of them, and then mean ± sample standard deviation over those seeds."
    )
    yield from rule_notes(table.rows, table.rule)
    if uneven := _uneven(table):
        yield (
            f"Means in these columns rest on different numbers of seeds: {', '.join(uneven)}. The "
            "best and second are chosen on the seeds that all rows have, if they are two or more."
        )


def rule_notes(rows: Iterable[Row], rule: str) -> Iterator[str]:
    """Yield by which rule the weights were chosen."""
    yield f"Selection rule: {rule}, {RULE_TEXTS[rule]}."
    if any(row.rule == OWN for row in rows):
        yield (
            f"{DAGGER} Reported under the method's own rule, because its weights exist only after "
            "training has ended."
        )


def _uneven(table: Table) -> list[str]:
    """Return the columns whose cells differ in the number of seeds."""
    columns = zip(*(row.cells for row in table.rows if row.kind == "method"), strict=True)
    counts = [{c.n for c in cells if isinstance(c, Score) and c.n} for cells in columns]
    return [name for name, n in zip(table.columns, counts, strict=True) if len(n) > 1]


def missing_heads(table: Table) -> Iterator[str]:
    """Yield what stands above the list of missing runs; nothing where none is missing."""
    if table.missing:
        yield f"Missing: {sum(len(gap.states) for gap in table.missing)} runs."
        if table.numbers_version != NUMBERS_VERSION:
            yield (
                f"The code is at numbers version {NUMBERS_VERSION} and this table at "
                f"{table.numbers_version}, so new runs will form a table of their own."
            )


def gap_groups(table: Table) -> list[list[Missing]]:
    """Return the gaps, those together that one command fills: they differ in the method alone."""
    groups: dict[tuple[Any, ...], list[Missing]] = {}
    for gap in table.missing:
        # What --set says might reach another method of the same command.
        alone = gap.row if method_flags(gap.run) else None
        others = replace(gap.run, method="", hyperparameters={}, seed=0).id
        key = (gap.column, tuple(gap.states.items()), gap.failed, alone, others)
        groups.setdefault(key, []).append(gap)
    return list(groups.values())


def gap_text(gaps: Sequence[Missing], grouped: str = "") -> str:
    """Return which seeds a column lacks in which rows, and why."""
    alike: dict[str, list[str]] = {}
    for seed, state in gaps[0].states.items():
        alike.setdefault(state, []).append(str(seed))
    parts = [f"seed{'s' * (len(s) > 1)} {', '.join(s)} {state}" for state, s in alike.items()]
    within = f" with {'+'.join(gaps[0].run.modalities)}" if grouped else ""
    return f"{', '.join(gap.row for gap in gaps)}{within}, {gaps[0].column}: {'; '.join(parts)}"


def missing_lines(table: Table, results: Sequence[str]) -> Iterator[str]:
    """Yield what is missing, and the commands that fill it."""
    yield from missing_heads(table)
    for gaps in gap_groups(table):
        yield f"- {gap_text(gaps, table.grouped)}"
        yield f"  {command(gaps, results)}"
