"""How a table is written: the same figures and the same notes in every format."""

import csv
import io
import re
import textwrap
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmark.planning.flags import command
from benchmark.reporting.captions import (
    BOLD,
    TEXT,
    Style,
    cell_texts,
    gap_groups,
    gap_text,
    groups,
    header,
    labels,
    missing_heads,
    missing_lines,
    notes,
    title,
    written,
)
from benchmark.reporting.model import Cell, Plain, Row, Table
from benchmark.reporting.write import latex

CSV_COLUMNS = (
    *("table", "dataset", "setting", "modalities", "condition", "row", "column"),
    *("mean", "std", "n", "text", "rule", "metric", "missing_seeds"),
)
FORMATS = ("text", "markdown", "latex", "csv", "html")


def render(tables: Sequence[Table], form: str, results: Sequence[str] = ()) -> str:
    """Return the tables as text in one of `FORMATS` but HTML, which `page` makes.

    Args:
        tables: what to write.
        form: the name of the format.
        results: what commands pass as `--results`; nothing for the default.
    """
    if form == "csv":
        return _csv(tables)
    write = {"text": _text, "markdown": _markdown, "latex": latex.render}[form]
    return "\n\n".join(write(table, results) for table in tables) + "\n"


def show(tables: Sequence[Table], console: Console, results: Sequence[str] = ()) -> None:
    """Print the tables to a terminal."""
    style = Style("[bold]{}[/bold]", "[underline]{}[/underline]", BOLD)
    for table in tables:
        grid = RichTable(title=title(table), title_style="bold", title_justify="left")
        for name in header(table):
            grid.add_column(name)
        for group in groups(table):
            for row in group:
                cells = [Text.from_markup(written(cell, style)) for cell in row.cells]
                grid.add_row(*map(Text, labels(table, row)), *cells)
            grid.add_section()
        console.print(grid if table.rows else Text(title(table), "bold"))
        for line in (*notes(table, BOLD), "", *missing_lines(table, results)):
            # Soft wrapping leaves a command in one piece, to be copied.
            console.print(Text(line), soft_wrap=True)
        console.print()


def _text(table: Table, results: Sequence[str]) -> str:
    said = [textwrap.fill(note, 100) for note in notes(table, TEXT.says)]
    if not table.rows:
        return "\n".join([title(table), "", *said])
    grid = [header(table), *cell_texts(table, TEXT)]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    grid.insert(1, ["-" * width for width in widths])
    aligned = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in grid
    ]
    gaps = list(missing_lines(table, results))
    return "\n".join([title(table), "", *aligned, "", *said, *(["", *gaps] if gaps else [])])


def _markdown(table: Table, results: Sequence[str]) -> str:
    def plain(text: str) -> str:
        return re.sub(r"([\\|*<`])", r"\\\1", text)

    names = header(table)
    grid = [f"| {' | '.join(map(plain, names))} |"]
    first = len(names) - len(table.columns)
    grid.append("|" + " --- |" * first + " ---: |" * len(table.columns))
    for line in cell_texts(table, Style("**{}**", "<u>{}</u>", BOLD)):
        grid.append(f"| {' | '.join([*map(plain, line[:first]), *line[first:]])} |")
    lines = [f"### {plain(title(table))}", "", *([*grid, ""] if table.rows else [])]
    lines += [f"- {plain(note)}" for note in (*notes(table, BOLD), *missing_heads(table))]
    lines += [
        f"- {plain(gap_text(g, table.grouped))}: `{command(g, results)}`" for g in gap_groups(table)
    ]
    return "\n".join(lines)


def _csv(tables: Sequence[Table]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                head = [table.name, *_csv_place(table, row), row.label, column]
                writer.writerow([*head, *_csv_figures(cell), *_csv_tail(table, row, cell)])
    return file.getvalue()


def _csv_place(table: Table, row: Row) -> list[str]:
    """Return dataset, setting, modalities, and the condition or whatever else the title says."""
    place = ["", "", ""]
    if row.records:
        spec = row.records[0].spec
        place = [spec.dataset, spec.setting, "+".join(spec.modalities)]
    others = [part for part in table.subject if part not in place]
    return [*place, "; ".join([*others, *(["fabricated data"] if table.fabricated else [])])]


def _csv_figures(cell: Cell | Plain) -> list[Any]:
    if isinstance(cell, Plain):
        return ["" if cell.value is None else round(cell.value, 6), "", "", cell.text]
    mean = round(cell.mean, 6) if cell.n else ""
    return [mean, round(cell.std, 6) if cell.n > 1 else "", cell.n, ""]


def _csv_tail(table: Table, row: Row, cell: Cell | Plain) -> list[str]:
    missing = cell.missing if isinstance(cell, Cell) else ()
    return [row.rule, table.metric, " ".join(map(str, missing))]
