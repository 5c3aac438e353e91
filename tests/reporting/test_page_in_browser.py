"""The page of a report in a real browser: sorting, filtering, copying, fitting."""

import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from support_browser import Browser, programs
from support_pages import HOSTILE, Made, make_record
from support_reports import toy_spec as make_spec

from benchmark.reporting.model import Row, Score, Table
from benchmark.reporting.write import page


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("page"))


def test_without_chromium_the_tests_fail_and_name_the_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match=r"install chromium chromium-driver$"):
        programs()


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    one = Browser()
    yield one
    one.driver.quit()


@pytest.mark.browser
def test_errors_and_requests_would_be_seen(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "bad.html"
    file.write_text("<img src='other.png'><script>console.error('wrong')</script>")
    browser.open(file)
    found = browser.problems()
    assert (tmp_path / "other.png").as_uri() in found
    assert any("wrong" in entry["message"] for entry in found if isinstance(entry, dict))


ORDER = [["m1", "erm"], ["m1", "mbcd"], ["m1+m2", "erm"], ["m1+m2", "mbcd"], ["m1+m2", "swad"]]


@pytest.mark.browser
def test_columns_sort_by_their_means_with_missing_cells_last(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    assert [row[:2] for row in browser.rows(0)] == ORDER
    assert browser.sort(0, "d1") == "descending"
    means = [row[2].split(" ")[0] for row in browser.rows(0)]
    assert means == ["100.00", "55.00", "25.00", "9.50", "—"]
    assert browser.sort(0, "d1") == "ascending"
    means = [row[2].split(" ")[0] for row in browser.rows(0)]
    assert means == ["9.50", "25.00", "55.00", "100.00", "—"]
    # Groups are given up, and their column says where a row came from.
    assert [row[0] for row in browser.rows(0)] == ["m1", "m1", "m1+m2", "m1+m2", "m1+m2"]
    assert browser.sort(0, "d1") == "None"
    assert [row[:2] for row in browser.rows(0)] == ORDER
    assert browser.problems() == []


@pytest.mark.browser
def test_sorting_is_stable_and_texts_sort_as_texts(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    browser.sort(0, "d1")
    assert browser.sort(0, "method") == "ascending"
    assert browser.head(0, "d1").get_attribute("aria-sort") is None
    assert [row[:2] for row in browser.rows(0)] == [
        *(["m1+m2", "erm"], ["m1", "erm"], ["m1+m2", "mbcd"], ["m1", "mbcd"], ["m1+m2", "swad"]),
    ]
    # Of plain cells the number counts, not how it is written.
    browser.sort(1, "parameters")
    assert [row[1] for row in browser.rows(1)] == ["10,000", "9", "—"]
    browser.sort(1, "read")
    assert [row[2] for row in browser.rows(1)] == ["no", "yes", "—"]
    assert browser.problems() == []


@pytest.mark.browser
def test_columns_sort_from_the_keyboard(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    button = browser.head(0, "average").find_element("css selector", "button")
    button.send_keys("\ue007")  # Enter
    assert browser.head(0, "average").get_attribute("aria-sort") == "descending"
    assert browser.rows(0)[0][:2] == ["m1+m2", "mbcd"]
    assert browser.ask("return document.activeElement.textContent") == "average"


@pytest.mark.browser
def test_the_filter_keeps_rows_with_every_word(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    assert browser.filter(0, "MBCD") == "2 of 5 rows"
    assert browser.filter(0, "mbcd m1+m2") == "1 of 5 rows"
    assert [row[:2] for row in browser.rows(0)] == [["m1+m2", "mbcd"]]
    assert browser.filter(0, "55.00") == "0 of 5 rows"
    browser.sort(0, "d1")
    assert browser.filter(0, "") == "5 of 5 rows"
    assert browser.rows(0)[0][1] == "mbcd" and len(browser.rows(1)) == 3
    assert browser.problems() == []


@pytest.mark.browser
def test_runs_sort_and_filter_and_their_names_stay_text(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    count = len(made.records)
    browser.sort(3, "accuracy")
    rows = browser.rows(3)
    assert [row[8] for row in rows][:2] == ["100.00", "90.00"]
    assert rows[-1][6] == f"failed: {HOSTILE}" and rows[-1][7:] == ["—", "—", "—"]
    assert browser.filter(3, "failed") == f"1 of {count} rows"
    links = browser.ask("return [...document.querySelectorAll('tbody a')].map(a => a.href)")
    assert len(links) == 1 and links[0].startswith(made.folder.parent.as_uri())
    assert browser.ask("return document.images.length") == made.text.count("<figure ")
    assert browser.problems() == []


@pytest.mark.browser
def test_thousands_of_runs_are_shown_as_they_are_asked_for(
    browser: Browser, tmp_path: Path
) -> None:
    records = [make_record(make_spec(seed=i), i / 2500) for i in range(2500)]
    file = tmp_path / "many.html"
    file.write_text(page.render([], [], records, "best-val", tmp_path))
    browser.open(file)
    assert len(browser.rows(1)) == 500
    more = browser.driver.find_element("css selector", ".more")
    browser.ask("arguments[0].click()", more)
    assert len(browser.rows(1)) == 1000 and more.text == "Show 500 more"
    browser.sort(1, "accuracy")
    assert browser.rows(1)[0][5] == "2499"
    assert browser.filter(1, records[7].spec.id) == "1 of 2500 rows"
    assert not more.is_displayed()
    assert browser.problems() == []


@pytest.mark.browser
def test_commands_are_copied_or_left_selected(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    button = browser.driver.find_element("css selector", ".copy")
    command = browser.driver.find_element("css selector", ".command code").text
    browser.driver.execute_script(
        "arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", button
    )
    button.click()
    selected = browser.ask("return getSelection().toString()")
    assert button.text == "Copied" or selected == command
    assert browser.problems() == []


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [375, 1280])
def test_the_page_fits_its_window(
    browser: Browser, made: Made, tmp_path: Path, width: int, scheme: str
) -> None:
    browser.open(made.file, width, scheme=scheme)
    assert browser.ask("return innerWidth") == width
    assert browser.ask("return document.documentElement.scrollWidth") <= width
    browser.ask("scrollTo(1000, 0)")
    assert browser.ask("return scrollX") == 0
    # Where a table is too wide, its own container scrolls.
    sizes = browser.ask(
        "return [...document.querySelectorAll('.scroll')].map(e => [e.clientWidth, e.scrollWidth])"
    )
    assert all(inner <= width for inner, _ in sizes)
    assert (sizes[0][1] > sizes[0][0]) == (width == 375)
    ground = browser.ask("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
    shot = tmp_path / f"{width}-{scheme}.png"
    assert browser.driver.save_screenshot(str(shot))
    assert struct.unpack(">II", shot.read_bytes()[16:24]) == (width, 800)
    assert browser.problems() == []


@pytest.mark.browser
def test_paper_gets_the_tables_without_the_tools(browser: Browser, made: Made) -> None:
    browser.open(made.file, scheme="dark", kind="print")
    for place in ("nav", ".tools", ".copy"):
        assert not browser.driver.find_element("css selector", place).is_displayed()
    assert browser.driver.find_element("css selector", "table").is_displayed()
    ground = browser.ask("return getComputedStyle(document.body).backgroundColor")
    assert ground == "rgb(255, 255, 255)"
    browser.ask("dispatchEvent(new Event('beforeprint'))")
    assert browser.ask("return document.querySelectorAll('details:not([open])').length") == 0


def wide_table() -> Table:
    """Five columns of the widest cells there usually are, in groups of modalities."""
    score = Score({0: 61.5, 1: 73.0, 2: 84.5}, close=True)
    rows = tuple(
        Row(label, "best-val", (score,) * 6, group)
        for group in ("accelerometer+gyroscope", "depth+skeleton")
        for label in ("erm", "swad+modality_dropout", "mbcd (best of 1-8)")
    )
    columns = ("subject1", "subject2", "subject3", "subject4", "subject5", "average")
    return Table("multi-source", ("toy",), columns, rows, grouped="modalities")


@pytest.mark.browser
def test_a_table_of_five_columns_needs_no_scrolling_at_1280_pixels(
    browser: Browser, tmp_path: Path
) -> None:
    path = tmp_path / "report.html"
    path.write_text(page.render([wide_table()], (), (), "best-val", tmp_path))
    browser.open(path, 1280)
    inner, whole = browser.ask(
        "const e = document.querySelector('.scroll'); return [e.clientWidth, e.scrollWidth]"
    )
    assert whole <= inner
    # Numbers stay whole: each spread is on one line.
    heights = browser.ask(
        "return [...document.querySelectorAll('.spread')].map(e => e.getClientRects().length)"
    )
    assert set(heights) == {1}
