"""What is left to do of planned runs, and how they stand: what `run` and `sweep` share."""

import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from benchmark import claims
from benchmark.spec import RunSpec
from benchmark.store import DONE, FAILED, Store
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
    for spec in specs:
        folder = store.folder(spec)
        status = folder.status()
        state = status["state"]
        if force:
            if claims.held(folder.path):
                print(f"running elsewhere, left alone: {spec.title}")
                continue
            folder.set_aside()
        elif retry and state == FAILED:
            folder.await_retry()
        elif (retry and not status.get("retry")) or state in (DONE, FAILED):
            continue
        found.append(spec)
    return found


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
        states[status["state"]] += 1
        if each:
            error = f" · {status['error']}" if "error" in status else ""
            print(f"{status['state']:11} {spec.id} {spec.title}{error}")
    print(f"{len(specs)} runs: " + ", ".join(f"{n} {state}" for state, n in states.items()))
    return states


def summary(specs: Sequence[RunSpec], results: Path) -> int:
    """Print how the runs ended and why some failed; return the exit code."""
    states = print_states(specs, results, each=False)
    if not states[FAILED]:
        return 0 if states[DONE] == len(specs) else 1
    for spec in specs:
        folder = Store(results).folder(spec)
        status = folder.status()
        if status["state"] == FAILED:
            where = folder.path / "log.txt"
            print(f"failed: {spec.title}: {status['error']}\n  {where}", file=sys.stderr)
    print("run the same command with --retry-failed to try them anew", file=sys.stderr)
    return 1
