"""Seconds by part: of the wall clock, and of the processor."""

import functools
import time
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from statistics import quantiles
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")
Hook = tuple[Any, str, str]
"""A class or module, the name of a function of it, and the part that its time belongs to."""


@dataclass(frozen=True)
class Seconds:
    """A duration, or a moment: `cpu` counts all threads of this process."""

    wall: float = 0.0
    cpu: float = 0.0

    @classmethod
    def now(cls) -> "Seconds":
        """Return the present moment."""
        return cls(time.perf_counter(), time.process_time())

    def __add__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall + other.wall, self.cpu + other.cpu)

    def __sub__(self, other: "Seconds") -> "Seconds":
        return Seconds(self.wall - other.wall, self.cpu - other.cpu)


class Clock:
    """Counts every moment as one part: of nested parts, the innermost."""

    def __init__(self) -> None:
        self.parts: defaultdict[str, Seconds] = defaultdict(Seconds)
        self._open: list[str] = []
        self._since = Seconds()

    @contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Count the time of the block, but for parts inside it."""
        self._switch()
        self._open.append(name)
        try:
            yield
        finally:
            self._switch()
            self._open.pop()

    @contextmanager
    def watching(self, hooks: Iterable[Hook], iterators: Iterable[Hook] = ()) -> Iterator[None]:
        """Count the time of these functions, and of the items of these iterators, in the block."""
        with ExitStack() as stack:
            for timed, some in ((self._timed, hooks), (self._timed_items, iterators)):
                for owner, name, part in some:
                    function = timed(getattr(owner, name), part)
                    stack.enter_context(mock.patch.object(owner, name, function))
            yield

    def items(self, items: Iterable[T], part: str) -> Iterator[T]:
        """Yield items, and count the time that it takes to get them."""
        left = iter(items)
        while True:
            with self.part(part):
                try:
                    item = next(left)
                except StopIteration:
                    return
            yield item

    def _timed(self, plain: Callable[..., Any], part: str) -> Callable[..., Any]:
        @functools.wraps(plain)
        def timed(*arguments: Any, **named: Any) -> Any:
            with self.part(part):
                return plain(*arguments, **named)

        return timed

    def _timed_items(
        self, plain: Callable[..., Iterable[Any]], part: str
    ) -> Callable[..., Iterator[Any]]:
        return lambda *arguments, **named: self.items(plain(*arguments, **named), part)

    def _switch(self) -> None:
        now = Seconds.now()
        if self._open:
            self.parts[self._open[-1]] += now - self._since
        self._since = now


@dataclass(frozen=True)
class Spread:
    """The median of some rounds, and their quartiles."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, rounds: Sequence[float]) -> "Spread":
        """Return that of the rounds' values."""
        values = list(rounds) * (2 if len(rounds) == 1 else 1)  # one round has no quartiles
        low, median, high = quantiles(values, n=4, method="inclusive")
        return cls(median, low, high)

    def scaled(self, factor: float) -> "Spread":
        """Return the same in another unit."""
        return Spread(factor * self.median, factor * self.low, factor * self.high)

    def text(self, digits: int) -> str:
        """Return `median (low to high)` with so many decimal places."""
        return f"{self.median:.{digits}f} ({self.low:.{digits}f} to {self.high:.{digits}f})"
