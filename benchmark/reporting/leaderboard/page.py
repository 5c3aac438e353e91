"""The leaderboard as one HTML page: the same records make the same bytes, on any machine."""

from collections import Counter
from collections.abc import Iterator, Sequence
from html import escape

from benchmark.records.spec import UPPER_BOUND
from benchmark.reporting.captions import RULE_TEXTS, SPREAD
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.leaderboard import standings
from benchmark.reporting.leaderboard.board import Board
from benchmark.reporting.leaderboard.cards import cards
from benchmark.reporting.leaderboard.headline import headline, places
from benchmark.reporting.leaderboard.markup import families, listed
from benchmark.reporting.request import Wanted
from benchmark.reporting.write import html
from benchmark.reporting.write.clean import printable
from benchmark.reporting.write.html import Section
from benchmark.reporting.write.provenance import provenance


def render(wanted: Wanted) -> str:
    """Return the page."""
    board = Board(wanted)
    top = headline(board)
    sections = [
        _about(board),
        top._replace(body=f"{top.body}\n{standings.overall(board)}"),
        *standings.standings(board),
        cards(board),
        provenance(wanted.records),
    ]
    return html.document(
        f"Leaderboard: {', '.join(_datasets(board))}",
        _subtitle(wanted),
        sections,
        html.asset("page.css") + html.asset("board.css", __package__),
        html.asset("page.js") + html.asset("board.js", __package__),
        _filters(board),
    )


def _subtitle(wanted: Wanted) -> str:
    records = wanted.records
    done = sum(record.result is not None for record in records)
    seeds = sorted({record.spec.seed for record in records})
    versions = sorted({record.spec.numbers_version for record in records})
    return " · ".join(
        (
            f"{done:,} of {len(records):,} runs done",
            f"{_plural(len(seeds), 'seed')}: {', '.join(map(str, seeds))}",
            f"selection rule {wanted.view.rule}",
            f"numbers version {', '.join(map(str, versions))}",
        )
    )


def _plural(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _datasets(board: Board) -> list[str]:
    return sorted({printable(record.spec.dataset) for record in board.wanted.records})


NAMED = 5
"""Methods that are named where they are missing; more are counted."""


# What is shown


def _about(board: Board) -> Section:
    methods = sum(bool(entry.place) for entry in board.entries.values())
    datasets = _datasets(board)
    text = (
        f"{_plural(methods, 'method')} for multi-modal domain generalization on "
        f"{_plural(len(datasets), 'dataset')}: each is trained on some domains and "
        "tested on a domain that it has never seen. All have the same model, initial weights, "
        f"batches and schedule, and {BASELINE.upper()}, plain training on the sources, is what "
        "they are compared with."
    )
    items = "".join(f"<dt>{name}</dt><dd>{escape(said)}</dd>" for name, said in _facts(board))
    return Section("about", "What is this?", f"<p>{escape(text)}</p><dl>{items}</dl>")


def _facts(board: Board) -> Iterator[tuple[str, str]]:
    records = board.wanted.records
    rule = board.wanted.view.rule
    yield "Selection rule", f"{rule}: {RULE_TEXTS[rule]}."
    yield "±", f"{SPREAD[0].upper()}{SPREAD[1:]}."
    yield "Intervals", INTERVALS
    yield "Missing", _missing(board)
    if made_up := sorted({r.spec.dataset for r in records if r.spec.fabricated}):
        yield "Fabricated", f"Made-up files stand in for {', '.join(map(printable, made_up))}."


INTERVALS = (
    "95 %. Those for these targets hold for other seeds and other test samples from the same "
    "domains; those for new datasets for datasets that were not tried."
)


def _missing(board: Board) -> str:
    cells = sum(len(row.cells) - 1 for table in board.standings for row in table.rows)
    gaps = [gap for table in board.standings for gap in table.missing]
    absent = list(_absent(board))
    if not gaps:
        return " ".join([f"No run in the {cells:,} cells of the tables.", *absent])
    lacking = {(gap.row, gap.column, gap.run.dataset, gap.run.modalities) for gap in gaps}
    runs: Counter[str] = Counter()
    for gap in gaps:
        runs[printable(gap.run.dataset)] += len(gap.states)
    listed = ", ".join(f"{name} {n:,}" for name, n in sorted(runs.items()))
    said = f"{runs.total():,} runs in {len(lacking):,} of {cells:,} cells ({listed})."
    return " ".join([said, *absent])


def _absent(board: Board) -> Iterator[str]:
    """Yield which methods have no run at all on a dataset."""
    rows: dict[str, set[str]] = {}
    for table in board.standings:
        rows.setdefault(table.subject[0], set()).update(row.label for row in table.rows)
    for dataset, there in sorted(rows.items()):
        lacking = [e.label for e in board.entries.values() if e.place and e.label not in there]
        if lacking:
            who = ", ".join(lacking) if len(lacking) <= NAMED else f"{len(lacking)} methods"
            yield f"Not run on {dataset}: {who}."


# Filters


def _filters(board: Board) -> str:
    """Return the form, which shows itself when there is a script to obey it."""
    there = {f for e in board.entries.values() if e.place for f in e.facts.families}
    known = families()
    kinds = sorted(there, key=lambda f: (known.index(f) if f in known else len(known), f))
    settings, sets = places(
        [r for r in board.plain.records if r.result and r.spec.setting != UPPER_BOUND]
    )
    fields = [
        '<label>Method <input id="by-name" type="search" autocomplete="off"></label>',
        _choice("family", "Family", kinds),
        _choice("setting", "Setting", settings),
        _choice("set", "Modalities", sets),
    ]
    return (
        f'<form class="filters" hidden>{"".join(fields)}'
        '<button type="reset" class="more">Show all</button>'
        f'<p class="state" role="status"></p></form>{listed(list(board.entries.values()))}\n'
    )


def _choice(name: str, label: str, values: Sequence[str]) -> str:
    """Return a field to choose one of several values; nothing where there is one."""
    if len(values) < 2:
        return ""
    options = "".join(f"<option>{escape(printable(value))}</option>" for value in values)
    return (
        f'<label>{label} <select id="by-{name}"><option value="">all</option>'
        f"{options}</select></label>"
    )
