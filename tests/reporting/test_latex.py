import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from benchmark.reporting import write
from benchmark.reporting.model import NONE, Count, Number, Row, Score, Table, Text
from mmdg_common import AVERAGE

NEEDED = (
    "the LaTeX of tables is compiled: apt-get install texlive-latex-base texlive-latex-recommended"
)
DOCUMENT = (
    r"\documentclass{article}\usepackage{booktabs}\begin{document}\input{tables}\end{document}"
)
HOSTILE = r"a_b % & # ~ ^ \ {c} $d$ < > | * [e] -- ` \end{table}"
SLACK_PT = 3.0


def compiled(folder: Path, tables: Sequence[Table]) -> tuple[str, list[float]]:
    """Return the text of the PDF, words by single spaces, and by how many points lines overflow."""
    program = shutil.which("pdflatex")
    if program is None:
        pytest.fail(NEEDED, pytrace=False)
    (folder / "tables.tex").write_text(write.render(tables, "latex"))
    (folder / "main.tex").write_text(DOCUMENT)
    command = [program, "-halt-on-error", "-interaction=nonstopmode", "main.tex"]
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True, errors="replace")
    assert run.returncode == 0, run.stdout[-2000:]
    assert "Missing character" not in run.stdout
    overfull = re.findall(r"Overfull \\hbox \(([\d.]+)pt too wide\)", run.stdout)
    reader = shutil.which("pdftotext")
    if reader is None:
        pytest.fail("the PDF is read: apt-get install poppler-utils", pytrace=False)
    read = [reader, "-layout", "main.pdf", "-"]
    text = subprocess.run(read, cwd=folder, capture_output=True, text=True, check=True).stdout
    return " ".join(text.split()), [float(points) for points in overfull]


def shown(text: str) -> str:
    """Return a text as it is read: an underscore is a line in the default fonts, no character."""
    return text.replace("_", " ")


def cell(mean: float, close: bool = False, best: bool = False, second: bool = False) -> Score:
    values = {seed: mean + d for seed, d in enumerate((-11.5, 0.0, 11.5))}
    return Score(values, (), best, second, close)


def scores(columns: Sequence[str], labels: Sequence[str], groups: Sequence[str] = ("",)) -> Table:
    """The widest cells there usually are: two digits before the point, and the mark of close."""
    rows = tuple(
        Row(
            label,
            "best-val",
            tuple(cell(50.0 + i + j, i > 1, i == 0, i == 1) for j in range(len(columns) + 1)),
            group,
        )
        for group in groups
        for i, label in enumerate(labels)
    )
    subject = ("toy", "multi-source")
    grouped = "modalities" if len(groups) > 1 else ""
    return Table("multi-source", subject, (*columns, AVERAGE), rows, grouped=grouped)


def domains(count: int) -> list[str]:
    return [f"d{i}" for i in range(1, count + 1)]


METHODS = ("erm", "mbcd", "swad+mbcd", "modality_dropout")


def test_without_pdflatex_the_tests_fail_and_name_the_packages(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match=r"texlive-latex-base \S+-recommended$"):
        compiled(tmp_path, [])


@pytest.mark.latex
@pytest.mark.parametrize("count", [3, 4])
def test_the_usual_table_fits_the_page_in_one_piece(tmp_path: Path, count: int) -> None:
    table = scores(domains(count), METHODS)
    text, overfull = compiled(tmp_path, [table])
    assert max(overfull, default=0.0) <= SLACK_PT
    assert write.render([table], "latex").count(r"\begin{tabular}") == 1
    for row in table.rows:
        assert shown(row.label) in text
        for one in row.cells:
            assert f"{one.mean:.2f}" in text
    assert text.count("± 11.50 (3)") == len(METHODS) * (count + 1)
    assert text.count("± 11.50 (3) ≈") == (len(METHODS) - 2) * (count + 1)
    assert "method d1 d2 d3" in text and "toy · multi-source" in text
    assert "is the accuracy on the target domain in percent" in text


@pytest.mark.latex
def test_groups_of_modalities_fit_and_keep_their_rows(tmp_path: Path) -> None:
    text, overfull = compiled(
        tmp_path, [scores(domains(3), METHODS, ("m1+m2", "depth+skeleton+accelerometer"))]
    )
    assert max(overfull, default=0.0) <= SLACK_PT
    assert text.count("depth+skeleton+accelerometer") >= len(METHODS)


@pytest.mark.latex
@pytest.mark.parametrize("count", [12, 20])
def test_wide_tables_go_into_blocks_that_fit(tmp_path: Path, count: int) -> None:
    pairs = [f"d{i} → d{i + 1}" for i in range(1, count + 1)]
    text, overfull = compiled(tmp_path, [scores(pairs, METHODS)])
    assert max(overfull, default=0.0) <= SLACK_PT
    assert text.count("d2 → d3") == 1 and text.count("swad+mbcd") > 1
    assert f"d{count} → d{count + 1}" in text and "method d1 → d2" in text


@pytest.mark.latex
def test_hostile_names_come_out_as_they_are(tmp_path: Path) -> None:
    rows = tuple(
        Row(label, "", (cell(60.0), Text(HOSTILE), Text("é 中"), Text("--x---")))
        for label in (HOSTILE, "[x]", "*", r"\\")
    )
    notes = ("Say --modalities m1_m2 & 100 % of #1: `a` → b ± 1 · β λ ρ ≈ † ‡ § × √ ² ≥ …", HOSTILE)
    columns = ("d1", HOSTILE, "#2", "$3")
    table = Table("a_b", (HOSTILE,), columns, rows, grouped="", scores=False, notes=notes)
    text, _ = compiled(tmp_path, [table])
    # One form of a character stands for all: fonts have curly quotes, and other circumflexes.
    text = text.translate(str.maketrans("‘’ˆ˜∼∗", "`'^~~*"))
    squeezed = text.replace(" ", "")
    assert squeezed.count(shown(HOSTILE).replace(" ", "")) >= 4
    for said in ("[x]", "* --", r"\\ --", "e?", "--x---", "#2", "$3", "a b · a b % &"):
        assert said in text
    assert "--modalities m1 m2 & 100 % of #1: `a` → b ± 1 · β λ ρ ≈ † ‡ § ×" in text
    assert all(character in text for character in "√≥")


@pytest.mark.latex
def test_plain_cells_empty_cells_and_long_notes_compile_together(tmp_path: Path) -> None:
    columns = ("parameters", "time / ERM", "said by")
    rows = (
        Row("erm", "", (Count(455764), Number(1.0, n=6), Text("Tables 1, 2"))),
        Row("mbcd", "", (NONE, Score({}, (0, 1)), Text("inferred"))),
    )
    long = tuple(f"{i}: " + "what the figures mean and where they come from, " * 12 for i in "abc")
    cost = Table("cost", ("toy",), columns, rows, scores=False, notes=long)
    empty = Table("ranks", ("all tables",), (), (), scores=False, notes=("No ranks.",))
    text, overfull = compiled(tmp_path, [cost, empty, scores(domains(2), ("erm",))])
    assert max(overfull, default=0.0) <= SLACK_PT
    assert "erm 455,764 1.00 (6) Tables 1, 2" in text and "mbcd — — inferred" in text
    assert "No ranks." in text and "Table 3: toy" in text
    assert text.count("what the figures mean") == 36
