"""Progress of long work: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from benchmark.execution import Watcher

PLAIN_EVERY = 10.0
"""Seconds between two plain lines of one run."""


class Board(Protocol):
    """Where launchers report: which run started, which ended and how."""

    def start(self, title: str) -> Watcher:
        """Hear of a run that starts; return who watches it."""

    def finish(self, state: str) -> None:
        """Hear how the run ended."""


@contextmanager
def board(total: int, console: Console) -> Iterator[Board]:
    """Show the progress of `total` runs until the block ends."""
    if console.is_terminal:
        live = _LiveBoard(total, console)
        with live.progress:
            yield live
    else:
        yield _PlainBoard(total, console)


class _LiveBoard:
    """Two bars: runs done, and the steps of the run under way with its validation accuracy."""

    def __init__(self, total: int, console: Console) -> None:
        self.progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed}/{task.total}"),
            TextColumn("{task.fields[note]}"),
            TimeRemainingColumn(),
            console=console,
        )
        self.total = total
        self.runs = self.progress.add_task("runs", total=total, note="")
        self.current = self.progress.add_task("", total=None, note="", visible=False)
        self.title = ""

    def start(self, title: str) -> Watcher:
        self.title = title
        self.progress.reset(self.current, description=title, note="", visible=True)
        return self

    def step(self, step: int, total: int) -> None:
        self.progress.update(self.current, completed=step, total=total)

    def validated(self, record: dict[str, Any]) -> None:
        self.progress.update(self.current, note=_note(record))

    def finish(self, state: str) -> None:
        self.progress.console.print(f"{state:6} {self.title}", highlight=False)
        self.progress.advance(self.runs)


class _PlainBoard:
    """A line when a run starts, one every few seconds, and one when it ends."""

    def __init__(self, total: int, console: Console) -> None:
        self.console = console
        self.total = total
        self.count = 0

    def start(self, title: str) -> Watcher:
        self.count += 1
        self.title, self.began, self.note = title, time.monotonic(), ""
        self.printed = self.began
        self._print(title)
        return self

    def step(self, step: int, total: int) -> None:
        self.at = f"step {step}/{total}"
        if time.monotonic() - self.printed > PLAIN_EVERY:
            self.printed = time.monotonic()
            self._print(f"{self.at} {self.note}")

    def validated(self, record: dict[str, Any]) -> None:
        self.note = _note(record)

    def finish(self, state: str) -> None:
        self._print(f"{state} in {time.monotonic() - self.began:.1f} s {self.note}".rstrip())

    def _print(self, text: str) -> None:
        self.console.print(
            f"[{self.count}/{self.total}] {text}", markup=False, highlight=False, soft_wrap=True
        )


def _note(record: dict[str, Any]) -> str:
    return f"epoch {record['epoch'] + 1}, validation {record['val']['fused']['accuracy']:.1%}"
