"""How each format writes a table: grids, marks and escapes."""

import csv
import io
import re
from dataclasses import replace

import pytest
from rich.console import Console
from support_reports import (
    FULL,
    SOME,
    build,
    commands,
    make_spec,
    parsed,
    record,
    row_of,
)

from benchmark.records.read import Record
from benchmark.records.state import State
from benchmark.reporting import write
from benchmark.reporting.kinds import accuracy
from benchmark.reporting.model import Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.write import markdown
from benchmark.reporting.write.text import show
from datasets.base import Recipe

GRID = {
    "erm": [
        "S82.00T ± 2.00 (3)",
        "B60.00E ± 10.00 (3)",
        "B90.00E ± 0.00 (3)",
        "B77.33E ± 3.71 (3)",
    ],
    "mbcd": ["B82.50E ± 0.50 (3)", "S55.00T (1)", "S80.00T ± 10.00 (3)", "S69.17T (1)"],
}


@pytest.fixture
def table() -> Table:
    some = {**SOME, "d1": [0.825, 0.83, 0.82]}
    return build([*row_of("erm", FULL), *row_of("mbcd", some)])


def marked(best: str, second: str) -> list[list[str]]:
    """The grid with marks: `*{}*` puts stars around a mean."""
    marks = dict(zip("BEST", (*best.split("{}"), *second.split("{}")), strict=True))
    return [
        [name, *(re.sub("[BEST]", lambda m: marks[m[0]], cell) for cell in cells)]
        for name, cells in GRID.items()
    ]


def test_text(table: Table) -> None:
    lines = write.render([table], "text").splitlines()
    assert lines[:2] == ["toy · multi-source · m1+m2", ""]
    assert lines[2].split() == ["method", "d1", "d2", "d3", "average"]
    assert [re.split(" {2,}", line) for line in lines[4:6]] == marked("*{}*", "_{}_")
    starts = [[m.start() for m in re.finditer(r"(?:^|(?<=  ))\S", line)] for line in lines[2:6]]
    assert starts.count(starts[0]) == 4
    assert "\x1b" not in "".join(lines)
    assert "Stars mark the best mean" in " ".join(lines)


def test_terminal_shows_the_same_figures_with_bold(table: Table) -> None:
    out = io.StringIO()
    show([table], Console(file=out, force_terminal=True, width=120))
    text = out.getvalue()
    assert "\x1b[1m82.50\x1b[0m ± 0.50 (3)" in text
    assert "\x1b[4m82.00\x1b[0m ± 2.00 (3)" in text
    plain = re.sub(r"\x1b\[[0-9;]*m", "", text)
    for name, *cells in marked("{}", "{}"):
        assert re.search(rf"{name} +│ " + " +│ ".join(map(re.escape, cells)), plain)
    (command,) = commands(plain)
    assert parsed(command).target == "d2"


def test_markdown(table: Table) -> None:
    lines = write.render([table], "markdown").splitlines()
    assert lines[0] == "### toy · multi-source · m1+m2"
    assert lines[2:4] == ["| method | d1 | d2 | d3 | average |", "| --- |" + " ---: |" * 4]
    assert lines[4:6] == [f"| {' | '.join(cells)} |" for cells in marked("**{}**", "<u>{}</u>")]
    assert lines[-1].startswith("- mbcd, d2: seeds 1, 2 not run: `python -m benchmark.run ")


def test_latex(table: Table) -> None:
    lines = write.render([table], "latex").splitlines()
    start = lines.index(r"\midrule") + 1
    grid = marked(r"\textbf{{}}", r"\underline{{}}")
    expected = [" & ".join(cells).replace("±", r"$\pm$") for cells in grid]
    assert lines[start : start + 3] == [rf"{expected[0]} \\", rf"{expected[1]} \\", r"\bottomrule"]
    assert lines[start - 2] == r"method & d1 & d2 & d3 & average \\"
    assert r"\begin{tabular}{lcccc}" in lines
    assert lines[-1].startswith("%   python -m benchmark.run --method mbcd")
    assert "\n".join(lines).isascii()


def test_latex_escapes_what_it_must() -> None:
    spec = make_spec("swad", dataset="a_b&c%", hyperparameters={"swad": {"x_y": 1}})
    other = replace(spec, hyperparameters={"swad": {"x_y": 2}})
    latex = write.render([build([record(spec, 0.5), record(other, 0.5)])], "latex")
    assert r"\caption{a\_b\&c\% $\cdot$ multi-source" in latex
    assert r"swad (x\_y=1) & \textbf{50.00} (1) & --- & ---" in latex


def test_markdown_escapes_what_it_must() -> None:
    failed = Record(make_spec(), State.FAILED, "KeyError: <a|b>")
    text = write.render([build([failed])], "markdown")
    assert r"failed: KeyError: \<a\|b>" in text


def test_csv_is_tidy(table: Table) -> None:
    lines = list(csv.DictReader(io.StringIO(write.render([table], "csv"))))
    assert list(lines[0].values()) == [
        *("multi-source", "toy", "multi-source", "m1+m2", "", "erm", "d1"),
        *("82.0", "2.0", "3", "", "best-val", "accuracy", ""),
    ]
    assert [line["missing_seeds"] for line in lines[4:]] == ["", "1 2", "", "1 2"]
    assert (lines[5]["mean"], lines[5]["std"], lines[5]["n"]) == ("55.0", "", "1")
    written = [[line["row"], line["column"], f"{float(line['mean']):.2f}"] for line in lines]
    assert written == [
        [name, column, re.findall(r"\d+\.\d\d", cell)[0]]
        for name, cells in GRID.items()
        for column, cell in zip(table.columns, cells, strict=True)
    ]


def test_csv_leaves_an_empty_cell_empty_and_names_the_condition() -> None:
    short = make_spec(recipe=Recipe(epochs=5, lr=1e-3, batch_size=32), fabricated=True)
    runs = [*row_of("erm", {"d1": [0.5, 0.7]}), record(short, 0.5)]
    pair = accuracy.build(Wanted(runs, View()))
    lines = list(csv.DictReader(io.StringIO(write.render(pair, "csv"))))
    assert {line["condition"] for line in lines} == {"epochs=20", "epochs=5; fabricated data"}
    keys = ("mean", "std", "n", "missing_seeds")
    assert [lines[0][key] for key in keys] == ["60.0", "14.142136", "2", ""]
    assert [lines[1][key] for key in keys] == ["", "", "0", "0 1"]


TABLE_PAGE = "a\n<!-- table: gains, by us -->\nold\n<!-- end of table -->\nb\n"


def test_a_page_gets_its_tables_and_nothing_else_changes() -> None:
    assert markdown.filled(TABLE_PAGE, {"gains": lambda: "new"}, "us") == TABLE_PAGE.replace(
        "old", "new"
    )


@pytest.mark.parametrize("page", ["a\n", TABLE_PAGE * 2, TABLE_PAGE.replace("end of", "end")])
def test_a_page_without_the_place_of_a_table_is_refused(page: str) -> None:
    with pytest.raises(ValueError, match="needs the line <!-- table: gains, by us --> once"):
        markdown.filled(page, {"gains": lambda: "new"}, "us")
