"""What is left to do of planned runs, and how they stand: what `run` and `sweep` share."""

import secrets
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark.records import claims
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State
from benchmark.records.store import Store
from mmdg_common import UsageError


def pending(
    specs: Iterable[RunSpec], results: Path, *, force: bool = False, retry: bool = False
) -> list[RunSpec]:
    """Return what is to be run now, and make it so.

    Args:
        specs: all that is wanted.
        results: the results folder.
        force: put the earlier records aside and run everything.
        retry: run only what failed, anew.
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
        results.mkdir(parents=True, exist_ok=True)
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
