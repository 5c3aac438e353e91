"""An index of media files: what probing found, kept in the cache between sessions."""

import contextlib
import json
from collections.abc import Callable, Collection
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from datasets import contents
from datasets.base import announced
from datasets.media import MediaError
from mmdg_common import UsageError, written_atomically

T = TypeVar("T")

INDEX_VERSION = 3
"""In the name of an index file; raise it whenever a change alters what is kept."""


@dataclass(frozen=True)
class Index(Generic[T]):
    """Files by their path below the root."""

    known: dict[str, T]
    broken: dict[str, str]
    """What is wrong, in words."""


def build(
    name: str,
    root: Path,
    files: Collection[str],
    probe: Callable[[Path], T],
    restore: Callable[[Any], T],
    cache: Path | None,
) -> Index[T]:
    """Probe files, or read what an earlier session found in files of the same contents.

    Args:
        name: what the files are, for the name of the index and for the progress bar.
        root: the folder that the paths in `files` start from.
        files: paths of files, or of folders of files; one that is not there is broken.
        probe: reads one of them; raises MediaError if it is broken. Broken files are not kept:
            they are read again each time, so that replacing one helps at once.
        restore: turns the JSON of what `probe` returned back into it.
        cache: the folder of the index, if it is to be kept.
    """
    path: Path | None = None
    known: dict[str, T] = {}
    if cache is not None:
        content = contents.address(root, files, cache)
        path = cache / f"{name.replace(' ', '-')}-index-v{INDEX_VERSION}-{content}.json"
        with contextlib.suppress(OSError, ValueError, LookupError, TypeError):  # absent or broken
            known = {k: restore(v) for k, v in json.loads(path.read_bytes()).items()}
    unknown = [file for file in dict.fromkeys(files) if file not in known]
    found, broken = dict[str, T](), dict[str, str]()
    for file in announced(unknown, f"indexing {name}: {len(unknown)} paths") if unknown else ():
        try:
            found[file] = probe(root / file)
        except MediaError as error:
            broken[file] = str(error)
    if path is not None and found:
        _write(path, {**known, **found})
    return Index({**known, **found}, broken)


def _write(path: Path, known: dict[str, Any]) -> None:
    try:
        with written_atomically(path) as file:
            # On its own, the default writes a blank after every one of a million numbers.
            file.write(json.dumps(known, default=asdict, separators=(",", ":")).encode())
    except OSError as error:
        raise UsageError(f"cannot write the cache {path}: {error}. Choose another.") from error
