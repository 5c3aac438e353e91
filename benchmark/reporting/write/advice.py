"""Advice in plain text: a block for each condition and set of modalities."""

import shlex
import textwrap
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmark.planning.flags import command, predicting
from benchmark.records.store import Store
from benchmark.reporting.kinds.advice import Advice, Candidate
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.significance import FEW
from benchmark.reporting.write.clean import printable
from benchmark.reporting.write.text import WIDTH

NOTE = (
    "Figures are means over targets, each of them unseen in training. The best of several means is "
    "a little too good; the model to use has one domain more to learn from. How methods are "
    "compared: python -m benchmark.report, and docs/statistics.md."
)


def render(found: Sequence[Advice], results: Sequence[str]) -> str:
    """Return the text.

    Args:
        found: the advice.
        results: the results folders; none for the usual one.
    """
    return "\n\n".join([*(_block(one, results) for one in found), _filled(NOTE)]) + "\n"


def _block(advice: Advice, results: Sequence[str]) -> str:
    block = advice.block
    title = " · ".join((block.spec.dataset, block.modalities, *block.told))
    said = [_filled(printable(text), "  ") for text in _said(advice)]
    commands = [*_report(advice, results), *_commands(advice, results)]
    return "\n".join([printable(title), *said, *commands])


def _said(advice: Advice) -> Iterator[str]:
    best = advice.best
    if best is None:
        yield "No advice: no method has a run on every target yet."
        return
    targets, seeds = len(advice.block.splits), len(advice.seeds)
    yield (
        f"Take {best.label}: {advice.metric} {best.mean:.2f} % on unseen domains, the mean over "
        f"{_count(targets, 'target')} and {_count(seeds, 'seed')}."
    )
    yield f"How sure: {'; '.join(_sure(advice))}."
    yield from _gain(advice)
    yield from _cheaper(advice)
    if advice.incomplete:
        left_out = advice.incomplete
        every = len(left_out) + 1 + len(advice.others)
        yield (
            f"Left out, as they lack runs: {', '.join(left_out)} ({len(left_out)} of {every} "
            "methods)."
        )
    if advice.few:
        yield FEW.format(", ".join(advice.few))
    if advice.block.spec.fabricated:
        yield "Fabricated data: this says nothing about the real dataset."


def _sure(advice: Advice) -> Iterator[str]:
    """Yield how the others stand to the best, in parts of a sentence."""
    if not advice.others:
        yield "there is no other method with every target to compare it with"
        return
    if len(advice.seeds) < 2:
        yield "one seed cannot say; run at least two more, --seeds 0 1 2"
        return
    close = [one for one in advice.others if one.close]
    worse = [one for one in advice.others if one.close is False]
    unknown = [one.label for one in advice.others if one.close is None]
    if close:
        yield f"it cannot be told apart from {', '.join(map(_named, close))}, which may be as good"
    if worse:
        what = "the others" if close or unknown else "all others"
        yield f"it is significantly better than {what} ({len(worse)})"
    if unknown:
        yield f"without stored predictions nothing can be said of {', '.join(unknown)}"


def _gain(advice: Advice) -> Iterator[str]:
    assert advice.best is not None
    if not advice.others:
        return
    if advice.best.label == BASELINE:
        yield f"{BASELINE} is plain training, and no other method has a better mean."
    elif advice.gain is None:
        yield f"Over {BASELINE}: unknown, as {BASELINE} was not run on every target."
    else:
        ends = advice.gain.ends
        interval = f", 95 % interval {ends[0]:+.2f} to {ends[1]:+.2f}" if ends else ""
        yield f"Over {BASELINE}: {advice.gain.value:+.2f} points{interval}."


def _cheaper(advice: Advice) -> Iterator[str]:
    """Yield which simpler or much cheaper methods may be as good."""
    said = []
    for one in advice.others:
        simple = "is the simplest" if one.label == BASELINE and one.close else ""
        cheap = f"trains in {one.cheaper:.2f} of the time" if one.cheaper is not None else ""
        if words := " and ".join(filter(None, (simple, cheap))):
            said.append(f"{one.label} {words}")
    if said:
        yield f"May be as good, too: {', '.join(said)}."


def _commands(advice: Advice, results: Sequence[str]) -> list[str]:
    if advice.wanted is None:
        return []
    folder = Store(Path(results[0] if results else "results")).folder(advice.wanted.run).path
    # Which setting a search will choose is not known yet.
    where = str(folder) if advice.wanted.tried == 1 else "RUN_FOLDER"
    return [
        "  Train it on all domains, then predict new recordings:",
        f"    {printable(command([advice.wanted], results))}",
        f"    {printable(predicting(where))}",
    ]


def _report(advice: Advice, results: Sequence[str]) -> list[str]:
    """Return the command that lists what incomplete rows lack, where there are some."""
    if not advice.incomplete:
        return []
    words = ["--results", *results] if results else []
    line = ["python", "-m", "benchmark.report", *words, "--dataset", advice.block.spec.dataset]
    return ["  What incomplete methods lack:", f"    {printable(shlex.join(line))}"]


def _named(one: Candidate) -> str:
    return f"{one.label} ({one.mean:.2f} %)"


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'s' * (number != 1)}"


def _filled(text: str, indent: str = "") -> str:
    return textwrap.fill(
        text, WIDTH, initial_indent=indent, subsequent_indent=2 * indent, break_on_hyphens=False,
        break_long_words=False,
    )  # fmt: skip
