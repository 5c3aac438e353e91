"""Arrays that take long to make, kept between calls."""

import contextlib
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import contents
from mmdg_common import UsageError, written_atomically

Arrays = Mapping[str, NDArray[Any]]


def cached(
    cache: Path | None, name: str, root: Path, files: Iterable[str], make: Callable[[], Arrays]
) -> Arrays:
    """Return arrays by name, read from a cache or written to it.

    Args:
        cache: the folder; None keeps nothing.
        name: begins the file's name; it changes with what `make` does.
        root: the folder that the paths in `files` start from.
        files: what the arrays are made of; their contents tell the arrays apart.
        make: called where the file is absent or broken.

    Raises:
        UsageError: the file cannot be written.
    """
    if cache is None:
        return make()
    path = cache / f"{name}-{contents.address(root, files, cache)}.npz"
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
