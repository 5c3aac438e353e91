"""Progress of long work: live bars on a terminal, plain lines elsewhere."""

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeRemainingColumn

from benchmark.training.watcher import Watcher

Records = Sequence[Mapping[str, Any]]
FILLING = "feature cache"
PLAIN_EVERY = 10.0
"""Seconds between two plain lines of one run."""


class RunWatcher(Watcher, Protocol):
    """Watches one run until it ends."""

    def finish(self, state: str) -> None:
        """Show how the run ended."""


class Board(Protocol):
    """Shows the progress of several runs at once."""

    def start(self, title: str) -> RunWatcher:
        """Show a run that starts, and return its watcher."""


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
    """A bar for the runs, and one for each run under way: its steps and validation accuracy."""

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
        self.runs = self.progress.add_task("runs", total=total, note="")

    def start(self, title: str) -> RunWatcher:
        return _Bar(self, title)


class _Bar:
    def __init__(self, board: _LiveBoard, title: str) -> None:
        self.board, self.title = board, title
        self.task = board.progress.add_task(title, total=None, note="")

    def step(self, step: int, total: int) -> None:
        self.board.progress.update(self.task, completed=step, total=total)

    def alive(self, step: int, total: int) -> None:
        pass  # nothing that a reader would see

    def filling(self, done: int, total: int) -> None:
        self.board.progress.update(self.task, completed=done, total=total, note=FILLING)

    def validated(self, records: Records) -> None:
        self.board.progress.update(self.task, note=_note(records[-1]))

    def finish(self, state: str) -> None:
        self.board.progress.remove_task(self.task)
        self.board.progress.console.print(f"{state:6} {self.title}", highlight=False)
        self.board.progress.advance(self.board.runs)


class _PlainBoard:
    """One line when a run starts, one every few seconds, and one when it ends."""

    def __init__(self, total: int, console: Console) -> None:
        self.console, self.total, self.count = console, total, 0

    def start(self, title: str) -> RunWatcher:
        self.count += 1
        return _Lines(self.console, f"[{self.count}/{self.total}]", title)


class _Lines:
    def __init__(self, console: Console, label: str, title: str) -> None:
        self.console, self.label, self.note = console, label, ""
        self.began = self.printed = time.monotonic()
        self._print(title)

    def step(self, step: int, total: int) -> None:
        self._now_and_then(f"step {step}/{total} {self.note}")

    def alive(self, step: int, total: int) -> None:
        pass  # nothing that a reader would see

    def filling(self, done: int, total: int) -> None:
        self._now_and_then(f"{FILLING} {done}/{total}")

    def validated(self, records: Records) -> None:
        self.note = _note(records[-1])

    def finish(self, state: str) -> None:
        self._print(f"{state} in {time.monotonic() - self.began:.1f} s {self.note}".rstrip())

    def _now_and_then(self, text: str) -> None:
        if time.monotonic() - self.printed > PLAIN_EVERY:
            self.printed = time.monotonic()
            self._print(text)

    def _print(self, text: str) -> None:
        self.console.print(f"{self.label} {text}", markup=False, highlight=False, soft_wrap=True)


def _note(record: Mapping[str, Any]) -> str:
    return f"epoch {record['epoch'] + 1}, validation {record['val']['fused']['accuracy']:.1%}"
