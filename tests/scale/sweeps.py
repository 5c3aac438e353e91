"""Sweeps by their size: what planning, asking how runs stand, and submitting cost a run.

`python tests/scale/sweeps.py` plans made-up grids, deduplicates them, and asks how their runs stand
and which are left, with made-up records of some. Nothing is trained.
"""

import argparse
import contextlib
import io
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from meter import Meter, Step, apart, table

from benchmark.speed import check_counts
from mmdg_common import Parser, UsageError, exit_code

if TYPE_CHECKING:  # `--help` must not wait for torch
    from benchmark.launch.launchers import Launcher
    from benchmark.launch.profile import Profile
    from benchmark.planning.grid import Row
    from benchmark.records.spec import RunSpec

SIZES = (1000, 10_000, 100_000)
PER_SEED = 50
"""Runs of `GRID` for each seed: 5 splits, 2 sets of modalities, 5 methods."""
GRID = """\
dataset: synthetic
dataset-option: {{domains: 5}}
all-splits: true
modalities: [m1+m2, m1+m2+m3]
method: [erm, coral, mbcd, simmmdg, swad+mbcd]
seeds: {seeds}
runs: {runs}
"""
ONCE, TWICE = "[{}]", "[{}, {}]"
NOTE = """\
plan: 5 splits, 2 sets of modalities, 5 methods, and seeds for the rest. deduplicate: of that twice.
recall: read which of them were launched.
status: with 1 of 10 runs done. left: what is to be run, with 9 of 10 done. Records are in {folder}.
KiB: by how much the step raised its process's peak. growth: the power of the size, 1 is linear.
"""


def parser() -> Parser:
    """Return the script's options."""
    p = Parser(prog="python tests/scale/sweeps.py", description=(__doc__ or "").partition("\n")[0])
    sizes = " ".join(map(str, SIZES))
    p.add_argument(
        "--runs",
        type=int,
        nargs="+",
        metavar="N",
        help=f"sizes of grids, rounded up to multiples of {PER_SEED} (default {sizes}; with "
        "--submit none)",
    )
    add = p.add_argument_group("SLURM").add_argument
    add(
        "--submit",
        type=int,
        metavar="N",
        help="submit N/10 and N runs that may not start, and cancel them",
    )
    add("--profile", metavar="NAME", help="a file of sweeps/profiles, or any other .yaml")
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return exit_code(lambda: _main(parser().parse_args(arguments)), "stopped")


def _main(options: argparse.Namespace) -> int:
    """Measure what is asked for, and print a table.

    Raises:
        UsageError: an option makes no sense, or SLURM is not there or refuses.
    """
    check_counts(options, "runs", "submit")
    if options.submit is not None:
        held = _held(options.profile)
        _check_slurm()
    if options.submit is None and options.profile is not None:
        raise UsageError("--profile is for what is submitted: add --submit N")
    if options.runs or options.submit is None:
        print(table(measure(options.runs or SIZES)), end="")
        print(NOTE.format(folder=tempfile.gettempdir()), end="")
    if options.submit is not None:
        sizes = (max(options.submit // 10, 1), options.submit)
        print(table(submit(sizes, held)), end="")
        print("All of these jobs are out of the queue again.")
    return 0


def measure(sizes: Iterable[int]) -> list[Step]:
    """Plan grids of about these sizes, each in a process of its own, and ask about their runs."""
    from datasets.base import announced

    seeds = sorted({-(-size // PER_SEED) for size in sizes})
    text = f"planning {', '.join(str(n * PER_SEED) for n in seeds)} runs"
    return [step for n in announced(seeds, text) for step in apart(_plan_and_ask, n)]


def submit(sizes: Iterable[int], held: "Profile") -> list[Step]:
    """Submit runs with a job for each, each size in a process of its own, and cancel them.

    Args:
        sizes: how many.
        held: the profile of jobs that may not start.

    Raises:
        UsageError: SLURM refuses or does not answer.
    """
    from datasets.base import announced

    sizes = sorted(set(sizes))
    steps = []
    for runs in announced(sizes, f"submitting {', '.join(map(str, sizes))} runs"):
        name = f"speed-{secrets.token_hex(4)}"
        try:
            steps += apart(_submit_and_cancel, runs, name, held)
        finally:
            _cancel(name)
    return steps


def _plan_and_ask(seeds: int) -> list[Step]:
    from benchmark.launch import status
    from benchmark.planning import grid
    from benchmark.records import manifest

    with tempfile.TemporaryDirectory() as folder:
        results = Path(folder)
        _ask_all(grid.specs(_planned(results, 1)), results)  # so that no import is measured
        meter = Meter(seeds * PER_SEED)
        meter("plan", lambda: _planned(results, seeds))
        rows = _planned(results, seeds, TWICE)
        specs = meter("deduplicate", lambda: grid.specs(rows))
        assert len(specs) == meter.runs
        manifest.write(results, results / "grid.yaml", [row.launched for row in rows], [])
        meter("recall", lambda: manifest.find(results, results / "grid.yaml"))
        _write_records(specs[: len(specs) // 10], results)
        meter("status", lambda: _ask_all(specs, results))
        _write_records(specs[len(specs) // 10 : len(specs) * 9 // 10], results)
        meter("left", lambda: status.pending(specs, results))
    return meter.steps


def _submit_and_cancel(runs: int, name: str, held: "Profile") -> list[Step]:
    import submitit  # noqa: F401  (so that its import is not measured)

    from benchmark.launch import slurm
    from benchmark.planning import grid
    from benchmark.settings import RunSettings

    # The launcher says what it submits; that is no part of the table.
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        results = Path(folder)
        specs = grid.specs(_planned(results, -(-runs // PER_SEED)))[:runs]
        launcher = slurm.Slurm(held, name, jobs=runs)
        _ask_all(specs, results, launcher)
        meter = Meter(runs)
        meter("submit", lambda: launcher.launch(specs, RunSettings(results, threads=1)))
        meter("status", lambda: _ask_all(specs, results, launcher))
        meter("cancel", lambda: launcher.cancel(specs, results))
    return meter.steps


def _planned(results: Path, seeds: int, runs: str = ONCE) -> "list[Row]":
    from benchmark.planning import grid
    from benchmark.settings import RunSettings

    path = results / "grid.yaml"
    path.write_text(GRID.format(seeds=list(range(seeds)), runs=runs))
    return grid.read(path).plan(RunSettings(results, threads=1))


def _ask_all(specs: "Sequence[RunSpec]", results: Path, launcher: "Launcher | None" = None) -> None:
    """Do what `benchmark.sweep --status` does."""
    from rich.console import Console

    from benchmark.launch import status

    queued = launcher.queued(results) if launcher else {}
    standings = status.look(specs, results, queued)
    table = status.table(standings, lambda spec: (spec.dataset, spec.method))
    Console(file=io.StringIO()).print(table)


def _write_records(specs: "Iterable[RunSpec]", results: Path) -> None:
    """Write what asking about done runs reads, of about the size that real runs leave."""
    from benchmark.records.result import SCHEMA
    from benchmark.records.state import State
    from benchmark.records.store import Store

    scores = {"n": 100, "accuracy": 0.875, "macro_f1": 0.8625, "per_class": [0.8125] * 5}
    parts = {"head": 0.8125, "masked": 0.5625, "probe": 0.78125}
    target = {**scores, "modalities": {name: parts for name in ("m1", "m2", "m3")}}
    rule = {"epoch": 19, "step": 140, "val": scores, "target": target}
    rules = {name: rule for name in ("best-val", "last", "oracle", "reference")}
    result = {"schema": SCHEMA, "rules": rules, "provenance": {"wall_s": 4.25}}
    files = {
        "status.json": json.dumps({"state": State.DONE, "time": 1.75e9}, indent=1),
        "result.json": json.dumps(result, indent=1),
    }
    store = Store(results)
    for spec in specs:
        folder = store.folder(spec).path
        folder.mkdir(parents=True)
        for name, text in files.items():  # not atomically, which would wait for the disk
            (folder / name).write_text(text)


def _held(profile: str | None) -> "Profile":
    """Return a profile, by default an empty one, of jobs that wait until someone releases them."""
    from benchmark.launch.profile import Profile, read

    found = read(profile) if profile else Profile()
    flags: dict[str, Any] = {"hold": True}  # True makes an option without a value of it
    return replace(found, sbatch={**found.sbatch, **flags})


def _check_slurm() -> None:
    from benchmark.launch import cluster

    if shutil.which("sbatch") is None:
        raise UsageError("--submit needs a SLURM cluster, and there is no sbatch on this machine")
    cluster.jobs()  # an error now where no controller answers, and not after the other measures


def _cancel(name: str) -> None:
    """Cancel what the jobs' records do not know of, as where submitting was interrupted."""
    command = ["scancel", f"--user={os.getuid()}", f"--name={name}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        raise UsageError(f"jobs may be left in the queue; to cancel them: {' '.join(command)}")


if __name__ == "__main__":
    sys.exit(main())
