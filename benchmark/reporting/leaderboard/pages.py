"""What the repository shows of its committed results: leaderboard, figure, and tables in pages.

Only runs under the fair protocol compete. Those with other switches answer questions of their own.
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from benchmark.records import read
from benchmark.records.committed import CommittedSet
from benchmark.records.read import Record
from benchmark.records.spec import MULTI_SOURCE, Protocol
from benchmark.reporting.figures import forest, png_bytes, style
from benchmark.reporting.kinds import gains
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.leaderboard import page
from benchmark.reporting.model import Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.write import markdown, render

BY = "python -m benchmark.results pages"
RULE = "best-val"
FIRST, NAMED = 5, ("mbcd", "joint", "ema", BASELINE)
"""The rows of the short table: so many of the largest gains on all targets, and these."""
LEADERBOARD, FIGURE = "results/leaderboard.html", "results/gains.png"
SHORT = ("gain", "these targets", "won", "lost", "may be best")
"""The columns of the short table."""


def contents(of: CommittedSet, project: Path) -> dict[Path, bytes]:
    """Return every file that shows a set of results, as it has to be.

    Args:
        of: the set.
        project: the folder of the repository.
    """
    fair = [one for one in read.read([of.root], RULE).records if one.spec.protocol == Protocol()]
    records = whole(fair)
    suite = headline(records)
    table = gains.build(suite)[0]
    tables: Mapping[str, Mapping[str, Callable[[], str]]] = {
        "README.md": {"first gains": lambda: markdown.grid(shortened(table))},
        "results/README.md": {"gains": lambda: markdown.grid(table)},
    }
    texts = {project / LEADERBOARD: page.render(Wanted(records))}
    for name, of_page in tables.items():
        text = (project / name).read_text(encoding="utf-8")
        texts[project / name] = markdown.filled(text, of_page, BY)
    return {
        project / FIGURE: figure(suite, table),
        **{path: text.encode() for path, text in texts.items()},
    }


def whole(records: Sequence[Record]) -> list[Record]:
    """Return the runs without those of datasets on which the baseline still lacks a target.

    Sets grow by parts; a dataset counts once there is something to compare with on all of it.
    """
    domains: dict[str, set[str]] = {}
    targets: dict[str, set[str]] = {}
    for record in records:
        spec = record.spec
        if spec.setting == MULTI_SOURCE:
            domains.setdefault(spec.dataset, set()).update(spec.sources, [spec.target])
            if spec.method == BASELINE:
                targets.setdefault(spec.dataset, set()).add(spec.target)
    left_out = {name for name, every in domains.items() if targets.get(name) != every}
    return [record for record in records if record.spec.dataset not in left_out]


def headline(records: Sequence[Record]) -> Wanted:
    """Return the runs that the headline is about: those from several sources."""
    return Wanted([record for record in records if record.spec.setting == MULTI_SOURCE])


def shortened(table: Table) -> Table:
    """Return some of the rows in few columns."""
    at = [table.columns.index(name) for name in SHORT]
    rows = [row for i, row in enumerate(table.rows) if i < FIRST or row.label in NAMED]
    rows = [replace(row, cells=tuple(row.cells[i] for i in at)) for row in rows]
    return replace(table, columns=SHORT, rows=tuple(rows))


def figure(suite: Wanted, table: Table) -> bytes:
    """Return the forest plot as PNG, which says of which numbers it is."""
    methods = {record.spec.method for record in suite.records}
    (plot,) = forest.forest(suite, style.looks(methods))
    return png_bytes(plot, of_numbers(table))


def of_numbers(table: Table) -> str:
    """Return what tells figures of these numbers from figures of others."""
    return hashlib.sha256(render([table], "csv").encode()).hexdigest()
