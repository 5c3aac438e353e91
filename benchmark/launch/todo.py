"""What is to be carried out next: from a list of one's own, or from one that workers share."""

import time
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Protocol

from benchmark.records import claims
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State, Status
from benchmark.records.store import Store

OPEN = (State.TO_DO, State.INTERRUPTED)
"""States of runs that can be taken."""


class ToDo(Protocol):
    """Gives runs to whoever is free."""

    def take(self) -> tuple[RunSpec, bool] | None:
        """Return the next run, if any, and whether to wait for a sign of life of its owner."""

    def give_back(self, spec: RunSpec, died: bool) -> bool:
        """Take back a run that did not come to an end; return whether it is still to be tried here.

        Args:
            spec: the run.
            died: its process here died; otherwise another process seems to carry it out.
        """


class Listed:
    """Runs in their order; those of other processes come last, in case these give up."""

    def __init__(self, specs: Sequence[RunSpec]) -> None:
        self._left = deque((spec, False) for spec in specs)

    def take(self) -> tuple[RunSpec, bool] | None:
        """See `ToDo`."""
        return self._left.popleft() if self._left else None

    def give_back(self, spec: RunSpec, died: bool) -> bool:
        """See `ToDo`."""
        self._left.append((spec, True))
        return True


class Shared:
    """Runs that many workers carry out together: each takes the next that nobody has.

    Claims decide between workers. A run that another worker has is never waited for, but taken once
    it has been let go; one that was tried here and did not come to its end is left to others.

    Args:
        specs: the runs, in the order in which they are wanted.
        results: the results folder.
        until: when there is no time left (`time.monotonic`); None: there is no limit.
        cost: returns the seconds that a run takes, None where that is not known.
        progressed: is called when a run that was taken here has come to its end, and the next is
            asked for.
    """

    def __init__(
        self,
        specs: Sequence[RunSpec],
        results: Path,
        until: float | None = None,
        cost: Callable[[RunSpec], float | None] = lambda spec: None,
        progressed: Callable[[], None] = lambda: None,
    ) -> None:
        self.total = len(specs)
        self._store, self._until, self._cost = Store(results), until, cost
        self._progressed = progressed
        self._left = {spec.id: spec for spec in specs}
        self._tried: set[str] = set()

    def take(self) -> tuple[RunSpec, bool] | None:
        """See `ToDo`."""
        if self._some_ended():
            self._progressed()
        for spec in list(self._left.values()):
            if spec.id in self._tried or not self._is_open(spec):
                continue
            # The first run is begun however long it takes: the next job would have no more time.
            if self._tried and self._too_long(spec):
                continue
            self._tried.add(spec.id)
            return spec, False
        return None

    def give_back(self, spec: RunSpec, died: bool) -> bool:
        """See `ToDo`."""
        self._tried.discard(spec.id)
        return died

    def left(self) -> tuple[int, int]:
        """Return how many runs nobody has: those that there was no time for, and those tried.

        A run that failed on this machine was tried, whichever worker found so: none here takes it.
        """
        seen = [(spec.id, self._free(spec)) for spec in list(self._left.values())]
        left = [(run, status) for run, status in seen if status]
        tried = sum(run in self._tried or _failed_here(status) for run, status in left)
        return len(left) - tried, tried

    def _some_ended(self) -> bool:
        """Return whether runs that were tried have come to their ends since the last time."""
        tried = [self._left[run] for run in self._tried if run in self._left]
        return any(self._status(spec).state in ENDED for spec in tried)

    def _is_open(self, spec: RunSpec) -> bool:
        """Return whether a run can be taken here."""
        status = self._free(spec)
        return status is not None and not _failed_here(status)

    def _free(self, spec: RunSpec) -> Status | None:
        """Return how a run stands that is to be carried out and that nobody has; else None."""
        status = self._status(spec)
        if status.state not in OPEN:
            return None
        # Whoever takes a run claims it some time before its status says so.
        return None if claims.held(self._store.folder(spec).path) else status

    def _status(self, spec: RunSpec) -> Status:
        """Return how a run stands; forget one that has ended."""
        status = self._store.folder(spec).status()
        if status.state in ENDED:
            del self._left[spec.id]
        return status

    def _too_long(self, spec: RunSpec) -> bool:
        if self._until is None or (cost := self._cost(spec)) is None:
            return False
        return time.monotonic() + cost > self._until


def _failed_here(status: Status) -> bool:
    return status.failed_on == claims.host()
