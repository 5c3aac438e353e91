"""What a training step costs, by method and by part."""

import argparse
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from benchmark.speed import check_counts, selection
from benchmark.speed.clock import Clock, Hook, Seconds, Spread

if TYPE_CHECKING:  # `--help` must not wait for torch
    from benchmark.training.loader import Inputs
    from benchmark.training.train import Training

HELP = "training steps by method, and the parts of them"
DESCRIPTION = (
    "Make training steps with the engine on the first split of a dataset, and time loading, frozen "
    "stages, and the parts of each method's step. Methods take turns on the same batches. The "
    "first step of each is not counted, and nothing is validated."
)
ERM, MBCD = "erm", "mbcd"
"""The methods whose published steps are measured."""
PARTS = ("loading", "stem", "forward", "backward", "optimizer", "after_step", "rest")
STEP = "step"
"""All parts but loading, which is the same for all methods with one view of every sample."""
NOTE = """\
Milliseconds a step, medians of the rounds (first to third quartile). stem: frozen stages. forward:
the method's loss. after_step: averages of weights and the like. rest: whatever else method and
engine do. step: all but loading. ratio: of step, to {first}. passes: forward + backward, of a batch
through all encoders.
"""

Parts = Mapping[str, Seconds]
"""The seconds of one step, by part."""


def add_options(p: argparse.ArgumentParser) -> None:
    """Declare the options."""
    selection.add_options(p)
    add = p.add_argument
    add("--steps", type=int, default=20, metavar="N", help="steps in a round (default 20)")
    add(
        "--published",
        action="store_true",
        help=f"measure {ERM} and {MBCD} and, beside them, their steps as public code makes them",
    )


def run(options: argparse.Namespace) -> None:
    """Measure, and print a table or JSON.

    Raises:
        UsageError: an option makes no sense.
    """
    check_counts(options, "steps", "rounds")
    recipe = {"steps": 1 + options.steps * options.rounds}
    also = (ERM, MBCD) if options.published else ()
    with selection.selected(options, recipe, also) as chosen:
        rows = [Row(name, chosen.training(name)) for name in chosen.specs]
        rows += [published(chosen.training(name)) for name in also]
        measure(rows, options.steps, options.rounds)
        found = {
            **chosen.described(),
            "steps": options.steps,
            "rounds": options.rounds,
            "methods": {row.name: _figures(row, rows[0]) for row in rows},
        }
    print(json.dumps(found) if options.json else table(found))


class Row:
    """A method that is measured; `train_on` is its step, by default that of the engine."""

    def __init__(
        self,
        name: str,
        training: "Training",
        train_on: "Callable[[Inputs], None] | None" = None,
        hooks: Sequence[Hook] = (),
    ) -> None:
        self.name, self.training = name, training
        self.rounds: list[Parts] = []
        self._train_on = train_on or training.train_on
        self._hooks = [*_hooks(training), *hooks]
        self._inputs: Iterator[Inputs] = iter(())
        self._epoch = -1

    def measure(self, steps: int) -> Parts:
        """Make so many steps, and return the mean of them."""
        clock = Clock()
        with clock.watching(self._hooks):
            for _ in range(steps):
                inputs = self._next(clock)
                with clock.part("rest"):
                    self._train_on(inputs)
        found = clock.parts
        mean = {k: Seconds(found[k].wall / steps, found[k].cpu / steps) for k in PARTS}
        return {**mean, STEP: sum((mean[k] for k in PARTS if k != "loading"), Seconds())}

    def _next(self, clock: Clock) -> "Inputs":
        while True:
            for inputs in clock.items(self._inputs, "loading"):
                return inputs
            self._next_epoch()

    def _next_epoch(self) -> None:
        """Call the hooks between two epochs, which are no part of a step."""
        training = self.training
        if self._epoch >= 0:
            training.method.epoch_end()
        self._epoch += 1
        training.run_info.epoch = self._epoch
        training.method.epoch_start()
        self._inputs = training.train_part.training_epoch(self._epoch)


def published(training: "Training") -> Row:
    """Return the row of a step as public code makes it, from a run of ERM or MBCD."""
    from benchmark.speed.published import PublishedERM, PublishedMBCD

    step: PublishedERM | PublishedMBCD
    hooks: list[Hook]
    if training.spec.method == ERM:
        recipe = training.spec.recipe
        step = PublishedERM(training.model, recipe.lr, recipe.weight_decay)
        hooks = [(PublishedERM, "loss", "forward")]
    else:
        hp = training.method.hp
        generator = training.run_info.generator
        step = PublishedMBCD(
            training.model, training.optimizer, generator, alpha=hp.alpha, beta=hp.beta
        )
        hooks = [(PublishedMBCD, "loss", "forward"), (PublishedMBCD, "average", "after_step")]

    def train_on(inputs: "Inputs") -> None:
        with training.passes.counting(len(inputs.ids)):
            step.train_on(training.received(inputs))

    return Row(f"{training.spec.method} (published)", training, train_on, hooks)


def measure(rows: Sequence[Row], steps: int, rounds: int) -> None:
    """Make rounds of so many steps with each row, and keep what they took.

    All rows draw the same dropout.
    """
    import torch

    from datasets.base import announced

    for row in rows:
        torch.manual_seed(0)
        row.measure(1)  # the first step allocates memory, and starts averages
        row.training.passes.clear()
    for number in announced(range(rounds), f"measuring {rounds} rounds"):
        for row in rows:
            torch.manual_seed(number)
            row.rounds.append(row.measure(steps))


def _hooks(training: "Training") -> list[Hook]:
    """Return the functions whose time is told apart within a step."""
    import torch

    from benchmark.training.model import MultimodalModel
    from methods.base import Method

    kinds = {type(one) for one in training.method.modules() if isinstance(one, Method)}
    return [
        (MultimodalModel, "stem", "stem"),
        *((kind, "loss", "forward") for kind in kinds),
        # `Tensor.backward` calls it.
        (torch.autograd, "backward", "backward"),
        (torch.autograd, "grad", "backward"),
        (type(training.optimizer), "step", "optimizer"),
        (type(training.method), "after_step", "after_step"),
    ]


def _figures(row: Row, first: Row) -> dict[str, Any]:
    """Return the figures of a row as JSON values, in seconds."""
    passes = row.training.passes.mean()
    found: dict[str, Any] = {"passes": passes and vars(passes)}
    for kind in ("wall", "cpu"):

        def of(one: Row, part: str, kind: str = kind) -> list[float]:
            return [getattr(parts[part], kind) for parts in one.rounds]

        found[f"{kind}_s"] = {part: vars(Spread.of(of(row, part))) for part in (*PARTS, STEP)}
        pairs = zip(of(row, STEP), of(first, STEP), strict=True)
        found[f"{kind}_ratio"] = vars(Spread.of([mine / other for mine, other in pairs]))
    return found


def table(found: Mapping[str, Any]) -> str:
    """Return the figures of all rows as text."""
    rows = [["", "", *PARTS, STEP, "ratio", "passes"]]
    for name, figures in found["methods"].items():
        for kind in ("wall", "cpu"):
            seconds = {part: Spread(**s) for part, s in figures[f"{kind}_s"].items()}
            passes = "{forward:.3g} + {backward:.3g}".format_map(figures["passes"])
            rows.append(
                [
                    *((name, "wall") if kind == "wall" else ("", "CPU")),
                    *(f"{1e3 * seconds[part].median:.2f}" for part in PARTS),
                    seconds[STEP].scaled(1e3).text(2),
                    Spread(**figures[f"{kind}_ratio"]).text(2),
                    passes if kind == "wall" else "",
                ]
            )
    (first, *_) = found["methods"]
    head = f"{selection.title(found)}; {found['rounds']} rounds of {found['steps']} steps\n"
    return head + selection.aligned(rows) + NOTE.format(first=first).rstrip()
