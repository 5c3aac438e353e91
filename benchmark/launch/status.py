"""How planned runs stand: what is left to do, and their states."""

import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from rich import box
from rich.table import Table
from rich.text import Text

from benchmark.records import claims
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State
from benchmark.records.store import Store
from mmdg_common import UsageError, make_folder

# What is left to do


def pending(
    specs: Iterable[RunSpec], results: Path, *, force: bool = False, retry: bool = False
) -> list[RunSpec]:
    """Return what is to be run now; note which of it `force` and `retry` ask for.

    Args:
        specs: all that is wanted.
        results: the results folder.
        force: put the earlier records aside and run everything.
        retry: run only what failed, from the start.
    """
    store, found = Store(results), []
    specs = list(specs)
    token = _token(specs, store) if force else ""
    for spec in specs:
        folder = store.folder(spec)
        status = folder.status()
        if force and folder.noted().forced != token:
            if claims.held(folder.path):
                print(f"running elsewhere, left alone: {spec.title}")
                continue
            folder.await_forced(token)
        elif retry and status.state is State.FAILED:
            folder.await_retry()
        elif (retry and not status.retry) or status.state in ENDED:
            continue
        found.append(spec)
    return found


def _token(specs: Iterable[RunSpec], store: Store) -> str:
    """Return what names this `--force`: one that was stopped before all its runs ended goes on."""
    unfinished = set()
    for spec in specs:
        folder = store.folder(spec)
        if (token := folder.noted().forced) and folder.status().state not in ENDED:
            unfinished.add(token)
    return max(unfinished, default=f"{time.time():.3f}-{secrets.token_hex(4)}")


def make_results_folder(results: Path) -> None:
    """Make the folder of the records.

    Raises:
        UsageError: it cannot be made.
    """
    try:
        make_folder(results)
        with tempfile.TemporaryFile(dir=results):
            pass  # a folder that is there may still not be written to
    except OSError as error:
        raise UsageError(f"--results {results} cannot be used: {error.strerror}") from None


def print_states(specs: Sequence[RunSpec], results: Path, each: bool) -> Counter[str]:
    """Print how many runs are in which state, and with `each` the state of every run."""
    store = Store(results)
    states: Counter[str] = Counter()
    for spec in specs:
        status = store.folder(spec).status()
        states[status.state] += 1
        if each:
            reasons = "".join(f" · {text}" for text in (status.error, status.problem) if text)
            print(f"{status.state:11} {spec.id} {spec.title}{reasons}")
    print(f"{len(specs)} runs: " + ", ".join(f"{n} {state}" for state, n in states.items()))
    return states


def print_features(folder: Path) -> None:
    """Print what a feature cache holds."""
    from benchmark.training.feature_store import summary

    stores = summary(folder)
    size = sum(size for _, _, size in stores)
    print(f"feature cache {folder}: {sum(n for _, n, _ in stores)} files, {size / 1e9:.2f} GB")
    for name, number, size in stores:
        print(f"  {name}: {number} files, {size / 1e9:.2f} GB")


def summary(specs: Sequence[RunSpec], results: Path) -> int:
    """Print how the runs ended and why some did not come to their end; return the exit code."""
    states = print_states(specs, results, each=False)
    for spec in specs if states[State.DONE] < len(specs) else ():
        folder = Store(results).folder(spec)
        status = folder.status()
        if status.state in (State.FAILED, State.INTERRUPTED) or status.problem:
            reason = "".join(f": {text}" for text in (status.error, status.problem) if text)
            where = folder.path / "log.txt"
            print(f"{status.state}: {spec.title}{reason}\n  {where}", file=sys.stderr)
    if states[State.FAILED]:
        print("run the same command with --retry-failed to try failed runs again", file=sys.stderr)
    if states[State.INTERRUPTED]:
        print("run the same command again to resume interrupted runs", file=sys.stderr)
    return 0 if states[State.DONE] == len(specs) else 1


# States

COLUMNS = (
    State.DONE,
    State.RUNNING,
    State.QUEUED,
    State.TO_DO,
    State.FAILED,
    State.INTERRUPTED,
)


@dataclass(frozen=True)
class Standing:
    """One run, its state with the queue taken into account, and details in words."""

    spec: RunSpec
    state: State
    detail: str = ""


def look(specs: Iterable[RunSpec], results: Path, queued: Mapping[str, str]) -> list[Standing]:
    """Return how every run stands.

    Args:
        specs: the runs.
        results: the results folder.
        queued: by run id, what is to be said of those that wait; see `Launcher.queued`.
    """
    store, found = Store(results), []
    for spec in specs:
        status = store.folder(spec).status()
        state, job = status.state, queued.get(spec.id, "")
        steps = "" if status.step is None else f"step {status.step}/{status.total}"
        detail = ", ".join(part for part in (steps, status.error, status.problem, job) if part)
        if job and state in (State.TO_DO, State.INTERRUPTED):
            state = State.QUEUED
        found.append(Standing(spec, state, detail))
    return found


def table(
    standings: Sequence[Standing],
    row_of: Callable[[RunSpec], tuple[str, str]],
    seconds: Mapping[str, float | None] | None = None,
) -> Table:
    """Return how many runs of each row are in which state.

    Args:
        standings: from `look`.
        row_of: returns the dataset and the name of a run's row.
        seconds: by id of the runs to do, what they are estimated to take; None for one that has no
            estimate. Without it the table does not say.
    """
    counts: dict[tuple[str, str], Counter[str]] = {}
    left: dict[tuple[str, str], list[float | None]] = {}
    for one in standings:
        row = row_of(one.spec)
        counts.setdefault(row, Counter())[one.state] += 1
        left.setdefault(row, [])
        if seconds and one.spec.id in seconds:
            left[row].append(seconds[one.spec.id])
    found = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    found.add_column("dataset", no_wrap=True)
    found.add_column("row", no_wrap=True)
    total: Counter[str] = Counter(one.state for one in standings)
    # With a column more, a terminal has no room for states that no run is in.
    shown = (State.DONE, State.TO_DO) if seconds else set(COLUMNS) - {State.INTERRUPTED}
    columns = [state for state in COLUMNS if state in shown or total[state]]
    for state in columns:
        found.add_column(state, justify="right", no_wrap=True)
    if seconds:
        found.add_column("time", justify="right", no_wrap=True)

    def cells(states: Counter[str], times: Iterable[float | None]) -> list[str]:
        return [str(states[state] or "·") for state in columns] + [_together(times)] * bool(seconds)

    for row, states in counts.items():
        found.add_row(*map(Text, row), *cells(states, left[row]))
    found.add_section()
    found.add_row(f"{len(standings)} runs", "", *cells(total, chain.from_iterable(left.values())))
    return found


def _together(times: Iterable[float | None]) -> str:
    """Return what some runs take in all; `?` stands for those of which it is not known."""
    times = list(times)
    known = [one for one in times if one is not None]
    unknown = ["?"] * (len(known) < len(times))
    return " + ".join([duration(sum(known))] * bool(known) + unknown) or "·"


def duration(seconds: float) -> str:
    """Return seconds as a reader takes them: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
