"""The page that says how a sweep stands: what is in it, and that a phone shows it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from support_browser import Browser
from support_reports import toy_spec

from benchmark.records.state import State
from benchmark.reporting.write import progress
from benchmark.reporting.write.progress import Run, Trouble

HOSTILE = "<script>alert(1)</script> & a/very/long/path/without/a/break/" + "x" * 80
METHODS = ("erm", "swad+mbcd", "a row with a name of many words")
DOMAINS = ("d1", "d2", "d3")


def runs() -> list[Run]:
    """Two seeds of each row and split; of `erm` on d1 one failed and one runs."""
    found = [
        Run(toy_spec(target=target, seed=seed), method, State.DONE)
        for method in METHODS
        for target in DOMAINS
        for seed in range(2)
    ]
    found[0] = found[0]._replace(state=State.FAILED)
    found[1] = found[1]._replace(state=State.RUNNING)
    found[-1] = found[-1]._replace(state=State.TO_DO)
    single = [
        Run(toy_spec(target=b, setting="single-source", sources=(a,)), "erm", State.QUEUED)
        for a in DOMAINS
        for b in DOMAINS
        if a != b
    ]
    return found + single


def page() -> str:
    troubles = [Trouble("failed on n1: 1 run", HOSTILE, "results/runs/" + "y" * 120)]
    queue = ["queue for 6 runs: 2 jobs: 2 pending (BadConstraints). BadConstraints: never starts"]
    return progress.render("my_grid", runs(), troubles, ["about 3.5 h left"], queue, 1_764_455_000)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    one = Browser()
    yield one
    one.driver.quit()


TABLES = """return [...document.querySelectorAll('table')].map(table =>
    [...table.rows].map(row => [...row.cells].map(cell => cell.innerText.replace(/\\s+/g, ' '))))"""


@pytest.mark.browser
@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_a_phone_shows_all_of_it_and_scrolls_only_tables(
    browser: Browser, tmp_path: Path, scheme: str
) -> None:
    file = tmp_path / "status.html"
    file.write_text(page(), encoding="utf-8")
    browser.open(file, width=375, scheme=scheme)
    assert browser.ask("return document.documentElement.scrollWidth") == 375
    multi, single = browser.ask(TABLES)
    assert multi == [
        ["row", "d1", "d2", "d3"],
        ["erm", "0/2 1 failed 1 running", "2/2", "2/2"],
        ["swad+mbcd", "2/2", "2/2", "2/2"],
        ["a row with a name of many words", "2/2", "2/2", "1/2"],
    ]
    assert single[0] == ["row", *(f"{a} → {b}" for a in DOMAINS for b in DOMAINS if a != b)]
    assert single[1] == ["erm", *["0/1 1 queued"] * 6]
    # Both tables are there to be seen, the three columns of the first without scrolling.
    widths = browser.ask(
        "return [...document.querySelectorAll('.scroll')].map(e => [e.scrollWidth, e.clientWidth])"
    )
    assert widths[0][0] == widths[0][1] <= 375 < widths[1][0] and widths[1][1] <= 375
    colours = browser.ask(
        "return [...document.querySelectorAll('table')[0].rows[1].cells].map("
        "cell => getComputedStyle(cell).backgroundColor)"
    )
    assert colours[1] != colours[2] == colours[3]
    text = browser.ask("return document.body.innerText")
    for part in ("15 of 24 runs done", "15 done · 1 to do · 6 queued · 1 running · 1 failed"):
        assert part in text
    assert HOSTILE in text and "about 3.5 h left" in text and "never starts" in text
    assert browser.problems() == []


def test_the_page_needs_nothing_else_and_lets_nothing_else_run() -> None:
    text = page()
    assert "default-src 'none'" in text and "<script>alert" not in text
    assert "http" not in text.replace("http-equiv", "")
