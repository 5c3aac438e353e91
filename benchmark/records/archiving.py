"""Packing finished runs: what is needed later goes into the pack of their split, the rest goes.

First the whole pack is written under another name and takes its place; then the files that it holds
are removed. Whoever is killed on the way leaves files that are there twice and say the same, and
the next call removes them. What a pack holds it keeps: of a run that was forced after it was
packed, the earlier record stays as `<id>~1`.

One process packs at a time, by its claim. Runs may be forced, analysed or carried out meanwhile:
nothing is removed but what was packed, file by file, from the very folder that it was read from.
"""

import os
import re
import time
import zipfile
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path

from benchmark.records import analyses, archive, claims, read, result
from benchmark.records.archive import Signature, signature
from benchmark.records.claims import Claim
from benchmark.records.run_folder import (
    LOG,
    METRICS,
    PREDICTIONS,
    SPEC,
    STATUS,
    TEMPORARY,
    RunFolder,
)
from benchmark.records.shape import UnreadableError
from benchmark.records.store import Store
from mmdg_common import UsageError, written_atomically

KEPT = (STATUS, result.NAME, SPEC, METRICS, PREDICTIONS)
"""What is packed of a run, beside its analyses. The first two are removed first, as they make a
folder's record count."""
DROPPED = {
    "logs": re.compile(re.escape(LOG)),
    "claims": claims.FILE,
    "checkpoints": re.compile(r"checkpoint.*\.pt"),
    "temporary files": TEMPORARY,
}
"""What nobody needs of a run that is done, by what it is called."""

_EARLIEST = 315619200
"""The second of 1980 from which a zip file can date its members, wherever it is made."""


@dataclass
class Packed:
    """What a call has done."""

    runs: int = 0
    packs: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    left: Counter[str] = field(default_factory=Counter)
    """Runs that stay as they are, by the reason."""
    done: set[str] = field(default_factory=set)
    """The ids of all runs that are packed now."""
    problems: list[str] = field(default_factory=list)


@dataclass
class _Run:
    """A run whose folder holds what is to be packed, or was packed."""

    folder: RunFolder
    inode: int
    new: list[str]
    """The files that the pack lacks, or has otherwise."""
    files: dict[str, Signature] = field(default_factory=dict)
    """By name, the files that the pack holds, as they were when they were read."""
    aside: str = ""
    """The name in the pack of an earlier record, which this one is to replace."""

    @property
    def key(self) -> str:
        """Return what the run is called in the pack."""
        return f"{self.folder.path.parent.name}/{self.folder.path.name}"


def pack(store: Store) -> Packed:
    """Pack the runs of a results folder that are done.

    Raises:
        UsageError: another process does it.
        ClaimLostError: another process took it over.
        OSError: a file cannot be read, written or removed.
    """
    found, claim = Packed(), claims.take(store.cache / "packing")
    if claim is None:
        raise UsageError(f"another process packs {store.root}; repeat this when it has ended")
    with claim:
        for split in store.splits():
            try:
                _pack(split, store, claim, found)
            except UnreadableError as error:
                found.problems.append(f"{error}; restore it, or move it away and repeat this")
    return found


def _pack(split: Path, store: Store, claim: Claim, found: Packed) -> None:
    there = {key.partition("/")[2] for key in archive.runs(split)}
    found.done |= {name for name in there if "~" not in name}
    runs = [run for folder in store.runs_of(split) if (run := _looked_at(folder, found))]
    for path in split.glob(f".{archive.NAME}.*"):
        path.unlink(missing_ok=True)  # of a packing process that was killed
    if any(run.new for run in runs):
        _write(split / archive.NAME, runs, claim)
        found.packs += 1
    for run in runs:
        claim.check()
        _remove(run, found)


def _looked_at(folder: RunFolder, found: Packed) -> _Run | None:
    """Return what there is to pack, or to remove, of a run; None where it stays as it is."""
    try:
        inode = os.stat(folder.path).st_ino
    except FileNotFoundError:
        return None  # nothing is there but what is packed
    if folder.own:
        if why := _unfit(folder):
            found.left[why] += 1
            found.done.discard(folder.path.name)
            return None
        found.runs += 1
    elif not folder.packed:
        found.left["not done"] += 1
        return None
    elif claims.held(folder.path):
        return None
    paths = [folder.path / name for name in KEPT]
    paths += (folder.path / analyses.FOLDER).glob("*.json")
    names = [str(path.relative_to(folder.path)) for path in paths if path.is_file()]
    before = archive.read(folder.path, result.NAME)
    replaced = folder.own and before is not None and before != folder.read(result.NAME)
    run = _Run(folder, inode, names, aside=_free(folder) if replaced else "")
    if before is not None and not replaced:
        run.new = list(_differing(run))
    return run


def _unfit(folder: RunFolder) -> str:
    """Return why a run with a record of its own is not packed; '' where it can be."""
    if claims.held(folder.path):
        return "running"
    try:
        spec = folder.spec()
    except (UnreadableError, UsageError):
        return "damaged"
    problems: list[str] = []
    done = spec is not None and read.of_folder(spec, folder, problems).result is not None
    if problems or folder.noted().problem:
        return "damaged"
    return "" if done else "not done"


def _free(folder: RunFolder) -> str:
    """Return a name for an earlier record that neither the pack nor a folder has."""
    names = (folder.path.with_name(f"{folder.path.name}~{number}") for number in count(1))
    return next(path.name for path in names if not (path.exists() or [*archive.names(path)]))


def _differing(run: _Run) -> Iterator[str]:
    """Yield which of a run's files the pack lacks or has otherwise; note those that are alike."""
    with _opened(run) as directory:
        for name in run.new if directory is not None else ():
            data, signed = _read(name, directory)
            if data == archive.read(run.folder.path, name):
                run.files[name] = signed
            else:
                yield name


def _write(path: Path, runs: Iterable[_Run], claim: Claim) -> None:
    """Replace a pack by one that also holds the new files of some runs."""
    new: dict[str, _Run] = {}
    with written_atomically(path) as file, zipfile.ZipFile(file, "w") as pack:
        for run in runs:
            with _opened(run) as directory:
                if directory is None:
                    continue
                for name in run.new:
                    data, run.files[name] = _read(name, directory)
                    modified = time.localtime(max(run.files[name][2] // 10**9, _EARLIEST))
                    pack.writestr(_member(f"{run.key}/{name}", modified[:6]), data)
                new[run.key] = run
        if path.exists():
            _copy(path, pack, new)
        claim.check()


def _copy(path: Path, pack: zipfile.ZipFile, new: Mapping[str, _Run]) -> None:
    """Copy what a pack held, but for what is new.

    Raises:
        UnreadableError: a member is damaged.
    """
    with zipfile.ZipFile(path) as before:
        for member in before.infolist():
            (key, name), place = archive.split_name(member.filename), member.filename
            run = new.get(key)
            if run is not None and run.aside:
                place = f"{key.partition('/')[0]}/{run.aside}/{name}"
            elif run is not None and name in run.new:
                continue
            try:
                data = before.read(member)
            except zipfile.BadZipFile as error:
                raise UnreadableError(f"{path}: {error}") from error
            pack.writestr(_member(place, member.date_time), data)


def _member(name: str, modified: Sequence[int]) -> zipfile.ZipInfo:
    year, month, day, hour, minute, second = modified
    made = zipfile.ZipInfo(name, (year, month, day, hour, minute, second))
    made.external_attr = 0o644 << 16  # without which `unzip` makes files that nobody may read
    return made


def _remove(run: _Run, found: Packed) -> None:
    """Remove what is packed of a run from its folder, and what nobody needs."""
    with _opened(run) as directory:
        if directory is None:
            return
        for name in sorted(run.files, key=(*KEPT, *run.files).index):
            # What was written anew since it was read stays for the next call.
            if signature(os.stat(name, dir_fd=directory)) == run.files[name]:
                os.unlink(name, dir_fd=directory)
            elif name in KEPT:
                return
        for name in os.listdir(directory):
            for what, pattern in DROPPED.items():
                if pattern.fullmatch(name):
                    os.unlink(name, dir_fd=directory)
                    found.dropped[what] += 1
        with suppress(OSError):
            os.rmdir(analyses.FOLDER, dir_fd=directory)
    found.done.add(run.folder.path.name)
    # Kept weights stay, and so do files of others. A run that is claimed in this instant finds its
    # folder gone and counts as interrupted.
    for path in (run.folder.path, run.folder.path.parent):
        with suppress(OSError):
            path.rmdir()


@contextmanager
def _opened(run: _Run) -> Iterator[int | None]:
    """Open the folder of a run, which stays the same one should it be put aside from now on.

    Yields None where it was put aside before: another folder, or none, is in its place.
    """
    try:
        directory = os.open(run.folder.path, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield None
        return
    try:
        yield directory if os.fstat(directory).st_ino == run.inode else None
    finally:
        os.close(directory)


def _read(name: str, directory: int | None) -> tuple[bytes, Signature]:
    def within(path: str, flags: int) -> int:
        return os.open(path, flags, dir_fd=directory)

    with open(name, "rb", opener=within) as file:
        return file.read(), signature(os.fstat(file.fileno()))


def size(places: Iterable[Path]) -> tuple[int, int]:
    """Return how many files there are below some folders, and their bytes."""
    found = [
        os.lstat(os.path.join(folder, name)).st_size
        for place in places
        for folder, _, names in os.walk(place)
        for name in names
    ]
    return len(found), sum(found)
