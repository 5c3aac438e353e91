"""Why runs did not come to their end: those with the same error together."""

import re
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmark.records import claims
from benchmark.records.run_folder import LOG
from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.records.store import Store

SHOWN = 20
"""Groups that are told; the others are counted."""
HOSTS = 8
"""Machines of a group that are named."""
LONGEST = 300
"""Characters of an error that are told."""
_TRACEBACK = "Original Traceback (most recent call last):"
"""What torch writes before the error of a process that loads data."""
_VARYING = (
    re.compile(r"[\w.~+-]*(/[\w.~+@=-]+)+/?"),  # paths
    re.compile(r"\b(0x)?[0-9a-fA-F]{8,}\b"),  # addresses and ids
    re.compile(r"\d+(\.\d+)?([eE][+-]?\d+)?"),
)


@dataclass(frozen=True)
class Unended:
    """A run that failed or was interrupted, and why."""

    spec: RunSpec
    state: State
    error: str


@dataclass(frozen=True)
class Failure:
    """Runs that ended in the same way, and where to read more."""

    state: State
    error: str
    """Of the first run."""
    runs: tuple[RunSpec, ...]
    hosts: tuple[str, ...]
    """The machines that they were last on."""
    log: Path
    """Of the first run."""

    def __str__(self) -> str:
        return f"{self.what}: {self.reason}" if self.error else self.what

    @property
    def what(self) -> str:
        """Which runs ended how and where."""
        first, number = self.runs[0].title, len(self.runs)
        runs = first if number == 1 else f"{number} runs, such as {first}"
        more = f" and {len(self.hosts) - HOSTS} more" if len(self.hosts) > HOSTS else ""
        where = f" on {', '.join(self.hosts[:HOSTS])}{more}" if self.hosts else ""
        return f"{self.state}{where}: {runs}"

    @property
    def reason(self) -> str:
        """The error, cut off where it is long; of another process's traceback the last line."""
        before, traceback, after = self.error.partition(_TRACEBACK)
        last = after.rstrip().rpartition("\n")[2]
        return textwrap.shorten(before + last if traceback else before, LONGEST)


def grouped(runs: Iterable[Unended], results: Path) -> list[Failure]:
    """Return runs by what ended them, the largest groups first.

    Errors are the same that differ in numbers, ids and paths alone.

    Args:
        runs: that failed or were interrupted.
        results: the results folder.
    """
    together: dict[tuple[State, str], list[Unended]] = {}
    for one in runs:
        together.setdefault((one.state, _kind(one.error)), []).append(one)
    largest_first = sorted(together.values(), key=len, reverse=True)
    return [_failure(alike, Store(results)) for alike in largest_first]


def _failure(alike: Sequence[Unended], store: Store) -> Failure:
    folders = [store.folder(one.spec).path for one in alike]
    hosts = sorted({str(claims.owner(folder).get("host", "")) for folder in folders} - {""})
    first = alike[0]
    runs = tuple(one.spec for one in alike)
    return Failure(first.state, first.error, runs, tuple(hosts), folders[0] / LOG)


def told(failures: Sequence[Failure]) -> Iterator[str]:
    """Yield in lines to print how runs ended, and where to read more."""
    for one in failures[:SHOWN]:
        yield f"{one}\n  {one.log}"
    if others := failures[SHOWN:]:
        yield f"... and {sum(len(one.runs) for one in others)} runs with {len(others)} other errors"


def matches(error: str, text: str) -> bool:
    """Return whether an error holds a text, in capitals or not; every error holds an empty one."""
    return text.lower() in error.lower()


def _kind(error: str) -> str:
    """Return an error without what differs from run to run."""
    for varying in _VARYING:
        error = varying.sub("…", error)
    return error
