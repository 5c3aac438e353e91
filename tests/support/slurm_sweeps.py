"""Sweeps on a test cluster, carried out as a user would."""

import os
import re
import subprocess
import sys
from pathlib import Path

from support import install, numbers

from benchmark.records.run_folder import RunFolder
from benchmark.records.store import Store

PROJECT = Path(__file__).resolve().parents[2]
GRID = """
dataset: synthetic
dataset-option: {domains: 3, samples_per_class: 10}
all-splits: true
"""
ONE = GRID.replace("all-splits: true\n", "sources: d1\ntarget: d2\n")
# The GPUs are made up, so that training on the CPU has to be asked for.
SLURM = ("--launcher", "slurm", "--profile", "site.yaml", "--device", "cpu")
PROFILE = "partition: debug\ngpus: 1\ntime: 30\nsignal: 10\n"


class Sweeps:
    """Runs the sweep command in a folder, as a user would."""

    def __init__(self, folder: Path, environment: dict[str, str] | None = None) -> None:
        self.folder = folder
        self.environment = os.environ | {"PYTHONPATH": str(PROJECT)} | (environment or {})
        (folder / "site.yaml").write_text(PROFILE)

    @classmethod
    def with_methods(cls, folder: Path, name: str, source: str) -> "Sweeps":
        """Return sweeps that see the methods of an installed module."""
        site = folder / "site"
        site.mkdir()
        install(site, name, {name: source}, methods={name: name})
        return cls(folder, {"PYTHONPATH": f"{PROJECT}:{site}"})

    def grid(self, text: str, name: str = "grid.yaml") -> None:
        (self.folder / name).write_text(GRID + text)

    def start(self, *options: str, results: str = "slurm") -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "benchmark.sweep", "grid.yaml", "--results", results]
        return subprocess.Popen(
            [*command, *options],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *options: str, results: str = "slurm") -> tuple[int, str, str]:
        process = self.start(*options, results=results)
        out, err = process.communicate(timeout=800)
        return process.returncode, out, err

    def submit(self, *options: str) -> str:
        _, out, err = self.run(*SLURM, *options)
        assert "submitted" in out or "queue already" in out, (out, err)
        return out

    def folders(self, results: str = "slurm") -> list[RunFolder]:
        return [folder for _, folder in Store(self.folder / results).all()]

    def logs(self) -> str:
        """Return what the jobs have printed."""
        return "".join(p.read_text() for p in (self.folder / "slurm/slurm/logs").glob("*.out"))

    def numbers(self, results: str) -> dict[str, object]:
        """Everything measured, by run: results, every validation, and the predictions' bytes."""
        return {
            spec.id: (
                numbers(folder),
                folder.metrics(),
                (folder.path / "predictions.npz").read_bytes(),
            )
            for spec, folder in Store(self.folder / results).all()
        }


def queue() -> list[str]:
    asked = subprocess.run(["squeue", "-hr", "-o%i %T"], capture_output=True, text=True, check=True)
    return asked.stdout.splitlines()


def starts(folder: RunFolder) -> tuple[int, list[int]]:
    """Return how often a run began at its start, and the steps at which it resumed."""
    log = (folder.path / "log.txt").read_text()
    return log.count("started"), [int(step) for step in re.findall(r"resumed at step (\d+)", log)]
