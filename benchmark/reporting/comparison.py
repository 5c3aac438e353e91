"""Ours beside the papers' numbers, and how far papers lie apart on the same baseline."""

from collections.abc import Iterator

from benchmark.reporting import published
from benchmark.reporting.blocks import column_of
from benchmark.reporting.parts import Cell, Plain, Row, Table
from benchmark.reporting.published import Ours
from benchmark.reporting.wanted import Wanted, accuracy


def build(wanted: Wanted) -> list[Table]:
    """Return the comparison with every published figure, and the spread between papers."""
    figures = published.read()
    ours = [one for table in accuracy(wanted) for one in _ours(table)]
    differences = published.compare(ours, figures)
    found = [
        _table("published", ("difference to papers",), published.comparison_table(differences))
    ]
    if not differences:
        datasets = sorted({figure.dataset for figure in figures})
        note = f"No run stands where a paper has a figure: they have some on {', '.join(datasets)}."
        found = [Table("published", ("difference to papers",), (), (), scores=False, notes=(note,))]
    spread = published.spread(figures)
    return [
        *found,
        _table("spread", ("between papers, on the same method",), published.spread_table(spread)),
    ]


def _table(name: str, subject: tuple[str, ...], content: published.PlainTable) -> Table:
    header, rows, notes = content
    return Table(
        name=name,
        subject=subject,
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


def _ours(table: Table) -> Iterator[Ours]:
    for row in table.rows:
        if row.kind != "method":
            continue
        for column, cell in zip(table.columns, row.cells, strict=True):
            if isinstance(cell, Cell) and cell.n:
                yield _one(row, column, cell, average=column == table.columns[-1])


def _one(row: Row, column: str, cell: Cell, average: bool) -> Ours:
    spec = next(r.spec for r in row.records if average or column_of(r.spec) == column)
    return Ours(
        dataset=spec.dataset,
        setting=spec.setting,
        sources=() if average else spec.sources,
        target="average" if average else spec.target,
        modalities=spec.modalities,
        method=published.named(spec.method, spec.hyperparameters),
        mean=cell.mean,
        std=cell.std if cell.n > 1 else None,
        n=cell.n,
    )
