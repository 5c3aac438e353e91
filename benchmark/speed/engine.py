"""What the engine costs, against a plain loop that makes the same training steps."""

import argparse
import gc
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.speed import check_counts, selection
from benchmark.speed.clock import Clock, Seconds, Spread
from benchmark.speed.selection import Selection

HELP = "whole runs, against a plain loop of the same training steps"
DESCRIPTION = (
    "Train with the engine on the first split of a dataset, and in a plain loop that makes the "
    "same training steps with batches loaded beforehand. Methods and loops take turns. Setting up "
    "is not counted."
)
LOOPS = {
    "engine": "engine",
    "bare": "bare loop",
    "bare_evaluating": "bare + evaluation",
}
"""What is measured, with the heading in the table."""
SHARES = ("loading", "stem", "training", "validation", "record", "rest")
"""The parts of the engine's time. Training, validation and record all load batches, and pass them
through the stem; that counts as loading and stem."""
NOTE = """\
Medians of the rounds (first to third quartile). bare loop: frozen stages, forward and backward
passes, and updates of the weights. bare + evaluation: it also predicts validation and target after
every epoch. share: of the engine's CPU time; training, validation and record are without loading
and stem.
"""


@dataclass(frozen=True)
class Round:
    """CPU seconds of one method in one round."""

    loops: Mapping[str, float]
    """By `LOOPS`."""
    shares: Mapping[str, float]
    """By `SHARES`, parts of the engine's time that add up to 1."""


def add_options(p: argparse.ArgumentParser) -> None:
    """Declare the options."""
    selection.add_options(p)
    p.add_argument("--epochs", type=int, default=5, metavar="N", help="of each run (default 5)")


def run(options: argparse.Namespace) -> None:
    """Measure, and print tables or JSON.

    Raises:
        UsageError: an option makes no sense.
    """
    check_counts(options, "epochs", "rounds")
    recipe = {"epochs": options.epochs, "decay": "none", "validate_every": 0}
    with selection.selected(options, recipe) as chosen:
        measured = measure(chosen, options.rounds)
        found = {
            **chosen.described(),
            "epochs": options.epochs,
            "rounds": options.rounds,
            "methods": {method: _figures(rounds) for method, rounds in measured.items()},
        }
    print(json.dumps(found) if options.json else tables(found))


def measure(chosen: Selection, rounds: int) -> dict[str, list[Round]]:
    """Return what each method took in each round."""
    from benchmark.speed import bare
    from datasets.base import announced

    for method in chosen.specs:  # what is used for the first time takes longer
        bare.train(bare.set_up(chosen, method), epochs=1, evaluates=True)
    measured: dict[str, list[Round]] = {method: [] for method in chosen.specs}
    for _ in announced(range(rounds), f"measuring {rounds} rounds"):
        for method, done in measured.items():
            epochs = chosen.specs[method].recipe.epochs
            parts = _engine(chosen, method)
            whole = sum(parts.values(), Seconds()).cpu
            loops = {"engine": whole}
            for loop, evaluates in (("bare", False), ("bare_evaluating", True)):
                training = bare.set_up(chosen, method)
                gc.collect()  # not in the time of the loop
                loops[loop] = bare.train(training, epochs, evaluates).cpu
            done.append(Round(loops, {part: parts[part].cpu / whole for part in SHARES}))
    return measured


def _engine(chosen: Selection, method: str) -> dict[str, Seconds]:
    """Carry out a run, as a launcher does, and return what its parts took."""
    from benchmark.launch import recording
    from benchmark.records.store import Store
    from benchmark.training.loader import Loader
    from benchmark.training.model import MultimodalModel
    from benchmark.training.train import Training
    from benchmark.training.watcher import Silent

    spec, settings, clock = chosen.specs[method], chosen.settings, Clock()
    folder = Store(settings.results).folder(spec)
    training = chosen.training(method, recording.checkpoints(folder, settings))
    hooks = [
        (MultimodalModel, "stem", "stem"),
        (Training, "train_on", "training"),
        (Training, "_validate", "validation"),
        (Training, "_outcome", "record"),
    ]
    loading = [(Loader, name, "loading") for name in ("training_epoch", "evaluation")]
    gc.collect()  # not in the time of the run
    with clock.watching(hooks, loading), clock.part("rest"):
        outcome = training.run(recording.Recorder(folder, Silent()))
        with clock.part("record"):
            recording.record(outcome, spec, folder, settings)
    return {part: clock.parts[part] for part in SHARES}


def _figures(rounds: Sequence[Round]) -> dict[str, Any]:
    """Return the figures of a method as JSON values."""
    return {
        "cpu_s": {k: vars(Spread.of([r.loops[k] for r in rounds])) for k in LOOPS},
        "ratio": {
            k: vars(Spread.of([r.loops["engine"] / r.loops[k] for r in rounds]))
            for k in LOOPS
            if k != "engine"
        },
        "shares": {k: vars(Spread.of([r.shares[k] for r in rounds])) for k in SHARES},
    }


def tables(found: Mapping[str, Any]) -> str:
    """Return the figures of all methods as text: of the loops, and the shares."""
    others = [k for k in LOOPS if k != "engine"]
    loops = [["CPU seconds", *LOOPS.values(), *(f"engine / {LOOPS[k]}" for k in others)]]
    shares = [["share in %", *SHARES]]
    for name, figures in found["methods"].items():
        of = {kind: {k: Spread(**s) for k, s in values.items()} for kind, values in figures.items()}
        seconds, ratios = (of["cpu_s"][k].text(2) for k in LOOPS), (of["ratio"][k] for k in others)
        loops.append([name, *seconds, *(ratio.text(2) for ratio in ratios)])
        shares.append([name, *(of["shares"][k].scaled(100).text(1) for k in SHARES)])
    head = f"{selection.title(found)}; {found['rounds']} rounds of {found['epochs']} epochs\n"
    text = head + selection.aligned(loops) + selection.aligned(shares)
    return text + NOTE.rstrip()
