"""Time and memory of steps, by size: each size in a process of its own."""

import math
import multiprocessing
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from mmdg_common import UsageError

T = TypeVar("T")


@dataclass(frozen=True)
class Step:
    """What one step took for one size."""

    name: str
    runs: int
    seconds: float
    kib: int
    """By how much it raised the peak of the memory of its process."""


class Meter:
    """Measures steps that one process takes after each other."""

    def __init__(self, runs: int) -> None:
        self.runs = runs
        self.steps: list[Step] = []

    def __call__(self, name: str, do: Callable[[], T]) -> T:
        """Do something as the step of this name, and return what it returns."""
        before, begun = peak(), time.perf_counter()
        done = do()
        seconds = time.perf_counter() - begun
        self.steps.append(Step(name, self.runs, seconds, peak() - before))
        return done


def exponent(before: Step, after: Step) -> float:
    """Return the power of the size that the time grew with; 1 is linear."""
    return math.log(after.seconds / before.seconds) / math.log(after.runs / before.runs)


def table(steps: Sequence[Step]) -> str:
    """Return a line for each step and size, those of one step together."""
    lines = [f"{'':16}{'runs':>8}{'seconds':>10}{'µs a run':>10}{'KiB a run':>11}{'growth':>8}"]
    for name in dict.fromkeys(step.name for step in steps):
        before = None
        for step in sorted((s for s in steps if s.name == name), key=lambda s: s.runs):
            each, kib = step.seconds * 1e6 / step.runs, step.kib / step.runs
            growth = f"{exponent(before, step):.2f}" if before else ""
            lines.append(
                f"{'' if before else name:16}{step.runs:8}{step.seconds:10.3f}{each:10.1f}"
                f"{kib:11.2f}{growth:>8}".rstrip()
            )
            before = step
    return "\n".join(lines) + "\n"


def apart(do: Callable[..., list[Step]], *arguments: Any) -> list[Step]:
    """Measure in a new process, whose memory holds nothing of earlier sizes."""
    spawn = multiprocessing.get_context("spawn")
    try:
        with ProcessPoolExecutor(1, mp_context=spawn) as pool:
            return pool.submit(do, *arguments).result()
    except BrokenProcessPool:
        raise UsageError("the measuring process was killed, as when memory runs out") from None


def peak() -> int:
    """Return the most KiB that this process has held; a parent's are not among them."""
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0])
