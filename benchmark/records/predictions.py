"""Stored predictions of runs: reading `predictions.npz`."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.records.shape import UnreadableError


class Predicted(NamedTuple):
    """The predictions of one run for the N samples of one part of the data, in C classes."""

    path: Path
    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    """What each sample was recorded from, coarse to fine, such as subject and recording: [N, L].
    Runs of earlier versions did not store it; there, each sample is a group of its own."""
    labels: NDArray[np.int64]
    logits: NDArray[np.float16]
    """Of the fused prediction, [N, C]."""
    classes: NDArray[np.int64]
    """The predicted ones, [N]. Runs of earlier versions did not store them; there, they are those
    of the highest logits, among which rounding to float16 left ties."""


def read(path: Path, rule: str, part: str = "target") -> Predicted:
    """Return the predictions of a run at the validation that a rule chose.

    Args:
        path: of the file.
        rule: the selection rule that chose the validation.
        part: `target`, or `val` for the validation part of the sources.

    Raises:
        UnreadableError: the file is damaged, or has no such predictions.
    """
    place = f"{rule}/{part}"
    try:
        with np.load(path, allow_pickle=False) as arrays:
            ids, labels, logits = (arrays[f"{place}/{k}"] for k in ("ids", "labels", "fused"))
            known = any(name.endswith("/groups") for name in arrays.files)
            groups = arrays[f"{place}/groups"] if known else ids[:, None]
            stored = f"{place}/predicted" in arrays.files
            classes = arrays[f"{place}/predicted"] if stored else logits.argmax(axis=1)
            found = Predicted(path, ids, groups, labels, logits, classes.astype(np.int64))
    except Exception as error:  # damaged bytes raise whatever zip, zlib and NumPy stumble over
        raise UnreadableError(f"cannot be read: {type(error).__name__}") from None
    _check(found)
    return found


def _check(found: Predicted) -> None:
    arrays: tuple[NDArray[Any], ...] = found[1:]
    kinds = [array.dtype.kind for array in arrays]
    sizes = [array.shape for array in arrays]
    n, classes = sizes[3] if len(sizes[3]) == 2 else (0, 0)
    levels = sizes[1][1] if len(sizes[1]) == 2 else 0
    wanted = [(n,), (n, levels), (n,), (n, classes), (n,)]
    if kinds != ["U", "U", "i", "f", "i"] or sizes != wanted or not n * classes * levels:
        raise UnreadableError(f"arrays of the wrong type or shape: {sizes}")
    if not np.isfinite(found.logits).all():
        raise UnreadableError("logits that are not finite")
    for what, numbers in (("labels", found.labels), ("predictions", found.classes)):
        if numbers.min() < 0 or numbers.max() >= classes:
            raise UnreadableError(f"{what} of no class")
