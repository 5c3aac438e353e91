"""Tables as text, Markdown, LaTeX or CSV, on a terminal, or as one HTML page.

A writer turns the numbers of a table into text and says every note and every missing cell. It
decides nothing: marks and notes come with the table.
"""

from collections.abc import Callable, Mapping, Sequence

from benchmark.reporting.model import Table
from benchmark.reporting.write import csv, latex, markdown, text
from benchmark.reporting.write.clean import cleaned

WRITERS: Mapping[str, Callable[[Sequence[Table], Sequence[str]], str]] = {
    "text": text.render,
    "markdown": markdown.render,
    "latex": latex.render,
    "csv": csv.render,
}
FORMATS = (*WRITERS, "html", "leaderboard")
"""The formats of `report --format`; the last two are pages, made from more than tables."""


def render(tables: Sequence[Table], form: str, results: Sequence[str] = ()) -> str:
    """Return the tables as text in one of `WRITERS`.

    Args:
        tables: to write.
        form: the name of the format.
        results: the folders that commands pass as `--results`; empty for the default.
    """
    return WRITERS[form]([cleaned(table) for table in tables], results)
