"""The records on disk: a folder for each run, or a pack of many runs for each split."""

import hashlib
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from benchmark.records import archive
from benchmark.records.run_folder import SPEC, RunFolder
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from mmdg_common import UsageError

LONGEST_NAME = 255
"""Bytes in the name of a folder, on most file systems."""
LEVELS = ("dataset", "method", "split", "modalities", "id")
"""What folders are of from `runs/` to a run, each inside the one before."""


def split_folder(sources: Sequence[str], target: str) -> str:
    """Return the name of the folder that holds the runs of a split, with or without a target."""
    return f"{'+'.join(sources)}_to_{target}" if target else "all_domains"


def modalities_folder(modalities: Sequence[str]) -> str:
    """Return the name of the folder that holds the runs of a set of modalities.

    The names, or their number and a hash where a file system would refuse to take them all.
    """
    name = "+".join(modalities)
    if len(name.encode()) <= LONGEST_NAME:
        return name
    return f"{len(modalities)}_modalities_{hashlib.sha256(name.encode()).hexdigest()[:12]}"


class Store:
    """The results folder: `runs/` and `cache/`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.runs = root / "runs"
        self.cache = root / "cache"
        self.problems: list[str] = []
        """The files that `all` passed over, with the reason: damaged, or not of the suite."""

    @classmethod
    def of(cls, folder: Path) -> "Store | None":
        """Return the results folder that the folder of a run lies in; None where it was copied."""
        above = len(LEVELS) - 1
        for path in (folder, folder.resolve()):
            if len(path.parents) > above and path.parents[above].name == "runs":
                return cls(path.parents[above].parent)
        return None

    def folder(self, spec: RunSpec) -> RunFolder:
        """Return the folder of a run, which need not exist yet."""
        split = split_folder(spec.sources, spec.target)
        parts = (spec.dataset, spec.method, split, modalities_folder(spec.modalities), spec.id)
        return RunFolder(self.runs.joinpath(*parts))

    def all(self) -> Iterator[tuple[RunSpec, RunFolder]]:
        """Yield every run that has a spec, sorted by path; attempts set aside are left out."""
        self.problems = []
        for split in self.splits():
            for folder in self.runs_of(split):
                if spec := self._spec(folder):
                    yield spec, folder

    def done(
        self,
        dataset: str | None = None,
        method: str | None = None,
        modalities: Sequence[str] | None = None,
        each: int = 2**31,
    ) -> Iterator[tuple[RunSpec, dict[str, Any]]]:
        """Yield done runs with their results, each read when it is asked for.

        Args:
            dataset: by name; None here and below: any.
            method: the composition.
            modalities: by name, all of the run.
            each: how many of each method and set of modalities on a dataset, at most.
        """
        of = None if modalities is None else modalities_folder(modalities)
        number: Counter[tuple[str, ...]] = Counter()
        for split in self.splits(dataset, method):
            for folder in self.runs_of(split, of):
                # What is the same of runs that differ in split, settings or seed.
                *_, of_dataset, of_method, _, of_modalities, _ = folder.path.parts
                kind = of_dataset, of_method, of_modalities
                if number[kind] >= each or not (spec := self._spec(folder)):
                    continue
                if found := folder.result():
                    number[kind] += 1
                    yield spec, found

    def _spec(self, folder: RunFolder) -> RunSpec | None:
        """Return the spec of a run; None, and a problem noted, where it is none."""
        try:
            return folder.spec()
        except (UnreadableError, UsageError) as error:
            self.problems.append(f"{folder.path / SPEC}: {error}")
            return None

    def splits(self, dataset: str | None = None, method: str | None = None) -> Iterator[Path]:
        """Yield the folders of splits, sorted; of any dataset and method where none is named."""
        return self._below(self.runs, (dataset, method, None))

    def runs_of(self, split: Path, modalities: str | None = None) -> Iterator[RunFolder]:
        """Yield the runs of a split, packed ones included, sorted by path.

        Args:
            split: its folder.
            modalities: the name of the folder that they are in; None: any.
        """
        folders = set(self._below(split, (modalities, None)))
        packed: set[Path] = set()
        try:
            keys = (key for key in archive.runs(split) if modalities in (None, key.split("/")[0]))
            packed.update(split / key for key in keys)
        except UnreadableError as error:
            self.problems.append(f"{error}; its runs are left out")
        for path in sorted(folders | packed):
            if "~" not in path.name:
                yield RunFolder(path, bare=path not in folders)

    def _below(self, path: Path, levels: Sequence[str | None]) -> Iterator[Path]:
        """Yield the folders so many levels below one, sorted; a level that is None may be any."""
        if not levels:
            yield path
            return
        name, *rest = levels
        if name is not None:
            yield from self._below(path / name, rest)
            return
        for entry in self._entries(path):
            if entry.is_dir():
                yield from self._below(Path(entry.path), rest)
            # Hidden files are the file system's own.
            elif not entry.name.startswith(".") and entry.name != archive.NAME:
                self.problems.append(f"{entry.path}: no file of the suite")

    def _entries(self, path: Path) -> list[os.DirEntry[str]]:
        try:
            with os.scandir(path) as entries:
                return sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            return []
        except OSError as error:
            self.problems.append(f"{path}: {error.strerror}")
            return []
