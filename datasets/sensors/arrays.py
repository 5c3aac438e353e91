"""Arrays that take long to make, kept between calls."""

import contextlib
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mmdg_common import UsageError, written_atomically

Arrays = Mapping[str, NDArray[Any]]


def stamp(path: Path) -> tuple[int, int]:
    """Return what changes with a file: its bytes and when it was written; 0 if there is none."""
    with contextlib.suppress(OSError):  # reading the file says what is wrong
        status = path.stat()
        return status.st_size, status.st_mtime_ns
    return 0, 0


def cached(cache: Path | None, name: str, made_of: object, make: Callable[[], Arrays]) -> Arrays:
    """Return arrays by name, read from a cache or written to it.

    Args:
        cache: the folder; None keeps nothing.
        name: begins the file's name; it changes with what `make` does.
        made_of: what the arrays are made of, such as names and stamps of files; its `repr` tells
            it apart.
        make: called where the file is absent or broken.

    Raises:
        UsageError: the file cannot be written.
    """
    if cache is None:
        return make()
    content = hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]
    path = cache / f"{name}-{content}.npz"
    # Broken archives raise whatever zip, zlib and NumPy stumble over.
    with contextlib.suppress(Exception), np.load(path, allow_pickle=False) as file:
        return {key: file[key] for key in file.files}
    arrays = make()
    try:
        with written_atomically(path) as file:
            np.savez(file, **arrays)  # type: ignore[arg-type]
    except OSError as error:
        raise UsageError(f"cannot write the cache {path}: {error}. Choose another.") from error
    return arrays
