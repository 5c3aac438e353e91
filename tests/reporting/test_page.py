import base64
import json
import re
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import pytest
from support_reports import toy_spec as make_spec
from support_reports import whole

from benchmark.records import read as reading
from benchmark.records.read import Record
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from benchmark.reporting import captions, figures
from benchmark.reporting.blocks import View
from benchmark.reporting.figures import Figure, gallery
from benchmark.reporting.kinds import accuracy
from benchmark.reporting.model import Plain, Row, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.write import page

VOID = {"br", "img", "input", "link", "meta", "wbr"}
HOSTILE = '</script><img src=x onerror=alert(1)> a"b & <b>c</b>'
NEEDED = "the page is tested in a real browser: apt-get install chromium chromium-driver"


# Pages that a test makes


def make_record(spec: RunSpec, accuracy: float, **told: Any) -> Record:
    where = {"commit": "c" * 40, "device": "cpu (x86_64)", "threads": 2, "wall_s": 12.34}
    packages = {"packages": {"torch": "2.11.0"}}
    rules = {"best-val": {"target": {"accuracy": accuracy, "macro_f1": 0.0}}}
    result = {"schema": 1, "rules": rules, "provenance": where | packages | told}
    return Record(spec, "done", result=result)


def row_of(method: str, accuracies: Mapping[str, Sequence[float]], **changes: Any) -> list[Record]:
    return [
        make_record(make_spec(method, target, seed, **changes), accuracy)
        for target, values in accuracies.items()
        for seed, accuracy in enumerate(values)
    ]


def make_records() -> list[Record]:
    """Two groups, means of one to three digits, a row that lacks d1, a failed run."""
    one: dict[str, Any] = {"modalities": ("m1",), "encoders": {"m1": "mlp"}, "data": "ee" * 6}
    return [
        *row_of("erm", {"d1": [0.25], "d2": [0.5], "d3": [0.4]}, **one),
        *row_of("mbcd", {"d1": [0.095], "d2": [0.6], "d3": [0.3]}, **one),
        *row_of("erm", {"d1": [0.5, 0.6], "d2": [0.5], "d3": [0.5]}),
        *row_of("mbcd", {"d1": [1.0], "d2": [0.7], "d3": [0.2]}),
        *row_of("swad", {"d2": [0.9], "d3": [0.1]}),
        make_record(make_spec("erm", "d2", 1), 0.5, commit="d" * 40 + "+dirty"),
        Record(make_spec("swad"), "failed", HOSTILE),
    ]


def stored(root: Path, records: Sequence[Record]) -> list[Record]:
    for run in records:
        folder = Store(root).folder(run.spec)
        folder.write_spec(run.spec)
        folder.write_status(run.state, **({"error": run.error} if run.error else {}))
        if run.result is not None:
            folder.write_result(whole(run.result))
    return reading.read([root], "best-val").records


def plain_table() -> Table:
    rows = tuple(
        Row(label, "", (Plain(f"{value:,}" if value else "—", value), Plain(text)))
        for label, value, text in (("nine", 9.0, "no"), (HOSTILE, None, "—"), ("ten", 1e4, "yes"))
    )
    subject = ("toy", "<script>alert(2)</script>")
    return Table("cost", subject, ("parameters", "read"), rows, scores=False, notes=(HOSTILE,))


class Made:
    """A page in a file, and what it was made of."""

    def __init__(self, root: Path) -> None:
        self.records = stored(root / "a results" / "store#1", make_records())
        self.tables = [*accuracy.build(self.records, View()), plain_table()]
        self.pictures = gallery.make(Wanted(self.records, View()))
        self.folder = root / "reports"
        self.folder.mkdir()
        self.text = page.render(
            self.tables, self.pictures, self.records, "best-val", self.folder, ["lab"]
        )
        self.file = self.folder / "report.html"
        self.file.write_text(self.text)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    return Made(tmp_path_factory.mktemp("page"))


class Parsed(HTMLParser):
    """Elements with their attributes and the text inside; fails on tags that do not match."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str], list[str]]] = []
        self.open: list[tuple[str, list[str]]] = []
        self.feed(text)
        self.close()
        assert not self.open

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        assert len(dict(attrs)) == len(attrs), f"an attribute twice in <{tag}>"
        self.elements.append((tag, {k: v or "" for k, v in attrs}, []))
        if tag not in VOID:
            self.open.append((tag, self.elements[-1][2]))

    def handle_endtag(self, tag: str) -> None:
        assert self.open and self.open.pop()[0] == tag, f"</{tag}> closes nothing"

    def handle_data(self, data: str) -> None:
        for _, texts in self.open:
            texts.append(data)

    def of(self, tag: str, **attributes: str) -> list[tuple[dict[str, str], str]]:
        return [
            (found, " ".join("".join(texts).split()))
            for name, found, texts in self.elements
            if name == tag and attributes.items() <= found.items()
        ]


def run_rows(text: str) -> list[list[Any]]:
    (data,) = re.findall(r'<script type="application/json">(.*?)</script>', text, re.DOTALL)
    return list(json.loads(data))


# What the page says


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
    plain = captions.Style("{}", "{}", captions.BOLD)
    for table in made.tables:
        assert captions.title(table) in [text for _, text in parsed.of("h2")]
        for row in table.rows:
            assert " ".join(captions.labelled(row).split()) in labels
            for cell in row.cells:
                assert captions.written(cell, plain) in cells
        for note in captions.notes(table, captions.BOLD):
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


# In a browser


def programs() -> tuple[str, str]:
    """Return Chromium and its driver; fails without them."""
    found = shutil.which("chromium"), shutil.which("chromedriver")
    if found[0] is None or found[1] is None:
        pytest.fail(NEEDED, pytrace=False)
    return found[0], found[1]


def test_without_chromium_the_tests_fail_and_name_the_packages(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.fail.Exception, match=r"install chromium chromium-driver$"):
        programs()


class Browser:
    """A headless Chromium, and what tests ask of it."""

    def __init__(self) -> None:
        from selenium import webdriver
        from selenium.webdriver.chrome.service import Service

        chromium, driver = programs()
        options = webdriver.ChromeOptions()
        options.binary_location = chromium
        for flag in ("--headless=new", "--no-sandbox", "--disable-dev-shm-usage"):
            options.add_argument(flag)
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        self.driver = webdriver.Chrome(options=options, service=Service(driver))

    def open(self, path: Path, width: int = 1280, **media: str) -> None:
        size = {"width": width, "height": 800, "deviceScaleFactor": 1, "mobile": width < 500}
        self.driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
        features = [{"name": "prefers-color-scheme", "value": media.get("scheme", "light")}]
        emulated = {"media": media.get("kind", ""), "features": features}
        self.driver.execute_cdp_cmd("Emulation.setEmulatedMedia", emulated)
        self.driver.get(path.as_uri())

    def ask(self, code: str, *values: Any) -> Any:
        return self.driver.execute_script(code, *values)

    def rows(self, sheet: int) -> list[list[str]]:
        """Return the rows of a table as they stand there."""
        return list(
            self.ask(
                "const table = document.querySelectorAll('.sheet table')[arguments[0]];"
                "const texts = row => [...row.cells].map(cell => cell.innerText.trim());"
                "return [...table.tBodies[0].rows].map(texts)",
                sheet,
            )
        )

    def head(self, sheet: int, name: str) -> Any:
        """Return the heading of a column."""
        heads = self.driver.find_elements("css selector", ".sheet")[sheet].find_elements(
            "css selector", "thead th"
        )
        (found,) = [head for head in heads if head.text == name]
        return found

    def sort(self, sheet: int, name: str) -> str | None:
        self.ask("arguments[0].firstElementChild.click()", self.head(sheet, name))
        return str(self.head(sheet, name).get_attribute("aria-sort"))

    def filter(self, sheet: int, text: str) -> str:
        place = self.driver.find_elements("css selector", ".sheet")[sheet]
        field = place.find_element("css selector", "input")
        field.clear()
        field.send_keys(text or " ")
        return str(place.find_element("css selector", ".count").text)

    def problems(self) -> list[Any]:
        """Return what the console says, and what was requested beside the page itself."""
        said: list[Any] = self.driver.get_log("browser")
        for entry in self.driver.get_log("performance"):
            message = json.loads(entry["message"])["message"]
            if message["method"] == "Network.requestWillBeSent":
                url = message["params"]["request"]["url"]
                if not url.startswith("data:") and not re.match(r"file://.*\.html$", url):
                    said.append(url)
        return said


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
    assert [row[1] for row in browser.rows(1)] == ["10,000.0", "9.0", "—"]
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
