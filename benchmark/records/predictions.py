"""Stored predictions of runs: reading `predictions.npz`."""

from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from benchmark.records.shape import UnreadableError

NAMES = ("ids", "groups", "labels", "predicted", "fused")
"""The arrays of one rule and part that are read."""
WITHOUT_LOGITS = "without_logits"
"""In the file of a run that was taken from committed results, which keep the classes alone."""


class Predicted(NamedTuple):
    """The predictions of one run for the N samples of one part of the data, in C classes."""

    path: Path
    ids: NDArray[np.str_]
    groups: NDArray[np.str_]
    """What each sample was recorded from, coarse to fine, such as subject and recording: [N, L].
    Runs of earlier versions did not store it; there, each sample is a group of its own."""
    labels: NDArray[np.int64]
    logits: NDArray[np.float16] | None
    """Of the fused prediction, [N, C]; None for a committed run, which keeps the classes alone."""
    classes: NDArray[np.int64]
    """The predicted ones, [N]. Runs of earlier versions did not store them; there, they are those
    of the highest logits, among which rounding to float16 left ties."""
    size: int
    """C."""


def read(
    path: Path,
    rule: str,
    part: str = "target",
    size: int | None = None,
    file: IO[bytes] | None = None,
) -> Predicted:
    """Return the predictions of a run at the validation that a rule chose.

    Args:
        path: of the file.
        rule: the selection rule that chose the validation.
        part: `target`, or `val` for the validation part of the sources.
        size: the number of classes, where it is known. Files without logits do not tell it.
        file: the same, opened, or what is packed of it; None: to be opened.

    Raises:
        UnreadableError: the file is damaged, or has no such predictions.
    """
    place = f"{rule}/{part}"
    try:
        with np.load(file or path, allow_pickle=False) as arrays:
            names = set(arrays.files)
            kept = {name: arrays[f"{place}/{name}"] for name in NAMES if f"{place}/{name}" in names}
        if not any(name.endswith("/groups") for name in names):
            kept["groups"] = kept["ids"][:, None]
        logits = None if WITHOUT_LOGITS in names else kept["fused"]
        found = _found(path, kept, logits, size)
    except Exception as error:  # damaged bytes raise whatever zip, zlib and NumPy stumble over
        raise UnreadableError(f"cannot be read: {type(error).__name__}") from None
    if size is not None and found.size != size:
        raise UnreadableError("another number of classes than in result.json")
    return checked(found)


def _found(
    path: Path,
    kept: Mapping[str, NDArray[Any]],
    logits: NDArray[np.float16] | None,
    size: int | None,
) -> Predicted:
    if logits is not None:
        size = logits.shape[1]
        classes = kept.get("predicted", logits.argmax(axis=1))
    else:
        classes = kept["predicted"]
        size = int(classes.max()) + 1 if size is None else size
    classes = classes.astype(np.int64)
    return Predicted(path, kept["ids"], kept["groups"], kept["labels"], logits, classes, size)


def smallest(classes: int) -> type[np.integer[Any]]:
    """Return the type in which predicted classes are stored."""
    return np.uint8 if classes <= 256 else np.int32


def checked(found: Predicted) -> Predicted:
    """Return predictions that fit together.

    Raises:
        UnreadableError: they do not.
    """
    arrays: tuple[NDArray[Any], ...] = (found.ids, found.groups, found.labels, found.classes)
    kinds = [array.dtype.kind for array in arrays]
    sizes = [array.shape for array in arrays]
    n, levels = found.ids.size, (*found.groups.shape, 0)[1]
    fits = kinds == ["U", "U", "i", "i"] and sizes == [(n,), (n, levels), (n,), (n,)]
    if found.logits is not None:
        fits &= found.logits.dtype.kind == "f" and found.logits.shape == (n, found.size)
        sizes.append(found.logits.shape)
    if not fits or not n * found.size * levels:
        raise UnreadableError(f"arrays of the wrong type or shape: {sizes}")
    if found.logits is not None and not np.isfinite(found.logits).all():
        raise UnreadableError("logits that are not finite")
    for what, numbers in (("labels", found.labels), ("predictions", found.classes)):
        if numbers.min() < 0 or numbers.max() >= found.size:
            raise UnreadableError(f"{what} of no class")
    return found
