"""Reports by their size: what reading records and making tables of them costs.

`python tests/scale/reports.py` reads made-up records with predictions, packs them, and makes tables
and the page of them.
"""

import argparse
import json
import sys
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from meter import Meter, Step, apart, table

from benchmark.speed import check_counts
from mmdg_common import Parser, exit_code

if TYPE_CHECKING:  # `--help` must not wait for torch
    from benchmark.records.spec import RunSpec

SIZES = (1000, 3000, 10_000)
DOMAINS = ("d1", "d2", "d3", "d4")
PER_METHOD = 3 * len(DOMAINS)
"""Runs per method, three seeds per target; only whole methods, as commands for gaps take time."""
SAMPLES = 100
NOTE = """\
read: results folders of runs of 4 targets, 3 seeds and as many methods as that leaves, with the
predictions of {samples} samples. read packed: after `benchmark.results pack`. tables: accuracy with
its marks. page: one HTML page of them, without figures. KiB: by how much the step raised its
process's peak. growth: the power of the size.
"""


def parser() -> Parser:
    """Return the script's options."""
    p = Parser(prog="python tests/scale/reports.py", description=(__doc__ or "").partition("\n")[0])
    p.add_argument(
        "--runs",
        type=int,
        nargs="+",
        metavar="N",
        help=f"sizes, rounded up to multiples of {PER_METHOD} (default "
        f"{' '.join(map(str, SIZES))})",
    )
    return p


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the script and return its exit code."""
    return exit_code(lambda: _main(parser().parse_args(arguments)), "stopped")


def _main(options: argparse.Namespace) -> int:
    """Measure what is asked for, and print a table."""
    check_counts(options, "runs")
    from datasets.base import announced

    sizes = sorted({-(-n // PER_METHOD) * PER_METHOD for n in options.runs or SIZES})
    text = f"reporting {', '.join(map(str, sizes))} runs"
    steps = [step for runs in announced(sizes, text) for step in apart(_report, runs)]
    print(table(steps), end="")
    print(NOTE.format(samples=SAMPLES), end="")
    return 0


def _report(runs: int) -> list[Step]:
    from benchmark.records import archiving, read
    from benchmark.records.store import Store
    from benchmark.reporting import write
    from benchmark.reporting.kinds import accuracy
    from benchmark.reporting.request import Wanted
    from benchmark.reporting.write import page

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        specs = list(_specs(runs))
        _write(specs, root)
        meter = Meter(len(specs))
        meter("read", lambda: read.read([root], "best-val"))
        meter("pack", lambda: archiving.pack(Store(root)))
        found = meter("read packed", lambda: read.read([root], "best-val"))
        made = meter("tables", lambda: accuracy.build(Wanted(found.records)))
        meter("csv", lambda: write.render(made, "csv"))
        meter("page", lambda: page.render(made, (), found.records, "best-val", root))
    return meter.steps


def _specs(runs: int) -> "Iterable[RunSpec]":
    from benchmark.records.spec import RunSpec
    from datasets.base import Recipe

    first = RunSpec(
        dataset="made_up",
        options={},
        data="0" * 16,
        fabricated=True,
        setting="multi-source",
        sources=DOMAINS[1:],
        target=DOMAINS[0],
        modalities=("m1", "m2"),
        seed=0,
        method="m0",
        hyperparameters={},
        recipe=Recipe(epochs=20, lr=1e-3, batch_size=32),
        encoders={"m1": "mlp", "m2": "mlp"},
    )
    for number in range(runs):
        method, place = divmod(number, PER_METHOD)
        seed, target = divmod(place, len(DOMAINS))
        sources = tuple(d for d in DOMAINS if d != DOMAINS[target])
        yield replace(
            first, method=f"m{method}", seed=seed, sources=sources, target=DOMAINS[target]
        )


def _write(specs: "Iterable[RunSpec]", root: Path) -> None:
    """Write records of about the size of real ones; accuracies differ by method and by chance."""
    import numpy as np

    from benchmark.records.result import SCHEMA
    from benchmark.records.store import Store

    rng = np.random.default_rng(0)
    ids = np.array([f"sample-{i}" for i in range(SAMPLES)])
    labels = rng.integers(0, 5, SAMPLES)
    where = {
        "wall_s": 4.25,
        "peak_memory_mb": 900.0,
        "commit": "0" * 40,
        "device": "cpu",
        "threads": 1,
    }
    for spec in specs:
        logits = rng.normal(size=(SAMPLES, 5)).astype(np.float16)
        right = rng.random(SAMPLES) < 0.5 + 0.4 * (int(spec.method[1:]) % 100) / 100
        logits[np.flatnonzero(right), labels[right]] += 9
        accuracy = float((logits.argmax(axis=1) == labels).mean())
        scores = {
            "n": SAMPLES,
            "accuracy": accuracy,
            "macro_f1": accuracy,
            "per_class": [accuracy] * 5,
        }
        parts = {"head": 0.8125, "masked": 0.5625, "probe": 0.78125}
        target = {**scores, "modalities": {name: parts for name in ("m1", "m2")}}
        rule = {"epoch": 19, "step": 140, "val": scores, "target": target}
        rules = {name: rule for name in ("best-val", "last", "oracle", "reference")}
        result = {"schema": SCHEMA, "rules": rules, "parameters": 10**6, "provenance": where}
        folder = Store(root).folder(spec).path
        folder.mkdir(parents=True)
        # Not atomically, which would wait for the disk.
        (folder / "spec.json").write_text(json.dumps(spec.to_json(), indent=1))
        (folder / "result.json").write_text(json.dumps(result, indent=1))
        arrays = {"ids": ids, "labels": labels, "fused": logits}
        named = {f"{r}/target/{k}": a for r in ("best-val", "last") for k, a in arrays.items()}
        np.savez_compressed(folder / "predictions.npz", allow_pickle=False, **named)


if __name__ == "__main__":
    sys.exit(main())
