"""The leaderboard in a real browser: filters and marks, sorting, plots, links, fitting."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver import ActionChains
from selenium.webdriver.common.keys import Keys
from support_board import METHODS, rendered, runs, stored
from support_browser import Browser

from benchmark.records.read import Record
from benchmark.reporting.kinds import accuracy, gains
from benchmark.reporting.model import Row, Score
from benchmark.reporting.request import Wanted
from benchmark.reporting.rows import mark_best

pytestmark = pytest.mark.browser


@dataclass(frozen=True)
class Made:
    """A leaderboard in a file, and what it was made of."""

    records: Sequence[Record]
    file: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    root = tmp_path_factory.mktemp("board")
    # Of one method a seed is missing, so that means are compared over the other two.
    records = [
        r
        for r in stored(root)
        if (r.spec.method, r.spec.dataset, r.spec.target, r.spec.seed)
        != ("joint", "other", "d1", 2)
    ]
    file = root / "leaderboard.html"
    file.write_text(rendered(records))
    return Made(records, file)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    one = Browser()
    yield one
    one.driver.quit()


def choose(browser: Browser, field: str, value: str) -> str:
    """Set a filter; return what the page says of it."""
    said = browser.ask(
        "const [name, value] = arguments, form = document.querySelector('.filters');"
        "form.querySelector('#by-' + name).value = value;"
        "form.dispatchEvent(new Event('input'));"
        "return form.querySelector('.state').textContent",
        field,
        value,
    )
    return str(said)


def marks(browser: Browser, table: str) -> dict[tuple[str, str], list[str]]:
    """The marks of every row shown, by set of modalities and method: b, s or nothing."""
    found = browser.ask(
        "const rows = [...document.querySelector(arguments[0]).closest('section')"
        "  .querySelectorAll('.scores tbody tr')].filter(row => row.getClientRects().length);"
        "const mark = cell => cell.querySelector('.mean > strong') ? 'b' :"
        "  cell.querySelector('.mean > u') ? 's' : '';"
        "const set = row => row.closest('[data-set]').dataset.set;"
        "return rows.map(row => [set(row), row.querySelector('th').innerText,"
        "  [...row.querySelectorAll('td.score')].map(mark)])",
        table,
    )
    return {(modalities, method): each for modalities, method, each in found}


def expected(rows: Sequence[Row], methods: Sequence[str]) -> dict[tuple[str, str], list[str]]:
    """The marks that a table of some methods alone has."""
    found = {}
    for group in dict.fromkeys(row.group for row in rows):
        shown = [row for row in rows if row.group == group and row.label in methods]
        for row in mark_best(shown):
            cells = [cell for cell in row.cells if isinstance(cell, Score)]
            found[group, row.label] = ["b" if c.best else "s" if c.second else "" for c in cells]
    return found


def by_gain(made: Made) -> list[str]:
    """The methods of one family, the largest gain first."""
    (table,) = gains.build(Wanted(made.records))
    return [row.label for row in table.rows if row.label in METHODS[:3]]


def seen(browser: Browser, selector: str) -> list[str]:
    """The texts of what is displayed of some elements."""
    return list(
        browser.ask(
            "const drawn = e => e.getClientRects().length &&"
            "  getComputedStyle(e).visibility === 'visible';"
            "return [...document.querySelectorAll(arguments[0])].filter(drawn)"
            ".map(e => e.textContent)",
            selector,
        )
    )


def test_hiding_methods_finds_the_best_anew_and_drops_what_was_tested(
    browser: Browser, made: Made
) -> None:
    browser.open(made.file)
    tables = accuracy.build(Wanted(made.records))
    before = browser.ask("return document.querySelector('main').innerHTML")
    assert seen(browser, ".mark") and seen(browser, "td.verdict")
    said = choose(browser, "family", "baseline")
    assert said.startswith("3 of 5 methods.") and "adjusted over all" in said
    for i, table in enumerate(tables, 1):
        shown = marks(browser, f"#table-{i}")
        assert shown == expected(table.rows, METHODS[:3])
        # Where others were hidden, these are not the marks of the whole table.
        whole = {k: v for k, v in expected(table.rows, METHODS).items() if k in shown}
        assert (shown == whole) is (table.subject[0] == "other")
    assert seen(browser, ".mark") == [] and seen(browser, "td.verdict") == []
    assert seen(browser, ".gains td.number") and seen(browser, "div.view tbody th") == by_gain(made)
    assert choose(browser, "family", "") == "5 of 5 methods."
    after = browser.ask("return document.querySelector('main').innerHTML")
    strip = "new RegExp(' hidden=\"\"', 'g')"
    assert browser.ask(f"return arguments[0].replaceAll({strip}, '')", after) == browser.ask(
        f"return arguments[0].replaceAll({strip}, '')", before
    )
    assert seen(browser, ".mark") and seen(browser, "td.verdict")
    assert browser.problems() == []


def test_the_best_of_those_shown_are_found_on_the_seeds_that_all_have(
    browser: Browser, made: Made
) -> None:
    browser.open(made.file)
    table = accuracy.build(Wanted(made.records))[0]
    assert table.subject[0] == "other"
    choose(browser, "name", "jo")
    assert marks(browser, "#table-1") == {("m1+m2", "joint"): ["b"] * 4}
    choose(browser, "name", "")
    choose(browser, "family", "baseline")
    assert marks(browser, "#table-1") == expected(table.rows, METHODS)


def test_a_name_that_nothing_has_leaves_an_empty_page_that_says_so(
    browser: Browser, made: Made
) -> None:
    browser.open(made.file)
    assert choose(browser, "name", "nothing").startswith("0 of 5 methods.")
    assert seen(browser, "h2") == ["What is this?", "Provenance"]
    browser.ask("document.querySelector('.filters button').click()")
    browser.ask("return new Promise(done => setTimeout(done, 50))")
    assert len(seen(browser, "h2")) == 7
    assert browser.problems() == []


def test_a_setting_or_set_keeps_marks_and_shows_its_own_gains(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    assert len(seen(browser, ".view table")) == 1 and seen(browser, ".overall svg")
    assert choose(browser, "set", "m1") == "5 of 5 methods."
    assert len(seen(browser, ".view table")) == 1 and not seen(browser, ".overall svg")
    assert seen(browser, ".view > summary") == ["The same for m1 alone"]
    titles = seen(browser, "main > section > h2")
    assert titles[:3] == ["What is this?", "Gain over ERM", "toy · multi-source"]
    assert titles[3:] == ["Method by method", "Provenance"]
    assert seen(browser, "nav a") == titles
    table = accuracy.build(Wanted(made.records))[1]
    whole = {k: v for k, v in expected(table.rows, METHODS).items() if k[0] == "m1"}
    assert marks(browser, "#table-2") == whole
    assert seen(browser, "#table-2 ~ div .mark")
    choose(browser, "set", "")
    choose(browser, "setting", "single-source")
    assert seen(browser, ".view > summary") == ["The same for single-source alone"]
    # The parts of a card that are about something else are gone, too.
    browser.ask("document.querySelectorAll('.card').forEach(one => { one.open = true; })")
    assert set(seen(browser, ".card tr.opens")) == {"toy · single-source · m1+m2"}
    # There is no such run.
    assert "No gains over these runs alone" in choose(browser, "set", "m1")
    assert browser.problems() == []


def test_points_of_hidden_methods_leave_the_plots(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    browser.ask("return new Promise(done => setTimeout(done, 100))")
    assert len(seen(browser, ".overall .point")) == 3  # the others lack a dataset
    assert len(seen(browser, "#table-1 ~ div .point")) == 3
    assert seen(browser, ".overall .name")
    choose(browser, "name", "o")
    assert len(seen(browser, ".overall .point")) == len(seen(browser, "#table-1 ~ div .point")) == 2
    assert sorted(seen(browser, ".overall .name")) == ["joint", "late_fusion"]


def test_gains_and_scores_sort_while_a_filter_holds(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    choose(browser, "family", "baseline")
    names = "div.view tbody th"
    assert seen(browser, names) == by_gain(made)
    click = "[...document.querySelectorAll('div.view thead button')][arguments[0]].click()"
    browser.ask(click, 0)
    assert seen(browser, names) == ["erm", "joint", "late_fusion"]
    browser.ask(click, 2)  # of the drawn intervals, which stand by their means
    assert seen(browser, names) == by_gain(made)
    browser.ask("document.querySelector('#table-3 ~ div thead th:last-child button').click()")
    rows = [row[-1] for row in marks_rows(browser)]
    assert rows == sorted(rows, reverse=True) and len(rows) == 3


def marks_rows(browser: Browser) -> list[list[float]]:
    return list(
        browser.ask(
            "return [...document.querySelectorAll('#table-3 ~ div .scores tbody tr:not([hidden])')]"
            ".map(row => [...row.querySelectorAll('[data-v]')].map(c => Number(c.dataset.v)))"
        )
    )


def test_points_are_read_by_hover_tap_and_keyboard(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    read = "return document.querySelector('.overall .readout').innerText"
    assert "arrow keys" in browser.ask(read)
    points = browser.driver.find_elements("css selector", ".overall .point")
    browser.ask("arguments[0].scrollIntoView({block: 'center', behavior: 'instant'})", points[0])
    ActionChains(browser.driver).move_to_element(points[0]).perform()
    assert browser.ask(read).startswith("late_fusion: ")
    stops = browser.ask(
        "return document.querySelectorAll('.overall .point[tabindex=\"0\"]').length"
    )
    assert stops == 1
    browser.ask("document.querySelector('.overall .point[tabindex=\"0\"]').focus()")
    said = []
    for key in (Keys.ARROW_LEFT, Keys.ARROW_LEFT, Keys.ARROW_RIGHT):
        browser.driver.switch_to.active_element.send_keys(key)
        said.append(browser.ask(read).partition(":")[0])
    assert said == ["joint", "erm", "joint"]
    svg = "document.querySelector('.overall .scatter')"
    browser.ask(
        "const box = document.querySelectorAll('.overall .point')[0].getBoundingClientRect();"
        f"{svg}.dispatchEvent(new MouseEvent('click', {{clientX: box.x + 15, clientY: box.y}}))"
    )
    assert browser.ask(read).startswith("late_fusion: ")
    assert browser.problems() == []


def test_a_link_to_a_method_opens_its_part(browser: Browser, made: Made) -> None:
    browser.open(made.file)
    browser.ask("document.querySelector('.view tbody a[href=\"#method-swad+mbcd\"]').click()")
    browser.ask("return new Promise(done => setTimeout(done, 100))")
    card = "document.getElementById('method-swad+mbcd')"
    assert browser.ask(f"return {card}.open") is True
    top = browser.ask(f"return {card}.getBoundingClientRect().top")
    assert 0 <= top <= 800
    assert browser.ask("return document.querySelectorAll('.card[open]').length") == 1
    browser.open(made.file.parent / made.file.name)
    browser.driver.get(f"{made.file.as_uri()}#method-joint")
    assert browser.ask("return document.getElementById('method-joint').open") is True


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("width", [360, 1280])
def test_the_page_never_scrolls_to_the_side(
    browser: Browser, made: Made, width: int, scheme: str
) -> None:
    browser.open(made.file, width, scheme=scheme)
    browser.ask("document.querySelectorAll('details').forEach(one => { one.open = true; })")
    for family in ("", "baseline"):
        choose(browser, "family", family)
        assert browser.ask("return document.documentElement.scrollWidth") <= width
        browser.ask("scrollTo(1000, 0)")
        assert browser.ask("return scrollX") == 0
    ground = browser.ask("return getComputedStyle(document.body).backgroundColor")
    assert ground == {"light": "rgb(255, 255, 255)", "dark": "rgb(21, 24, 28)"}[scheme]
    assert browser.problems() == []


def test_names_stay_in_view_while_a_table_scrolls(browser: Browser, made: Made) -> None:
    browser.open(made.file, 360)
    for place in (".gains .scroll", "#table-3 ~ div .scores .scroll"):
        code = (
            "const box = document.querySelector(arguments[0]); box.scrollLeft = 150;"
            "const left = one => one.getBoundingClientRect().left;"
            "const of = name => left(box.querySelector(name));"
            "return [box.scrollLeft, of('tbody th'), of('thead th'), left(box)]"
        )
        moved, name, head, left = browser.ask(code, place)
        assert moved == 150 and name == head == left


def test_without_a_script_all_tables_are_there_and_no_filter(browser: Browser, made: Made) -> None:
    disable: Any = "Emulation.setScriptExecutionDisabled"
    browser.driver.execute_cdp_cmd(disable, {"value": True})
    try:
        browser.open(made.file)
        find = browser.driver.find_elements
        assert not find("css selector", ".filters")[0].is_displayed()
        tables = find("css selector", ".scores table, div.view table")
        assert len(tables) == 5 and all(table.is_displayed() for table in tables)
        summaries = find("css selector", ".card > summary, .view > summary")
        assert len(summaries) == 12 and all(one.is_displayed() for one in summaries)
    finally:
        browser.driver.execute_cdp_cmd(disable, {"value": False})


def test_one_dataset_without_gains_works_as_well(browser: Browser, tmp_path: Path) -> None:
    file = tmp_path / "small.html"
    file.write_text(rendered([r for r in runs(None) if r.spec.method in ("joint", "mine")]))
    browser.open(file)
    assert seen(browser, ".filters select") and not seen(browser, "#by-setting")
    assert choose(browser, "name", "joint").startswith("1 of 2 methods.")
    assert seen(browser, "main .scores tbody th") == ["joint"]
    assert browser.problems() == []
