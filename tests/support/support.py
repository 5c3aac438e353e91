"""What several test files need: tiny requests, plans and runs on the synthetic dataset."""

import json
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from benchmark.contract.case import TINY, tiny_specs
from benchmark.launch.execute import execute
from benchmark.records.run_folder import RunFolder
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.watcher import Silent
from datasets.base import Recipe

__all__ = [
    "SPEC",
    "TINY",
    "DiesAt",
    "Interrupted",
    "Silent",
    "heed_ctrl_c",
    "install",
    "numbers",
    "tiny_run",
    "tiny_specs",
    "until",
]

T = TypeVar("T")

SPEC = RunSpec(
    dataset="synthetic",
    options={"seed": 0},
    data="ab" * 32,
    fabricated=False,
    setting="multi-source",
    sources=("d1", "d2"),
    target="d3",
    modalities=("m1", "m2"),
    seed=0,
    method="mbcd",
    hyperparameters={"mbcd": {"beta": 0.999}},
    recipe=Recipe(epochs=2, lr=1e-3, batch_size=8),
    encoders={"m1": "mlp", "m2": "signal_cnn"},
)
"""A run of two modalities, with every field given."""


def heed_ctrl_c() -> None:
    """As the `preexec_fn` of a process: tests in the background ignore Ctrl-C, and pass that on."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def tiny_run(
    results: Path, method: str = "erm", keep: str = "none", **changes: Any
) -> tuple[RunSpec, RunFolder]:
    """Carry out one tiny run and return its spec and folder; `keep` its `best` weights or none."""
    (spec,) = tiny_specs(results, method, **changes)
    settings = RunSettings(results, threads=1, keep_checkpoints=keep)
    state = execute(spec, settings, Silent()).state
    folder = Store(results).folder(spec)
    assert state == "done", folder.status()
    return spec, folder


class Interrupted(Exception):
    """Stands for a process that dies at some step."""


class DiesAt(Silent):
    """A watcher that interrupts the run at a step."""

    def __init__(self, step):
        self.at = step

    def step(self, step, total):
        if step == self.at:
            raise Interrupted


def numbers(folder: RunFolder) -> dict[str, Any]:
    """Return everything in a result that must not depend on how the run was carried out."""
    result = folder.result()
    assert result is not None
    return json.loads(json.dumps({k: result[k] for k in ("rules", "method", "parameters")}))


def install(site, distribution, modules, **groups):
    """Put a distribution into a folder the way an installer does: modules and a dist-info."""
    for name, text in modules.items():
        (site / f"{name}.py").write_text(text)
    info = site / f"{distribution}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 1.0\n")
    sections = []
    for group, entries in groups.items():
        lines = [f"{name} = {value}" for name, value in entries.items()]
        sections.append("\n".join([f"[mmdg.{group}]", *lines]))
    (info / "entry_points.txt").write_text("\n\n".join(sections) + "\n")


def until(what: str, holds: Callable[[], T], seconds: float = 300) -> T:
    """Wait for something true, and return it."""
    give_up = time.monotonic() + seconds
    while not (found := holds()):
        assert time.monotonic() < give_up, f"waited {seconds} s for {what}"
        time.sleep(0.1)
    return found
