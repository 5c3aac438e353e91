"""The runs that a sweep command is about: those that were launched, or that its grid asks for now.

To look at a sweep is to look at what was launched, without planning or data. To run something is to
run what the grid says now; where it says what was launched, it need not be planned again.
"""

import argparse
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from benchmark.launch import profile
from benchmark.planning import choice
from benchmark.records import manifest
from benchmark.records.manifest import Manifest, SweepRow
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from mmdg_common import homes


@dataclass(frozen=True)
class Subject:
    """The runs of a sweep that are wanted, and how they are carried out."""

    grid: Path
    rows: Sequence[SweepRow]
    settings: RunSettings
    planned: Sequence[SweepRow] = ()
    """All that the grid asks for, wanted or not, where it was planned just now."""
    lacking: Sequence[str] = ()
    """The datasets of the grid that the plan leaves out."""

    @classmethod
    def of(cls, args: argparse.Namespace, results: Path, looks: bool) -> "Subject":
        """Return the runs that the options of `benchmark.sweep` are about.

        Args:
            args: the options.
            results: the results folder.
            looks: whether nothing is to be run.

        Raises:
            UsageError: the grid or an option is wrong, or data is not there that is needed.
        """
        only = choice.read(args.only)
        wanted = choice.listed(only.get("dataset", ()))
        found = None
        if looks or args.watch or args.retry_failed is not None:
            found = manifest.find(results, args.grid)
        if found and _covers(found, wanted) and (looks or not _edited(found, args.grid)):
            _tell(found, args.grid, wanted)
            of = () if looks else {spec.dataset for row in found.rows for spec in row.specs}
            settings = _settings(args, results, of)
            return cls(args.grid, choice.narrowed(found.rows, only), settings)
        return cls._planned(args, results, only, wanted)

    @classmethod
    def _planned(
        cls,
        args: argparse.Namespace,
        results: Path,
        only: Mapping[str, Sequence[str]],
        wanted: Sequence[str],
    ) -> "Subject":
        from benchmark.planning import grid, plan, suite

        whole = grid.read(args.grid)
        read = suite.only(whole, wanted)
        there = [entry.request.dataset for entry in read.entries]
        settings = _settings(args, results, there)
        rows = read.plan(settings)
        if not wanted:  # the weights may be those of a dataset that is left out
            plan.check_weights([row.plan for row in rows], settings)
        for reason in dict.fromkeys(r for row in rows for r in row.plan.skipped):
            print(f"skipped: {reason}")
        for note in dict.fromkeys(n for row in rows for n in row.plan.notes):
            print(note)
        launched = [row.launched for row in rows]
        every = dict.fromkeys(entry.request.dataset for entry in whole.entries)
        lacking = [name for name in every if name not in there]
        return cls(args.grid, choice.narrowed(launched, only), settings, launched, lacking)

    @cached_property
    def specs(self) -> list[RunSpec]:
        """The runs, each once."""
        return manifest.specs(self.rows)

    @cached_property
    def _labels(self) -> dict[str, str]:
        return {spec.id: row.label for row in reversed(self.rows) for spec in row.specs}

    def row(self, spec: RunSpec) -> tuple[str, str]:
        """Return the dataset and the name of the row of a run."""
        return spec.dataset, self._labels[spec.id] or spec.method

    def remember(self) -> None:
        """Write what is launched, if it was planned just now."""
        if self.planned:
            manifest.write(self.settings.results, self.grid, self.planned, self.lacking)


def _covers(found: Manifest, wanted: Sequence[str]) -> bool:
    """Return whether something was launched of all datasets that are wanted."""
    return not {*wanted} & {*found.left_out}


def _edited(found: Manifest, grid: Path) -> bool:
    return found.digest != manifest.digest(grid)


def _tell(found: Manifest, grid: Path, wanted: Sequence[str]) -> None:
    """Say in what the launched runs are not those of the grid."""
    if _edited(found, grid):
        print(
            f"{grid} was edited since it was launched: this is what was launched, and --dry-run "
            "shows what the grid says now"
        )
    elif found.left_out and not wanted:
        print(f"not launched yet, and so not shown: {', '.join(found.left_out)}")


def _settings(args: argparse.Namespace, results: Path, datasets: Collection[str]) -> RunSettings:
    """Return how runs of these datasets are carried out; without one no data is looked for."""
    from benchmark.planning import request

    places = homes()
    roots = request.data_roots(args.data_root, datasets, places) if datasets else {}
    settings = request.settings(args, results, places, roots)
    return profile.unpacking(settings, args.profile or "")
