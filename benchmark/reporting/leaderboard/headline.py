"""The head of the leaderboard: the gain of every method over ERM, as a table with intervals."""

from collections.abc import Iterable, Iterator, Sequence
from html import escape
from itertools import product
from statistics import median

from benchmark.records.read import Record
from benchmark.records.spec import UPPER_BOUND
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.leaderboard import drawings
from benchmark.reporting.leaderboard.board import Board
from benchmark.reporting.leaderboard.drawings import Scale
from benchmark.reporting.leaderboard.markup import linked, of_method
from benchmark.reporting.model import Cell, Count, Interval, Row, Table, Text
from benchmark.reporting.request import Wanted
from benchmark.reporting.write import html
from benchmark.reporting.write.clean import printable
from benchmark.reporting.write.html import Section

GAIN, HERE, NEW, TARGETS, BEST = 0, 1, 3, 7, 8
"""The columns of the table of gains that the page draws or explains."""
WIDTHS = 1.5
"""How many usual intervals fit beside the outermost means."""
HOLLOW = (
    "Dots are means. Thick bars are the intervals for these targets, coloured where they lack "
    "zero; thin bars are those for new datasets. Arrows: the interval is wider than the picture. "
    "Hollow dots are significantly worse than the largest gain, or lack targets."
)
FEWER = (
    "Italic, below the others: methods that lack targets which others have, so that their gains "
    "are over fewer."
)


def headline(board: Board) -> Section:
    """Return the gains over all runs; below them those of one setting or set of modalities."""
    parts = [f'<div class="view">{_gains(board, board.headline, "gains")}</div>']
    for i, (setting, modalities, records) in enumerate(narrower(board.plain.records), 1):
        view = Board(Wanted(records, board.plain.view))
        if view.headline.rows:
            place = [escape(printable(word)) for word in (setting, modalities)]
            parts.append(
                f'<details class="view" data-view="{"|".join(place)}"><summary id="gains-{i}">'
                f"The same for {' · '.join(filter(None, place))} alone</summary>"
                f"{_gains(board, view.headline, f'gains-{i}')}</details>"
            )
    return Section("gains", f"Gain over {BASELINE.upper()}", "\n".join(parts))


def narrower(records: Sequence[Record]) -> Iterator[tuple[str, str, list[Record]]]:
    """Yield the runs of one setting, of one set of modalities, and of both; '' stands for all."""
    done = [r for r in records if r.result is not None and r.spec.setting != UPPER_BOUND]
    settings, sets = places(done)
    for setting, modalities in product(
        ["", *settings] if len(settings) > 1 else [""], ["", *sets] if len(sets) > 1 else [""]
    ):
        if setting or modalities:
            found = [
                r
                for r in done
                if r.spec.setting == (setting or r.spec.setting)
                and "+".join(r.spec.modalities) == (modalities or "+".join(r.spec.modalities))
            ]
            if found:
                yield setting, modalities, found


def places(records: Sequence[Record]) -> tuple[list[str], list[str]]:
    """Return the settings and the sets of modalities that there are."""
    settings = sorted({record.spec.setting for record in records})
    return settings, sorted({"+".join(record.spec.modalities) for record in records})


def _gains(board: Board, table: Table, name: str) -> str:
    if not table.rows:
        return _captions(table.notes)
    # Columns in which there is nothing, as those of new datasets where there is one, are left out.
    shown = [
        j
        for j, column in enumerate(zip(*(row.cells for row in table.rows), strict=True))
        if not all(html.lacking(cell) for cell in column)
    ]
    of = _scale(table)
    heads = [html.heading(table.first, 'class="label"')]
    for j in shown:
        kind = html.kind([row.cells[j] for row in table.rows])
        heads.append(html.heading(table.columns[j], f'class="{kind}"'))
    heads.insert(2, _axis(of))
    heads.append(html.heading("family", 'class="text"'))
    fewer = lacking(table)
    # A gain over fewer targets is no place on the board.
    rows = sorted(table.rows, key=lambda row: row.label in fewer)
    body = "\n".join(_row(board, row, shown, of, row.label in fewer) for row in rows)
    lines = [HOLLOW, *([FEWER] if fewer else [])]
    return (
        f'<div class="sheet gains">{html.scroller(name, "".join(heads), f"<tbody>{body}</tbody>")}'
        f"</div>{_captions(lines)}"
        f"{html.notes(table.notes, opened=False)}"
    )


def _captions(lines: Iterable[str]) -> str:
    return "".join(f'<p class="caption">{escape(line)}</p>' for line in lines)


def lacking(table: Table) -> set[str]:
    """Return the methods that lack targets which others have."""
    counts = {
        row.label: cell.value for row in table.rows if isinstance(cell := row.cells[TARGETS], Count)
    }
    return {label for label, count in counts.items() if count < max(counts.values())}


def _value(row: Row) -> float:
    return row.cells[GAIN].value or 0.0


def _interval(cell: Cell) -> Interval | None:
    return cell if isinstance(cell, Interval) else None


def _scale(table: Table) -> Scale:
    """Return the axis; a few very wide intervals are cut off, or they would hide all else."""
    means = [0.0, *(_value(row) for row in table.rows)]
    ends = [here for row in table.rows if (here := _interval(row.cells[HERE]))]
    wide = WIDTHS * median([one.high - one.low for one in ends] or [0.0]) / 2
    low = min([*means, *(max(one.low, min(means) - wide) for one in ends)])
    high = max([*means, *(min(one.high, max(means) + wide) for one in ends)])
    return drawings.scale([low, high], 0.06, 5)


def _axis(of: Scale) -> str:
    head = html.heading("95 % intervals", 'class="number forest"')
    return head.replace("</th>", f"{drawings.axis(of)}</th>")


def _row(board: Board, row: Row, shown: Sequence[int], of: Scale, fewer: bool) -> str:
    entry = board.entries[row.label]
    control = row.label == BASELINE
    cells = [html.cell(row.cells[j]) for j in shown]
    best = row.cells[BEST]
    drawn = drawings.forest(
        _value(row),
        _interval(row.cells[HERE]),
        _interval(row.cells[NEW]),
        of,
        isinstance(best, Text) and best.text == "yes",
    )
    number = f' data-v="{_value(row)!r}"'
    cells.insert(1, f'<td class="forest"{number}>{drawn}</td>')
    if BEST in shown:
        cells[-1] = cells[-1].replace('class="', 'class="verdict ', 1)
    cells.append(f'<td class="family">{escape(" + ".join(entry.facts.families))}</td>')
    aside = " aside" if fewer else ""
    return (
        f'<tr class="{"control" if control else "row"}{aside}"{of_method(entry)}>'
        f'<th scope="row" class="label">{linked(entry, row)}</th>'
        f"{''.join(cells)}</tr>"
    )
