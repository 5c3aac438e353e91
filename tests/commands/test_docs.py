"""The documents: every command in them parses, every link in them leads somewhere."""

import re
import shlex
from pathlib import Path

import pytest

from benchmark import report, run, sweep
from benchmark.speed import __main__ as speed_command
from datasets import prepare
from methods import __main__ as methods_command

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])
PARSERS = {
    "benchmark.run": run.parser,
    "benchmark.report": report.parser,
    "benchmark.speed": speed_command.parser,
    "benchmark.sweep": sweep.parser,
    "datasets.prepare": prepare.parser,
    "methods": methods_command.parser,
}


def commands(text):
    joined = text.replace("\\\n", " ")
    for line in joined.splitlines():
        words = line.strip().removeprefix("$ ").split("#")[0].strip()
        if match := re.match(r"`?python -m ([\w.]+)(.*?)`?$", words):
            yield match[1], shlex.split(match[2])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_command_is_one_that_exists(page):
    for module, arguments in commands(page.read_text()):
        try:
            PARSERS[module]().parse_args(arguments)
        except SystemExit as stop:
            assert stop.code == 0, f"{page.name}: {module} {shlex.join(arguments)}"


def test_the_readme_shows_the_commands_of_the_suite():
    shown = {module for module, _ in commands((ROOT / "README.md").read_text())}
    assert shown == set(PARSERS)


@pytest.mark.parametrize("page", PAGES, ids=lambda p: p.name)
def test_every_relative_link_leads_to_a_file(page):
    for target in re.findall(r"\]\(([^)#\s]+)\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name}: {target}"


def test_the_readme_names_every_method_and_dataset():
    import datasets
    import methods

    text = (ROOT / "README.md").read_text()
    own = [n for n in methods.names() if methods.components(n)[0].__module__.startswith("methods.")]
    for name in (*own, *datasets.names()):
        assert f"`{name}`" in text, name
