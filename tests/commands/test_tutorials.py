"""The tutorials: everything they say to save and to run is saved and run, in their order."""

import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
FENCE = re.compile(r"```(\w+)\n(.*?)```|^    ((?:python|pip) .*?[^\\])$", re.DOTALL | re.MULTILINE)
FOR_THE_READER = "path/to/"
"""In a command that needs files which only the reader has."""


def steps(page: Path) -> Iterator[tuple[str, str]]:
    """Yield what a page says to do, in order: (file, its content) and ("$", command)."""
    text = page.read_text()
    for block in FENCE.finditer(text):
        language, code, command = block.groups()
        if command:
            yield "$", command.replace("\\\n", " ")
        elif language == "toml":
            yield "pyproject.toml", code
        elif language == "python":
            names = re.findall(r"`(\w+\.py)`", text[: block.start()])
            yield names[-1], code


def install(folder: Path, site: Path) -> None:
    """Install the package in a folder as pip would, without fetching what builds it."""
    declared = tomllib.loads((folder / "pyproject.toml").read_text())
    project = declared["project"]
    info = site / f"{project['name'].replace('-', '_')}-{project['version']}.dist-info"
    info.mkdir(parents=True)
    head = f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n"
    (info / "METADATA").write_text(head)
    lines = []
    for group, entries in project["entry-points"].items():
        lines += [f"[{group}]", *(f"{name} = {value}" for name, value in entries.items())]
    (info / "entry_points.txt").write_text("\n".join(lines) + "\n")
    for module in declared["tool"]["setuptools"]["py-modules"]:
        shutil.copy(folder / f"{module}.py", site)


def follow(page: str, folder: Path) -> dict[str, str]:
    """Do everything a page says in a folder; return what each command printed."""
    site, printed = folder / "site", {}
    env = {**os.environ, "PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}
    env["OMP_NUM_THREADS"] = "1"  # several threads of two processes fight over the cores
    for what, content in steps(DOCS / page):
        if what != "$":
            (folder / what).write_text(content)
            continue
        program, *arguments = shlex.split(content, comments=True)
        if program == "pip":
            assert arguments == ["install", "."]
            install(folder, site)
            # From here on the modules are found where they are installed, or not at all.
            folder = folder / "elsewhere"
            folder.mkdir()
            for data in folder.parent.glob("*_data"):
                (folder / data.name).symlink_to(data)
            continue
        if FOR_THE_READER in content:
            continue
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=env, text=True, capture_output=True
        )
        assert done.returncode == 0, f"{page}: {content}\n{done.stdout}\n{done.stderr}"
        printed[content] = done.stdout
    return printed


def rows(report: str) -> set[str]:
    """Return the first word of every line."""
    return {line.split()[0] for line in report.splitlines() if line.strip()}


def test_steps_are_found_in_their_order() -> None:
    found = [what for what, _ in steps(DOCS / "add_a_method.md")]
    assert found[0] == "smoothed.py"
    assert found.count("$") == 11
    assert [what for what in found if what != "$"] == ["smoothed.py", "taught.py", "pyproject.toml"]
    found = [what for what, _ in steps(DOCS / "add_a_dataset.md")]
    files = ["gestures.py", "make_crops.py", "crops.py", "pyproject.toml"]
    assert [what for what in found if what != "$"] == files
    assert found.count("$") == 11


@pytest.mark.slow
def test_add_a_method(tmp_path: Path) -> None:
    printed = follow("add_a_method.md", tmp_path)
    first, second = (text for command, text in printed.items() if "benchmark.report" in command)
    assert "Missing" not in first
    assert {"erm", "smoothed"} <= rows(first)
    assert "smoothing=0.3" in first
    assert {"erm", "taught"} <= rows(second)
    (last,) = (text for command, text in printed.items() if command.endswith("d3 --epochs 5"))
    assert "2 done" in last


@pytest.mark.slow
def test_add_a_dataset(tmp_path: Path) -> None:
    printed = follow("add_a_dataset.md", tmp_path)
    first, second = (text for command, text in printed.items() if "benchmark.report" in command)
    assert "folder · multi-source · audio+features" in first
    assert {"erm", "joint"} <= rows(first)
    assert "crops · multi-source · spectrum+weather" in second
    assert "spring" in second
    assert "Missing" not in first + second
    assert any("gestures.py" in command and "3 done" in text for command, text in printed.items())
    (checked,) = (text for command, text in printed.items() if "prepare crops" in command)
    assert "crops: complete." in checked
