"""Which runs are measured: some of the flags of `benchmark.run`, read as it reads them."""

import argparse
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.planning.flag_kinds import Flag
from benchmark.planning.options import DATA_ROOT, HOW, WHAT, WHERE
from benchmark.speed import check_counts
from mmdg_common import UsageError, homes

if TYPE_CHECKING:  # `--help` must not wait for torch
    from benchmark.records.spec import RunSpec
    from benchmark.settings import RunSettings
    from benchmark.training.checkpoint import Checkpoints
    from benchmark.training.train import Training
    from datasets.base import MultimodalDataset

METHODS, DATASET = ("erm", "mbcd"), "synthetic"
"""What is measured unless something else is asked for."""


def _flag(name: str, /, **changes: Any) -> Flag:
    (found,) = (flag for flag in (*WHAT, *HOW, *WHERE) if flag.name == name)
    return replace(found, **changes)


FLAGS = (
    _flag("method", help=f"methods or compositions (default: {' '.join(METHODS)})"),
    _flag("dataset", help=f"default: {DATASET}"),
    _flag("dataset-option"),
    _flag("modalities", help="one subset of modalities (default: all of them)"),
    _flag("backbone"),
    _flag("batch-size"),
)
"""Fields of a Request."""
THREADS = _flag("threads", help="CPU threads (default: torch's own number)")


@dataclass(frozen=True)
class Selection:
    """One run of each method on one split, all with the same batches."""

    specs: "Mapping[str, RunSpec]"
    """By method, in the order asked for."""
    dataset: "MultimodalDataset"
    settings: "RunSettings"

    @property
    def first(self) -> "RunSpec":
        """A run; but for the method, the others are like it."""
        return next(iter(self.specs.values()))

    def training(self, method: str, checkpoints: "Checkpoints | None" = None) -> "Training":
        """Set up the run of a method anew, at its start; its state is saved to `checkpoints`."""
        from benchmark.training.train import Training

        return Training(self.specs[method], self.dataset, self.settings, checkpoints)

    def described(self) -> dict[str, Any]:
        """Return what is measured, as JSON values."""
        import torch

        return {
            "dataset": self.first.dataset,
            "sources": list(self.first.sources),
            "target": self.first.target,
            "encoders": dict(self.first.encoders),
            "batch_size": self.first.recipe.batch_size,
            "threads": torch.get_num_threads(),
        }


def title(described: Mapping[str, Any]) -> str:
    """Return what `Selection.described` says, in two lines."""
    encoders = ", ".join(f"{k} ({encoder})" for k, encoder in described["encoders"].items())
    return (
        "{dataset}, {sources} → {target}: {encoders}\n"
        "batches of {batch_size} samples, CPU threads: {threads}"
    ).format_map({**described, "sources": "+".join(described["sources"]), "encoders": encoders})


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Return lines of columns, the first one aligned to the left and all others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]).rstrip() + "\n")
    return "".join(lines)


def add_options(p: argparse.ArgumentParser) -> None:
    """Declare the flags, and `--rounds` and `--json`."""
    group = p.add_argument_group("what to measure")
    for flag in (*FLAGS, DATA_ROOT, THREADS):
        flag.declare(group)
    p.add_argument(
        "--rounds",
        type=int,
        default=5,
        metavar="N",
        help="every method is measured once a round, so that whatever else the machine does slows "
        "all of them (default 5)",
    )
    p.add_argument("--json", action="store_true", help="print one JSON object")


@contextmanager
def selected(
    options: argparse.Namespace, recipe: Mapping[str, Any], also: Sequence[str] = ()
) -> "Iterator[Selection]":
    """Plan the runs of the first split, and keep what their data caches while the block lasts.

    Encoders start from random weights, as weights take no time.

    Args:
        options: as `add_options` declares them.
        recipe: fields of the recipe, on top of the dataset's.
        also: methods to measure too.

    Raises:
        UsageError: a value is wrong, or no method can run on the data.
    """
    check_counts(options, "rounds")
    from benchmark.planning import flags, plan
    from benchmark.planning.request import Request
    from benchmark.settings import RunSettings
    from benchmark.training.setup import configure

    given = {"methods": METHODS, "dataset": DATASET, **flags.read(options, FLAGS)}
    if len(given.get("modalities", ())) > 1:
        raise UsageError("--modalities: give one subset, such as A+B, as batches are the same")
    given["methods"] = list(dict.fromkeys([*given["methods"], *also]))
    given["recipe"] = {**given.get("recipe", {}), **recipe}
    request = Request(**given, all_splits=True)
    threads = flags.read(options, [THREADS])
    roots = {request.dataset: options.data_root} if options.data_root else {}
    with tempfile.TemporaryDirectory(prefix="mmdg-speed-") as folder:
        settings = RunSettings(Path(folder), homes(), roots, random_weights=True, **threads)
        made = plan.make(request, settings)
        for reason in made.skipped:
            print(f"skipped: {reason}", file=sys.stderr)
        split = made.specs[0].sources, made.specs[0].target
        specs = {s.method: s for s in made.specs if (s.sources, s.target) == split}
        configure(settings)
        settings.prepare([made.specs[0]])
        yield Selection(specs, made.dataset, settings)
