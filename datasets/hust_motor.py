"""HUST motor: vibration and sound of an electric motor in six states, at four speeds.

The root holds either `Motor_Vib.mat` and `Motor_Aud.mat`, which MMDG_Benchmark distributes, or
the raw text files `{H,BF,BOW,BROKEN,MISAL,UNBAL}_{5,10,20,30}HZ.txt`, from which the same
windows are drawn. A domain is one speed.

Difference from MMDG_Benchmark: it also validates on 200 of the 800 training windows of each class
and domain, but draws them anew for every run; here they are drawn once.
"""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from datasets import hust_files, register
from datasets.base import Card, ModalitySpec, MultimodalDataset, Recipe, Role, Sample
from datasets.hust_files import (
    MAT_FILES,
    SOURCE,
    SPEEDS_HZ,
    STATES,
    TRAIN_PER_FILE,
    WINDOW,
    WINDOWS_PER_FILE,
    Array,
    Windows,
)
from datasets.media import fabricate
from datasets.sensors.arrays import Arrays, cached
from mmdg_common import UsageError, unknown

CACHE_VERSION = 1
SPLIT_SEED = 0


@register("hust_motor")
class HustMotor(MultimodalDataset):
    """HUST motor with the four speeds as domains."""

    card = Card(
        name="hust_motor",
        modalities=(
            ModalitySpec(
                "vibration", (1, WINDOW), "hust_cnn", "norm of three axes, 0 to 1", kind="signal"
            ),
            ModalitySpec(
                "acoustic", (1, WINDOW), "hust_cnn", "sound pressure, 0 to 1", kind="signal"
            ),
        ),
        domains=("D1", "D2", "D3", "D4"),
        classes=(
            *("healthy", "bearing_fault", "bowed_rotor"),
            *("broken_rotor_bars", "rotor_misalignment", "voltage_unbalance"),
        ),
        recipe=Recipe(
            epochs=0,
            steps=10_000,
            lr=1e-3,
            batch_size=128,
            weight_decay=5e-4,
            decay="inverse",
            validate_every=200,
        ),
        source=SOURCE,
    )

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        if root is None or not root.is_dir():
            raise UsageError(f"hust_motor: there is no folder {root}. To get the data, {SOURCE}")
        self._root = root
        self.fabricated = fabricate.is_fabricated(root)
        self._files = hust_files.files(root)
        self._sizes = {m: sum(p.stat().st_size for p in f) for m, f in self._files.items()}
        self._windows: dict[str, Windows] = {}
        self._counts: dict[str, int] = {}

    def samples(self, domain: str, role: Role) -> Sequence[Sample]:
        """Return the windows of one domain; a quarter of each class's training split validates."""
        if domain not in self.card.domains:
            raise unknown("domain", domain, self.card.domains)
        split = "test" if role == "target" else "train"
        key = f"load{self.card.domains.index(domain) + 1}_{split}"
        per_class = self._count(key) // len(STATES)
        found = []
        for label in range(len(STATES)):
            order = np.random.default_rng((SPLIT_SEED, label)).permutation(per_class)
            held_out = set(order[: per_class // 4].tolist())
            wanted = {"target": set(range(per_class)), "val": held_out}.get(
                role, set(range(per_class)) - held_out
            )
            rows = (label * per_class + i for i in sorted(wanted))
            recording = f"{STATES[label]} {domain}"  # one file per state and speed
            found += [Sample(f"{key}/{row}", label, domain, (recording,)) for row in rows]
        return found

    def held_out(self, domain: str) -> Sequence[Sample]:
        """Return the test split, as validation takes its windows from the training split."""
        return self.samples(domain, "target")

    def load(
        self, sample: Sample, modalities: Sequence[str], seed: int | None
    ) -> dict[str, Tensor]:
        """Return the windows; nothing is random, so `seed` is not used."""
        self.prepare(modalities)
        key, row = sample.id.split("/")
        return {m: torch.from_numpy(self._windows[m][key][None, int(row)]) for m in modalities}

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of all files that this modality is read from."""
        return self._sizes[modality]

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the raw file that a window is from; nothing where .mat files hold them all."""
        if self._files[modality][0].suffix == ".mat":
            return ()
        speed = SPEEDS_HZ[self.card.domains.index(sample.domain)]
        return [hust_files.raw_file(STATES[sample.label], speed)]

    def made_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the raw file, or the .mat file that holds all windows."""
        return self.files_of(sample, modality) or [self._files[modality][0].name]

    def prepare(self, modalities: Sequence[str]) -> None:
        """Read these modalities and bring every window to 0..1."""
        for modality in modalities:
            if modality not in self._windows:
                arrays = hust_files.from_mat(self._files[modality][0])
                if arrays is None:
                    arrays = self._from_text(modality)
                self._windows[modality] = {key: _scaled(windows) for key, windows in arrays.items()}

    def verify(self) -> Iterator[str]:
        """Yield what is wrong with the files on disk."""
        for modality in MAT_FILES:
            try:
                self.prepare([modality])
            except UsageError as error:
                yield str(error)
                continue
            for key, windows in self._windows[modality].items():
                expected = len(STATES) * (
                    TRAIN_PER_FILE if key.endswith("train") else WINDOWS_PER_FILE - TRAIN_PER_FILE
                )
                if len(windows) != expected and not self.fabricated:
                    yield f"{modality} {key}: {len(windows)} windows instead of {expected}"

    @classmethod
    def fabricate(cls, root: Path, per_class: int) -> None:
        """Write made-up .mat files: one tone per class, one background per domain."""
        hust_files.write_stand_in(root, per_class)

    def _count(self, key: str) -> int:
        """Return the number of windows under a key, without reading them where possible."""
        if not self._counts:
            first, *_ = self._files.values()
            self._counts = hust_files.counts(first[0])
        return self._counts[key]

    def _from_text(self, modality: str) -> Windows:
        """Return the windows of the raw files, cached for both modalities together."""
        files = self._files[modality]

        def make() -> Arrays:
            both = hust_files.windows_of(files)
            return {f"{m}/{k}": windows for m, part in both.items() for k, windows in part.items()}

        name, names = f"hust_motor-v{CACHE_VERSION}", [file.name for file in files]
        found, prefix = cached(self.cache, name, self._root, names, make), f"{modality}/"
        return {k.removeprefix(prefix): w for k, w in found.items() if k.startswith(prefix)}


def _scaled(windows: Array) -> Array:
    """Bring each window [N, 1024] to 0..1 by its own minimum and maximum."""
    low, high = windows.min(axis=1, keepdims=True), windows.max(axis=1, keepdims=True)
    return np.asarray((windows - low) / (high - low + 1e-8), np.float32)
