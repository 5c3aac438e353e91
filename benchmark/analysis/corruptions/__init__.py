"""What can go wrong with a modality, by its kind; every corruption has five severities.

What is random in a sample is drawn from a stream of the corruption and the sample alone, so that
all severities, methods and seeds see the same.
"""

from collections.abc import Mapping

import torch
from torch import Tensor

from benchmark.analysis.corruptions.base import SEVERITIES, Corruption
from benchmark.analysis.corruptions.depth import DEPTH
from benchmark.analysis.corruptions.signals import INERTIAL, SIGNAL, SKELETON
from benchmark.analysis.corruptions.sound import AUDIO
from benchmark.analysis.corruptions.video import VIDEO
from benchmark.training import seeds

__all__ = ["BY_KIND", "SEVERITIES", "Corruption", "drawn", "names"]

BY_KIND: Mapping[str, Mapping[str, Corruption]] = {
    "video": VIDEO,
    "audio": AUDIO,
    "depth": DEPTH,
    "skeleton": SKELETON,
    "inertial": INERTIAL,
    "signal": SIGNAL,
}
"""The corruptions of each kind of `datasets.card.KINDS` that has any, by name.

Optical flow has none: it is computed beforehand, of frames that are not corrupted.
"""


def names() -> list[str]:
    """Return the names of all corruptions, each once, sorted."""
    return sorted({name for of in BY_KIND.values() for name in of})


def drawn(name: str, corruption: Corruption, shape: torch.Size, sample: str) -> Tensor:
    """Return what is drawn of one sample of a shape, on the CPU."""
    return corruption.draw(shape, seeds.generator(0, "corruption", name, sample))
