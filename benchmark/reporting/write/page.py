"""One HTML page that holds a whole report: it needs no other file and no network.

Everything that comes from records is escaped, and the page's own policy lets nothing run or load
but its script, its style and the figures inside it.
"""

import base64
import hashlib
import json
import os
import struct
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from importlib import resources
from pathlib import Path
from string import Template
from typing import Any, NamedTuple
from urllib.parse import quote

from benchmark.planning.flags import command
from benchmark.records.read import Record
from benchmark.records.selection import rule_of
from benchmark.records.store import RunFolder
from benchmark.reporting import captions, figures
from benchmark.reporting.figures import Figure
from benchmark.reporting.model import Cell, Row, Score, Table
from benchmark.reporting.write.cells import BOLD, Style, columns, written
from benchmark.reporting.write.clean import cleaned, printable

OPEN_GAPS = 6
"""Commands for missing cells that are shown unasked."""
LONG = 24
"""Characters of a label from which on it may take several lines."""
LISTED = 12
"""Values of one kind that the provenance lists; the others are counted."""
PIXELS = 150 / 96
"""Pixels of a figure for each of CSS, at which its texts have their size in points."""
STYLE = Style("<strong>{}</strong>", "<u>{}</u>", BOLD)
RUN_COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("run", "method", "dataset", "split", "modalities"), 'class="label"'),
    "seed": 'class="number"',
    "state": 'class="text"',  # of failed runs with the error
    "rule": 'class="label"',
    "accuracy": 'class="number" data-digits="2"',
    "seconds": 'class="number" data-digits="1"',
}
"""The columns of the table of runs, with what the script is told of each."""


class Section(NamedTuple):
    """A part of the page with a heading of its own."""

    id: str
    title: str
    body: str
    parts: tuple[tuple[str, str], ...] = ()
    """Ids and titles inside it that the table of contents names."""


def render(
    tables: Sequence[Table],
    pictures: Sequence[Figure],
    records: Sequence[Record],
    rule: str,
    beside: Path,
    results: Sequence[str] = (),
) -> str:
    """Return the page.

    Args:
        tables: what to show.
        pictures: the figures below the tables.
        records: the runs, of which provenance and the list of runs are made.
        rule: the selection rule asked for.
        beside: the folder that the page will lie in; links to runs are relative to it.
        results: what commands pass as `--results`; nothing for the default.
    """
    sections = [
        *(
            _of_table(f"table-{i}", table, results)
            for i, table in enumerate(map(cleaned, tables), 1)
        ),
        *_figures(pictures),
        _provenance(records),
        _runs(records, rule, beside),
    ]
    names = ", ".join(sorted({record.spec.dataset for record in records}))
    style, script = _asset("page.css"), _asset("page.js")
    return Template(_asset("page.html")).substitute(
        title=escape(f"Benchmark report: {names}"),
        heading=escape(f"Benchmark report: {names}"),
        subtitle=escape(_subtitle(records, rule)),
        contents=_contents(sections),
        sections="\n".join(map(_section, sections)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def _asset(name: str) -> str:
    return (resources.files("benchmark.reporting.write") / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _subtitle(records: Sequence[Record], rule: str) -> str:
    done = sum(record.result is not None for record in records)
    parts = [f"{done:,} of {len(records):,} runs done", f"selection rule {rule}"]
    told = [RunFolder(r.folder).noted().time for r in records if r.folder is not None]
    if times := [time for time in told if time is not None]:
        # The zone is fixed, so that the same records make the same page everywhere.
        newest = datetime.fromtimestamp(max(times), UTC)
        parts.append(f"newest record of {newest:%Y-%m-%d %H:%M} UTC")
    return " · ".join(parts)


def _contents(sections: Iterable[Section]) -> str:
    def entry(place: str, title: str, below: str = "") -> str:
        return f'<li><a href="#{place}">{escape(title)}</a>{below}</li>'

    def listed(entries: Iterable[str]) -> str:
        return f"<ul>{''.join(entries)}</ul>"

    return listed(
        entry(s.id, s.title, listed(entry(*part) for part in s.parts) if s.parts else "")
        for s in sections
    )


def _section(section: Section) -> str:
    head = f'<h2 id="{section.id}">{escape(section.title)}</h2>'
    return f"<section>{head}\n{section.body}\n</section>"


# Tables


def _of_table(name: str, table: Table, results: Sequence[str]) -> Section:
    title = captions.title(table)
    parts = [_sheet(name, _head(table), _body(table))] if table.rows else []
    lines = "".join(f"<p>{escape(note)}</p>" for note in captions.notes(table, STYLE.says))
    if lines:
        parts.append(f'<details open class="notes"><summary>Notes</summary>{lines}</details>')
    parts += _gaps(table, results)
    return Section(name, title, "\n".join(parts))


def _sheet(name: str, head: str, body: str, more: str = "") -> str:
    """Return a table with a filter, in a container of its own to scroll in."""
    return (
        f'<div class="sheet"><div class="tools"><label for="{name}-filter">Filter rows</label>'
        f'<input id="{name}-filter" type="search" autocomplete="off">'
        f'<span class="count" role="status"></span></div>\n'
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">'
        f'<table aria-labelledby="{name}">\n<thead><tr>{head}</tr></thead>\n'
        f"<tbody>{body}</tbody></table></div>{more}</div>"
    )


def _heading(name: str, attributes: str) -> str:
    button = f'<button type="button">{escape(name)}</button>'
    return f'<th scope="col" {attributes}>{button}</th>'


def _head(table: Table) -> str:
    names = captions.header(table)
    labels = ["label"] * (len(names) - len(table.columns))
    kinds = [_kind(cells) for cells in columns(table)]
    return "".join(
        _heading(name, f'class="{kind}"')
        for name, kind in zip(names, [*labels, *kinds], strict=True)
    )


def _kind(cells: Iterable[Cell]) -> str:
    """Return how a column is set: means, other numbers, or texts."""
    others = [cell for cell in cells if not isinstance(cell, Score) and not _lacking(cell)]
    if not others:
        return "score"
    return "number" if any(cell.value is not None for cell in others) else "text"


def _lacking(cell: Cell) -> bool:
    return written(cell, STYLE) in ("", captions.EMPTY)


def _body(table: Table) -> str:
    lines = []
    for group in captions.groups(table):
        for row in group:
            state = ["opens"] if row is group[0] else []
            state += ["aside"] if row.kind != "method" else []
            lines.append(f'<tr class="{" ".join(state)}">{_row(table, row)}</tr>')
    return "\n".join(lines)


def _row(table: Table, row: Row) -> str:
    *group, label = captions.labels(table, row)
    cells = [f'<td class="group">{_breakable(text)}</td>' for text in group]
    long = " long" if len(label) > LONG else ""
    cells.append(f'<th scope="row" class="label{long}">{escape(label)}</th>')
    return "".join([*cells, *map(_cell, row.cells)])


def _breakable(text: str) -> str:
    """Return a set of modalities that may take several lines where it is long."""
    return escape(text) if len(text) <= LONG // 2 else escape(text).replace("+", "+<wbr>")


def _cell(cell: Cell) -> str:
    text = written(cell, STYLE)
    if not isinstance(cell, Score):
        lacks = " lacking" if _lacking(cell) else ""
        kind = "text" if cell.value is None and not lacks else "number"
        number = "" if cell.value is None else f' data-v="{cell.value!r}"'
        return f'<td class="{kind}{lacks}"{number}>{escape(text)}</td>'
    if not cell.n:
        return f'<td class="score lacking"><span class="mean">{text}</span></td>'
    mean, _, spread = text.partition(" ")
    return (
        f'<td class="score" data-v="{round(cell.mean, 6)!r}"><span class="mean">{mean}</span> '
        f'<span class="spread">{escape(spread)}</span></td>'
    )


def _gaps(table: Table, results: Sequence[str]) -> Iterator[str]:
    groups = captions.gap_groups(table)
    if not groups:
        return
    summary, *others = captions.missing_heads(table)
    items = [
        f"<li><p>{escape(captions.gap_text(gaps, table.grouped))}</p>"
        f'<div class="command"><code>{escape(printable(command(gaps, results)))}</code>'
        '<button type="button" class="copy">Copy</button></div></li>'
        for gaps in groups
    ]
    said = "".join(f"<p>{escape(line)}</p>" for line in others)
    yield (
        f"<details{' open' if len(groups) <= OPEN_GAPS else ''}>"
        f"<summary>{escape(summary)}</summary>{said}"
        f'<ul class="gaps">{"".join(items)}</ul></details>'
    )


# Figures


def _figures(drawn: Sequence[Figure]) -> Iterator[Section]:
    if drawn:
        parts = tuple((f"figure-{i}", figure.title) for i, figure in enumerate(drawn, 1))
        body = "\n".join(map(_figure, parts, drawn))
        yield Section("figures", "Figures", body, parts)


def _figure(place: tuple[str, str], figure: Figure) -> str:
    data = figures.png_bytes(figure)
    # A PNG file says its size in the first chunk; the page then keeps the place free.
    width, height = (round(n / PIXELS) for n in struct.unpack(">II", data[16:24]))
    return (
        f'<figure id="{place[0]}"><h3>{escape(figure.title)}</h3>'
        f'<img alt="{escape(figure.title)}" width="{width}" height="{height}" '
        f'src="data:image/png;base64,{base64.b64encode(data).decode()}">'
        f"<figcaption>{escape(figure.caption)}</figcaption></figure>"
    )


# Where the numbers come from


def _provenance(records: Sequence[Record]) -> Section:
    told = [r.result["provenance"] for r in records if r.result is not None]
    body = []
    commits = [str(one.get("commit") or "unknown") for one in told]
    if dirty := sum(commit.endswith("+dirty") for commit in commits):
        body.append(
            f'<p class="warning">{dirty:,} of {len(told):,} runs come from code with uncommitted '
            "changes, so their commit does not say what ran.</p>"
        )
    counts: dict[str, Counter[str]] = {"commit": Counter(map(_short, commits))}
    for one in told:
        facts = {k: one[k] for k in ("device", "threads", "python") if k in one}
        for name, value in {**facts, **one.get("packages", {})}.items():
            counts.setdefault(name, Counter())[str(value)] += 1
    version = "numbers version"
    counts[version] = Counter(str(record.spec.numbers_version) for record in records)
    rows = [line for name, values in counts.items() for line in _counted(name, values)]
    heads = [_heading("what", 'class="label"'), _heading("value", 'class="label"')]
    heads.append(_heading("runs", 'class="number"'))
    body.append(_sheet("provenance", "".join(heads), "\n".join(rows)))
    return Section("provenance", "Provenance", "\n".join(body))


def _short(commit: str) -> str:
    name, plus, dirty = commit.partition("+")
    return f"{name[:10]}{' with uncommitted changes' if plus and dirty else ''}"


def _counted(name: str, values: Counter[str]) -> Iterator[str]:
    listed = values.most_common(LISTED)
    if others := len(values) - len(listed):
        listed.append((f"{others} others", values.total() - sum(n for _, n in listed)))
    for i, (value, n) in enumerate(listed):
        yield (
            f'<tr{"" if i else " class=opens"}><th scope="row" class="label">{escape(name)}</th>'
            f'<td class="group">{escape(value)}</td><td class="number" data-v="{n}">{n:,}</td></tr>'
        )


# Runs


def _runs(records: Sequence[Record], rule: str, beside: Path) -> Section:
    rows = [_run(record, rule, beside) for record in records]
    # A data block ends at `</script`, which no escape of JSON strings would hide.
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    head = "".join(_heading(name, attributes) for name, attributes in RUN_COLUMNS.items())
    more = (
        '<button type="button" class="more" hidden></button>'
        f'<script type="application/json">{data}</script>'
        "<noscript>The list of runs needs JavaScript.</noscript>"
    )
    return Section("runs", "Runs", _sheet("runs", head, "", more))


def _run(record: Record, rule: str, beside: Path) -> list[Any]:
    """Return the cells of `RUN_COLUMNS`, and the link to the run's folder or None."""
    spec, result = record.spec, record.result
    used = accuracy = seconds = link = None
    if result is not None:
        used = rule_of(result, rule)
        accuracy = round(100 * result["rules"][used]["target"]["accuracy"], 4)
        seconds = result["provenance"].get("wall_s")
    if record.folder is not None:
        link = f"{quote(os.path.relpath(record.folder, beside))}/"
    state = f"{record.state}: {record.error}" if record.error else record.state
    name = f"{spec.dataset} (fabricated data)" if spec.fabricated else spec.dataset
    return [
        *(spec.id, spec.method, name, f"{'+'.join(spec.sources)} → {spec.target}"),
        *("+".join(spec.modalities), spec.seed, state),
        *(used, accuracy),
        *(seconds if seconds is None else round(seconds, 1), link),
    ]
