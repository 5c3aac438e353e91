"""The pack of a split: one file that holds the records of many finished runs.

    runs/<dataset>/<method>/<split>/packed.zip
        <modalities>/<id>/result.json ...      under the names that the files had in the folder

Members are stored as they were, so any program can look inside, and `unzip` gives the folders back.
A pack is only ever replaced by one that holds more. It is opened for every read, which costs
microseconds, as a handle would go stale where a file server's file is replaced; where its members
begin is remembered for as long as it stays the same file.
"""

import os
import struct
import zipfile
import zlib
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from benchmark.records.shape import UnreadableError

NAME = "packed.zip"


class _Member(NamedTuple):
    offset: int
    size: int
    checksum: int


Signature = tuple[int, int, int]
"""Of a file: which one it is, its size, and when it was written (ns)."""
Members = Mapping[str, Mapping[str, _Member]]
"""By run (`<modalities>/<id>`) and name of the file."""

_HEAD = struct.Struct("<26xHH")
"""What precedes a member's name: at its end the sizes of that and of another field after it."""
_known: dict[str, tuple[Signature, Members]] = {}
"""By pack, the signature of the file, and what it holds."""


def runs(split: Path) -> Collection[str]:
    """Return the runs that the pack of a split holds, as `<modalities>/<id>`.

    Raises:
        UnreadableError: it is damaged; the message names it. So do the other functions.
    """
    with _opened(os.path.join(split, NAME)) as (_, members):
        return members.keys()


def names(run: Path) -> Collection[str]:
    """Return the names of the files that are packed of the run with a folder."""
    path, key = _place(run)
    with _opened(path) as (_, members):
        return members.get(key, {}).keys()


def read(run: Path, name: str) -> bytes | None:
    """Return what is packed of a file of the run with a folder; None where nothing is."""
    path, key = _place(run)
    with _opened(path) as (file, members):
        member = members.get(key, {}).get(name)
        if member is None:
            return None
        head = os.pread(file, _HEAD.size, member.offset).ljust(_HEAD.size)
        data = os.pread(file, member.size, member.offset + _HEAD.size + sum(_HEAD.unpack(head)))
    if len(data) != member.size or zlib.crc32(data) != member.checksum:
        raise UnreadableError(f"damaged in {path}")
    return data


def signature(status: os.stat_result) -> Signature:
    """Return what tells whether a file is the same as before."""
    return status.st_ino, status.st_size, status.st_mtime_ns


def split_name(member: str) -> tuple[str, str]:
    """Return the run, `<modalities>/<id>`, and the file that a member's name is made of."""
    modalities, _, rest = member.partition("/")
    run, _, name = rest.partition("/")
    return f"{modalities}/{run}", name


def _place(run: Path) -> tuple[str, str]:
    # Joining paths as texts is several times faster, and sweeps ask about many thousand runs.
    of_set, name = os.path.split(os.path.abspath(run))
    split, modalities = os.path.split(of_set)
    return os.path.join(split, NAME), f"{modalities}/{name}"


@contextmanager
def _opened(path: str) -> Iterator[tuple[int, Members]]:
    """Yield the descriptor of a pack, and what it holds; nothing where there is none."""
    try:
        file = os.open(path, os.O_RDONLY)
    except (FileNotFoundError, NotADirectoryError):
        yield -1, {}
        return
    except OSError as error:
        raise UnreadableError(f"{path}: {error.strerror}") from error
    try:
        yield file, _members(path, file)
    finally:
        os.close(file)


def _members(path: str, descriptor: int) -> Members:
    signed = signature(os.fstat(descriptor))
    known = _known.get(path)
    if known is not None and known[0] == signed:
        return known[1]
    found: dict[str, dict[str, _Member]] = {}
    try:
        with open(descriptor, "rb", closefd=False) as file, zipfile.ZipFile(file) as pack:
            # Where the end is missing, zipfile finds that of a `predictions.npz`, also a zip file.
            if min((one.header_offset for one in pack.infolist()), default=0):
                raise UnreadableError("it is cut off")
            for one in pack.infolist():
                if one.compress_type != zipfile.ZIP_STORED:
                    raise UnreadableError("its files are compressed; unzip it and remove it")
                run, name = split_name(one.filename)
                member = _Member(one.header_offset, one.file_size, one.CRC)
                found.setdefault(run, {})[name] = member
    except Exception as error:  # damaged bytes raise whatever zipfile stumbles over
        raise UnreadableError(f"{path}: cannot be read ({error})") from error
    _known[path] = signed, found
    return found
