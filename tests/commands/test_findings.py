"""The pages of findings: every number in a sentence is printed by a command of its section."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmark import report

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "results" / name for name in ("README.md", "findings.md")]
NUMBER = re.compile(r"(?<![\w.`/-])[+−-]?\d+(?:\.\d+)?(?![\w`/]|\.\d)")
COMMAND = re.compile(r"^    python -m benchmark\.report (.*)$", re.MULTILINE)


def sections() -> Iterator[tuple[str, str]]:
    """Yield heading and text of every part that gives commands."""
    for page in PAGES:
        for part in page.read_text().split("\n## ")[1:]:
            heading, _, text = part.partition("\n")
            if COMMAND.search(text):
                yield heading, text


def prose(text: str) -> str:
    """Return the sentences: without commands, tables, pictures, code and the targets of links."""
    lines = [line for line in text.splitlines() if not line.startswith(("    ", "|", "!", "<!--"))]
    without = re.sub(r"`[^`]*`|\]\([^)]*\)", " ", "\n".join(lines))
    return without


def numbers(text: str) -> Iterator[str]:
    """Yield the numbers of a text, without sign."""
    for found in NUMBER.finditer(text.replace("−", "-")):
        yield found.group().lstrip("+-")


def printed(commands: list[str], capsys: pytest.CaptureFixture[str]) -> list[float]:
    found: list[float] = []
    for command in commands:
        capsys.readouterr()
        assert report.main(shlex.split(command)) == 0, command
        shown = capsys.readouterr().out.replace(" to ", " ; ").replace("_", " ")  # marks a second
        found += map(float, numbers(shown))
    return found


@pytest.mark.slow
@pytest.mark.parametrize(("heading", "text"), list(sections()), ids=lambda part: part[:40])
def test_every_number_comes_from_a_command_of_its_section(heading, text, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("COLUMNS", "300")
    there = printed(COMMAND.findall(text.replace("\\\n", " ")), capsys)
    for number in numbers(prose(text)):
        digits = len(number.partition(".")[2])
        assert any(round(abs(one), digits) == float(number) for one in there), (
            f"{heading}: {number}"
        )


def test_numbers_are_found_as_they_are_written():
    text = "It is 12.0 points (−1.5 to +3), p = 0.03; s1s2, `7` and 95 % in [a](b/9.md)."
    assert list(numbers(prose(text))) == ["12.0", "1.5", "3", "0.03", "95"]
