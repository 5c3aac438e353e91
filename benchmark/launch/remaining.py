"""What the rest of a sweep will take, by the runs of it that are done: neither data nor torch."""

from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.launch.status import Standing, duration
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State


@dataclass(frozen=True)
class Remaining:
    """What the runs take that have not ended."""

    seconds: float
    """Of all that are known, one after the other."""
    longest: float
    """Of the one that takes longest."""
    unknown: int
    """Runs that no run is done of to tell by."""
    at_once: int
    """Runs under way now."""

    def __str__(self) -> str:
        text = f"about {duration(self.seconds)} of training left, by the runs that are done"
        if self.at_once > 1:
            wait = max(self.seconds / self.at_once, self.longest)
            text += f"; with {self.at_once} at once about {duration(wait)}"
        if self.unknown:
            text += f"; not counted: {self.unknown} runs on data or modalities without a done run"
        return text


def remaining(standings: Sequence[Standing]) -> Remaining | None:
    """Return what the rest will take; None where nothing is left, or nothing tells.

    A run takes as long as the done ones of its method, data and modalities did on average; where
    there are none, as those of other methods.
    """
    took: dict[Hashable, list[float]] = {}
    for one in standings:
        for key in _keys(one.spec) if one.seconds is not None else ():
            took.setdefault(key, []).append(one.seconds or 0.0)
    means = {key: fmean(times) for key, times in took.items()}
    left = [one for one in standings if one.state not in ENDED]
    known = [
        seconds * (1 - one.trained)
        for one in left
        if (seconds := _first(means, _keys(one.spec))) is not None
    ]
    if not known:
        return None
    at_once = sum(one.state is State.RUNNING for one in left)
    return Remaining(sum(known), max(known), len(left) - len(known), at_once)


def _keys(spec: RunSpec) -> tuple[Hashable, ...]:
    """Return what the times of runs are told by, the closest first."""
    return (spec.dataset, spec.modalities, spec.method), (spec.dataset, spec.modalities)


def _first(means: Mapping[Hashable, float], keys: Iterable[Hashable]) -> float | None:
    return next((means[key] for key in keys if key in means), None)
