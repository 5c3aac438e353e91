"""What every launcher owes its runs, as tests that a launcher's own test class inherits."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path
from typing import ClassVar

import pytest
from support import numbers, until

from benchmark.records import claims
from benchmark.records.run_folder import RunFolder
from benchmark.records.store import Store

PROJECT = Path(__file__).resolve().parents[2]
GRID = """
dataset: synthetic
dataset-option: {domains: 3, samples_per_class: 10}
sources: [d1, d2]
target: d3
method: erm
"""
SHORT = "epochs: 1\nseeds: [0, 1, 2]\n"
LONG = "steps: 400\nvalidate-every: 40\ncheckpoint-every: 0.2\nseeds: [0, 1]\n"
ONE_FAILS = "epochs: 1\nruns: [{label: whole}, {label: broken, lr: 1.0e+30}]\n"
HOLD = """
import sys
from pathlib import Path
from benchmark.records import claims
from benchmark.records.run_folder import RunFolder
claims.BEAT_EVERY = 1.0
with claims.take(Path(sys.argv[1])):
    RunFolder(Path(sys.argv[1])).write_status("running")
    print("mine", flush=True)
    sys.stdin.readline()
"""


class LauncherContract:
    """Inherit, and say how the sweep command chooses the launcher.

    A launcher that only queues runs overrides `settle` as well.
    """

    options: ClassVar[tuple[str, ...]] = ()

    @pytest.fixture(autouse=True)
    def _folder(self, tmp_path: Path) -> None:
        self.folder = tmp_path
        self.environment = os.environ | {"PYTHONPATH": str(PROJECT)}

    def settle(self) -> None:
        """Wait until nothing that was launched is still to come."""

    def grid(self, text: str) -> None:
        (self.folder / "grid.yaml").write_text(GRID + text)

    def start(self, *options: str, results: str = "results") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmark.sweep", "grid.yaml", "--results", results]
        return subprocess.Popen(
            [*command, *options],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def sweep(self, *options: str, results: str = "results") -> tuple[int, str, str]:
        """Run the command to its end, and return exit code, output and errors."""
        process = self.start(*options, results=results)
        out, err = process.communicate(timeout=280)
        assert "Traceback" not in err, err
        return process.returncode, out, err

    def launch(self) -> tuple[int, str, str]:
        found = self.sweep(*self.options)
        self.settle()
        return found

    def folders(self, results: str = "results") -> list[RunFolder]:
        return [folder for _, folder in Store(self.folder / results).all()]

    def logs(self) -> str:
        return "".join((folder.path / "log.txt").read_text() for folder in self.folders())

    def counts(self) -> list[int]:
        """Return how many runs are done, running, queued, to do and failed."""
        _, out, _ = self.sweep("--status")
        (line,) = re.findall(r"^ *\d+ runs +(.*)$", out, re.M)
        return [0 if word == "·" else int(word) for word in line.split()]

    def test_every_run_is_done_and_a_repetition_trains_nothing(self) -> None:
        self.grid(SHORT)
        self.launch()
        assert self.counts() == [3, 0, 0, 0, 0]
        before = {f.path: (f.path / "result.json").stat().st_mtime_ns for f in self.folders()}
        code, _, err = self.launch()
        assert (code, err) == (0, "")
        after = {f.path: (f.path / "result.json").stat().st_mtime_ns for f in self.folders()}
        assert after == before
        assert self.logs().count("started") == 3

    def test_a_run_that_fails_leaves_the_others(self) -> None:
        self.grid(ONE_FAILS)
        self.launch()
        assert self.counts() == [1, 0, 0, 0, 1]
        code, _, err = self.sweep("--status")
        assert code == 1
        assert "not finite at step" in err and "--retry-failed" in err

    def test_a_run_killed_in_the_middle_goes_on_with_the_same_numbers(self) -> None:
        self.grid(LONG)
        process = self.start(*self.options)
        until("a checkpoint", lambda: [f for f in self.folders() if f.checkpoint.exists()])
        victim = next(folder for folder in self.folders() if folder.checkpoint.exists())
        os.kill(int(claims.owner(victim.path)["pid"]), signal.SIGKILL)
        process.communicate(timeout=280)
        self.settle()
        self.launch()  # as a user would, where the launcher itself died with the run
        assert self.counts() == [2, 0, 0, 0, 0]
        log = (victim.path / "log.txt").read_text()
        assert "resumed at step" in log and log.count("started") == 1
        self.sweep(results="undisturbed")
        whole = {folder.path.name: numbers(folder) for folder in self.folders("undisturbed")}
        assert {folder.path.name: numbers(folder) for folder in self.folders()} == whole

    def test_a_run_that_another_process_holds_is_left_to_it(self) -> None:
        self.grid(SHORT)
        self.sweep(results="elsewhere")
        held = self.folders("elsewhere")[0].path.relative_to(self.folder / "elsewhere")
        place = self.folder / "results" / held
        command = [sys.executable, "-c", HOLD, str(place)]
        holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        assert holder.stdout is not None and holder.stdout.readline() == "mine\n"
        assert self.launch()[0] == 0  # all that is left is being carried out
        done = {folder.path for folder in self.folders() if folder.result() is not None}
        assert len(done) == 2 and place not in done
        holder.communicate("go\n")
        self.launch()
        assert self.counts() == [3, 0, 0, 0, 0]
        assert self.logs().count("started") == 3
