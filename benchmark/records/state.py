"""The state of a run: the only words for it, in files and in front of users."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Annotated, Any

from benchmark.records import shape
from benchmark.records.shape import Count, UnreadableError, Within


class State(StrEnum):
    """Where a run stands."""

    TO_DO = "to do"
    """It has never begun, or is to start anew: `--force` and `--retry-failed` ask for that."""
    QUEUED = "queued"
    """A SLURM job waits to carry it out. Only the queue knows; no file says so."""
    RUNNING = "running"
    """A living process carries it out."""
    INTERRUPTED = "interrupted"
    """It goes on from its last checkpoint: a signal ended its process, the process was killed, or
    the machine failed it, for example by a full disk."""
    FAILED = "failed"
    """An error of its own ended it; `--retry-failed` starts it anew."""
    DONE = "done"
    """A usable `result.json` is there."""


ENDED = (State.DONE, State.FAILED)
"""States that only a user's wish changes."""

_EARLIER = {"queued": State.TO_DO, "preempted": State.INTERRUPTED}
"""Words that earlier versions wrote."""
_LATEST = 253402300799
"""The last second of the year 9999, the latest that dates can tell."""


@dataclass(frozen=True)
class Status:
    """The state of a run, and the details that are known of it."""

    state: State
    error: str = ""
    """Why the run failed or was interrupted."""
    traceback: str = ""
    """Where it failed."""
    problem: str = ""
    """Which file of the run is damaged, and in what way."""
    step: Count | None = None
    """The steps taken so far, of `total`; None before the first are told."""
    total: Count | None = None
    failed_on: str = ""
    """The machine where an error of its own ended it for the first time. Where runs have several
    machines, a second one has to find the same before the run counts as failed."""
    retry: bool = False
    """Whether `--retry-failed` asked for the run, which has not ended since."""
    forced: str = ""
    """The token of the command that last forced the run; empty where none did."""
    time: Annotated[float, Within(0, _LATEST)] | None = None
    """When this was written, in seconds since 1970."""


def parse_state(word: str) -> State:
    """Return the state that a file of this or an earlier version names.

    Raises:
        UnreadableError: there is no such state.
    """
    try:
        return _EARLIER.get(word) or State(word)
    except ValueError:
        raise UnreadableError("state is missing or wrong") from None


def parse(values: Mapping[str, Any]) -> Status:
    """Return the status that a `status.json` holds.

    Raises:
        UnreadableError: the values are not those of a status.
    """
    names = {one.name for one in fields(Status)} - {"problem"}
    known = {name: values[name] for name in names & values.keys()}
    known["state"] = parse_state(str(known.get("state")))
    shape.require(known, Status)
    return Status(**known)
