"""Copies of datasets on a machine's own disk, each made once for all processes there.

A place holds `lock`, and a folder for each state of each origin, with these in it:

    data            the files
    complete.json   how many they are, and their bytes: written last, and absent from half a copy
    used            locked by every process that reads the copy, so that it is not removed
"""

import errno
import fcntl
import hashlib
import json
import os
import shutil
import stat
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import IO

from datasets import archives
from datasets.bulk import in_threads, locked, on_disk
from datasets.contents import BESIDE
from mmdg_common import UsageError, parse_json, written_atomically

RESERVE = 10**9
"""Bytes that stay free on the disk."""
DATA, MARK, USED, LOCK = "data", "complete.json", "used", "lock"

_in_use: list[IO[bytes]] = []
"""The locked files of the copies that this process reads; the locks end with it."""


class NoRoomError(OSError):
    """A disk has no room for a copy."""


def place_of(stage: Mapping[str, str], name: str) -> str:
    """Return where copies of a dataset are kept, "" for nowhere.

    Args:
        stage: places by dataset; under "" the folder of those of all others.
        name: of the dataset.
    """
    return stage.get(name) or (f"{stage['']}/{name}" if "" in stage else "")


def near(name: str, origin: Path, place: str) -> tuple[Path, str]:
    """Return where this machine is to read a dataset, and what to say of it in a log.

    It is a copy; where none can be made of a folder, it is that folder.

    Args:
        name: of the dataset.
        origin: the user's folder, or an archive of it.
        place: where copies of it are kept; environment variables in it are those of this machine.

    Raises:
        OSError: an archive cannot be unpacked there.
        UsageError: an archive is damaged.
    """
    try:
        copy = stage(name, origin, _expanded(place))
        return copy, f"{name} is read from {copy}, a copy of {origin}"
    except OSError as error:
        if archives.is_archive(origin):
            raise
        told = f"{name} is read from {origin}, as it cannot be copied to {place}: {error}"
        print(told, file=sys.stderr, flush=True)
        return origin, told


def stage(name: str, origin: Path, place: Path) -> Path:
    """Return a whole copy of a dataset, made now unless there is one.

    This process may read it until it ends. Copies of earlier states of the origin are removed
    unless a process reads them.

    Args:
        name: of the dataset.
        origin: the user's folder, or an archive of it.
        place: the folder on this machine's own disk that holds the copies.

    Raises:
        OSError: there is no room, or a file cannot be read or written; no half copy is left.
        UsageError: an archive is damaged.
    """
    origin = origin.resolve()
    if place.resolve().is_relative_to(origin):
        raise OSError(f"{place} lies in the folder itself")
    state = _state(origin)
    of_origin = f"{_short(str(origin))}-"
    home = place / f"{of_origin}{_short(repr(state))}"
    with locked(place / LOCK, f"waiting for another process that copies {name} to {place} ..."):
        for other in place.glob(f"{of_origin}*"):
            if other != home:
                _remove(other)
        home.mkdir(exist_ok=True)
        used = (home / USED).open("ab")
        fcntl.flock(used, fcntl.LOCK_SH)
        if not _is_whole(home):
            print(f"copying {name} from {origin} to {home} ...", file=sys.stderr, flush=True)
            (home / MARK).unlink(missing_ok=True)
            try:
                _make(name, origin, state, home)
            except (OSError, UsageError):
                used.close()
                _remove(home)
                raise
        _in_use.append(used)
    return home / DATA


@dataclass(frozen=True)
class _File:
    """A file: its path below a folder, and what changes with it."""

    path: str
    size: int
    time: int
    """When it was written, in ns."""


@dataclass(frozen=True)
class _Tree:
    """What is in a folder and below it, sorted."""

    folders: list[str]
    files: list[_File]


def _make(name: str, origin: Path, state: _Tree | _File, home: Path) -> None:
    """Make a copy, or what is lacking of one, and mark it as whole."""
    check_room = partial(_check_room, name, home)
    if isinstance(state, _Tree):
        _copy(origin, state, home / DATA, check_room)
    else:
        archives.unpack(origin, name, home / DATA, check_room)
        if _state(origin) != state:
            raise OSError(f"{origin} changed while it was unpacked")
    (home / (DATA + BESIDE)).write_text("{}")
    files = _tree(home / DATA).files
    content = {"files": len(files), "bytes": sum(file.size for file in files)}
    with written_atomically(home / MARK) as mark:
        mark.write(json.dumps(content).encode())


def _copy(origin: Path, tree: _Tree, to: Path, check_room: Callable[[int], None]) -> None:
    """Copy what is not there yet, as it is in the tree."""
    there = {file.path: file for file in _tree(to).files} if to.exists() else {}
    todo = [file for file in tree.files if there.get(file.path) != file]
    check_room(on_disk(file.size for file in todo))
    for folder in ("", *tree.folders):
        (to / folder).mkdir(parents=True, exist_ok=True)

    def copy(file: _File) -> None:
        source, target = origin / file.path, to / file.path
        part = target.with_name(f".{_short(target.name)}.part")
        shutil.copyfile(source, part)
        if _file(source, file.path) != file or part.stat().st_size != file.size:
            raise OSError(f"{source} changed while it was copied")
        os.utime(part, ns=(file.time, file.time))
        os.replace(part, target)

    in_threads(copy, todo)


def _is_whole(home: Path) -> bool:
    """Return whether a copy is marked, and has lost nothing since, as to a tidy of old files."""
    with suppress(OSError):
        mark = parse_json((home / MARK).read_bytes())
        files = _tree(home / DATA).files
        return mark == {"files": len(files), "bytes": sum(file.size for file in files)}
    return False


def _remove(home: Path) -> None:
    """Remove a copy unless a process reads it."""
    with suppress(OSError), (home / USED).open("ab") as used:
        fcntl.flock(used, fcntl.LOCK_EX | fcntl.LOCK_NB)
        (home / MARK).unlink(missing_ok=True)
        shutil.rmtree(home)


def _state(origin: Path) -> _Tree | _File:
    """Return what changes with a folder or an archive."""
    if archives.is_archive(origin):
        return _File("", origin.stat().st_size, origin.stat().st_mtime_ns)
    return _tree(origin)


def _tree(folder: Path) -> _Tree:
    """List a folder; what links lead to counts as what is there.

    Raises:
        OSError: a folder cannot be listed, or links to one that it is in.
    """
    folders: list[str] = []
    paths: list[str] = []

    def walk(path: Path, below: str, above: Sequence[tuple[int, int]]) -> None:
        status = path.stat()
        this = status.st_dev, status.st_ino
        if this in above:
            raise OSError(errno.ELOOP, "a folder links to one that it is in", str(path))
        with os.scandir(path) as entries:
            for entry in entries:
                name = f"{below}{entry.name}"
                if entry.is_dir():
                    folders.append(name)
                    walk(Path(entry.path), f"{name}/", (*above, this))
                else:
                    paths.append(name)

    walk(folder, "", ())
    found = in_threads(lambda path: _file(folder / path, path), paths)
    files = sorted((file for file in found if file), key=lambda file: file.path)
    return _Tree(sorted(folders), files)


def _file(path: Path, name: str) -> _File | None:
    """Return a file under a name; None where there is none, as at the end of a dead link."""
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(status.st_mode):
        return None
    return _File(name, status.st_size, status.st_mtime_ns)


def _check_room(name: str, home: Path, size: int, written: int = 0, more: bool = False) -> None:
    """Raise NoRoomError where a disk has no room for a copy.

    Args:
        name: of the dataset.
        home: of the copy.
        size: bytes of what is to be written.
        written: those of them that are.
        more: whether it may be larger than that.
    """
    free = shutil.disk_usage(home).free
    if size - written + RESERVE > free:
        raise NoRoomError(
            f"{name} needs {'more than ' * more}{size / 1e9:.1f} GB in {home}, where "
            f"{(free + written) / 1e9:.1f} GB are free and {RESERVE / 1e9:.1f} GB must stay so"
        )


def _expanded(place: str) -> Path:
    """Return a place on this machine; raise OSError for a variable that is not set here."""
    path = os.path.expanduser(os.path.expandvars(place))
    if "$" in path:
        raise OSError(f"there is no environment variable {path[path.index('$') :]} on this machine")
    return Path(path)


def _short(text: str) -> str:
    return hashlib.sha256(text.encode(errors="surrogateescape")).hexdigest()[:12]
