"""What runs predicted, from their `predictions.npz`."""

from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray


class Predicted(NamedTuple):
    """The predictions of one run on N samples of a part of the data."""

    ids: NDArray[np.str_]
    labels: NDArray[np.int64]
    logits: NDArray[np.float16]
    """The fused prediction's, [N, C]."""

    @property
    def right(self) -> NDArray[np.bool_]:
        """Return which samples were classified right, [N]."""
        right: NDArray[np.bool_] = self.logits.argmax(axis=1) == self.labels
        return right


def read(path: Path, rule: str, part: str = "target") -> Predicted:
    """Return what a run predicted at the validation that a rule chose.

    Args:
        path: of the file.
        rule: whose validation's predictions are taken; one that the run has.
        part: `target`, or `val` for the validation part of the sources.
    """
    with np.load(path, allow_pickle=False) as arrays:
        values: list[Any] = [arrays[f"{rule}/{part}/{k}"] for k in ("ids", "labels", "fused")]
    return Predicted(*values)
