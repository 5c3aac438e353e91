"""README and tutorials: everything they say to save and to run is saved and run, in their order."""

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

ROOT = Path(__file__).resolve().parents[2]
README = ROOT / "README.md"
ADD_A_METHOD, ADD_A_DATASET = (ROOT / "docs" / f"add_a_{what}.md" for what in ("method", "dataset"))
FENCE = re.compile(r"```(\w+)\n(.*?)```|^    ((?:python|pip) .*?[^\\])$", re.DOTALL | re.MULTILINE)
FOR_THE_READER = ("path/to/", "hac", "utd_mhad", "benchmark.score")
"""In a command that needs data which only the reader has, or trains for longer than a test may."""
TRAINS = ("-m benchmark.run", "my_script.py --")
"""In a command of the README that trains for as long as the recipe says."""


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


def follow(page: Path, folder: Path, shorten: tuple[str, ...] = ()) -> dict[str, str]:
    """Do everything a page says in a folder; return what each command printed.

    Args:
        page: with commands and files to save.
        folder: where to save and to run.
        shorten: texts in commands that get `--epochs 1`, unless they say --smoke.
    """
    site, printed = folder / "site", {}
    env = {**os.environ, "PYTHONPATH": str(site), "CUDA_VISIBLE_DEVICES": "", "COLUMNS": "200"}
    for what, content in steps(page):
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
        if any(text in content for text in FOR_THE_READER):
            continue
        if any(text in content for text in shorten) and "--smoke" not in content:
            arguments += ["--epochs", "1"]
        done = subprocess.run(
            [sys.executable, *arguments], cwd=folder, env=env, text=True, capture_output=True
        )
        assert done.returncode == 0, f"{page.name}: {content}\n{done.stdout}\n{done.stderr}"
        printed[content] = done.stdout
    return printed


def rows(report: str) -> set[str]:
    """Return the first word of every line."""
    return {line.split()[0] for line in report.splitlines() if line.strip()}


def test_steps_are_found_in_their_order() -> None:
    found = [what for what, _ in steps(ADD_A_METHOD)]
    assert found[0] == "smoothed.py"
    assert found.count("$") == 13
    assert [what for what in found if what != "$"] == ["smoothed.py", "taught.py", "pyproject.toml"]
    found = [what for what, _ in steps(ADD_A_DATASET)]
    files = ["gestures.py", "make_crops.py", "crops.py", "pyproject.toml"]
    assert [what for what in found if what != "$"] == files
    assert found.count("$") == 11
    found = [what for what, _ in steps(README)]
    assert [what for what in found if what != "$"] == ["my_script.py"]
    assert found.count("$") == 13


@pytest.mark.slow
def test_readme(tmp_path: Path) -> None:
    (tmp_path / "sweeps").symlink_to(ROOT / "sweeps")
    printed = follow(README, tmp_path, shorten=TRAINS)
    left_out = {content for what, content in steps(README) if what == "$"} - set(printed)
    assert all(any(text in command for text in FOR_THE_READER) for command in left_out)
    assert len(printed) == 7
    (first,) = (text for command, text in printed.items() if command.endswith("benchmark.report"))
    (shown,) = re.findall(r"```\n(method .*?)```", README.read_text(), re.DOTALL)
    assert shown.splitlines()[0].split() == ["method", "back", "back_inv", "front", "average"]
    assert shown.splitlines()[0].split() in [line.split() for line in first.splitlines()]
    assert rows(shown) <= rows(first)
    assert "Missing" not in first
    (checked,) = (text for command, text in printed.items() if "methods check" in command)
    assert "smoothed" in checked
    (compared,) = (
        text
        for command, text in printed.items()
        if "--dataset sp_sw_har" in command and "report" in command
    )
    assert {"erm", "smoothed"} <= rows(compared)
    (swept,) = (text for command, text in printed.items() if "benchmark.sweep" in command)
    assert "24 runs" in swept


@pytest.mark.slow
def test_add_a_method(tmp_path: Path) -> None:
    printed = follow(ADD_A_METHOD, tmp_path)
    first, second = (text for command, text in printed.items() if "benchmark.report" in command)
    assert "Missing" not in first
    assert {"erm", "smoothed"} <= rows(first)
    assert "smoothing=0.3" in first
    assert {"erm", "taught"} <= rows(second)
    (last,) = (text for command, text in printed.items() if command.endswith("d3 --epochs 5"))
    assert "2 done" in last


@pytest.mark.slow
def test_add_a_dataset(tmp_path: Path) -> None:
    printed = follow(ADD_A_DATASET, tmp_path)
    first, second = (text for command, text in printed.items() if "benchmark.report" in command)
    assert "folder · multi-source · audio+features" in first
    assert {"erm", "joint"} <= rows(first)
    assert "crops · multi-source · spectrum+weather" in second
    assert "spring" in second
    assert "Missing" not in first + second
    assert any("gestures.py" in command and "3 done" in text for command, text in printed.items())
    (checked,) = (text for command, text in printed.items() if "prepare crops" in command)
    assert "crops: complete." in checked
