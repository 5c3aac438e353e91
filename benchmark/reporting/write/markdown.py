"""Tables in Markdown, as GitHub renders it."""

import re
from collections.abc import Callable, Iterator, Mapping, Sequence

from benchmark.planning.flags import command
from benchmark.reporting.captions import (
    gap_groups,
    gap_text,
    groups,
    header,
    labels,
    missing_heads,
    notes,
    title,
)
from benchmark.reporting.model import Cell, Table, Text
from benchmark.reporting.write.cells import BOLD, Style, written
from benchmark.reporting.write.clean import printable

STYLE = Style("**{}**", "<u>{}</u>", BOLD)


def render(tables: Sequence[Table], results: Sequence[str]) -> str:
    """Return a heading, a grid, and a list of notes and missing cells per table."""
    return "\n\n".join(_table(table, results) for table in tables) + "\n"


def grid(table: Table) -> str:
    """Return the rows of a table, without heading and notes."""
    return "\n".join(_grid(table))


def filled(page: str, tables: Mapping[str, Callable[[], str]], by: str) -> str:
    """Return a page with its tables as they are now.

    A table stands between two comments, `<!-- table: NAME, by COMMAND -->` and
    `<!-- end of table -->`.

    Args:
        page: the text.
        tables: by name, what makes each table of the page.
        by: the command.

    Raises:
        ValueError: the page lacks the comments of a table, or has them more than once.
    """
    for name, make in tables.items():
        start, end = f"<!-- table: {name}, by {by} -->", "<!-- end of table -->"
        blocks = re.findall(f"{re.escape(start)}.*?{re.escape(end)}", page, re.DOTALL)
        if len(blocks) != 1:
            raise ValueError(f"the page needs the line {start} once, and after it {end}")
        page = page.replace(blocks[0], f"{start}\n{make()}\n{end}")
    return page


def _table(table: Table, results: Sequence[str]) -> str:
    rows = [grid(table), ""] if table.rows else []
    said = [*notes(table, STYLE.says), *missing_heads(table)]
    items = [*(f"- {_plain(note)}" for note in said), *_gaps(table, results)]
    return "\n".join([f"### {_plain(title(table))}", "", *rows, *items])


def _grid(table: Table) -> Iterator[str]:
    names = header(table)
    yield _line(map(_plain, names))
    first = len(names) - len(table.columns)
    yield "|" + " --- |" * first + " ---: |" * len(table.columns)
    for group in groups(table):
        for row in group:
            yield _line([*map(_plain, labels(table, row)), *map(_cell, row.cells)])


def _line(texts: "Iterator[str] | Sequence[str]") -> str:
    return f"| {' | '.join(texts)} |"


def _cell(cell: Cell) -> str:
    text = written(cell, STYLE)
    return _plain(text) if isinstance(cell, Text) else text


def _gaps(table: Table, results: Sequence[str]) -> Iterator[str]:
    for gaps in gap_groups(table):
        line = printable(command(gaps, results))
        yield f"- {_plain(gap_text(gaps, table.grouped))}: `{line}`"


def _plain(text: str) -> str:
    return re.sub(r"([\\|*<`])", r"\\\1", text)
