"""How cells read: the one place where the numbers of a table become text."""

from collections.abc import Sequence
from typing import NamedTuple

from benchmark.reporting.captions import CLOSE, EMPTY, UNTESTED, groups, labels
from benchmark.reporting.model import Cell, Count, Form, Interval, Number, Score, Table, Text
from benchmark.reporting.statistics import p_text


class Style(NamedTuple):
    """How a format marks means: patterns around a mean, and what the notes call them."""

    best: str
    second: str
    says: str
    """Describes the patterns, as the beginning of a sentence."""


BOLD = "Bold marks the best mean of a column, underlining the second"
PLAIN = Style("{}", "{}", "")


def written(cell: Cell, style: Style) -> str:
    """Return e.g. `95.12 ± 0.80 (3)`, with the mean marked in a style."""
    match cell:
        case Score():
            return _score(cell, style)
        case Number():
            return _number(cell)
        case Count():
            ends = dict.fromkeys((cell.value if cell.least is None else cell.least, cell.value))
            return " to ".join(f"{end:,}" for end in ends)
        case Interval():
            return f"{cell.low:+.2f} to {cell.high:+.2f}"
        case Text():
            return cell.text


def rows(table: Table, style: Style) -> list[list[str]]:
    """Return labels and cells as texts, row by row, without the header."""
    return [
        [*labels(table, row), *(written(cell, style) for cell in row.cells)]
        for group in groups(table)
        for row in group
    ]


def columns(table: Table) -> list[Sequence[Cell]]:
    """Return the cells column by column."""
    return [[row.cells[i] for row in table.rows] for i in range(len(table.columns))]


def _score(score: Score, style: Style) -> str:
    if not score.n:
        return EMPTY
    pattern = style.best if score.best else style.second if score.second else "{}"
    mark = f" {CLOSE}" if score.close else f" {UNTESTED}" if score.untested else ""
    mean = pattern.format(f"{score.mean:.2f}")
    return f"{mean}{_beside(score.std if score.n > 1 else None, score.n)}{mark}"


def _number(number: Number) -> str:
    if number.value is None:
        return EMPTY
    remark = f" ({number.remark})" if number.remark else ""
    return (
        f"{_formed(number.value, number.form)}{_beside(number.std, number.n, number.form)}{remark}"
    )


def _formed(value: float, form: Form) -> str:
    match form:
        case Form.FIXED:
            return f"{value:.2f}"
        case Form.SIGNED:
            return f"{value:+.2f}"
        case Form.QUANTITY:
            return f"{value:.3g}" if abs(value) < 100 else f"{value:,.0f}"
        case Form.P:
            return p_text(value)


def _beside(std: float | None, n: int | None, form: Form = Form.FIXED) -> str:
    unsigned = form if form is Form.QUANTITY else Form.FIXED
    spread = "" if std is None else f" ± {_formed(std, unsigned)}"
    return f"{spread} ({n})" if n else spread
