"""The parts that HTML pages share: the frame with its policy, sections, and tables.

Everything that comes from records is escaped, and a page's own policy lets nothing run or load but
its script, its style and the figures inside it. A page needs no other file and no network.
"""

import base64
import hashlib
from collections.abc import Callable, Iterable, Sequence
from html import escape
from importlib import resources
from string import Template
from typing import NamedTuple

from benchmark.reporting import captions
from benchmark.reporting.model import Cell, Row, Score, Table
from benchmark.reporting.write.cells import BOLD, Style, columns, written

LONG = 24
"""Characters of a label from which on it may take several lines."""
STYLE = Style("<strong>{}</strong>", "<u>{}</u>", BOLD)


class Section(NamedTuple):
    """A part of the page with a heading of its own."""

    id: str
    title: str
    body: str
    parts: tuple[tuple[str, str], ...] = ()
    """Ids and titles inside it that the table of contents names."""


class Extras(NamedTuple):
    """What one page adds to tables that the others have as well, as HTML."""

    label: Callable[[Row], str] = lambda row: escape(captions.labelled(row))
    """What stands for the label of a row."""
    row: Callable[[Row], str] = lambda row: ""
    """More attributes of a row."""
    cell: Callable[[Score], str] = lambda cell: ""
    """More attributes of a cell of scores."""


PLAIN = Extras()


def document(
    title: str, subtitle: str, sections: Sequence[Section], style: str, script: str, tools: str = ""
) -> str:
    """Return the whole page.

    Args:
        title: of the window and of the page.
        subtitle: stands below it.
        sections: in their order; a table of contents names them.
        style: the only one that the page's policy lets through.
        script: likewise.
        tools: HTML above all sections.
    """
    return Template(asset("page.html")).substitute(
        title=escape(title),
        subtitle=escape(subtitle),
        contents=_contents(sections),
        tools=tools,
        sections="\n".join(map(_section, sections)),
        style=style,
        script=script,
        style_hash=_hash(style),
        script_hash=_hash(script),
    )


def asset(name: str, package: str = __package__) -> str:
    """Return a file that lies beside the modules of a package."""
    return (resources.files(package) / name).read_text(encoding="utf-8")


def _hash(text: str) -> str:
    return f"sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}"


def _contents(sections: Iterable[Section]) -> str:
    def entry(place: str, title: str, below: str = "") -> str:
        return f'<li><a href="#{place}">{broken(title)}</a>{below}</li>'

    def listed(entries: Iterable[str]) -> str:
        return f"<ul>{''.join(entries)}</ul>"

    return listed(
        entry(s.id, s.title, listed(entry(*part) for part in s.parts) if s.parts else "")
        for s in sections
    )


def _section(section: Section) -> str:
    head = f'<h2 id="{section.id}">{broken(section.title)}</h2>'
    return f"<section>{head}\n{section.body}\n</section>"


# Tables


def sheet(name: str, head: str, body: str, more: str = "") -> str:
    """Return a table that can be sorted and filtered; the heading `name` is its title.

    Args:
        name: the id of the heading.
        head: the cells of its head, of `heading`.
        body: its rows.
        more: HTML below it.
    """
    return (
        f'<div class="sheet"><div class="tools"><label for="{name}-filter">Filter rows</label>'
        f'<input id="{name}-filter" type="search" autocomplete="off">'
        f'<span class="count" role="status"></span></div>\n'
        f"{scroller(name, head, f'<tbody>{body}</tbody>')}{more}</div>"
    )


def scroller(name: str, head: str, bodies: str) -> str:
    """Return a table in a container of its own to scroll in; the heading `name` is its title."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-labelledby="{name}">'
        f'<table aria-labelledby="{name}">\n<thead><tr>{head}</tr></thead>\n'
        f"{bodies}</table></div>"
    )


def heading(name: str, attributes: str) -> str:
    """Return the heading of a column, which sorts by it."""
    button = f'<button type="button">{escape(name)}</button>'
    return f'<th scope="col" {attributes}>{button}</th>'


def head(table: Table) -> str:
    """Return the headings of a table."""
    names = captions.header(table)
    labels = ["label"] * (len(names) - len(table.columns))
    kinds = [kind(cells) for cells in columns(table)]
    return "".join(
        heading(name, f'class="{kind}"')
        for name, kind in zip(names, [*labels, *kinds], strict=True)
    )


def kind(cells: Iterable[Cell]) -> str:
    """Return how a column is set: means, other numbers, or texts."""
    others = [cell for cell in cells if not isinstance(cell, Score) and not lacking(cell)]
    if not others:
        return "score"
    return "number" if any(cell.value is not None for cell in others) else "text"


def lacking(cell: Cell) -> bool:
    """Return whether there is nothing to say."""
    return written(cell, STYLE) in ("", captions.EMPTY)


def body(table: Table, extras: Extras = PLAIN) -> str:
    """Return the rows of a table."""
    lines = []
    for group in captions.groups(table):
        for row in group:
            state = ["opens"] if row is group[0] else []
            state += ["aside"] if row.kind != "method" else []
            more = extras.row(row)
            lines.append(f'<tr class="{" ".join(state)}"{more}>{_row(table, row, extras)}</tr>')
    return "\n".join(lines)


def _row(table: Table, row: Row, extras: Extras) -> str:
    *group, label = captions.labels(table, row)
    cells = [f'<td class="group">{_breakable(text)}</td>' for text in group]
    long = " long" if len(label) > LONG else ""
    cells.append(f'<th scope="row" class="label{long}">{extras.label(row)}</th>')
    return "".join([*cells, *(cell(one, extras) for one in row.cells)])


def _breakable(text: str) -> str:
    """Return a set of modalities that may take several lines where it is long."""
    return escape(text) if len(text) <= LONG // 2 else broken(text)


def broken(text: str) -> str:
    """Return a text that may take several lines within a set of modalities."""
    return escape(text).replace("+", "+<wbr>")


def cell(one: Cell, extras: Extras = PLAIN) -> str:
    """Return a cell of a table."""
    text = written(one, STYLE)
    if not isinstance(one, Score):
        lacks = " lacking" if lacking(one) else ""
        form = "text" if one.value is None and not lacks else "number"
        number = "" if one.value is None else f' data-v="{one.value!r}"'
        return f'<td class="{form}{lacks}"{number}>{escape(text)}</td>'
    if not one.n:
        return f'<td class="score lacking"><span class="mean">{text}</span></td>'
    mean, _, spread = text.partition(" ")
    spread = escape(spread)
    for mark in (captions.CLOSE, captions.UNTESTED):
        spread = spread.replace(mark, f'<span class="mark">{mark}</span>')
    return (
        f'<td class="score" data-v="{round(one.mean, 6)!r}"{extras.cell(one)}>'
        f'<span class="mean">{mean}</span> <span class="spread">{spread}</span></td>'
    )


def notes(lines: Iterable[str], opened: bool = True) -> str:
    """Return notes below a table, a paragraph each; nothing where there are none."""
    text = "".join(f"<p>{escape(line)}</p>" for line in lines)
    if not text:
        return ""
    state = " open" if opened else ""
    return f'<details{state} class="notes"><summary>Notes</summary>{text}</details>'
