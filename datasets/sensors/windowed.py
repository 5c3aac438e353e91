"""Datasets of windows that are cut from longer recordings.

Windows of one recording resemble each other, so a source holds out whole blocks to validate:
recordings, or stretches of them that share no moment with the windows that train.
"""

import hashlib
from abc import abstractmethod
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.base import MultimodalDataset, Role, Sample, a_fifth_of_each_class
from mmdg_common import unknown

Array = NDArray[Any]


@dataclass(frozen=True)
class Window:
    """A sample, and the block that validates or trains as a whole."""

    sample: Sample
    block: str


class WindowedDataset(MultimodalDataset):
    """Windows in arrays; a reader says which there are, what validates, and reads the arrays."""

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        self._arrays: dict[str, Array] = {}
        self._checksums: dict[str, str] = {}

    @abstractmethod
    def windows(self) -> Sequence[Window]:
        """Return all windows, in the order of the rows of all arrays."""

    @abstractmethod
    def validating(self, windows: Sequence[Window]) -> set[str]:
        """Return the blocks of these windows that validate, drawn once, about a fifth."""

    @abstractmethod
    def read(self, modality: str) -> Array:
        """Return [N, *shape] float32 of one modality, a row for each window.

        Raises:
            UsageError: a file is missing or cannot be used; the message names it.
        """

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain; a source validates on whole blocks."""
        if domain not in self.card.domains:
            raise unknown("domain", domain, self.card.domains)
        return self._parts[domain][role]

    def a_fifth(self, samples: Iterable[Sample]) -> set[str]:
        """Return the ids of the samples in the blocks that validate where only these are known."""
        windows = [self._by_id[sample.id] for sample in samples]
        held = self.validating(windows)
        return {window.sample.id for window in windows if window.block in held}

    def prepare(self, modalities: Sequence[str]) -> None:
        """Bring these modalities of all windows into memory."""
        for modality in modalities:
            if modality not in self._arrays:
                self._arrays[modality] = self.read(modality)

    def content(self, modalities: Sequence[str]) -> str:
        """Return the checksum of the windows: sizes of files do not tell copies apart."""
        for modality in modalities:
            if modality not in self._checksums:
                self.prepare([modality])
                self._checksums[modality] = checksum(self._arrays[modality])
        return " ".join(self._checksums[modality] for modality in modalities)

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> dict[str, Tensor]:
        """Return the tensors of one window; nothing is random, so `seed` is not used."""
        self.prepare(modalities)
        row = self._rows[sample.id]
        return {m: torch.from_numpy(self._arrays[m][row].copy()) for m in modalities}

    @cached_property
    def _by_id(self) -> Mapping[str, Window]:
        return {window.sample.id: window for window in self.windows()}

    @cached_property
    def _rows(self) -> Mapping[str, int]:
        return {name: row for row, name in enumerate(self._by_id)}

    @cached_property
    def _parts(self) -> Mapping[str, Mapping[Role, Sequence[Sample]]]:
        held = self.validating(list(self._by_id.values()))
        parts: dict[str, dict[Role, list[Sample]]] = {
            domain: {"train": [], "val": [], "target": []} for domain in self.card.domains
        }
        for window in self._by_id.values():
            of = parts[window.sample.domain]
            of["target"].append(window.sample)
            of["val" if window.block in held else "train"].append(window.sample)
        return parts


def a_fifth_of_each(blocks: Mapping[str, str], salt: str) -> set[str]:
    """Return a fifth of the blocks of each group, ranked by hashes of their names.

    Args:
        blocks: the group of each block by its name.
        salt: hashed before each name; another one gives another ranking.
    """
    sizes = Counter(blocks.values())
    several = {block: group for block, group in blocks.items() if sizes[group] > 1}
    return a_fifth_of_each_class(several, salt, least=1)  # a single block must train


def last_fifth_of_each(windows: Iterable[Window]) -> set[str]:
    """Return the blocks of the last fifth of each recording's windows, at least one.

    The windows of a recording are in order of time, do not overlap, and are a block each.
    """
    recordings: dict[str, list[str]] = {}
    for window in windows:
        recordings.setdefault(window.sample.group[-1], []).append(window.block)
    return {
        block
        for blocks in recordings.values()
        for block in blocks[len(blocks) - _fifth(len(blocks)) :]
    }


def _fifth(count: int) -> int:
    """Return a fifth, at least one, of what there is; none of a single one, which must train."""
    return max(1, round(count / 5)) if count > 1 else 0


def pairs(subjects: int) -> list[str]:
    """Return the domain of each subject where two in a row make one: `s1s2`, `s1s2`, `s3s4`."""
    first = [number - (number + 1) % 2 for number in range(1, subjects + 1)]
    return [f"s{number}s{number + 1}" for number in first]


def checksum(array: Array) -> str:
    """Return the SHA-256 of the type, shape and contents of an array."""
    digest = hashlib.sha256(f"{array.dtype} {array.shape}\n".encode())
    digest.update(np.ascontiguousarray(array).data)
    return digest.hexdigest()
