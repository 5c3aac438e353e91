"""Every kind of table in every format: no note, row, number, missing cell or command is lost."""

import csv
import html
import io
import re
from argparse import Namespace
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

import pytest
import support_kinds
from rich.console import Console
from support import TINY, tiny_run
from support_reports import FULL, SOME, make_spec, predicted, record, row_of

import datasets
from benchmark import analysis, analyze, report
from benchmark.planning.flags import command
from benchmark.planning.grid import Row as GridRow
from benchmark.planning.plan import Plan
from benchmark.records.read import Record, read
from benchmark.reporting import captions, kinds, write
from benchmark.reporting.kinds import comparison, versus
from benchmark.reporting.kinds.layouts import LAYOUTS
from benchmark.reporting.model import (
    NONE,
    Count,
    Form,
    Interval,
    Number,
    Row,
    Score,
    Table,
    Text,
)
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.write import latex, markdown, page
from benchmark.reporting.write import text as plain_text
from benchmark.reporting.write.cells import PLAIN, written
from benchmark.reporting.write.csv import neutral

LABELLED = kinds.LABELLED
COMMANDS = ("versus", "published")
MEASURED = (*LAYOUTS, "curvature")
"""The kinds that show what analyses measured of runs that are trained for it."""
KINDS = (*(name for name in kinds.KINDS if name not in MEASURED), *COMMANDS)
EVERY = (*KINDS, *(pytest.param(name, marks=pytest.mark.slow) for name in MEASURED))


def many_runs() -> list[Record]:
    """Three methods on six targets, one short of a seed, and single sources, one of them failed."""
    domains = [f"t{i}" for i in range(6)]
    runs = [
        record(make_spec(m, t, s, sources=tuple(d for d in domains if d != t)), value - s / 64)
        for i, t in enumerate(domains)
        for m, value in (("mbcd", 0.875), ("erm", 0.75 if i else 0.5), ("swad", 0.625))
        for s in range(1 if (m, t) == ("swad", "t1") else 2)
    ]
    for run in runs:
        for scores in (run.result or {})["rules"].values():
            scores["val"] = {"accuracy": scores["target"]["accuracy"] / 2}
    single = [
        record(make_spec(m, "t1", setting="single-source", sources=("t0",)), 0.5)
        for m in ("erm", "mbcd")
    ]
    failed = Record(make_spec("erm", "t1", setting="single-source", sources=("t2",)), "failed", "x")
    return [*runs, *single, failed]


def of_grid() -> Wanted:
    """A grid of which one row is whole, one lacks two runs."""
    some = [*row_of("erm", FULL), *row_of("mbcd", SOME)]
    wanted = [*row_of("erm", FULL), *row_of("mbcd", FULL)]
    grid = [
        GridRow(
            label,
            Plan([r.spec for r in wanted if r.spec.method == m], [], datasets.create("synthetic")),
            Namespace(),
        )
        for m, label in (("erm", "alone"), ("mbcd", "the | whole"))
    ]
    return Wanted(some, View(), grid)


def of_papers() -> list[Record]:
    changes = {"dataset": "hac", "modalities": ("video", "audio"), "encoders": {}}
    return [
        record(make_spec("erm", t, s, **changes, sources=sources), 0.5 + s / 16)
        for t, sources in (("human", ("animal", "cartoon")), ("animal", ("human", "cartoon")))
        for s in (0, 1)
    ]


QUICK = ("samples=16", "probes=2", "directions=1", "points=3", "batches=2", "perplexity=3")


@cache
def analysed(folder: Path) -> list[Record]:
    """Two methods with two seeds, trained without one class, of which everything was measured."""
    options = {**TINY, "hold_out_classes": "0"}
    for method in ("erm", "mbcd"):
        for seed in (0, 1):
            tiny_run(folder, method, "best", seeds=(seed,), dataset_options=options)
    words = [*analysis.names(), "--results", str(folder), "--device", "cpu", "--set", *QUICK]
    assert analyze.main(words) == 0
    return read([folder]).records


@cache
def built(name: str, folder: Path) -> list[Table]:
    if name in LABELLED:
        return kinds.build([name], of_grid())
    if name == "published":
        return comparison.build(Wanted(of_papers()))
    if name == "versus":
        right = {"mbcd": [0.9, 0.8], "erm": [0.5, 0.6]}
        runs = [
            run
            for m, shares in right.items()
            for run in predicted(folder, m, {d: shares for d in ("d1", "d2", "d3")})
        ]
        return versus.build("erm", "mbcd", Wanted(runs))
    if name in MEASURED:
        return kinds.build([name], Wanted(analysed(folder / "analysed")))
    few = name in ("unimodal", "cost", "modality-count", "search", "spurious")
    runs = [*support_kinds.everything(), *support_kinds.erm_on_sets()] if few else many_runs()
    return kinds.build([name], Wanted(runs))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("runs")


# Each reader undoes what is a format's own, so that texts can be looked for as they are.


def squeezed(text: str) -> str:
    return " ".join(text.split())


def from_text(text: str) -> str:
    return squeezed(re.sub(r"\*(\d+\.\d\d)\*|_(\d+\.\d\d)_", r"\1\2", text))


def from_markdown(text: str) -> str:
    text = re.sub(r"\*\*(\d+\.\d\d)\*\*|<u>(\d+\.\d\d)</u>", r"\1\2", text)
    text = re.sub(r"(?<!\\)\|", " ", text)
    return squeezed(re.sub(r"\\([\\|*<`])", r"\1", text).replace("`", ""))


def from_latex(text: str) -> str:
    text = re.sub(r"\\(?:textbf|underline)\{([^{}]*)\}", r"\1", text)
    lines = [line.removeprefix("% ") for line in text.splitlines()]
    body = "\n".join(re.sub(r" & | \\\\(\[3pt\])?$", " ", line) for line in lines)
    escapes = {escape: chr(code) for code, escape in latex.LATEX.items() if len(escape) > 1}
    for escape in sorted(escapes, key=len, reverse=True):
        body = body.replace(escape, "" if escapes[escape] == "\0" else escapes[escape])
    return squeezed(body)


def from_html(text: str) -> str:
    text = re.sub(r"<script.*?</script>|<style.*?</style>", " ", text, flags=re.DOTALL)
    text = re.sub(r"</?(?:strong|u|span|wbr)[^>]*>", "", text)
    return squeezed(html.unescape(re.sub(r"<[^>]+>", " ", text)))


def on_page(tables: Sequence[Table]) -> str:
    return from_html(page.render(tables, (), (), "best-val", Path(), ["lab"]))


def on_terminal(tables: Sequence[Table]) -> str:
    out = io.StringIO()
    plain_text.show(tables, Console(file=out, force_terminal=True, width=2000), ["lab"])
    return squeezed(re.sub(r"\x1b\[[0-9;]*m|[│┃]", " ", out.getvalue()))


def rendered(form: str, read: Callable[[str], str]) -> Callable[[Sequence[Table]], str]:
    return lambda tables: read(write.render(tables, form, ["lab"]))


PRINTED: Mapping[str, tuple[Callable[[Sequence[Table]], str], str]] = {
    "text": (rendered("text", from_text), plain_text.STYLE.says),
    "markdown": (rendered("markdown", from_markdown), markdown.STYLE.says),
    "latex": (rendered("latex", from_latex), latex.STYLE.says),
    "html": (on_page, page.STYLE.says),
    "terminal": (on_terminal, plain_text.TERMINAL.says),
}
"""How a format prints tables, as plain text again, and what it calls its marks."""


def rows_of(table: Table, form: str) -> list[str]:
    """Return the texts of a table that must follow each other; LaTeX breaks wide rows up."""
    found = []
    for row in table.rows:
        texts = [*captions.labels(table, row), *(written(cell, PLAIN) for cell in row.cells)]
        apart = [part for text in texts for part in re.split(r" (?=[±(])", text)]
        found += apart if form == "latex" else [" ".join(texts)]
    return [squeezed(text) for text in found]


@pytest.mark.parametrize("form", PRINTED)
@pytest.mark.parametrize("name", EVERY)
def test_nothing_of_a_table_is_lost(name: str, form: str, folder: Path) -> None:
    tables = built(name, folder)
    assert tables
    show, marks = PRINTED[form]
    shown = show(tables)
    for table in tables:
        assert squeezed(captions.title(table)) in shown
        for heading in captions.header(table) if table.rows else ():
            assert squeezed(heading) in shown
        for text in rows_of(table, form):
            assert text in (shown.replace("−", "-") if "-" in text else shown)
        for note in captions.notes(table, marks):
            assert squeezed(note) in shown
        for line in captions.missing_heads(table):
            assert line in shown
        for gaps in captions.gap_groups(table):
            assert squeezed(captions.gap_text(gaps, table.grouped)) in shown
            assert squeezed(command(gaps, ["lab"])) in shown


@pytest.mark.parametrize("name", EVERY)
def test_csv_has_a_line_per_cell_with_its_number_and_its_missing_seeds(
    name: str, folder: Path
) -> None:
    tables = built(name, folder)
    lines = list(csv.DictReader(io.StringIO(write.render(tables, "csv"))))
    cells = [
        (table, row, column, cell)
        for table in tables
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
    ]
    assert len(lines) == len(cells)
    for line, (table, row, column, cell) in zip(lines, cells, strict=True):
        assert (line["table"], line["row"], line["column"]) == (table.name, row.label, column)
        assert line["mean"] == ("" if cell.value is None else str(round(cell.value, 6)))
        if isinstance(cell, Score):
            assert line["n"] == str(cell.n) and line["text"] == ""
            assert line["std"] == (str(round(cell.std, 6)) if cell.n > 1 else "")
            assert line["missing_seeds"] == " ".join(map(str, cell.missing))
        else:
            assert line["text"].removeprefix("'") == written(cell, PLAIN)


def test_the_kinds_above_have_gaps_notes_and_every_type_of_cell(folder: Path) -> None:
    tables = [table for name in KINDS for table in built(name, folder)]
    found = {type(cell) for table in tables for row in table.rows for cell in row.cells}
    assert found == {Score, Number, Count, Interval, Text}
    assert sum(len(table.missing) for table in tables) > 10
    assert any(gap.failed for table in tables for gap in table.missing)
    assert all(table.notes or table.scores for table in tables)


# How numbers read


@pytest.mark.parametrize(
    ("cell", "text"),
    [
        (Score({0: 95.0, 1: 97.0}), "96.00 ± 1.41 (2)"),
        (Score({0: 95.0}), "95.00 (1)"),
        (Score({0: 95.0}, close=True), "95.00 (1) ≈"),
        (Score({}, (0, 1)), "—"),
        (NONE, "—"),
        (Number(2.5), "2.50"),
        (Number(-2.5, Form.SIGNED, 0.5, 3), "-2.50 ± 0.50 (3)"),
        (Number(1.5, n=7), "1.50 (7)"),
        (Number(62.5, remark="gmp, read"), "62.50 (gmp, read)"),
        (Number(14.7512, Form.QUANTITY), "14.8"),
        (Number(1234.5, Form.QUANTITY), "1,234"),
        (Number(-1234.5, Form.QUANTITY), "-1,234"),
        (Number(0.0004, Form.P), "< 0.001"),
        (Number(0.0125, Form.P), "0.013"),
        (Count(455764), "455,764"),
        (Count(3, 3), "3"),
        (Count(3000, 2), "2 to 3,000"),
        (Interval(-1.0, 2.5), "-1.00 to +2.50"),
        (Text("as it is"), "as it is"),
    ],
)
def test_a_cell_reads(cell: Score | Number | Count | Interval | Text, text: str) -> None:
    assert written(cell, PLAIN) == text


# What records cannot do to a reader


ESCAPE = "\x1b]0;owned\x07\x1b[2J"
HOSTILE = f"=cmd|' /C calc'!A0{ESCAPE}\n\u202e"
SPELLED = r"=cmd|' /C calc'!A0\x1b]0;owned\x07\x1b[2J\n\u202e"


def hostile_table() -> Table:
    """A failed run, hyper-parameters and a dataset with names that would act on their reader."""
    spec = make_spec("swad", dataset=HOSTILE, hyperparameters={"swad": {"x": HOSTILE}})
    other = replace(spec, hyperparameters={"swad": {"x": "@y"}})
    failed = Record(replace(spec, seed=1), "failed", f"KeyError: {HOSTILE}")
    (table,) = kinds.build([], Wanted([record(spec, 0.5), record(other, 0.5), failed]))
    cells = tuple(Text(f"{HOSTILE}[/bold]") for _ in table.columns)
    row = Row(HOSTILE, "best-val", cells, records=table.rows[0].records)
    return replace(table, rows=(*table.rows, row), notes=(*table.notes, HOSTILE), scores=False)


@pytest.mark.parametrize("form", [*write.WRITERS, "html", "terminal"])
def test_control_characters_of_records_are_spelled_out(form: str) -> None:
    tables = [hostile_table()]
    if form == "html":
        shown = page.render(tables, (), (), "best-val", Path())
    elif form == "terminal":
        out = io.StringIO()
        plain_text.show(tables, Console(file=out, width=2000))
        shown = out.getvalue()
        assert "[/bold]" in shown  # a text is no markup
    else:
        shown = write.render(tables, form)
    assert not re.search("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202e]", shown)
    assert "x1b" in shown


def test_a_message_of_records_that_cannot_be_read_is_spelled_out(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "runs" / f"toy{ESCAPE}"
    folder.mkdir(parents=True)
    (folder / "notes.txt").write_text("of somebody else")
    assert report.main(["--results", str(tmp_path)]) == 2
    assert "\x1b" not in capsys.readouterr().err


def test_no_cell_of_csv_is_a_formula() -> None:
    lines = list(csv.reader(io.StringIO(write.render([hostile_table()], "csv"))))
    cells = [cell for line in lines for cell in line]
    assert f"'{SPELLED}" in cells and f"'{SPELLED}[/bold]" in cells
    for cell in cells:
        assert not cell.startswith(("=", "@", "\t", "\r"))
        assert not cell.startswith(("+", "-")) or float(cell) < 100


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("=1+1", "'=1+1"),
        ("@sum", "'@sum"),
        ("-x", "'-x"),
        ("+1.00 to +2.00", "'+1.00 to +2.00"),
        ("-1.50", "-1.50"),
        ("+3", "+3"),
        ("a=b", "a=b"),
    ],
)
def test_texts_like_formulas_get_an_apostrophe_and_numbers_none(text: str, expected: str) -> None:
    assert neutral(text) == expected
