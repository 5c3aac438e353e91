"""What the page of a report says, and that nothing in it runs or loads."""

import base64
import json
import re
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from support_pages import (
    HOSTILE,
    Made,
    Parsed,
    make_record,
    run_rows,
    stored,
)
from support_reports import toy_spec as make_spec

from benchmark.records.read import Record
from benchmark.reporting import captions, figures
from benchmark.reporting.figures import Figure
from benchmark.reporting.model import Table
from benchmark.reporting.write import page
from benchmark.reporting.write.cells import BOLD, Style, written


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("page"))


def test_tags_are_balanced_and_every_entry_of_the_contents_leads_somewhere(made: Made) -> None:
    parsed = Parsed(made.text)
    ids = [attributes["id"] for _, attributes, _ in parsed.elements if "id" in attributes]
    assert len(ids) == len(set(ids))
    places = [a["href"][1:] for a, _ in parsed.of("a")]
    assert set(places) < set(ids)
    assert {"table-1", "table-2", "figures", "figure-1", "provenance", "runs"} <= set(places)


def test_every_figure_and_note_of_the_tables_is_there(made: Made) -> None:
    parsed = Parsed(made.text)
    cells = [text for _, text in parsed.of("td")]
    paragraphs = [text for _, text in parsed.of("p")]
    labels = [text for _, text in parsed.of("th", scope="row")]
    plain = Style("{}", "{}", BOLD)
    for table in made.tables:
        assert captions.title(table) in [text for _, text in parsed.of("h2")]
        for row in table.rows:
            assert " ".join(captions.labelled(row).split()) in labels
            for cell in row.cells:
                assert written(cell, plain) in cells
        for note in captions.notes(table, BOLD):
            assert " ".join(note.split()) in paragraphs
    assert "<strong>100.00</strong>" in made.text and "<u>55.00</u>" in made.text
    assert len(parsed.of("strong")) == sum(
        getattr(cell, "best", False) for t in made.tables for row in t.rows for cell in row.cells
    )


def test_missing_cells_are_listed_with_their_commands(made: Made) -> None:
    parsed = Parsed(made.text)
    lines = list(captions.missing_lines(made.tables[0], ["lab"]))
    commands = [line.strip() for line in lines if line.startswith("  ")]
    assert commands and [text for _, text in parsed.of("code")] == commands
    assert len(parsed.of("button", **{"class": "copy"})) == len(commands)
    assert lines[0] in [text for _, text in parsed.of("summary")]
    assert all("--results lab" in one for one in commands)


def test_every_figure_is_in_the_page_with_title_caption_and_alternative(made: Made) -> None:
    def draw(canvas: Any) -> None:
        canvas.set_size_inches(4, 2)

    figure = Figure("x", 'Accuracy <of> "all"', HOSTILE, draw)
    parsed = Parsed(page.render([], [figure], made.records, "best-val", made.folder))
    ((image, _),) = parsed.of("img")
    assert image["alt"] == figure.title == parsed.of("h3")[0][1]
    assert parsed.of("figcaption")[0][1] == HOSTILE
    data = base64.b64decode(image["src"].removeprefix("data:image/png;base64,"))
    assert data == figures.png_bytes(figure)
    # In the page's own unit, 96 to the inch.
    assert (int(image["width"]), int(image["height"])) == (384, 192)


def test_hostile_names_stay_text(made: Made) -> None:
    parsed = Parsed(made.text)
    assert [a.get("type") for a, _ in parsed.of("script")] == ["application/json", None]
    assert all(a["src"].startswith("data:image/png;base64,") for a, _ in parsed.of("img"))
    assert not parsed.of("b") and HOSTILE in [text for _, text in parsed.of("th", scope="row")]
    assert f"failed: {HOSTILE}" in [row[6] for row in run_rows(made.text)]
    assert not [a for _, a, _ in parsed.elements if any(name.startswith("on") for name in a)]


def test_nothing_is_loaded_from_anywhere(made: Made) -> None:
    parsed = Parsed(made.text)
    ((policy, _),) = parsed.of("meta", **{"http-equiv": "Content-Security-Policy"})
    assert policy["content"].startswith("default-src 'none'; img-src data:;")
    for _, attributes, _ in parsed.elements:
        for name in ("src", "href", "action", "srcset", "poster", "data"):
            assert attributes.get(name, "#").startswith(("#", "data:"))
    code = " ".join(text for tag in ("style", "script") for _, text in parsed.of(tag))
    assert "http://" not in code and "https://" not in code
    assert not re.search(r"url\(|@import|fetch\(|XMLHttp|import\(", code)


def test_runs_are_linked_relative_to_the_page(made: Made) -> None:
    rows = {row[0]: row for row in run_rows(made.text)}
    assert len(rows) == len(made.records)
    for record in made.records:
        link = rows[record.spec.id][-1]
        assert link.startswith("../a%20results/store%231/runs/toy/")
        assert (made.folder / unquote(link)).samefile(record.folder or "")
    exported = [replace(record, folder=None) for record in made.records]
    assert all(
        row[-1] is None for row in run_rows(page.render([], [], exported, "best-val", Path()))
    )


def test_a_run_is_listed_with_what_it_is_and_what_it_reached(made: Made) -> None:
    spec = make_spec("mbcd", "d2")
    (row,) = [row for row in run_rows(made.text) if row[0] == spec.id]
    assert row[1:-1] == [
        *("mbcd", "toy", "d1+d3 → d2", "m1+m2", 0, "done", "best-val", 70.0, 12.3),
    ]
    assert len(row) == len(page.RUN_COLUMNS) + 1
    (failed,) = [row for row in run_rows(made.text) if row[0] == make_spec("swad").id]
    assert failed[7:10] == [None, None, None]


def test_a_method_with_a_rule_of_its_own_is_listed_under_it() -> None:
    record = make_record(make_spec(), 0.5)
    assert record.result is not None
    record.result["rules"]["own"] = {"target": {"accuracy": 0.75, "macro_f1": 0.0}}
    ((*_, rule, accuracy, _, _),) = run_rows(page.render([], [], [record], "last", Path()))
    assert (rule, accuracy) == ("own", 75.0)


def test_provenance_counts_runs_and_points_out_uncommitted_code(made: Made) -> None:
    text = made.text.partition('id="provenance"')[2]
    assert f"1 of {len(made.records) - 1} runs come from code with uncommitted changes" in text
    cells = [text for _, text in Parsed(made.text).of("td")]
    for value in ("cccccccccc", "dddddddddd with uncommitted changes", "cpu (x86_64)", "2.11.0"):
        assert value in cells


def test_a_run_that_went_on_elsewhere_counts_under_both_and_is_pointed_out() -> None:
    parts = [{"device": name, "cpu": "Xeon", "commit": "c" * 40} for name in ("H200", "cpu", "cpu")]
    one = make_record(make_spec(), 0.5, device="cpu", segments=parts)
    other = make_record(make_spec(seed=1), 0.5, device="cpu")
    text = page.render([], [], [one, other], "best-val", Path()).partition('id="provenance"')[2]
    assert "1 of 2 runs were interrupted and went on under other conditions" in text
    rows = re.findall(r'<td class="group">([^<]*)</td><td class="number" data-v="(\d+)">', text)
    assert {("cpu", "2"), ("H200", "1"), ("Xeon", "1"), ("cccccccccc", "2")} <= {*rows}
    assert "interrupted" not in page.render([], [], [other], "best-val", Path())


def test_the_date_is_the_newest_record_s_and_the_same_records_make_the_same_page(
    made: Made, tmp_path: Path
) -> None:
    again = page.render(made.tables, made.pictures, made.records, "best-val", made.folder, ["lab"])
    assert again == made.text
    records = stored(tmp_path, [make_record(make_spec(), 0.5), make_record(make_spec(seed=1), 0.5)])
    for record, time in zip(records, (1_600_000_000, 1_500_000_000), strict=True):
        assert record.folder is not None
        status = {"state": "done", "time": time}
        (record.folder / "status.json").write_text(json.dumps(status))
    text = page.render([], [], records, "best-val", tmp_path)
    assert "2 of 2 runs done · selection rule best-val" in text
    assert "newest record of 2020-09-13 12:26 UTC" in text


def test_a_report_without_tables_or_done_runs_is_a_page_all_the_same() -> None:
    empty = Table("ranks", ("all",), (), (), scores=False, notes=("No ranks.",))
    queued = Record(make_spec(), "queued")
    Parsed(text := page.render([empty], [], [queued], "best-val", Path()))
    assert "No ranks." in text and "0 of 1 runs done" in text and "<figure" not in text


def luminance(color: str) -> float:
    digits = color[1:] if len(color) == 7 else "".join(2 * c for c in color[1:])
    levels = [int(digits[i : i + 2], 16) / 255 for i in (0, 2, 4)]
    linear = [c / 12.92 if c <= 0.04045 else ((c + 0.055) / 1.055) ** 2.4 for c in levels]
    return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))


def test_texts_stand_out_in_both_schemes(made: Made) -> None:
    schemes = re.findall(r":root \{([^}]*--page[^}]*)\}", made.text)
    assert len(schemes) == 2
    for scheme in schemes:
        colors = dict(re.findall(r"--([\w-]+): (#\w+);", scheme))
        pairs = [(a, b) for a in ("text", "muted", "link") for b in ("page", "soft")]
        for text, ground in [*pairs, ("warn", "warn-soft")]:
            low, high = sorted(luminance(colors[name]) for name in (text, ground))
            assert (high + 0.05) / (low + 0.05) >= 4.5, f"{text} on {ground}"
