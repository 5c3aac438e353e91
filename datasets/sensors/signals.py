"""Signals brought to a constant rate, and cut into windows."""

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.floating]


def resample(values: Array, length: int) -> Array:
    """Interpolate linearly along the first axis; both ends are kept.

    Args:
        values: [N, ...] samples at a constant rate.
        length: the number of samples wanted.
    """
    position = np.linspace(0, len(values) - 1, length)
    before = np.floor(position).astype(int)
    after = np.minimum(before + 1, len(values) - 1)
    share = (position - before).reshape(-1, *[1] * (values.ndim - 1))
    return np.asarray(values[before] * (1 - share) + values[after] * share)


def at(wanted: Array, times: Array, values: Array) -> Array:
    """Interpolate linearly at any times.

    Measurements with the same time stand for one at their mean: devices deliver in batches.

    Args:
        wanted: [M] times, in any order.
        times: [N] times of the measurements, ascending, in the same unit.
        values: [N, C].

    Returns:
        [M, C] float64.
    """
    unique, place, count = np.unique(times, return_inverse=True, return_counts=True)
    means = np.zeros((len(unique), values.shape[1]))
    np.add.at(means, place, values)
    means /= count[:, None]
    return np.stack([np.interp(wanted, unique, channel) for channel in means.T], axis=1)


def starts(first: float, last: float, size: float, stride: float) -> Array:
    """Return the beginnings of all windows that end no later than `last`."""
    count = np.floor((last - first - size) / stride + 1e-9) + 1
    return first + stride * np.arange(max(count, 0))


def majority(labels: NDArray[np.integer], share: float) -> int | None:
    """Return the label of at least this share of the measurements; None if none has it."""
    if not len(labels):
        return None
    counts = np.bincount(labels)
    top = int(counts.argmax())
    return top if counts[top] >= share * len(labels) else None
