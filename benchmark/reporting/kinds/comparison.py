"""Ours beside the papers' numbers, and how far papers lie apart on the same baseline."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmark.reporting import published
from benchmark.reporting.blocks import column_of
from benchmark.reporting.captions import RULE_TEXTS
from benchmark.reporting.model import AVERAGE, Cell, Plain, Row, Table
from benchmark.reporting.published import Figure, Ours
from benchmark.reporting.request import Wanted, accuracy_tables
from mmdg_common import UsageError


def build(wanted: Wanted) -> list[Table]:
    """Return the comparison with every published figure, and the spread between papers.

    Raises:
        UsageError: another metric than accuracy is wanted.
    """
    if wanted.view.metric != "accuracy":
        raise UsageError("--compare published compares accuracies; leave --metric out")
    figures = published.read()
    made = (_compared(table, figures) for table in accuracy_tables(wanted))
    found = [table for table in made if table is not None]
    if not found:
        datasets = sorted({figure.dataset for figure in figures})
        note = f"No run stands where a paper has a figure: they have some on {', '.join(datasets)}."
        found = [Table("published", ("difference to papers",), (), (), scores=False, notes=(note,))]
    spread = _table(published.spread_table(published.spread(figures)))
    between = ("between papers, on the same method",)
    return [*found, replace(spread, name="spread", subject=between)]


def _compared(table: Table, figures: Sequence[Figure]) -> Table | None:
    """Return what an accuracy table has in common with the papers; None if there is nothing."""
    differences = published.compare(list(_ours(table, figures)), figures)
    if not differences:
        return None
    found = _table(published.comparison_table(differences))
    rule = f"Ours under the selection rule {table.rule}: {RULE_TEXTS[table.rule]}."
    return replace(
        found,
        name="published",
        subject=table.subject,
        fabricated=table.fabricated,
        notes=(*found.notes, rule),
        mixtures=table.mixtures,
    )


def _table(content: published.PlainTable) -> Table:
    header, rows, notes = content
    return Table(
        name="",
        subject=(),
        first=header[0],
        columns=tuple(header[1:]),
        rows=tuple(
            Row(label, "", tuple(Plain(text, _number(text)) for text in cells))
            for label, *cells in rows
        ),
        scores=False,
        notes=tuple(notes),
    )


def _number(text: str) -> float | None:
    try:
        return float(text.replace("−", "-").split()[0])
    except (ValueError, IndexError):
        return None


def _ours(table: Table, figures: Sequence[Figure]) -> Iterator[Ours]:
    for row in table.rows:
        if row.kind != "method":
            continue
        try:
            method = published.named(
                row.records[0].spec.method, row.records[0].spec.hyperparameters
            )
        except UsageError:  # a method that is no longer there
            continue
        targets = {f.target for f in figures if f.dataset == row.records[0].spec.dataset}
        for column, cell in zip(table.columns, row.cells, strict=True):
            average = column == table.columns[-1]
            # An average over other domains is another number.
            whole = {r.spec.target for r in row.records} == targets - {AVERAGE}
            if isinstance(cell, Cell) and cell.n and (whole or not average):
                yield _one(row, column, cell, average, method)


def _one(row: Row, column: str, cell: Cell, average: bool, method: str) -> Ours:
    spec = next(r.spec for r in row.records if average or column_of(r.spec) == column)
    return Ours(
        dataset=spec.dataset,
        setting=spec.setting,
        sources=() if average else spec.sources,
        target=AVERAGE if average else spec.target,
        modalities=spec.modalities,
        method=method,
        mean=cell.mean,
        std=cell.std if cell.n > 1 else None,
        n=cell.n,
    )
