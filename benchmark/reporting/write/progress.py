"""One HTML page that says how a sweep stands, for a phone: splits by rows, failures, the queue."""

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import NamedTuple

from benchmark.records.spec import SINGLE_SOURCE, RunSpec
from benchmark.records.state import State
from benchmark.reporting.write import html
from benchmark.reporting.write.html import Section

LOUDEST = (State.FAILED, State.INTERRUPTED, State.RUNNING, State.QUEUED, State.TO_DO, State.DONE)
"""Of the states in a cell the first colours it; those before `to do` are told by number."""


class Run(NamedTuple):
    """A run of the sweep."""

    spec: RunSpec
    row: str
    state: State


class Trouble(NamedTuple):
    """What ended some runs."""

    what: str
    """Which runs, and where."""
    reason: str
    log: str


def render(
    grid: str,
    runs: Sequence[Run],
    troubles: Sequence[Trouble],
    expected: Sequence[str],
    queue: Sequence[str],
    now: float,
) -> str:
    """Return the page.

    Args:
        grid: the name of the sweep.
        runs: in the order of rows and splits.
        troubles: why runs failed, the most frequent first.
        expected: lines on what the rest takes.
        queue: lines on what runs wait for.
        now: when this was so, in seconds since 1970.
    """
    counts = Counter(run.state for run in runs)
    states = [f"{counts[state]:,} {state}" for state in LOUDEST[::-1] if counts[state]]
    overall = (
        f'<progress max="{len(runs)}" value="{counts[State.DONE]}"></progress>'
        f'<p class="counts">{escape(" · ".join(states))}</p>{_paragraphs(expected)}'
    )
    sections = [
        Section("progress", f"{counts[State.DONE]:,} of {len(runs):,} runs done", overall),
        *_failures(troubles),
        *([Section("queue", "Queue", _paragraphs(queue))] if queue else []),
        *_matrices(runs),
    ]
    style = html.asset("page.css") + html.asset("progress.css")
    at = f"{datetime.fromtimestamp(now, UTC):%Y-%m-%d %H:%M} UTC"
    return html.document(f"Sweep {grid}", f"as of {at}", sections, style, "")


def _paragraphs(lines: Iterable[str]) -> str:
    return "".join(f"<p>{escape(line)}</p>" for line in lines)


def _failures(troubles: Sequence[Trouble]) -> Iterator[Section]:
    if troubles:
        items = (
            f"<li><p>{escape(one.what)}</p><pre>{escape(one.reason)}</pre>"
            f'<p class="log">{escape(one.log)}</p></li>'
            for one in troubles
        )
        yield Section("failures", "Failures", f'<ul class="failures">{"".join(items)}</ul>')


def _matrices(runs: Sequence[Run]) -> Iterator[Section]:
    """Yield a table of rows by splits for each dataset and setting."""
    tables: dict[tuple[str, str], list[Run]] = {}
    for run in runs:
        tables.setdefault((run.spec.dataset, run.spec.setting), []).append(run)
    for number, ((dataset, setting), those) in enumerate(tables.items(), 1):
        name = f"runs-{number}"
        yield Section(name, f"{dataset}, {setting}", _matrix(name, those))


def _matrix(name: str, runs: Sequence[Run]) -> str:
    splits = list(dict.fromkeys(map(_split, runs)))
    cells: dict[str, dict[str, Counter[State]]] = {}
    for run in runs:
        cells.setdefault(run.row, {}).setdefault(_split(run), Counter())[run.state] += 1
    head = '<th scope="col">row</th>' + "".join(
        f'<th scope="col" class="number">{html.broken(split)}</th>' for split in splits
    )
    body = "\n".join(
        f'<tr><th scope="row" class="label">{html.broken(row)}</th>'
        f"{''.join(_cell(of.get(split, Counter())) for split in splits)}</tr>"
        for row, of in cells.items()
    )
    return html.scroller(name, head, f"<tbody>{body}</tbody>")


def _split(run: Run) -> str:
    spec = run.spec
    if not spec.target:
        return "all domains"
    return f"{spec.sources[0]} → {spec.target}" if spec.setting == SINGLE_SOURCE else spec.target


def _cell(states: Counter[State]) -> str:
    """Return how many of the runs are done, and what is to be known of the others."""
    if not states:
        return '<td class="number lacking">—</td>'
    loudest = next(state for state in LOUDEST if states[state])
    told = (f"{states[s]} {s}" for s in LOUDEST[: LOUDEST.index(State.TO_DO)] if states[s])
    more = "".join(f"<small>{escape(text)}</small>" for text in told)
    state = loudest.replace(" ", "-")
    return f'<td class="number {state}">{states[State.DONE]}/{states.total()}{more}</td>'
