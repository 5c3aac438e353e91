"""Accuracy by target, a table per dataset, setting and condition; and accuracy against cost."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from html import escape
from math import exp, log
from statistics import fmean

from benchmark.reporting import captions
from benchmark.reporting.kinds import cost
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.leaderboard import drawings, markup
from benchmark.reporting.leaderboard.board import Board, key
from benchmark.reporting.leaderboard.drawings import Point
from benchmark.reporting.leaderboard.headline import GAIN, lacking
from benchmark.reporting.model import Missing, Row, Score, Table
from benchmark.reporting.write import html
from benchmark.reporting.write.html import STYLE, Section

RATIO, SECONDS = cost.COLUMNS.index("time / ERM"), cost.COLUMNS.index("seconds per run")


def standings(board: Board) -> Iterator[Section]:
    """Yield a section per accuracy table."""
    for i, table in enumerate(board.standings, 1):
        # Sets of modalities are not compared; those of most methods come first.
        groups = sorted(captions.groups(table), key=len, reverse=True)
        parts = [
            *(_group(board, table, rows, f"table-{i}", j) for j, rows in enumerate(groups)),
            html.notes(captions.notes(table, STYLE.says), opened=False),
            _missing(table),
        ]
        title = captions.title(table)
        yield Section(f"table-{i}", title, "\n".join(filter(None, parts)))


def _group(board: Board, table: Table, rows: Sequence[Row], name: str, number: int) -> str:
    """Return the rows of one set of modalities, under a heading of their own if there are more."""
    alone = replace(table, rows=tuple(rows), grouped="")
    heading = ""
    if table.grouped:
        name = f"{name}-{number + 1}"
        heading = f'<h3 id="{name}">{html.broken(rows[0].group)}</h3>'
    body = html.body(alone, markup.extras(board, alone))
    shown = html.scroller(name, html.head(alone), f"<tbody>{body}</tbody>")
    return (
        f"<div{markup.of_place(table.subject[1], rows[0].group)}>{heading}"
        f'<div class="sheet scores">{shown}</div>{_plot(board, alone, number == 0)}</div>'
    )


def _missing(table: Table) -> str:
    """Return what is missing; no commands or reasons, in which there may be names of folders."""
    gaps = [_short(gap) for gap in table.missing]
    groups = captions.gap_groups(replace(table, missing=tuple(gaps)))
    if not groups:
        return ""
    summary = next(captions.missing_heads(table))
    lines = "".join(f"<li>{escape(captions.gap_text(g, table.grouped))}</li>" for g in groups)
    return f"<details><summary>{escape(summary)}</summary><ul>{lines}</ul></details>"


def _short(gap: Missing) -> Missing:
    return replace(gap, states={s: text.partition(":")[0] for s, text in gap.states.items()})


# Accuracy against cost


def _plot(board: Board, table: Table, opened: bool) -> str:
    """Return average accuracy against training time."""
    rows = [row for row in table.rows if row.kind == "method"]
    column, unit, words = _unit(board, rows)
    points = []
    for row in rows:
        average, time = row.cells[-1], _time(board, row, column)
        if time and isinstance(average, Score) and average.n:
            said = f"{row.label}: {average.mean:.2f} %, {time:.3g}{words}"
            points.append(_point(board, row.label, time, average.mean, said))
    what = f"Average {table.metric} in percent against training time"
    return _figure(points, unit, what, opened)


def _time(board: Board, row: Row, column: int) -> float | None:
    found = board.cost_rows.get(key(row))
    return found.cells[column].value if found else None


def _unit(board: Board, rows: Sequence[Row]) -> tuple[int, str, str]:
    """Return the column of times, its unit, and that in words; seconds where there is no ratio."""
    if any(_time(board, row, RATIO) for row in rows):
        return RATIO, "×", f" × {BASELINE.upper()}'s time"
    return SECONDS, " s", " s a run"


def overall(board: Board) -> str:
    """Return the gain over all datasets against training time, where both are known."""
    ratios: dict[str, dict[str, list[float]]] = {}
    for table in board.costs:
        for row in table.rows:
            if value := row.cells[RATIO].value:
                ratios.setdefault(row.label, {}).setdefault(table.subject[0], []).append(value)
    points = []
    fewer = lacking(board.headline)
    for row in board.headline.rows:
        of = ratios.get(row.label)
        if of and row.label not in fewer:
            gain = row.cells[GAIN].value or 0.0
            # Datasets count the same; ratios have a geometric mean.
            time = exp(fmean(log(fmean(values)) for values in of.values()))
            said = f"{row.label}: {gain:+.2f} points, {time:.3g} × {BASELINE.upper()}'s time"
            points.append(_point(board, row.label, time, gain, said))
    what = (
        f"Gain over {BASELINE.upper()} in points against training time, over all datasets: the "
        "geometric mean of the ratios of the datasets"
    )
    what += "; methods that lack targets are left out" if fewer else ""
    return f'<div class="overall">{_figure(points, "×", what, True)}</div>'


def _point(board: Board, label: str, time: float, value: float, said: str) -> Point:
    entry = board.entries[label]
    return Point(time, value, markup.family_of(entry), said, markup.of_method(entry))


def _figure(points: Sequence[Point], unit: str, what: str, opened: bool) -> str:
    """Return a plot that can be folded; nothing of fewer than two points."""
    if len(points) < 2:
        return ""
    known = markup.families()
    legend = "".join(
        f'<li class="f{i}">{escape(known[i])}</li>' for i in sorted({p.family for p in points})
    )
    axis = f"{BASELINE.upper()} = 1×" if unit == "×" else "seconds per run"
    return (
        f'<details class="plot"{" open" if opened else ""}><summary>{escape(what)}</summary>'
        f'<p class="readout" role="status"></p>{drawings.scatter(points, unit, what)}'
        f'<p class="axis">training time, {axis}</p><ul class="legend">{legend}</ul></details>'
    )
