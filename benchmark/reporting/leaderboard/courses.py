"""Accuracy over training, a small picture per method and table, on one scale for all methods."""

from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from html import escape

import numpy as np

from benchmark.reporting.figures import curves
from benchmark.reporting.figures.curves import Array
from benchmark.reporting.leaderboard import drawings
from benchmark.reporting.leaderboard.board import Block, Board, Entry
from benchmark.reporting.leaderboard.drawings import Scale
from benchmark.reporting.leaderboard.markup import of_place

Lines = Mapping[str, Array]
"""The mean accuracy by part, `val` and `target`, at each validation."""


class Courses:
    """The courses of all methods, averaged over their runs."""

    def __init__(self, board: Board) -> None:
        self._title = board.title
        self._of: dict[tuple[str, Block], Lines] = {}
        for label, cells in board.cells.of.items():
            lines = {place[:-1]: cell.line for place, cell in sorted(cells.items())}
            for block, line in lines.items():
                runs = [m for r in line.records if r.result is not None and (m := r.metrics())]
                if runs:
                    parts = {part: _mean(runs, part) for part in ("val", "target")}
                    self._of[label, block] = {k: v for k, v in parts.items() if len(v)}
        self._scales = dict(self._scaled())

    def _scaled(self) -> Iterator[tuple[Block, Scale]]:
        for block in dict.fromkeys(block for _, block in self._of):
            values = [
                float(value)
                for (_, place), lines in self._of.items()
                if place == block
                for line in lines.values()
                for value in line[~np.isnan(line)]
            ]
            if values:
                yield block, drawings.scale(values, 0.05, 2)

    def of(self, entry: Entry) -> str:
        """Return the pictures of a method; nothing where its runs tell no course."""
        drawn = "".join(
            f"<figure{of_place(block[1], block[-1])}>"
            f"<figcaption>{escape(self._title(block))}</figcaption>"
            f"{drawings.course(list(lines.items()), self._scales[block])}"
            f"<figcaption>{_ends(lines)}</figcaption></figure>"
            for (label, block), lines in self._of.items()
            if label == entry.raw and block in self._scales
        )
        return f'<div class="courses">{drawn}</div>' if drawn else ""


def _mean(runs: Sequence[curves.Lines], part: str) -> Array:
    """Return the mean over runs at each validation; nothing where none has it."""
    mean = curves.course(runs, partial(curves.accuracy, part=part)).mean
    return mean[:0] if np.isnan(mean).all() else mean


def _ends(lines: Lines) -> str:
    """Return what each part starts and ends with, in words."""
    names = {"val": "validation", "target": "target"}
    return ", ".join(
        f'<span class="{part}">{names[part]}</span> {line[0]:.1f} → {line[-1]:.1f}'
        for part, line in lines.items()
    )
