"""The documents: commands parse and plan, links lead somewhere, tables equal the registries."""

import importlib.util
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from types import ModuleType
from xml.etree import ElementTree

import pytest
from support_commands import COMMANDS

import methods
from benchmark import run

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md"), *ROOT.glob("results/*/README.md")])
NAME = r"python -m ((?:benchmark|datasets|methods)[\w.]*)"
COMMAND = re.compile(rf"^(?: {{4}}|\t){NAME}(.*)$|`{NAME} ([^`]*)`", re.MULTILINE)
"""A line of a code block, or code within a sentence that is more than the name of a command."""
MOST_LINES, MOST_WORDS = 140, 1100
"""Of the README: what can be read in five minutes."""
LARGEST_PICTURE = 250_000
"""Bytes."""

every_page = pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))


def commands(text: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the module and the arguments of every command of the suite in a text."""
    for match in COMMAND.finditer(text.replace("\\\n", " ").replace("$(BIN)/", "")):
        module, arguments = (part for part in match.groups() if part is not None)
        yield module, shlex.split(arguments, comments=True)


@cache
def script(path: str) -> ModuleType:
    """Import a file of the project that belongs to no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def generator() -> ModuleType:
    return script("docs/generate.py")


def slug(heading: str) -> str:
    """Return the anchor that a heading gets."""
    return re.sub(r"[^\w -]", "", heading.lower()).strip().replace(" ", "-")


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "Makefile"], ids=lambda p: str(p.relative_to(ROOT))
)
def test_every_command_is_one_that_exists(page: Path) -> None:
    for module, arguments in commands(page.read_text()):
        try:
            COMMANDS[module].parser().parse_args(arguments)
        except SystemExit as stop:
            assert stop.code == 0, f"{page.name}: {module} {shlex.join(arguments)}"


def test_every_run_on_synthetic_data_can_be_planned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    shown = {
        tuple(arguments)
        for page in PAGES
        for module, arguments in commands(page.read_text())
        if module == "benchmark.run" and "synthetic" in arguments
    }
    planned = 0
    for arguments in sorted(shown):
        asked = "+".join(run.parser().parse_args(arguments).method).split("+")
        if not set(asked) <= {*methods.names(), "all"}:
            continue  # a tutorial's own method
        mode = [] if {"--status", "--dry-run"} & set(arguments) else ["--dry-run"]
        assert run.main([*arguments, *mode]) == 0, capsys.readouterr().err
        planned += 1
    assert planned > 10


def test_the_pages_show_every_command_of_the_suite() -> None:
    shown = {module for page in PAGES for module, _ in commands(page.read_text())}
    assert shown == set(COMMANDS)


def test_the_readme_can_be_read_in_five_minutes() -> None:
    # The rows of the table of results are looked up, not read.
    lines = [line for line in README.read_text().splitlines() if not line.startswith("|")]
    assert len(lines) <= MOST_LINES
    assert len(" ".join(lines).split()) <= MOST_WORDS


def test_the_readme_leads_to_every_page() -> None:
    linked = set(re.findall(r"\]\((docs/\w+\.md)\)", README.read_text()))
    assert linked == {str(page.relative_to(ROOT)) for page in ROOT.glob("docs/*.md")}


@pytest.mark.parametrize("page", sorted(ROOT.glob("docs/*.md")), ids=lambda p: p.name)
def test_the_title_of_a_page_is_the_question_that_it_answers(page: Path) -> None:
    assert re.match(r"# .+\?\n", page.read_text())


@every_page
def test_every_relative_link_leads_to_a_file_and_its_heading(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#?([^)\s]*)\)", page.read_text()):
        if "://" in target:
            continue
        there = page.parent / target if target else page
        assert there.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", there.read_text(), re.MULTILINE)
            assert anchor in map(slug, headings), f"{page.name}: #{anchor}"


@pytest.mark.parametrize("page", ["methods.md", "datasets.md"])
def test_generated_tables_equal_the_registries(page: str) -> None:
    assert (ROOT / "docs" / page).read_text() == generator().generated(page), (
        f"docs/{page} is out of date: run `python docs/generate.py`"
    )


def test_the_tables_have_one_row_per_method_and_dataset() -> None:
    methods_page, datasets_page = (
        (ROOT / "docs" / name).read_text() for name in generator().TABLES
    )
    for name in ("erm", "mbcd", "swad"):
        assert methods_page.count(f"| `{name}`") == 1
    for name in ("synthetic", "utd_mhad", "hac", "epic_kitchens", "hust_motor", "folder"):
        assert re.search(rf"^\| `{name}` \| \w", datasets_page, re.MULTILINE)


def test_the_readme_counts_the_methods() -> None:
    own = [n for n in methods.names() if methods.components(n)[0].__module__.startswith("methods.")]
    (counted,) = re.findall(r"has (\d+) methods", README.read_text())
    assert int(counted) == len(own)


def test_the_table_of_rooms_names_only_rooms_and_imports_that_are_there() -> None:
    arrows = script("tests/house/rooms.py").arrows()
    short = {room.rpartition(".")[2]: room for room in arrows}
    text = (ROOT / "CONTRIBUTING.md").read_text()
    found = re.findall(r"^\| `([\w/]+?)/?(?:\.py)?` \|.*\| (.*) \|$", text, re.MULTILINE)
    rooms = {path.replace("/", "."): re.findall(r"`(\w+)`", may) for path, may in found}
    del rooms["mmdg_common"]
    assert len(rooms) == 16
    for room, allowed in rooms.items():
        named = {short[name] for name in allowed if name != "mmdg_common"}
        assert named <= arrows[room], f"{room} does not import {named - arrows[room]}"


def test_pictures_can_be_read() -> None:
    drawing = ElementTree.parse(ROOT / "docs" / "way_of_a_run.svg").getroot()
    names = [text.text for text in drawing.iter("{http://www.w3.org/2000/svg}text")]
    assert names[:6] == ["plan", "RunSpec", "launcher", "train", "store", "report"]
    picture = (ROOT / "docs" / "report.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) <= LARGEST_PICTURE
