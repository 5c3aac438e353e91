"""Tables as plain text, and on a terminal."""

import textwrap
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text as RichText

from benchmark.reporting.captions import groups, header, labels, missing_lines, notes, title
from benchmark.reporting.model import Cell, Score, Table
from benchmark.reporting.write.cells import BOLD, Style, rows, written
from benchmark.reporting.write.clean import cleaned, printable

STYLE = Style("*{}*", "_{}_", "Stars mark the best mean of a column, underscores the second")
TERMINAL = Style("[bold]{}[/bold]", "[underline]{}[/underline]", BOLD)
WIDTH = 100
"""Characters in a line of a note."""


def render(tables: Sequence[Table], results: Sequence[str]) -> str:
    """Return aligned columns, with the notes and the commands for missing cells below."""
    return "\n\n".join(_table(table, results) for table in tables) + "\n"


def _table(table: Table, results: Sequence[str]) -> str:
    parts = [title(table)]
    parts += ["\n".join(_grid(table))] if table.rows else []
    said = notes(table, STYLE.says)
    # A flag that is broken at its hyphens cannot be copied.
    parts += ["\n".join(textwrap.fill(note, WIDTH, break_on_hyphens=False) for note in said)]
    gaps = [printable(line) for line in missing_lines(table, results)]
    return "\n\n".join([*parts, *(["\n".join(gaps)] if gaps else [])])


def _grid(table: Table) -> list[str]:
    grid = [header(table), *rows(table, STYLE)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    grid.insert(1, ["-" * width for width in widths])
    return [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in grid
    ]


def show(tables: Sequence[Table], console: Console, results: Sequence[str] = ()) -> None:
    """Print the tables to a terminal."""
    for table in map(cleaned, tables):
        console.print(_rich(table) if table.rows else RichText(title(table), "bold"))
        for line in (*notes(table, TERMINAL.says), "", *missing_lines(table, results)):
            # Soft wrapping leaves a command in one piece, to be copied.
            console.print(RichText(printable(line)), soft_wrap=True)
        console.print()


def _rich(table: Table) -> RichTable:
    grid = RichTable(title=RichText(title(table)), title_style="bold", title_justify="left")
    for name in header(table):
        grid.add_column(RichText(name))
    for group in groups(table):
        for row in group:
            grid.add_row(*map(RichText, labels(table, row)), *map(_rich_cell, row.cells))
        grid.add_section()
    return grid


def _rich_cell(cell: Cell) -> RichText:
    text = written(cell, TERMINAL)
    # Only marks are markup: a text may have brackets of its own.
    return RichText.from_markup(text) if isinstance(cell, Score) else RichText(text)
