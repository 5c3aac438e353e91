"""Launchers without a cluster, those of other packages, and the table that names all of them."""

import os
import re
import subprocess
import sys

import pytest
from launcher_contract import GRID, PROJECT, LauncherContract
from support import install

from benchmark.launch import launchers
from benchmark.launch.launchers import LaunchOptions
from mmdg_common import UsageError


@pytest.mark.slow
class TestInline(LauncherContract):
    options = ("--launcher", "inline")


@pytest.mark.slow
class TestLocal(LauncherContract):
    options = ("--launcher", "local", "--processes", "2")


def of_the_page() -> str:
    """Return the launcher that a page of the documents shows."""
    page = (PROJECT / "docs" / "clusters.md").read_text()
    (code,) = re.findall(r"```python\n(.*?)```", page, re.S)
    return code


@pytest.mark.slow
class TestPool(LauncherContract):
    """The one of the page, which an installed package brings."""

    options = ("--launcher", "pool", "--processes", "2")

    @pytest.fixture(autouse=True)
    def _installed(self, _folder: None, tmp_path_factory: pytest.TempPathFactory) -> None:
        site = tmp_path_factory.mktemp("site")
        install(site, "my_launchers", {"pool": of_the_page()}, launchers={"pool": "pool"})
        self.environment["PYTHONPATH"] += f":{site}"


LATER = """
import json
from pathlib import Path
from benchmark.launch.inline import AtOnce

class Later(AtOnce):
    waits = False

    def __init__(self, options):
        pass

    def carry_out(self, specs, settings):
        (settings.results / "later.json").write_text(json.dumps([spec.id for spec in specs]))
        return ""

    def queued(self, results):
        file = results / "later.json"
        runs = json.loads(file.read_text()) if file.exists() else []
        return {run: "later: tonight" for run in runs}

    def cancel(self, specs, results):
        (results / "later.json").unlink()
        return 1
"""


@pytest.mark.slow
def test_what_a_launcher_of_another_package_has_queued_is_shown_and_cancelled(tmp_path):
    """Whichever launcher the command names, as the user may look from anywhere."""
    install(tmp_path, "my_launchers", {"later": LATER}, launchers={"later": "later:Later"})
    (tmp_path / "grid.yaml").write_text(GRID + "seeds: [0, 1]\n")

    def sweep(*options: str) -> str:
        command = [sys.executable, "-m", "benchmark.sweep", "grid.yaml", *options]
        path = os.environ | {"PYTHONPATH": f"{PROJECT}:{tmp_path}"}
        done = subprocess.run(command, cwd=tmp_path, env=path, capture_output=True, text=True)
        assert (done.returncode, done.stderr) == (0, ""), done
        return done.stdout

    assert re.search(r"2 runs +· +· +2 +·", sweep("--launcher", "later"))
    assert re.search(r"2 runs +· +· +2 +·", sweep("--status"))
    assert "cancelled 1 jobs" in sweep("--cancel")
    assert re.search(r"2 runs +· +· +· +2", sweep("--status"))


def test_every_launcher_says_whether_it_waits():
    made = {name: launchers.create(name, LaunchOptions()) for name in launchers.names()}
    assert {name: launcher.waits for name, launcher in made.items()} == {
        "inline": True,
        "local": True,
        "slurm": False,
    }


def test_an_unknown_launcher_names_the_nearest():
    with pytest.raises(UsageError, match=r"unknown launcher 'slrum'\. Did you mean 'slurm'"):
        launchers.create("slrum", LaunchOptions())
