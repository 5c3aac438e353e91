"""What runs will cost, from the records of earlier ones."""

from collections.abc import Iterable
from pathlib import Path
from statistics import fmean

from benchmark.records.spec import RunSpec
from mmdg_common import read_json

ENOUGH = 20
"""Records of one kind that are read; more would tell little more."""


class Costs:
    """Seconds a run, by dataset, method and modalities, from the done runs of a results folder."""

    def __init__(self, results: Path) -> None:
        self.runs = results / "runs"
        self._found: dict[tuple[str, str, str], list[float]] = {}

    def of(self, spec: RunSpec) -> float | None:
        """Return the mean of earlier runs of the same dataset, method and modalities, or None."""
        key = (spec.dataset, spec.method, "+".join(spec.modalities))
        if key not in self._found:
            self._found[key] = list(self._read(*key))
        found = self._found[key]
        return fmean(found) if found else None

    def _read(self, dataset: str, method: str, modalities: str) -> Iterable[float]:
        paths = (self.runs / dataset / method).glob(f"*/{modalities}/*/result.json")
        for path, _ in zip(paths, range(ENOUGH), strict=False):
            result = read_json(path)
            if result:
                yield float(result["provenance"]["wall_s"])


def duration(seconds: float) -> str:
    """Return seconds as a reader takes them: `40 s`, `12 min`, `3.5 h`."""
    if seconds < 90:
        return f"{seconds:.0f} s"
    if seconds < 5400:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h"
