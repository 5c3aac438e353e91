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

from benchmark.launch import failures
from benchmark.launch.failures import Failure, Unended
from benchmark.records import claims
from benchmark.records.result import taken_from
from benchmark.records.run_folder import RunFolder
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State
from benchmark.records.store import Store
from mmdg_common import UsageError, make_folder

# What is left to do


def pending(
    specs: Iterable[RunSpec],
    results: Path,
    *,
    force: bool = False,
    retry: bool = False,
    match: str = "",
) -> list[RunSpec]:
    """Return what is to be run now; note which of it `force` and `retry` ask for.

    Args:
        specs: all that is wanted.
        results: the results folder.
        force: put the earlier records aside and run everything.
        retry: run only what failed, from the start.
        match: of that only runs whose error holds this text.
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
        elif retry and status.state is State.FAILED and failures.matches(status.error, match):
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


def print_states(specs: Sequence[RunSpec], results: Path) -> None:
    """Print the state of every run, and how many are in which."""
    standings = look(specs, results)
    for one in standings:
        reason = f" · {one.error}" if one.error else ""
        print(f"{one.state:11} {one.spec.id} {one.spec.title}{reason}")
    print(f"{len(specs)} runs: {counts(standings)}")


def print_features(folder: Path) -> None:
    """Print what a feature cache holds."""
    from benchmark.training.feature_store import summary

    stores = summary(folder)
    size = sum(size for _, _, size in stores)
    print(f"feature cache {folder}: {sum(n for _, n, _ in stores)} files, {size / 1e9:.2f} GB")
    for name, number, size in stores:
        print(f"  {name}: {number} files, {size / 1e9:.2f} GB")


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
    """One run, its state with the queue taken into account, and what is known of it."""

    spec: RunSpec
    state: State
    error: str = ""
    """Why it failed or was interrupted, and which of its files is damaged."""
    queue: str = ""
    """What the queue says of the jobs that are to carry it out; see `Launcher.queued`."""
    trained: float = 0.0
    """The share of its steps that were taken."""
    seconds: float | None = None
    """What a done run took that was trained here."""


def look(
    specs: Iterable[RunSpec],
    results: Path,
    queued: Mapping[str, str] | None = None,
    before: Iterable[Standing] = (),
) -> list[Standing]:
    """Return how every run stands.

    Args:
        specs: the runs.
        results: the results folder.
        queued: by run id, what is to be said of those that wait; see `Launcher.queued`.
        before: of an earlier look. Runs that were done then are not read again.
    """
    store, queued = Store(results), queued or {}
    done = {one.spec.id: one for one in before if one.state is State.DONE}
    return [
        done.get(spec.id) or _standing(spec, store.folder(spec), queued.get(spec.id, ""))
        for spec in specs
    ]


def _standing(spec: RunSpec, folder: RunFolder, queue: str) -> Standing:
    status, result = folder.look()
    if result is not None:
        own = not taken_from(result)
        return Standing(
            spec, State.DONE, seconds=result["provenance"].get("wall_s") if own else None
        )
    state = status.state
    if queue and state in (State.TO_DO, State.INTERRUPTED):
        state = State.QUEUED
    error = ": ".join(text for text in (status.error, status.problem) if text)
    return Standing(spec, state, error, queue, (status.step or 0) / (status.total or 1))


def failed(standings: Iterable[Standing], results: Path) -> list[Failure]:
    """Return why runs failed or were interrupted, those with the same error together."""
    return failures.grouped(
        (
            Unended(one.spec, one.state, one.error)
            for one in standings
            if one.state in (State.FAILED, State.INTERRUPTED) or (one.error and not one.queue)
        ),
        results,
    )


def counts(standings: Iterable[Standing]) -> str:
    """Return how many runs are in which state: `3 done, 2 failed`."""
    return ", ".join(f"{n} {state}" for state, n in Counter(one.state for one in standings).items())


def summary(specs: Sequence[RunSpec], results: Path) -> int:
    """Print how the runs ended and why some did not come to their end; return the exit code."""
    standings = look(specs, results)
    print(f"{len(specs)} runs: {counts(standings)}")
    for line in failures.told(failed(standings, results)):
        print(line, file=sys.stderr)
    states = Counter(one.state for one in standings)
    if states[State.FAILED]:
        print("run the same command with --retry-failed to try failed runs again", file=sys.stderr)
    if states[State.INTERRUPTED]:
        print("run the same command again to resume interrupted runs", file=sys.stderr)
    return 0 if states[State.DONE] == len(specs) else 1


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
