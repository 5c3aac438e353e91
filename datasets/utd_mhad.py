"""UTD-MHAD: 27 actions by eight subjects, recorded by a depth camera and a wearable sensor.

The root is the official layout: `Depth/`, `Skeleton/` and `Inertial/` hold one `.mat` file per
recording; a folder that no modality in use needs may be absent. Every recording is brought to
fixed shapes with constants and with its own values only, so nothing of an unseen domain reaches
training through the pre-processing.
"""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.io import loadmat
from torch import Tensor

from datasets import register
from datasets.base import (
    Card,
    ModalitySpec,
    MultimodalDataset,
    Recipe,
    Role,
    Sample,
    announced,
    given_folder,
)
from datasets.media.depth import DEPTH_CODES, DEPTH_FRAMES, DEPTH_PIXELS, convert_depth
from datasets.media.motion import (
    INERTIAL_STEPS,
    SKELETON_FRAMES,
    convert_inertial,
    convert_skeleton,
)
from datasets.sensors.arrays import cached
from mmdg_common import UsageError, unknown

Array = NDArray[Any]

CACHE_VERSION = 1
"""In the name of a cache file; raise it whenever a change alters what the converters return."""

SPLIT_SEED = "utd_mhad split 0"

ACTIONS = (
    "swipe_left swipe_right wave clap throw arm_cross basketball_shoot draw_x draw_circle_cw "
    "draw_circle_ccw draw_triangle bowling boxing baseball_swing tennis_swing arm_curl "
    "tennis_serve push knock catch pickup_throw jog walk sit_to_stand stand_to_sit lunge squat"
)
CORRUPT = {"a8_s1_t4", "a23_s6_t4", "a27_s8_t4"}  # left out by the authors
OFFICIAL = {
    f"a{a}_s{s}_t{t}" for a in range(1, 28) for s in range(1, 9) for t in range(1, 5)
} - CORRUPT
ID = r"a([1-9]|1\d|2[0-7])_s([1-8])_t([1-9]\d*)"


@dataclass(frozen=True)
class Files:
    """One of the official folders: its files' names and content, and what becomes of them."""

    folder: str
    suffix: str
    key: str
    shape: tuple[int | None, ...]
    convert: Callable[[Array], Array]

    def path(self, root: Path, recording: str) -> Path:
        """Return where the file of one recording belongs."""
        return root / self.folder / f"{recording}_{self.suffix}.mat"

    def listing(self, root: Path) -> dict[str, int]:
        """Return the size in bytes of every recording's file that is there, in sorted order."""
        folder = root / self.folder
        if not folder.is_dir():
            return {}
        name = re.compile(rf"({ID})_{self.suffix}\.mat")
        with os.scandir(folder) as entries:
            found = {m[1]: e.stat().st_size for e in entries if (m := name.fullmatch(e.name))}
        return {recording: found[recording] for recording in sorted(found, key=_parse)}

    def read(self, path: Path) -> Array:
        """Return the converted content of one file; raise UsageError if it is broken."""
        try:
            values = np.asarray(loadmat(path, variable_names=[self.key])[self.key])
            sizes = list(zip(values.shape, self.shape, strict=True))
            if not values.size or any(want not in (None, size) for size, want in sizes):
                raise ValueError(f"its shape is {values.shape}")
            if not np.isfinite(values).all():
                raise ValueError("it holds values that are not finite")
            return self.convert(values)
        except Exception as error:  # what scipy raises depends on the bytes that are broken
            shape = ", ".join("N" if size is None else str(size) for size in self.shape)
            raise UsageError(
                f"{path} is not a readable UTD-MHAD file (expected {self.key!r} of shape "
                f"({shape}); {type(error).__name__}: {error}). Download it again: {SOURCE}"
            ) from error


SOURCE = (
    "unpack Depth.zip, Skeleton.zip and Inertial.zip from "
    "https://personal.utdallas.edu/~kehtar/UTD-MHAD.html side by side into one folder."
)
ADVICE = (
    "Check the folder with `python -m datasets.prepare utd_mhad --root DIR`. To get the data, "
    + SOURCE
)
FILES = {
    "depth": Files("Depth", "depth", "d_depth", (240, 320, None), convert_depth),
    "skeleton": Files("Skeleton", "skeleton", "d_skel", (20, 3, None), convert_skeleton),
    "inertial": Files("Inertial", "inertial", "d_iner", (None, 6), convert_inertial),
}
HOLDERS = dict(depth="depth", skeleton="skeleton", accelerometer="inertial", gyroscope="inertial")
"""The kind of files that holds a modality."""


@register("utd_mhad")
class UtdMhad(MultimodalDataset):
    """UTD-MHAD with pairs of subjects as domains."""

    card = Card(
        name="utd_mhad",
        modalities=(
            # Depth is cropped to the person: 1 at its median, 0 behind it.
            ModalitySpec(
                "depth",
                (1, DEPTH_FRAMES, DEPTH_PIXELS, DEPTH_PIXELS),
                "depth_cnn",
                "m",
                kind="depth",
            ),
            ModalitySpec(
                "skeleton",
                (3, SKELETON_FRAMES, 20),
                "skeleton_cnn",
                "torso lengths",
                kind="skeleton",
            ),
            ModalitySpec("accelerometer", (3, INERTIAL_STEPS), "signal_cnn", "g", kind="inertial"),
            ModalitySpec(
                "gyroscope", (3, INERTIAL_STEPS), "signal_cnn", "100 degree/s", kind="inertial"
            ),
        ),
        domains=("s1s2", "s3s4", "s5s6", "s7s8"),
        classes=tuple(ACTIONS.split()),
        recipe=Recipe(epochs=30, lr=1e-3, batch_size=32),
        source=SOURCE,
        citation=(
            "C. Chen, R. Jafari, N. Kehtarnavaz. UTD-MHAD: A multimodal dataset for human action "
            "recognition utilizing a depth camera and a wearable inertial sensor. ICIP 2015."
        ),
    )

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        self._root = root = given_folder(root, "utd_mhad", ADVICE)
        self._listing = {kind: files.listing(root) for kind, files in FILES.items()}
        self._ids = sorted({i for found in self._listing.values() for i in found}, key=_parse)
        if not self._ids:
            raise UsageError(f"utd_mhad: {root} holds no recording. {ADVICE}")
        self._groups: dict[tuple[int, int], list[str]] = {}
        for name in self._ids:
            action, subject, _ = _parse(name)
            self._groups.setdefault((action - 1, (subject - 1) // 2), []).append(name)
        self._arrays: dict[str, Array] = {}
        self._rows = {k: {i: row for row, i in enumerate(f)} for k, f in self._listing.items()}

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the samples of one domain; a fifth of each class validates."""
        if domain not in self.card.domains:
            raise unknown("domain", domain, self.card.domains)
        pair = self.card.domains.index(domain)
        found = []
        for label in range(len(self.card.classes)):
            group = self._groups.get((label, pair), [])
            held_out = sorted(group, key=_draw)[: round(len(group) / 5)]
            kept = {"target": group, "val": held_out, "train": set(group) - set(held_out)}[role]
            found += [Sample(i, label, domain, (f"s{_parse(i)[1]}", i)) for i in group if i in kept]
        return found

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of the file of this modality; UsageError if it is missing."""
        kind = _kind(modality)
        if sample.id not in self._listing[kind]:
            self._check(kind)
        return self._listing[kind][sample.id]

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the one file, which accelerometer and gyroscope share."""
        return [self._file(_kind(modality), sample.id)]

    def prepare(self, modalities: Sequence[str]) -> None:
        """Read these modalities of all recordings into memory, from the cache if possible."""
        for kind in dict.fromkeys(_kind(m) for m in modalities):
            if kind not in self._arrays:
                self._check(kind)
                self._arrays[kind] = self._cached(kind)

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> dict[str, Tensor]:
        """Return the tensors of one recording; nothing is random, so `seed` is not used."""
        self.prepare(modalities)
        return {m: self._tensor(sample.id, m) for m in modalities}

    def verify(self) -> Iterator[str]:
        """Yield what is wrong with the files on disk, reading every one of them."""
        for kind, files in FILES.items():
            found = self._listing[kind]
            if not found:
                yield f"{self._root / files.folder} is missing or holds no recording"
                continue
            for recording in sorted(OFFICIAL ^ set(found), key=_parse):
                what = "is not an official recording" if recording in found else "is missing"
                yield f"{files.path(self._root, recording)} {what}"
            for recording in announced(list(found), f"checking {len(found)} {kind} recordings"):
                try:
                    files.read(files.path(self._root, recording))
                except UsageError as error:
                    yield str(error)

    def _tensor(self, recording: str, modality: str) -> Tensor:
        kind = _kind(modality)
        row = self._arrays[kind][self._rows[kind][recording]].astype(np.float32)
        if modality == "depth":
            row /= DEPTH_CODES
        elif kind == "inertial":
            row = row[:3] if modality == "accelerometer" else row[3:]
        return torch.from_numpy(row)

    def _check(self, kind: str) -> None:
        """Raise UsageError if one of the recordings has no file of this kind."""
        missing = [i for i in self._ids if i not in self._listing[kind]]
        if missing:
            raise UsageError(
                f"utd_mhad: {len(missing)} of {len(self._ids)} {kind} files are missing, the "
                f"first is {FILES[kind].path(self._root, missing[0])}. {ADVICE}"
            )

    def _cached(self, kind: str) -> Array:
        """Return [recordings, ...] of one kind, read from the cache or written to it."""
        name = f"utd_mhad-{kind}-v{CACHE_VERSION}"
        files = [self._file(kind, recording) for recording in self._listing[kind]]
        return cached(self.cache, name, self._root, files, lambda: {kind: self._read(kind)})[kind]

    def _file(self, kind: str, recording: str) -> str:
        return FILES[kind].path(self._root, recording).relative_to(self._root).as_posix()

    def _read(self, kind: str) -> Array:
        files, recordings = FILES[kind], list(self._listing[kind])
        text = f"reading {len(recordings)} {kind} recordings"
        paths = [files.path(self._root, recording) for recording in recordings]
        return np.stack([files.read(path) for path in announced(paths, text)])


def _parse(recording: str) -> tuple[int, int, int]:
    """Return action, subject and trial, counted from 1, of an id like `a1_s1_t1`."""
    action, subject, trial = (int(word[1:]) for word in recording.split("_"))
    return action, subject, trial


def _draw(recording: str) -> bytes:
    """Rank recordings at random by their ids alone, so no generator's version matters."""
    return hashlib.sha256(f"{SPLIT_SEED} {recording}".encode()).digest()


def _kind(modality: str) -> str:
    if modality not in HOLDERS:
        raise unknown("modality", modality, HOLDERS)
    return HOLDERS[modality]
