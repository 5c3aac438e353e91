"""What the feature cache saves: training steps with it and without, and what it takes to fill."""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from benchmark.speed import check_counts, selection
from benchmark.speed.clock import Clock, Spread
from benchmark.speed.selection import Selection
from benchmark.speed.step import STEP, Row, measure

if TYPE_CHECKING:  # `--help` must not wait for torch
    from benchmark.training.train import Training

HELP = "training steps with the feature cache and without"
DESCRIPTION = (
    "Make training steps of a run without the feature cache and with it, in turns and on the same "
    "augmented views, after filling it. The first method is measured."
)
WITHOUT = "without"
DTYPES = ("fp32", "bf16")
NOTE = """\
CPU milliseconds a step, medians of the rounds (first to third quartile). loading: decoding and
transforms, or reading the cache. stem: frozen stages. rest: all else. ratio: of the whole, to that
with the cache. difference: the largest between a trained weight and that of the run without, after
{made} steps. Filling: {views} views of {train} training samples, and {evaluated} samples to
evaluate on.
"""


def add_options(p: argparse.ArgumentParser) -> None:
    """Declare the options."""
    selection.add_options(p)
    add = p.add_argument
    add("--steps", type=int, default=3, metavar="N", help="steps in a round (default 3)")
    add("--views", type=int, default=1, metavar="K", help="views of a training sample (default 1)")


def run(options: argparse.Namespace) -> None:
    """Measure, and print a table or JSON.

    Raises:
        UsageError: an option makes no sense, or no encoder has frozen stages.
    """
    check_counts(options, "steps", "rounds", "views")
    made = 1 + options.steps * options.rounds
    with selection.selected(options, {"steps": made}) as chosen:
        trainings = _trainings(chosen, options.views)
        filled = {name: _fill(one) for name, one in trainings.items() if name != WITHOUT}
        rows = [Row(name, one) for name, one in trainings.items()]
        measure(rows, options.steps, options.rounds)
        found = {
            **chosen.described(),
            "method": chosen.first.method,
            "steps": options.steps,
            "rounds": options.rounds,
            "views": options.views,
            "samples": _samples(trainings[WITHOUT]),
            "cache": {
                row.name: {**filled.get(row.name, {}), **_figures(row, rows[0])} for row in rows
            },
        }
    print(json.dumps(found) if options.json else table(found))


def _trainings(chosen: Selection, views: int) -> "dict[str, Training]":
    """Return the run of the first method without a cache, and with one of each dtype."""
    from benchmark.training.train import Training
    from mmdg_common import UsageError

    made = {}
    for name in (WITHOUT, *DTYPES):
        dtype = DTYPES[0] if name == WITHOUT else name
        protocol = replace(chosen.first.protocol, views=views, feature_dtype=dtype)
        folder = None if name == WITHOUT else chosen.settings.results / "features"
        made[name] = Training(
            replace(chosen.first, protocol=protocol),
            chosen.dataset,
            replace(chosen.settings, feature_cache=folder),
        )
        if not made[name].model.stemmed:
            raise UsageError(
                f"no encoder of {chosen.first.dataset} has frozen stages, so there is nothing to "
                "keep; choose others with --backbone, such as video=slowfast_r101"
            )
    return made


def _fill(training: "Training") -> dict[str, float]:
    """Fill the cache of a run; return the CPU seconds and the bytes on disk."""
    clock = Clock()
    with clock.part("fill"):
        training.fill_cache()
    assert training.cache is not None
    return {"fill_s": clock.parts["fill"].cpu, "bytes": training.cache.size()}


def _samples(training: "Training") -> dict[str, int]:
    held_out = training.val_part.samples, training.target_part.samples
    train = len(training.train_part.samples)
    return {"train": train, "evaluated": train + sum(map(len, held_out))}


def _figures(row: Row, without: Row) -> dict[str, Any]:
    """Return the CPU seconds of a step, and how far the weights are from those without a cache."""
    rounds: dict[str, list[float]] = {"loading": [], "stem": [], "rest": [], "whole": []}
    ratios = []
    for parts, others in zip(row.rounds, without.rounds, strict=True):
        loading, stem = parts["loading"].cpu, parts["stem"].cpu
        whole = loading + parts[STEP].cpu
        for name, value in zip(rounds, (loading, stem, whole - loading - stem, whole), strict=True):
            rounds[name].append(value)
        ratios.append((others["loading"].cpu + others[STEP].cpu) / whole)
    weights, reference = row.training.weights(), without.training.weights()
    return {
        "cpu_s": {name: vars(Spread.of(values)) for name, values in rounds.items()},
        "ratio": vars(Spread.of(ratios)),
        "difference": max(float((weights[k] - x).abs().max()) for k, x in reference.items()),
    }


def table(found: Mapping[str, Any]) -> str:
    """Return the figures as text."""
    rows: list[Sequence[str]] = [
        ["", "loading", "stem", "rest", "whole", "ratio", "difference", "filling", "on disk"]
    ]
    for name, figures in found["cache"].items():
        spreads = {part: Spread(**s).scaled(1e3) for part, s in figures["cpu_s"].items()}
        kept = "fill_s" in figures
        rows.append(
            [
                name,
                *(f"{spreads[part].median:.1f}" for part in ("loading", "stem", "rest")),
                spreads["whole"].text(1),
                Spread(**figures["ratio"]).text(2),
                f"{figures['difference']:.1e}",
                f"{figures['fill_s']:.1f} s" if kept else "",
                f"{figures['bytes'] / 1e6:.1f} MB" if kept else "",
            ]
        )
    head = f"{found['method']} on {selection.title(found)}; {found['rounds']} rounds of "
    note = NOTE.format(
        made=1 + found["steps"] * found["rounds"], views=found["views"], **found["samples"]
    )
    return f"{head}{found['steps']} steps\n{selection.aligned(rows)}{note.rstrip()}"
