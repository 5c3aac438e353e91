"""Datasets in one file: tar, compressed or not, and zip."""

import gzip
import lzma
import os
import shutil
import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath
from typing import IO

from datasets.bulk import on_disk
from mmdg_common import UsageError

SUFFIXES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tbz2", ".tar.xz", ".txz", ".zip")
BROKEN = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile),
    *(zlib.error, lzma.LZMAError, EOFError),
)
"""What is raised for an archive that is cut off or damaged."""


@dataclass(frozen=True)
class Member:
    """A file in an archive."""

    path: str
    size: int
    open: Callable[[], IO[bytes] | None]


def is_archive(path: Path) -> bool:
    """Return whether a path is that of an archive, by its name."""
    return path.name.endswith(SUFFIXES) and path.is_file()


def unpack(
    archive: Path, name: str, to: Path, check_room: Callable[[int, int, bool], None]
) -> None:
    """Unpack a dataset; `to` appears when all of it is there.

    What is in a folder of the dataset's name, or of the archive's, is taken out of it.

    Args:
        archive: one of `SUFFIXES`.
        name: of the dataset.
        to: the folder that is to hold the dataset's files; one that is there is replaced.
        check_room: is told the bytes of everything, how many of them are written, and whether
            there may be more; raises OSError where they are too many.

    Raises:
        OSError: there is no room, or a file cannot be read or written.
        UsageError: the archive is damaged, or would write outside of the folder.
    """
    inside = to.with_name("unpacking")
    for path in (inside, to):
        if path.exists():
            shutil.rmtree(path)
    inside.mkdir(parents=True)
    try:
        with _opened(archive) as file:
            members = _of_zip(file) if isinstance(file, zipfile.ZipFile) else _of_tar(file)
            if archive.suffix in (".tar", ".zip"):  # others would be read twice for it
                listed = list(members)
                check_room(on_disk(member.size for member in listed), 0, False)
                members = iter(listed)
            else:
                check_room(archive.stat().st_size, 0, True)
            written = 0
            for member in members:
                check_room(written + member.size, written, True)
                _write(member, inside)
                written += member.size
    except (*BROKEN, NotImplementedError, RuntimeError) as error:  # also of a password
        reason = str(error).partition("\n")[0].rstrip(":") or type(error).__name__
        raise UsageError(f"{archive} cannot be unpacked: {reason}; get it again") from error
    names = [entry.name for entry in inside.iterdir()]
    stem = next(archive.name.removesuffix(s) for s in SUFFIXES if archive.name.endswith(s))
    nested = len(names) == 1 and names[0] in (name, stem) and (inside / names[0]).is_dir()
    os.replace(inside / names[0] if nested else inside, to)
    if nested:
        inside.rmdir()


def _opened(archive: Path) -> zipfile.ZipFile | tarfile.TarFile:
    return zipfile.ZipFile(archive) if archive.suffix == ".zip" else tarfile.open(archive)


def _of_zip(file: zipfile.ZipFile) -> Iterator[Member]:
    for info in file.infolist():
        if not info.is_dir():
            yield Member(info.filename, info.file_size, partial(file.open, info))


def _of_tar(file: tarfile.TarFile) -> Iterator[Member]:
    for info in file:
        if not info.isdir():  # a link is opened as what it leads to
            yield Member(info.name, info.size, partial(file.extractfile, info))


def _write(member: Member, folder: Path) -> None:
    parts = PurePosixPath(member.path).parts
    if ".." in parts or PurePosixPath(member.path).is_absolute():
        raise tarfile.TarError(f"{member.path} leads out of the folder")
    try:
        source = member.open()
    except KeyError:
        source = None
    if source is None:
        raise tarfile.TarError(f"{member.path} is neither a file nor a link to one in the archive")
    target = folder.joinpath(*parts)
    target.parent.mkdir(parents=True, exist_ok=True)
    with source, target.open("wb") as file:
        shutil.copyfileobj(source, file, 1 << 20)
