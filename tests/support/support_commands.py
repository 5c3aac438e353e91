"""The commands of the suite, and what one says when it refuses."""

from collections.abc import Callable, Mapping, Sequence
from types import ModuleType

import pytest

from benchmark import analyze, predict, report, results, run, score, sweep
from benchmark.speed import __main__ as speed
from datasets import prepare
from methods import __main__ as methods_command

COMMANDS: Mapping[str, ModuleType] = {
    "benchmark.run": run,
    "benchmark.report": report,
    "benchmark.results": results,
    "benchmark.predict": predict,
    "benchmark.analyze": analyze,
    "benchmark.score": score,
    "benchmark.speed": speed,
    "benchmark.sweep": sweep,
    "datasets.prepare": prepare,
    "methods": methods_command,
}
"""By the name that follows `python -m`: modules with a `parser` and a `main`."""


def refusal(
    main: Callable[[Sequence[str]], int], words: Sequence[str], capsys: pytest.CaptureFixture[str]
) -> str:
    """Return what a command says in the one line with which it refuses, without `error: `.

    The exit code is that of wrong use, and nothing else is printed.
    """
    capsys.readouterr()
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert out == "" and err.startswith("error: ") and err.count("\n") == 1, out + err
    assert err.endswith("\n")
    return err.removeprefix("error: ")
