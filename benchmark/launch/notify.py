"""Telling somebody that a sweep has ended: a shell command of the user's own."""

import os
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from benchmark.launch import status
from benchmark.launch.status import Standing
from benchmark.records.state import State


def tell(
    command: str, grid: Path, results: Path, standings: Sequence[Standing], code: int, error: str
) -> None:
    """Run a command that tells of the end of a sweep; say so in a line where it fails.

    Args:
        command: for the shell, which finds what happened in variables `MMDG_...`.
        grid: the file of the sweep.
        results: the results folder.
        standings: how the runs stand.
        code: the exit code of the sweep.
        error: why the sweep ended before its runs; '' where it did not.
    """
    states = Counter(one.state for one in standings)
    done, failed = states[State.DONE], states[State.FAILED]
    text = f"{grid.name}: {error or status.counts(standings)}"
    told = {
        "GRID": grid,
        "RESULTS": results.resolve(),
        "RUNS": len(standings),
        "DONE": done,
        "FAILED": failed,
        "LEFT": len(standings) - done - failed,
        "EXIT_CODE": code,
        "TEXT": text,
    }
    environment = os.environ | {f"MMDG_{name}": str(value) for name, value in told.items()}
    try:
        ended = subprocess.run(command, shell=True, env=environment).returncode
        problem = f"ended with code {ended}" if ended else ""
    except (OSError, ValueError) as failure:
        problem = str(failure)
    if problem:
        print(f"--notify {command}: {problem}", file=sys.stderr)
