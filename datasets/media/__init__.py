"""Readers that turn recordings of one kind of sensor into tensors of a fixed shape."""

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager

from mmdg_common import UsageError


class MediaError(UsageError):
    """A media file is missing, broken or not what it should be; the message names it."""


@contextmanager
def loading(dataset: str) -> Iterator[None]:
    """Add to a MediaError how to go on: the file had passed the checks of `prepare`."""
    try:
        yield
    except MediaError as error:
        raise MediaError(
            f"{error}. `python -m datasets.prepare {dataset} --root DIR` decodes every file and "
            "finds all such files. Replace them, or delete them and add --on-bad-sample skip, "
            "which leaves out what is missing."
        ) from error


def substream(seed: int | None, *names: str) -> int | None:
    """Return a seed of its own for each of several draws from one seed.

    Draws from the same seed would be alike: the random start of a clip would tell its crop.

    Args:
        seed: the sample's seed; None, in evaluation, stays None.
        names: what is drawn, e.g. a modality and one of its transforms.
    """
    if seed is None:
        return None
    text = "/".join((str(seed), *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1
