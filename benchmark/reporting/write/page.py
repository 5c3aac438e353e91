"""One HTML page that holds a whole report: tables, figures, provenance and every run."""

import base64
import json
import os
import struct
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from benchmark.planning.flags import command
from benchmark.records.read import Record
from benchmark.records.run_folder import RunFolder
from benchmark.records.selection import rule_of
from benchmark.reporting import captions, figures
from benchmark.reporting.figures import Figure
from benchmark.reporting.model import Table
from benchmark.reporting.write import html
from benchmark.reporting.write.clean import cleaned, printable
from benchmark.reporting.write.html import STYLE, Section
from benchmark.reporting.write.provenance import provenance

OPEN_GAPS = 6
"""Commands for missing cells that are shown unasked."""
PIXELS = 150 / 96
"""Pixels of a figure for each of CSS, at which its texts have their size in points."""
RUN_COLUMNS: Mapping[str, str] = {
    **dict.fromkeys(("run", "method", "dataset", "split", "modalities"), 'class="label"'),
    "seed": 'class="number"',
    "state": 'class="text"',  # of failed runs with the error
    "rule": 'class="label"',
    "accuracy": 'class="number" data-digits="2"',
    "seconds": 'class="number" data-digits="1"',
}
"""The columns of the table of runs, with what the script is told of each."""


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
        provenance(records),
        _runs(records, rule, beside),
    ]
    names = ", ".join(sorted({record.spec.dataset for record in records}))
    return html.document(
        f"Benchmark report: {names}",
        _subtitle(records, rule),
        sections,
        html.asset("page.css"),
        html.asset("page.js"),
    )


def _subtitle(records: Sequence[Record], rule: str) -> str:
    done = sum(record.result is not None for record in records)
    parts = [f"{done:,} of {len(records):,} runs done", f"selection rule {rule}"]
    told = [RunFolder(r.folder).noted().time for r in records if r.folder is not None]
    if times := [time for time in told if time is not None]:
        # The zone is fixed, so that the same records make the same page everywhere.
        newest = datetime.fromtimestamp(max(times), UTC)
        parts.append(f"newest record of {newest:%Y-%m-%d %H:%M} UTC")
    return " · ".join(parts)


# Tables


def _of_table(name: str, table: Table, results: Sequence[str]) -> Section:
    shown = [html.sheet(name, html.head(table), html.body(table))] if table.rows else []
    parts = [*shown, html.notes(captions.notes(table, STYLE.says)), *_gaps(table, results)]
    return Section(name, captions.title(table), "\n".join(filter(None, parts)))


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


# Runs


def _runs(records: Sequence[Record], rule: str, beside: Path) -> Section:
    rows = [_run(record, rule, beside) for record in records]
    # A data block ends at `</script`, which no escape of JSON strings would hide.
    data = json.dumps(rows, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
    head = "".join(html.heading(name, attributes) for name, attributes in RUN_COLUMNS.items())
    more = (
        '<button type="button" class="more" hidden></button>'
        f'<script type="application/json">{data}</script>'
        "<noscript>The list of runs needs JavaScript.</noscript>"
    )
    return Section("runs", "Runs", html.sheet("runs", head, "", more))


def _run(record: Record, rule: str, beside: Path) -> list[Any]:
    """Return the cells of `RUN_COLUMNS`, and the link to the run's folder or pack, or None."""
    spec, result = record.spec, record.result
    used = accuracy = seconds = link = None
    if result is not None:
        used = rule_of(result, rule)
        accuracy = round(100 * result["rules"][used]["target"]["accuracy"], 4)
        seconds = result["provenance"].get("wall_s")
    if record.folder is not None:
        place = RunFolder(record.folder).place
        link = quote(os.path.relpath(place, beside)) + "/" * (place == record.folder)
    state = f"{record.state}: {record.error}" if record.error else record.state
    name = f"{spec.dataset} (fabricated data)" if spec.fabricated else spec.dataset
    return [
        *(spec.id, spec.method, name, f"{'+'.join(spec.sources)} → {spec.target}"),
        *("+".join(spec.modalities), spec.seed, state),
        *(used, accuracy),
        *(seconds if seconds is None else round(seconds, 1), link),
    ]
