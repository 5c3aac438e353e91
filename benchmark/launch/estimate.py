"""The cost of runs, estimated from the records of earlier ones."""

from itertools import islice
from pathlib import Path
from statistics import fmean

from benchmark.records.spec import RunSpec
from benchmark.records.store import Store

ENOUGH = 20
"""Records of one kind that are read; more would hardly change the mean."""


class Costs:
    """Seconds per run of each dataset, method and modalities, from the done runs of a folder."""

    def __init__(self, results: Path) -> None:
        self.store = Store(results)
        self._found: dict[tuple[str, str, str], list[float]] = {}

    def of(self, spec: RunSpec) -> float | None:
        """Return the mean of earlier runs of the same dataset, method and modalities, or None."""
        key = (spec.dataset, spec.method, "+".join(spec.modalities))
        if key not in self._found:
            provenances = (result["provenance"] for result in self.store.results(*key))
            seconds = (one["wall_s"] for one in provenances if "wall_s" in one)
            self._found[key] = list(islice(seconds, ENOUGH))
        found = self._found[key]
        return fmean(found) if found else None


def duration(seconds: float) -> str:
    """Return seconds as a reader takes them: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
