"""What the page says of each method: what it is, what it reached where, and what that cost."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from html import escape

from benchmark.reporting.kinds import cost
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.kinds.gains import Difference, Place, interval
from benchmark.reporting.leaderboard.board import Block, Board, Entry
from benchmark.reporting.leaderboard.courses import Courses
from benchmark.reporting.leaderboard.facts import Part
from benchmark.reporting.leaderboard.markup import of_method, of_place
from benchmark.reporting.model import NONE, Cell, Form, Number, Score
from benchmark.reporting.write import html
from benchmark.reporting.write.clean import printable
from benchmark.reporting.write.html import Section
from mmdg_common import AVERAGE

EACH = (
    f"Gain: points above {BASELINE}, over the seeds that both have, with its 95 % interval for "
    "other seeds and other test samples. Each interval stands for itself: it is not adjusted for "
    "the number of targets or methods. Bold: the interval lacks zero. Curves: accuracy over "
    "training, the mean of all runs, on one scale for all methods."
)


def cards(board: Board) -> Section:
    """Return a part per method, in alphabetical order, each folded."""
    drawn = Courses(board)
    parts = [_card(board, entry, drawn) for entry in board.entries.values() if entry.place]
    body = f"<p>{escape(EACH)}</p>\n{''.join(parts)}"
    return Section("methods-one-by-one", "Method by method", body)


def _card(board: Board, entry: Entry, drawn: Courses) -> str:
    body = [
        *map(_fact, entry.facts.parts),
        _numbers(board, entry),
        _costs(board, entry),
        drawn.of(entry),
    ]
    return (
        f'<details class="card" id="{entry.place}"{of_method(entry)}>'
        f"<summary><strong>{escape(entry.label)}</strong> {escape(entry.facts.does)}</summary>"
        f"{''.join(filter(None, body))}</details>\n"
    )


def _fact(part: Part) -> str:
    told = ", ".join(filter(None, (part.family, part.paper)))
    settings = "".join(
        f"<li><code>{escape(f'{part.name}.{name}={default}')}</code> {escape(meaning)}</li>"
        for name, default, meaning in part.hyperparameters
    )
    listed = f"<ul>{settings}</ul>" if settings else ""
    what = "Hyper-parameters and their defaults:" if settings else "It has no hyper-parameters."
    return f"<p>{escape(part.name)}: {escape(told)}. {what}</p>{listed}"


# Numbers


def _numbers(board: Board, entry: Entry) -> str:
    """Return accuracy and gain by target, a part of the table per block."""
    blocks: dict[Block, list[Place]] = {}
    for place in sorted(board.cells.of[entry.raw]):
        blocks.setdefault(place[:-1], []).append(place)
    both = [] if entry.raw == BASELINE else board.cells.shared(BASELINE, entry.raw)
    gains = {place: board.cells.difference(BASELINE, entry.raw, [place]) for place in both}
    columns = {"target": "label", "accuracy": "score"}
    columns |= {"gain": "number", "95 % interval": "number"} if gains else {}
    bodies = (
        f"<tbody{of_place(block[1], block[-1])}>"
        f'<tr class="opens"><th scope="rowgroup" colspan="{len(columns)}">'
        f"{escape(board.title(block))}</th></tr>"
        f"{''.join(_lines(board, entry, places, gains))}</tbody>"
        for block, places in blocks.items()
    )
    said = f"<p>{_won(list(gains.values()))}</p>" if gains else ""
    return f"{said}{_table(columns, bodies)}"


def _table(columns: Mapping[str, str], bodies: Iterable[str]) -> str:
    """Return a table that cannot be sorted; `columns` are the classes of its headings."""
    heads = "".join(
        f'<th scope="col" class="{kind}">{escape(name)}</th>' for name, kind in columns.items()
    )
    return (
        '<div class="scroll" tabindex="0"><table>'
        f"<thead><tr>{heads}</tr></thead>{''.join(bodies)}</table></div>"
    )


def _lines(
    board: Board, entry: Entry, places: Sequence[Place], gains: Mapping[Place, Difference]
) -> Iterator[str]:
    """Yield the rows of a block: one per column, and the average of several."""
    cells = board.cells.of[entry.raw]
    lines = [(place[-1], Score(cells[place].values), gains.get(place)) for place in places]
    if len(places) > 1:
        both = [place for place in places if place in gains]
        whole = board.cells.difference(BASELINE, entry.raw, both) if both else None
        lines.append((AVERAGE, cells[places[0]].line.average, whole))
    for column, score, gain in lines:
        yield (
            f'<tr><th scope="row" class="label">{escape(printable(column))}</th>'
            f"{html.cell(score)}{''.join(_gain(gain)) if gains else ''}</tr>"
        )


def _gain(of: Difference | None) -> Iterator[str]:
    ends = of.found.interval() if of else None
    value: Cell = Number(100 * of.found.value, Form.SIGNED) if of else NONE
    text = html.cell(value)
    if _sure(ends):
        text = text.replace('class="', 'class="sure ', 1)
    yield text
    yield html.cell(interval(ends))


def _sure(ends: tuple[float, float] | None) -> bool:
    return ends is not None and (ends[0] > 0 or ends[1] < 0)


def _won(gains: Sequence[Difference]) -> str:
    """Return on how many targets a method is above and below the baseline, in words."""
    above = [one for one in gains if one.found.value > 0]
    below = [one for one in gains if one.found.value < 0]
    sure = [sum(_sure(one.found.interval()) for one in of) for of in (above, below)]
    return (
        f"Above {BASELINE} in {len(above)} of {len(gains)} columns, below it in {len(below)}; the "
        f"interval is all above zero in {sure[0]} and all below in {sure[1]}."
    )


# Cost


def _costs(board: Board, entry: Entry) -> str:
    found = [
        (table, row) for table in board.costs for row in table.rows if row.label == entry.label
    ]
    shown = [
        (j, name)
        for j, name in enumerate(cost.COLUMNS)
        if not all(html.lacking(row.cells[j]) for _, row in found)
    ]
    rows = "".join(
        f'<tr{of_place(table.subject[1], row.group)}><th scope="row" class="label long">'
        f"{html.broken(board.title((*table.subject, row.group)))}</th>"
        f"{''.join(html.cell(row.cells[j]) for j, _ in shown)}</tr>"
        for table, row in found
    )
    columns = {"cost": "label", **{name: "number" for _, name in shown}}
    return _table(columns, [f"<tbody>{rows}</tbody>"]) if rows else ""
