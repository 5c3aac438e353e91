"""Numbers in files: numpy's `.npy`, and time series as text."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.media import MediaError

TEXT = (".csv", ".txt")


def shape(path: Path) -> tuple[int, ...]:
    """Return the shape of what `read` returns; of a `.npy` file the header alone is read.

    Raises:
        MediaError: the file is missing, broken or cut off, or holds anything but real numbers.
    """
    return tuple(_opened(path).shape)


def read(path: Path) -> NDArray[np.float32]:
    """Return the numbers in a file.

    Text holds one line per time step, its numbers separated by commas, semicolons or blanks; a
    first line of names is allowed. T lines of C numbers become [C, T].

    Raises:
        MediaError: as `shape`, or a number is not finite.
    """
    values = np.array(_opened(path), np.float32)
    if not np.isfinite(values).all():
        raise MediaError(f"{path} cannot be used: it holds numbers that are not finite")
    return values


def _opened(path: Path) -> NDArray[Any]:
    try:
        if path.suffix.lower() in TEXT:
            values = _text(path)
        else:
            values = np.load(path, mmap_mode="r", allow_pickle=False)
        if not isinstance(values, np.ndarray) or values.dtype.kind not in "biuf":
            raise ValueError("it does not hold an array of real numbers")
        if not values.size:
            raise ValueError("it is empty")
    except (OSError, ValueError, EOFError) as error:
        reason = str(error) if path.exists() else "there is no such file"
        raise MediaError(f"{path} cannot be read as numbers: {reason}") from error
    return values


def _text(path: Path) -> NDArray[Any]:
    lines = [line for line in path.read_text("utf-8-sig").splitlines() if line.strip()]
    if not lines:
        raise ValueError("it is empty")
    delimiter = next((mark for mark in ",;" if mark in lines[0]), None)
    try:
        _ = [float(word) for word in lines[0].split(delimiter)]
        names = 0
    except ValueError:
        names = 1
    return (
        np.loadtxt(lines[names:], delimiter=delimiter, ndmin=2).T if lines[names:] else np.empty(0)
    )
