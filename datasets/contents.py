"""What files hold, told by digests of all their bytes: what caches go by.

A copy in another place then finds what was made of the original, whatever its times are, and what
was made of a file that has changed is never found. A copy is read for it once: the digests are
kept, by path, with the size and the times of the last change, of content and of anything else; a
file of which these are the same is not read again.
"""

import contextlib
import hashlib
import json
import os
import secrets
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from datasets.bulk import in_threads, locked
from mmdg_common import written_atomically

BESIDE = ".contents.json"
"""Ends the name of the file beside a staged copy that keeps its digests, as `cache` does for other
folders: every machine has a copy of its own under one path."""
ANNOUNCED = 10**9
"""Bytes to read from which on a line on stderr says so."""

Stamp = list[int]


def digests(root: Path, paths: Iterable[str], cache: Path | None) -> dict[str, str]:
    """Return by path a digest of the content, in hex; "" where there is nothing.

    Of a folder, the names and contents of the files right in it count. Should one be overwritten
    in its place, this is not seen before the folder itself changes; a file that comes, goes or is
    replaced is seen.

    Args:
        root: the folder that the paths start from.
        paths: of files and folders.
        cache: where digests are kept between sessions; None keeps none.
    """
    stamps = dict(in_threads(lambda path: (path, _stamp(root / path)), dict.fromkeys(paths)))
    memo = _memo(root, cache)
    known = memo.read()

    def fresh(path: str) -> str | None:
        *stamp, digest = known.get(memo.name(path), [None])
        return digest if stamp == stamps[path] else None

    if any(stamp and fresh(path) is None for path, stamp in stamps.items()):
        with memo.alone():
            known = memo.read()  # another process may have been here
            todo = [path for path, stamp in stamps.items() if stamp and fresh(path) is None]
            _announce(sum((stamps[path] or [0])[0] for path in todo), len(todo))
            found = dict(in_threads(lambda path: (path, _digest(root / path)), todo))
            known |= {memo.name(p): [*(stamps[p] or ()), d] for p, d in found.items() if d}
            memo.write(known)
    # What cannot be read is like nothing else.
    return {
        path: (fresh(path) or secrets.token_hex()) if stamp else ""
        for path, stamp in stamps.items()
    }


def address(root: Path, paths: Iterable[str], cache: Path) -> str:
    """Return what stands for the paths and contents of files in the name of a cache file."""
    found = sorted(digests(root, paths, cache).items())
    return hashlib.sha256(json.dumps(found).encode()).hexdigest()[:16]


@dataclass(frozen=True)
class _Memo:
    """Where the digests of a folder are kept between sessions."""

    path: Path | None
    at: Path
    """Where the folder is in the one that the paths in the file start from."""
    shared: bool
    """Whether the processes of one machine share it, and no others."""

    def name(self, path: str) -> str:
        """Return under what name a path below the folder is kept."""
        return (self.at / path).as_posix()

    def alone(self) -> contextlib.AbstractContextManager[None]:
        """Let others on this machine wait for what would be read twice."""
        if self.path is None or not self.shared:
            return contextlib.nullcontext()
        return locked(self.path.with_suffix(".lock"))

    def read(self) -> dict[str, Any]:
        """Return what is kept; nothing where the file is absent or broken."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            found = json.loads(self.path.read_bytes()) if self.path else None
            if isinstance(found, dict):
                return {k: v for k, v in found.items() if isinstance(v, list) and len(v) == 4}
        return {}

    def write(self, known: dict[str, Any]) -> None:
        """Keep the digests, unless the disk refuses: they can be computed again."""
        if self.path is not None:
            with contextlib.suppress(OSError), written_atomically(self.path) as file:
                file.write(json.dumps(known, separators=(",", ":")).encode())


def _memo(root: Path, cache: Path | None) -> _Memo:
    for folder in (root, *root.parents):
        if folder.name and (path := folder.with_name(folder.name + BESIDE)).is_file():
            return _Memo(path, root.relative_to(folder), shared=True)
    if cache is None:
        return _Memo(None, Path(), shared=False)
    place = hashlib.sha256(str(root.resolve()).encode()).hexdigest()[:16]
    return _Memo(cache / "contents" / f"{place}.json", Path(), shared=False)


def _stamp(path: Path) -> Stamp | None:
    """Return what changes with a file or folder; None where there is neither."""
    with contextlib.suppress(OSError, ValueError):
        status = path.stat()
        if stat.S_ISREG(status.st_mode) or stat.S_ISDIR(status.st_mode):
            # The last one shows a change after which a tool has set the time of the content back.
            return [status.st_size, status.st_mtime_ns, status.st_ctime_ns]
    return None


def _digest(path: Path) -> str:
    """Return the digest of a file or folder; "" for one that cannot be read."""
    with contextlib.suppress(OSError):
        if not path.is_dir():
            return _of_file(path)
        files = sorted(entry.name for entry in os.scandir(path) if entry.is_file())
        lines = (f"{_of_file(path / name)} {name}\n" for name in files)
        return _hash("".join(lines).encode(errors="surrogateescape")).hexdigest()
    return ""


def _of_file(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, _hash).hexdigest()


def _hash(data: bytes = b"") -> hashlib.blake2b:
    # Twice as fast as SHA-256 on processors without instructions for that one.
    return hashlib.blake2b(data, digest_size=16)


def _announce(size: int, count: int) -> None:
    if size > ANNOUNCED:
        text = f"reading {count:,} files, {size / 1e9:.1f} GB, to know them again ..."
        print(text, file=sys.stderr, flush=True)
