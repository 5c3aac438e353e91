"""Texts that come from records, without what would act on the reader's terminal."""

import re
from dataclasses import replace

from benchmark.reporting.model import Cell, Missing, Row, Table, Text

# Control characters (escape sequences and line breaks among them), invisible marks that turn the
# direction of a text, and halves of characters, which no file can hold.
_ACTIVE = re.compile("[\x00-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]")


def printable(text: str) -> str:
    r"""Return a text with active characters spelled out, such as `\x1b` for an escape."""
    return _ACTIVE.sub(lambda match: ascii(match[0])[1:-1], text)


def cleaned(table: Table) -> Table:
    """Return a table all of whose texts are printable."""
    return replace(
        table,
        subject=_all(table.subject),
        columns=_all(table.columns),
        rows=tuple(map(_row, table.rows)),
        missing=tuple(map(_missing, table.missing)),
        notes=_all(table.notes),
        mixtures=_all(table.mixtures),
    )


def _all(texts: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(map(printable, texts))


def _row(row: Row) -> Row:
    cells = tuple(map(_cell, row.cells))
    return replace(row, label=printable(row.label), group=printable(row.group), cells=cells)


def _cell(cell: Cell) -> Cell:
    return Text(printable(cell.text)) if isinstance(cell, Text) else cell


def _missing(gap: Missing) -> Missing:
    states = {seed: printable(state) for seed, state in gap.states.items()}
    return replace(gap, row=printable(gap.row), column=printable(gap.column), states=states)
