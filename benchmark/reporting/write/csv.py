"""Tables as CSV: one line per cell, numbers unrounded but for the sixth decimal."""

import csv
import io
import re
from collections.abc import Sequence
from typing import Any

from benchmark.reporting.model import Cell, Row, Score, Table
from benchmark.reporting.write.cells import PLAIN, written
from benchmark.reporting.write.clean import printable

COLUMNS = (
    *("table", "dataset", "setting", "modalities", "condition", "row", "column"),
    *("mean", "std", "n", "text", "rule", "metric", "missing_seeds"),
)
FORMULA = ("=", "+", "-", "@")
"""How a text begins that a spreadsheet would calculate."""
NUMBER = re.compile(r"[+-]?\d+(\.\d+)?")


def render(tables: Sequence[Table], results: Sequence[str] = ()) -> str:
    """Return a header and a line per cell; missing seeds are listed, commands have no place."""
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(COLUMNS)
    for table in tables:
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                head = [table.name, *_place(table, row), row.label, column]
                tail = [row.rule, table.metric, _missing(cell)]
                writer.writerow([*map(neutral, head), *_figures(cell), *map(neutral, tail)])
    return file.getvalue()


def neutral(text: str) -> str:
    """Return a text that no spreadsheet calculates; one like a formula gets an apostrophe."""
    text = printable(text)
    return f"'{text}" if text.startswith(FORMULA) and not NUMBER.fullmatch(text) else text


def _place(table: Table, row: Row) -> list[str]:
    """Return dataset, setting, modalities, and the condition or whatever else the title says."""
    place = ["", "", ""]
    if row.records:
        spec = row.records[0].spec
        place = [spec.dataset, spec.setting, "+".join(spec.modalities)]
    others = [part for part in table.subject if part not in place]
    return [*place, "; ".join([*others, *(["fabricated data"] if table.fabricated else [])])]


def _figures(cell: Cell) -> list[Any]:
    """Return mean, deviation and number of seeds of a score; of other cells value and text."""
    if isinstance(cell, Score):
        mean = round(cell.mean, 6) if cell.n else ""
        return [mean, round(cell.std, 6) if cell.n > 1 else "", cell.n, ""]
    value = "" if cell.value is None else round(cell.value, 6)
    return [value, "", "", neutral(written(cell, PLAIN))]


def _missing(cell: Cell) -> str:
    return " ".join(map(str, cell.missing)) if isinstance(cell, Score) else ""
