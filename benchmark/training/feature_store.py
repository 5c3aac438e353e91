"""Outputs of frozen encoder stages, kept on disk so that each is computed only once.

One file holds the features of one sample under one view:

    magic (8 bytes) | CRC-32 of the rest (4) | length of the header (4) | header | values

The header is JSON, padded with blanks: whose features they are, and the shape of each tensor. The
values are the tensors' elements in order. The checksum is verified whenever a file is read, so one
that a crash or a failing disk has spoilt counts as absent.
"""

import hashlib
import json
import math
import re
import shutil
import struct
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import listdir, scandir
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
from torch import Tensor, nn

from datasets import contents
from datasets.base import MultimodalDataset, Sample
from methods.base import Features
from mmdg_common import UsageError, check_choices, parse_json, written_atomically

DTYPES: Mapping[str, torch.dtype] = {
    "fp32": torch.float32,
    "fp16": torch.float16,
    "bf16": torch.bfloat16,
}
"""How values are kept. fp16 rounds to 11 bits and ends at 65504; bf16 rounds to 8 bits and ends
where fp32 does."""

View = int | Literal["eval"]
"""Under which transforms a sample was loaded: those of evaluation, or an augmented view from 0."""

EVAL: View = "eval"

RESERVE = 10**9
"""Bytes of a disk that features leave free, for results and checkpoints."""

_MAGIC = b"MMDGFT01"  # another layout of the file needs another number
_START = struct.Struct("<8sII")
_CHECKED_FROM = 12
_ALIGNMENT = 64  # of the values, whatever their dtype
_FOLDER = re.compile(rf".+-[0-9a-f]{{16}}-({'|'.join(DTYPES)})")


def rounded(features: Features, dtype: str, modality: str) -> Features:
    """Return features as they come out of a store of this dtype: as float32.

    Those of double precision stay so unless they are to be rounded.

    Raises:
        UsageError: a finite value is too large for the dtype.
    """
    several = (features,) if isinstance(features, Tensor) else features
    if dtype != "fp32":
        several = tuple(_converted(x, dtype, modality).float() for x in several)
    elif several[0].dtype == torch.bfloat16:
        several = tuple(x.float() for x in several)
    return several[0] if isinstance(features, Tensor) else several


def _converted(tensor: Tensor, dtype: str, modality: str) -> Tensor:
    converted = tensor.to(DTYPES[dtype])
    if converted.dtype != tensor.dtype and bool((converted.isinf() & tensor.isfinite()).any()):
        most = torch.finfo(converted.dtype).max
        wider = [name for name, other in DTYPES.items() if torch.finfo(other).max > most]
        raise UsageError(
            f"the features of {modality} have values beyond {most:.5g}, the largest that {dtype} "
            f"holds. Use --feature-dtype {' or '.join(sorted(wider))}"
        )
    return converted


def stem_key(encoder: str, stem: nn.Module, inputs: Mapping[str, Any]) -> str:
    """Return a digest, in hex, of all that features depend on besides the sample and its view.

    Args:
        encoder: the name under which the encoder is registered.
        stem: its frozen stages; every tensor of its state counts.
        inputs: what determines the tensor that the stem receives, as values that JSON has:
            dataset, its options, modality, shape, version of the numbers.
    """
    digest = hashlib.sha256(json.dumps([encoder, inputs], sort_keys=True).encode())
    for name, tensor in stem.state_dict().items():
        digest.update(json.dumps([name, str(tensor.dtype), tensor.shape]).encode())
        digest.update(_bytes_of(tensor.cpu()))
    return digest.hexdigest()


def sample_keys(
    dataset: MultimodalDataset, samples: Iterable[Sample], modality: str, beside: str = ""
) -> list[str]:
    """Return a digest, in hex, of the id and the files of each sample, in their order.

    A file counts with its path below the root and its content. For samples without files of their
    own, the fingerprint of the whole dataset counts.

    Args:
        dataset: whose samples they are.
        samples: of the dataset.
        modality: whose files count.
        beside: the modality that decides what is loaded of this one, whose files count, too; ""
            where none does.
    """
    modalities = [k for k in (modality, beside) if k]
    files = [(s.id, [f for k in modalities for f in dataset.made_of(s, k)]) for s in samples]
    every = dict.fromkeys(file for _, several in files for file in several)
    known = {}
    if every:
        assert dataset.root is not None
        known = contents.digests(dataset.root, every, dataset.cache)
    # It reads the whole dataset's listing: once, and only if it is needed.
    without = any(not several for _, several in files)
    fingerprint = dataset.fingerprint([modality]) if without else ""
    keys = []
    for name, several in files:
        content = [(file, known[file]) for file in several] or fingerprint
        keys.append(hashlib.sha256(json.dumps([name, content]).encode()).hexdigest())
    return keys


@dataclass(frozen=True)
class FeatureStore:
    """Features of one modality's frozen stages by sample and view, one file for each.

    Any number of processes may read and write at once: a reader finds a whole file or none, and
    of two writers the last one wins. Pickles as four values.

    Raises:
        UsageError: there is no such dtype.
    """

    folder: Path
    """Where all stores are; each makes one folder in it."""
    modality: str
    stem: str
    """What `stem_key` returned."""
    dtype: str
    """Among `DTYPES`."""

    def __post_init__(self) -> None:
        check_choices(self, {"dtype": tuple(DTYPES)})

    @property
    def path(self) -> Path:
        """The store's own folder."""
        return self.folder / f"{self.modality}-{self.stem[:16]}-{self.dtype}"

    def write(self, sample: str, view: View, features: Features) -> None:
        """Keep the features of one sample, in the place of any that are there.

        Args:
            sample: its key, out of `sample_keys`.
            view: the view that they were computed from.
            features: a tensor, or a tuple of them, of floating point and without batch dimension.

        Raises:
            UsageError: a finite value is too large for the dtype.
            OSError: the file cannot be written, for example to a full disk; nothing is left of it.
        """
        several = (features,) if isinstance(features, Tensor) else features
        tensors = [_converted(x.cpu().float(), self.dtype, self.modality) for x in several]
        header = {
            "of": self._identity(sample, view),
            "shapes": [x.shape for x in tensors],
            "single": isinstance(features, Tensor),
        }
        text = json.dumps(header).encode()
        text = text.ljust(-(-(_START.size + len(text)) // _ALIGNMENT) * _ALIGNMENT - _START.size)
        parts: list[bytes | memoryview] = [struct.pack("<I", len(text)), text]
        parts += [_bytes_of(x) for x in tensors]
        checksum = 0
        for part in parts:
            checksum = zlib.crc32(part, checksum)
        # Waiting for the disk takes milliseconds a file, and the checksum tells what a power cut
        # has spoilt.
        with written_atomically(self._file(sample, view), durable=False) as file:
            file.write(_MAGIC + struct.pack("<I", checksum))
            for part in parts:
                file.write(part)

    def read(self, sample: str, view: View) -> Features | None:
        """Return features as they were written, as float32 tensors that the caller may change.

        None where no usable file is: it is absent, damaged, or of something else. Compute the
        features again and `write` them; that replaces a damaged file.
        """
        try:
            # The checksum needs every byte anyway, and a memory map of a file that cannot be
            # read, or gets shorter, kills the process instead of raising.
            content = np.fromfile(self._file(sample, view), np.uint8)
        except OSError:
            return None
        if len(content) < _START.size:
            return None
        magic, checksum, length = _START.unpack(content[: _START.size].data)
        if magic != _MAGIC or checksum != zlib.crc32(content[_CHECKED_FROM:].data):
            return None
        begin = _START.size + length
        header = parse_json(content[_START.size : begin].tobytes())
        if header is None or header.get("of") != self._identity(sample, view):
            return None
        shapes: list[list[int]] = header["shapes"]
        counts = [math.prod(shape) for shape in shapes]
        dtype = DTYPES[self.dtype]
        if len(content) - begin != sum(counts) * dtype.itemsize:
            return None
        values = torch.from_numpy(content[begin:]).view(dtype).float()
        several = zip(torch.split(values, counts), shapes, strict=True)
        tensors = tuple(x.view(shape) for x, shape in several)
        return tensors[0] if header["single"] else tensors

    def remove(self, sample: str, view: View) -> None:
        """Remove features that are damaged, so that they count as missing."""
        self._file(sample, view).unlink(missing_ok=True)

    def missing(self, pairs: Sequence[tuple[str, View]]) -> list[tuple[str, View]]:
        """Return the pairs of sample and view that have no file, in their order.

        Lists folders and opens no file: whether one is damaged shows when it is read.
        """
        there: set[str] = set()
        for part in {sample[:2] for sample, _ in pairs}:
            try:
                there.update(listdir(self.path / part))
            except FileNotFoundError:
                continue
        return [pair for pair in pairs if self._name(*pair) not in there]

    def _name(self, sample: str, view: View) -> str:
        return f"{sample}-{view}"

    def _file(self, sample: str, view: View) -> Path:
        # Folders of very many files are slow to list, and on some disks to look up in.
        return self.path / sample[:2] / self._name(sample, view)

    def _identity(self, sample: str, view: View) -> dict[str, str | int]:
        return {
            "modality": self.modality,
            "stem": self.stem,
            "dtype": self.dtype,
            "sample": sample,
            "view": view,
        }


def check_space(folder: Path, needed_bytes: int) -> None:
    """Raise UsageError if a disk cannot take so many bytes and keep `RESERVE` free.

    Args:
        folder: where they are to be written; it need not be there yet.
        needed_bytes: with 0, any disk will do.
    """
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if needed_bytes and free < needed_bytes + RESERVE:
        raise UsageError(
            f"the features need {needed_bytes / 1e9:.1f} GB, and {RESERVE / 1e9:.1f} GB must stay "
            f"free, but {folder} has {free / 1e9:.1f} GB free. Give --feature-cache a folder on a "
            "larger disk, ask for a smaller number of views, or use --feature-dtype bf16"
        )


def summary(folder: Path) -> list[tuple[str, int, int]]:
    """Return name, files and bytes of every store in a folder, by name.

    The bytes include what killed writers have left behind.
    """
    found = []
    for path in sorted(folder.iterdir()) if folder.is_dir() else ():
        if not _FOLDER.fullmatch(path.name):
            continue
        files = size = 0
        for part in path.glob("[0-9a-f][0-9a-f]"):
            for entry in scandir(part):
                try:
                    size += entry.stat().st_size
                except FileNotFoundError:  # a temporary file that got its name just now
                    continue
                files += not entry.name.startswith(".")
        found.append((path.name, files, size))
    return found


def _bytes_of(tensor: Tensor) -> memoryview:
    """Return the bytes of a CPU tensor's elements, row by row."""
    return tensor.contiguous().flatten().view(torch.uint8).numpy().data
