"""The committed runs that a scorecard sets a method beside."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from benchmark.records import committed, read
from benchmark.records.committed import CommittedSet
from benchmark.records.read import Record
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import NUMBERS_VERSION, RunSpec
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.labels import is_default
from mmdg_common import UsageError


def find(place: Path | None) -> CommittedSet:
    """Return the committed results in a folder; None: those that the suite carries.

    Raises:
        UsageError: there are none, or their numbers are those of another version.
    """
    of = committed.find(place or committed.HOME)
    if of is None:
        raise UsageError(
            f"there are no committed results in {committed.HOME} to compare with; name some with "
            "--reuse DIR"
        )
    try:
        version = of.numbers_version
    except UnreadableError as error:
        raise UsageError(f"{error}; name other results with --reuse DIR") from None
    if version != NUMBERS_VERSION:
        raise UsageError(
            f"{of.root} holds numbers of version {version}, and this code makes those of version "
            f"{NUMBERS_VERSION}; name other results with --reuse DIR"
        )
    return of


@dataclass(frozen=True)
class Beside:
    """What committed results have of a suite."""

    name: str
    wanted: Mapping[str, str]
    """The dataset of each cell, that is what the runs of all methods share that are compared."""
    records: Sequence[Record]
    """Of all methods but the user's, with default hyper-parameters."""
    problems: Sequence[str]
    """What could not be read."""

    @cached_property
    def erm(self) -> list[Record]:
        """Return the runs that gains are computed from."""
        return [record for record in self.records if record.spec.method == BASELINE]

    @cached_property
    def _compared(self) -> set[str]:
        return {_cell(record.spec) for record in self.erm}

    def compares(self, spec: RunSpec) -> bool:
        """Return whether there is a run of ERM to compare a run with."""
        return _cell(spec) in self._compared

    def lacking(self) -> Iterator[str]:
        """Yield in words for which runs there is none."""
        have = Counter(self.wanted[cell] for cell in self._compared)
        for dataset, number in Counter(self.wanted.values()).items():
            if have[dataset] < number:
                yield (
                    f"left out: {number - have[dataset]} of {number} runs on {dataset}, as "
                    f"{self.name} has no such run of {BASELINE} (or on other data)"
                )


def collect(
    of: CommittedSet, planned: Sequence[RunSpec], own: Collection[str], rule: str
) -> Beside:
    """Return the committed runs that differ from planned ones in the method alone.

    Args:
        of: the committed results.
        planned: the runs of a suite.
        own: the user's methods, of which nothing is taken.
        rule: the selection rule that is wanted.
    """
    cells = {_cell(spec): spec.dataset for spec in planned}
    found = read.read([of.root], rule)
    records = [
        record
        for record in found.records
        if record.spec.method not in own and is_default(record.spec) and _cell(record.spec) in cells
    ]
    return Beside(of.name, cells, records, found.problems)


def _cell(spec: RunSpec) -> str:
    """Return what names the runs of all methods that stand beside each other."""
    return replace(spec, method="", hyperparameters={}).id
