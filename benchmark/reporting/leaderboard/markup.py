"""The HTML that parts of the page share: links to methods, and what the script is told."""

import json
from collections.abc import Sequence
from html import escape

from benchmark.reporting.captions import labelled
from benchmark.reporting.leaderboard.board import Board, Entry
from benchmark.reporting.leaderboard.facts import UNKNOWN
from benchmark.reporting.model import Row, Score, Table
from benchmark.reporting.write.clean import printable
from benchmark.reporting.write.html import Extras


def families() -> tuple[str, ...]:
    """Return all families in the order in which they are listed."""
    from methods.base import FAMILIES  # takes torch

    return (*FAMILIES, UNKNOWN)


def family_of(entry: Entry) -> int:
    """Return the number of the family by which a method is coloured: its outermost part's."""
    known = families()
    first = entry.facts.families[0]
    return known.index(first) if first in known else known.index(UNKNOWN)


def listed(entries: Sequence[Entry]) -> str:
    """Return the entries as data for the script: label, families, and the id of its part."""
    rows = [[entry.label, entry.facts.families, entry.place] for entry in entries]
    # A data block ends at `</script`, which no escape of JSON strings would hide.
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    return f'<script type="application/json" id="methods">{data}</script>'


def of_method(entry: Entry) -> str:
    """Return the attribute of a part that is about a method."""
    return f' data-m="{entry.number}"'


def of_place(setting: str, modalities: str) -> str:
    """Return the attributes of a part that is about a setting and a set of modalities."""
    return f' data-setting="{escape(setting)}" data-set="{escape(printable(modalities))}"'


def linked(entry: Entry, row: Row) -> str:
    """Return the label of a row, which leads to the part about its method."""
    text = escape(labelled(row))
    return f'<a href="#{entry.place}">{text}</a>' if entry.place else text


def extras(board: Board, table: Table) -> Extras:
    """Return what the page adds to an accuracy table of one set of modalities."""
    scores = [cell for row in table.rows for cell in row.cells if isinstance(cell, Score)]
    seeds = sorted({seed for cell in scores for seed in cell.values})

    def values(cell: Score) -> str:
        # Of these the script finds the best of the rows that are shown.
        texts = (f"{cell.values[s]:.4f}" if s in cell.values else "-" for s in seeds)
        return f' data-s="{" ".join(texts)}"'

    def entry(row: Row) -> Entry:
        return board.entries[row.label]

    return Extras(lambda row: linked(entry(row), row), lambda row: of_method(entry(row)), values)
