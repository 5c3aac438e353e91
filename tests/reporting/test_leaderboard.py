"""What the leaderboard says, that it says what the tables say, and that nothing in it runs."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support_board import METHODS, everything, rendered, runs, stored
from support_figures import make_record, make_spec
from support_pages import HOSTILE, Parsed
from support_reports import store_runs

import methods
from benchmark import report
from benchmark.records import predictions
from benchmark.records import read as reading
from benchmark.records.read import Record
from benchmark.reporting.kinds import accuracy, cost, gains
from benchmark.reporting.kinds.gains import Cells
from benchmark.reporting.leaderboard.board import Board
from benchmark.reporting.leaderboard.drawings import scale
from benchmark.reporting.model import Score
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.sheets import sheets
from benchmark.reporting.write.cells import Style, written

PLAIN = Style("{}", "{}", "")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("board")


@pytest.fixture(scope="module")
def records(root: Path) -> list[Record]:
    return stored(root)


@pytest.fixture(scope="module")
def text(records: list[Record]) -> str:
    return rendered(records)


def rows_of(text: str, start: str, end: str = "</section>") -> list[list[str]]:
    """The rows of the first table after some text, as they read."""
    part = text.partition(start)[2].partition(end)[0].partition("<tbody")[2].partition("</table")[0]
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", part, re.DOTALL)
    cells = [re.findall(r"<t[hd][^>]*>(.*?)</t[hd]>", row, re.DOTALL) for row in rows]
    plain = [[re.sub(r"<[^>]+>", "", cell) for cell in row] for row in cells]
    return [[" ".join(cell.split()) for cell in row] for row in plain]


def card(text: str, method: str) -> str:
    return text.partition(f'id="method-{method}"')[2].partition('<details class="card"')[0]


@pytest.mark.slow
def test_the_same_records_make_the_same_bytes_wherever_they_lie(
    records: list[Record], text: str, tmp_path: Path
) -> None:
    elsewhere = stored(tmp_path / "another place")
    assert rendered(elsewhere) == text
    assert rendered(records[::-1]) == text


def test_no_date_folder_or_reason_is_told(root: Path, records: list[Record], text: str) -> None:
    failed = Record(make_spec("joint", "d1", 9), "failed", f"OSError: {root}/clip.avi")
    for page in (text, rendered([*records, failed])):
        assert str(root) not in page and "OSError" not in page
        assert not re.search(r"\b20\d\d-\d\d-\d\d\b", page) and "UTC" not in page
    assert "seed 9 failed" in page


def test_the_headline_has_the_numbers_of_the_table_of_gains(
    records: list[Record], text: str
) -> None:
    (table,) = gains.build(Wanted(records))
    shown = rows_of(text, 'id="gains"')
    # By their gain, but those that lack a dataset below the others.
    rows = sorted(table.rows, key=lambda row: row.label in ("mine", "swad+mbcd"))
    assert [row[0] for row in shown] == [row.label for row in rows]
    left_out = [table.columns.index("p (new)")]  # of two datasets there is none
    for row, (label, gain, drawn, *others) in zip(rows, shown, strict=True):
        cells = [written(cell, PLAIN) for j, cell in enumerate(row.cells) if j not in left_out]
        assert [gain, *others[:-1]] == cells, label
        assert drawn == ""
    assert [row[-1] for row in shown if row[0] == "swad+mbcd"] == ["weight averaging + MMDG"]
    assert re.search(r'<tr class="row aside"[^>]*><th[^>]*><a href="#method-mine"', text)


def test_the_gains_of_a_setting_or_set_are_those_of_its_runs(
    records: list[Record], text: str
) -> None:
    views = re.findall(r'data-view="([^"]*)"', text)
    assert views == [
        *("|m1", "|m1+m2", "multi-source|", "multi-source|m1", "multi-source|m1+m2"),
        *("single-source|", "single-source|m1+m2"),
    ]
    (table,) = gains.build(Wanted([r for r in records if r.spec.setting == "single-source"]))
    shown = rows_of(text, 'data-view="single-source|"')
    assert [row[:2] for row in shown] == [
        [row.label, written(row.cells[0], PLAIN)] for row in table.rows
    ]


def test_every_accuracy_table_is_there_with_its_marks_and_the_best_average_on_top(
    records: list[Record], text: str
) -> None:
    tables = accuracy.build(Wanted(records))
    assert len(tables) == 3
    strong = 0
    for i, table in enumerate(tables, 1):
        groups = list(dict.fromkeys(row.group for row in table.rows))
        for j, group in enumerate(groups, 1):
            name = f"table-{i}-{j}" if table.grouped else f"table-{i}"
            shown = {tuple(row) for row in rows_of(text, f'id="{name}"')}
            rows = [row for row in table.rows if row.group == group]
            assert shown == {
                (row.label, *(written(cell, PLAIN) for cell in row.cells)) for row in rows
            }
            cells = [cell for row in rows for cell in row.cells]
            strong += sum(isinstance(cell, Score) and cell.best for cell in cells)
    assert [title for _, title in Parsed(text).of("h3")] == ["m1", "m1+m2"]
    section = text[text.index('id="table-1"') : text.index('id="methods-one-by-one"')]
    assert section.count("<strong>") == strong > 0
    averages = [float(row[-1].split(" ")[0]) for row in rows_of(text, 'id="table-3"')]
    assert averages == sorted(averages, reverse=True)


def test_the_script_is_told_the_values_by_seed(records: list[Record], text: str) -> None:
    table = accuracy.build(Wanted(records))[0]
    (row,) = [row for row in table.rows if row.label == "joint"]
    told = re.findall(r'data-s="([^"]+)"', text.partition('id="table-1"')[2])
    for cell in row.cells:
        assert isinstance(cell, Score)
        assert " ".join(f"{value:.4f}" for value in cell.values.values()) in told


def test_a_card_says_what_a_method_is_and_what_it_reached(records: list[Record], text: str) -> None:
    whole = card(text, "swad+mbcd")
    for cls in methods.components("swad+mbcd"):
        assert cls.paper in whole and cls.family in whole
        for name, value in methods.resolve(cls.name)[cls.name].items():
            assert f"<code>{cls.name}.{name}={value}</code>" in whole
    wanted = Wanted(records)
    cells = Cells(sheets(wanted), wanted.view)
    shared = cells.shared("erm", "swad+mbcd")
    rows = [row for row in rows_of(whole, "95 % interval", "</table>") if len(row) > 1]
    titles = [row[0] for row in rows_of(whole, "95 % interval", "</table>") if len(row) == 1]
    settings = ("multi-source · m1", "multi-source · m1+m2", "single-source · m1+m2")
    assert titles == [f"toy · {setting}" for setting in settings]
    assert len([row for row in rows if row[0] != "average"]) == len(shared) == 12
    first = cells.difference("erm", "swad+mbcd", [shared[0]]).found
    ends = first.interval()
    assert ends is not None and rows[0][2:] == [
        f"{100 * first.value:+.2f}",
        f"{100 * ends[0]:+.2f} to {100 * ends[1]:+.2f}",
    ]
    block = [place for place in shared if place[:-1] == shared[0][:-1]]
    average = cells.difference("erm", "swad+mbcd", block).found
    assert rows[len(block)][::2] == ["average", f"{100 * average.value:+.2f}"]


def test_a_card_tells_cost_and_course(records: list[Record], text: str) -> None:
    costs = [table for table in cost.build(Wanted(records)) if table.subject[0] == "other"]
    (row,) = [row for row in costs[0].rows if row.label == "late_fusion"]
    shown = rows_of(card(text, "late_fusion").partition(">cost<")[2], "</thead>")
    said = [written(cell, PLAIN) for cell in row.cells]
    assert shown[0] == ["other", *(cell for cell in said if cell != "—")]
    assert card(text, "late_fusion").count('<svg class="course"') == 4
    assert card(text, "mine").count("<figure") == 3
    assert "Not registered" in card(text, "mine")


def test_the_head_says_what_there_is_and_what_is_missing(records: list[Record], text: str) -> None:
    assert "207 of 207 runs done · 3 seeds: 0, 1, 2 · selection rule best-val" in text
    assert "5 methods for multi-modal domain generalization on 2 datasets" in text
    assert "No run in the 69 cells of the tables. Not run on other: mine, swad+mbcd." in text
    gone = [r for r in records if (r.spec.method, r.spec.target, r.spec.seed) != ("erm", "d1", 0)]
    page = rendered(gone)
    # Two sets of modalities and the other dataset; from one source d1 is the target of two.
    assert "5 runs in 5 of 69 cells (other 1, toy 4)" in page
    assert "erm, d1: seed 0 not run" in page and "python -m" not in page


def test_hostile_names_stay_text(tmp_path: Path) -> None:
    spec = make_spec("erm", "d1", 0, dataset=HOSTILE, modalities=(HOSTILE, "m2"))
    spec = replace(spec, encoders={HOSTILE: "mlp", "m2": "mlp"})
    made = [
        make_record(replace(spec, method=method, hyperparameters={}, target=target), tmp_path)
        for method in ("erm", HOSTILE, HOSTILE + "2")
        for target in ("d1", HOSTILE)
    ]
    page = rendered([*made, *runs(tmp_path, ["erm", "joint"])])
    parsed = Parsed(page)
    assert [a.get("type") for a, _ in parsed.of("script")] == ["application/json", None]
    assert not parsed.of("b") and not parsed.of("img")
    assert not [a for _, a, _ in parsed.elements if any(name.startswith("on") for name in a)]
    assert HOSTILE in [said for _, said in parsed.of("th", scope="row")]
    ids = [a["id"] for _, a, _ in parsed.elements if "id" in a]
    assert len(ids) == len(set(ids))
    assert {a["href"][1:] for a, _ in parsed.of("a")} < set(ids)


def test_nothing_is_loaded_from_anywhere(text: str) -> None:
    parsed = Parsed(text)
    ((policy, _),) = parsed.of("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    for _, attributes, _ in parsed.elements:
        assert "style" not in attributes
        for name in ("src", "href", "action"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    code = " ".join(said for tag in ("style", "script") for _, said in parsed.of(tag))
    assert "https://" not in code and not re.search(r"url\(|@import|fetch\(|XMLHttp", code)


def test_predictions_are_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    found = stored(tmp_path)
    reads: Counter[Path] = Counter()
    read = predictions.read

    def counted(path: Path, *given: Any) -> predictions.Predicted:
        reads[path] += 1
        return read(path, *given)

    monkeypatch.setattr(predictions, "read", counted)
    rendered(found)
    assert len(reads) == len(found) and set(reads.values()) == {1}


@pytest.mark.parametrize("what", ["no predictions", "no erm", "one seed", "one run", "erm alone"])
def test_any_records_make_a_sensible_page(what: str, records: list[Record]) -> None:
    some = {
        "no predictions": everything(None),
        "no erm": [r for r in records if r.spec.method != "erm"],
        "one seed": [r for r in records if r.spec.seed == 0],
        "one run": records[:1],
        "erm alone": [r for r in records if r.spec.method == "erm"],
    }[what]
    page = rendered(some)
    parsed = Parsed(page)
    assert "NaN" not in page and ">nan" not in page and "None" not in page
    labels = {said for _, said in parsed.of("th", scope="row")}
    assert {r.spec.method for r in some} <= labels
    compared = what in ("no predictions", "one seed")
    assert ("No gains: " in page) is not compared
    assert bool(rows_of(page, 'id="gains"')) is compared
    assert ('<path class="here"' in page) is False


def test_without_erm_costs_are_in_seconds(records: list[Record]) -> None:
    page = rendered([r for r in records if r.spec.method != "erm"])
    assert "seconds per run" in page and "ERM = 1×" not in page
    assert "<title>joint: 57.00 %, 8 s a run</title>" in page
    assert "<title>joint: 57.00 %, 2 × ERM&#x27;s time</title>" in rendered(records)


def test_upper_bounds_and_ensembles_stand_aside(tmp_path: Path, records: list[Record]) -> None:
    bounds = [
        make_record(make_spec("erm", t, s, setting="upper-bound", sources=(t,)), tmp_path)
        for t in ("d1", "d2", "d3")
        for s in (0, 1, 2)
    ]
    page = rendered([*records, *bounds], ensembles=True)
    labels = [said for _, said in Parsed(page).of("th", scope="row")]
    assert "erm, upper bound ‡" in labels and "joint, ensemble §" in labels
    assert "5 of 5" not in page and "<option>upper-bound</option>" not in page
    assert len(Parsed(rendered(bounds)).of("table")) > 0


def test_an_axis_holds_its_values_and_zero_is_a_tick() -> None:
    for values in ([0.0], [0.0, 3.2], [-0.02, 0.0], [0.0, 4200.0]):
        axis = scale(values, 0.1, 5)
        assert axis.low < min(values) and max(values) < axis.high
        assert 0 in axis.ticks and 2 <= len(axis.ticks) <= 8
        assert all(axis.low <= tick <= axis.high for tick in axis.ticks)
        assert axis.at(axis.low, 100) == 0 and axis.at(axis.high, 100) == pytest.approx(100)


def test_places_of_methods_are_their_own() -> None:
    made = [make_record(make_spec(name, "d1", 0)) for name in ("a b", "a/b", "a-b")]
    places = [entry.place for entry in Board(Wanted(made, View())).entries.values()]
    assert len(set(places)) == 3 and "method-a-b" in places


def test_the_command_writes_the_page_and_refuses_other_tables(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_runs(tmp_path / "runs", runs(None, METHODS[:2]))
    file = tmp_path / "page" / "board.html"
    command = [
        "--results",
        str(tmp_path / "runs"),
        "--format",
        "leaderboard",
        "--output",
        str(file),
    ]
    assert report.main(command) == 0
    assert capsys.readouterr().out == f"the leaderboard: {file}\n"
    found = reading.read([tmp_path / "runs"], "best-val").records
    assert file.read_text() == rendered(found)
    for option in (["--table", "cost"], ["--versus", "erm", "joint"], ["--plan", "x.yaml"]):
        assert report.main([*command, *option]) == 2
        assert f"leave out {option[0]}" in capsys.readouterr().err
    assert report.main([*command, "--metric", "accuracy", "macro-f1"]) == 2
    assert "leave out --metric" in capsys.readouterr().err


@pytest.mark.slow
def test_two_thousand_runs_make_a_page_that_can_be_kept() -> None:
    names = methods.names()
    many = [
        record
        for dataset in ("one", "two", "three", "four")
        for record in runs(None, [*names, "swad+mbcd", "sam+mbcd", "ema+joint"], dataset=dataset)
    ]
    assert len(many) > 1400
    assert len(rendered(many).encode()) < 1_500_000
