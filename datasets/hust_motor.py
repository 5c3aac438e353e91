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
from numpy.typing import NDArray
from torch import Tensor

from datasets import register
from datasets.base import Card, ModalitySpec, MultimodalDataset, Recipe, Role, Sample
from datasets.media import fabricate
from mmdg_common import UsageError, unknown, written_atomically

Array = NDArray[np.float32]
Windows = dict[str, Array]
"""Windows [N, 1024] by key, `load1_train` to `load4_test`, class blocks in order."""

WINDOW = 1024
STATES = ("H", "BF", "BOW", "BROKEN", "MISAL", "UNBAL")
SPEEDS_HZ = (5, 10, 20, 30)
WINDOWS_PER_FILE, TRAIN_PER_FILE = 1000, 800
WINDOW_SEED, SPLIT_SEED = 42, 0
MAT_FILES = {"vibration": "Motor_Vib.mat", "acoustic": "Motor_Aud.mat"}
FEWEST = 4
"""Windows of each class and domain that can be trained and validated on."""
CACHE_VERSION = 1
SOURCE = (
    "put Motor_Vib.mat and Motor_Aud.mat of MMDG_Benchmark into one folder, or the raw text "
    "files of the HUST motor dataset (H_5HZ.txt to UNBAL_30HZ.txt)."
)


@register("hust_motor")
class HustMotor(MultimodalDataset):
    """HUST motor with the four speeds as domains."""

    card = Card(
        name="hust_motor",
        modalities=(
            ModalitySpec("vibration", (1, WINDOW), "hust_cnn", "norm of three axes, 0 to 1"),
            ModalitySpec("acoustic", (1, WINDOW), "hust_cnn", "sound pressure, 0 to 1"),
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
        self._files = _files(root)
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
            found += [Sample(f"{key}/{row}", label, domain) for row in rows]
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
        return [_raw_file(STATES[sample.label], speed)]

    def prepare(self, modalities: Sequence[str]) -> None:
        """Read these modalities and bring every window to 0..1."""
        for modality in modalities:
            if modality not in self._windows:
                arrays = _from_mat(self._files[modality][0])
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
        from scipy.io import savemat

        if per_class < FEWEST:
            raise UsageError(
                f"fabricate at least {FEWEST} windows of each class and domain: a quarter validates"
            )
        fabricate.claim(root)

        rng = np.random.default_rng(0)
        time = np.arange(WINDOW)
        contents: dict[str, Windows] = {name: {} for name in MAT_FILES}
        for load in range(1, 5):
            for split, count in (("train", per_class), ("test", max(1, per_class // 4))):
                for i, arrays in enumerate(contents.values()):
                    phases = rng.uniform(0, 2 * np.pi, (len(STATES), count, 1))
                    pitch = (np.arange(len(STATES)) + 2 + i)[:, None, None] * 8
                    tone = np.sin(2 * np.pi * pitch * time / WINDOW + phases)
                    hum = 0.3 * load * np.sin(2 * np.pi * 3 * load * time / WINDOW)
                    windows = tone + hum + 0.3 * rng.standard_normal(tone.shape)
                    arrays[f"load{load}_{split}"] = windows.reshape(-1, WINDOW).astype(np.float32)
        for name, file in MAT_FILES.items():
            with written_atomically(root / file) as out:
                savemat(out, {k: w.T for k, w in contents[name].items()})  # type: ignore[arg-type]

    def _count(self, key: str) -> int:
        """Return the number of windows under a key, without reading them where possible."""
        if not self._counts:
            modality = next(iter(self._files))
            path = self._files[modality][0]
            self._counts = _mat_counts(path) if path.suffix == ".mat" else _text_counts()
        return self._counts[key]

    def _from_text(self, modality: str) -> Windows:
        """Return the windows of the raw files, cached for both modalities together."""
        cached = None
        if self.cache is not None:
            cached = self.cache / f"hust_motor-v{CACHE_VERSION}-{self._sizes[modality]}.npz"
            if cached.exists():
                with np.load(cached) as arrays:
                    prefix = f"{modality}/"
                    return {k.removeprefix(prefix): arrays[k] for k in arrays if prefix in k}
        both = _windows_of(self._files[modality])
        if cached is not None:
            with written_atomically(cached) as file:
                np.savez(file, **{f"{m}/{k}": w for m, p in both.items() for k, w in p.items()})  # type: ignore[arg-type]
        return both[modality]


def _files(root: Path) -> dict[str, list[Path]]:
    """Return the files of each modality: its .mat file, or every raw file.

    Raises:
        UsageError: neither is complete; the message names the first file that is missing.
    """
    mats = {modality: [root / file] for modality, file in MAT_FILES.items()}
    if any(paths[0].exists() for paths in mats.values()):
        wanted = mats
    else:
        raw = [root / _raw_file(state, speed) for speed in SPEEDS_HZ for state in STATES]
        if not any(path.exists() for path in raw):
            raise UsageError(f"hust_motor: {root} holds no data. To get it, {SOURCE}")
        wanted = {modality: raw for modality in MAT_FILES}
    for paths in wanted.values():
        for path in paths:
            if not path.exists():
                raise UsageError(f"hust_motor: {path} is missing. To get the data, {SOURCE}")
    return wanted


def _raw_file(state: str, speed: int) -> str:
    return f"{state}_{speed}HZ.txt"


def _keys() -> list[str]:
    return [f"load{load}_{split}" for load in range(1, 5) for split in ("train", "test")]


def _text_counts() -> dict[str, int]:
    counts = {"train": TRAIN_PER_FILE, "test": WINDOWS_PER_FILE - TRAIN_PER_FILE}
    return {key: len(STATES) * counts[key.split("_")[1]] for key in _keys()}


def _mat_counts(path: Path) -> dict[str, int]:
    from scipy.io import whosmat

    try:
        shapes = {name: shape for name, shape, _ in whosmat(path)}
    except Exception as error:  # what scipy raises depends on the bytes that are broken
        raise _broken(path, error) from error
    for key in _keys():
        shape = shapes.get(key, ())
        if len(shape) != 2 or shape[0] != WINDOW or not shape[1] or shape[1] % len(STATES):
            raise _broken(path, f"{key} has the shape {shape or 'of nothing'}")
    return {key: shapes[key][1] for key in _keys()}


def _from_mat(path: Path) -> Windows | None:
    """Return the windows of a .mat file; None for another file."""
    if path.suffix != ".mat":
        return None
    from scipy.io import loadmat

    _mat_counts(path)
    try:
        values = loadmat(path, variable_names=_keys())
    except Exception as error:  # what scipy raises depends on the bytes that are broken
        raise _broken(path, error) from error
    arrays = {key: np.ascontiguousarray(values[key].T, dtype=np.float32) for key in _keys()}
    for key, windows in arrays.items():
        if not np.isfinite(windows).all():
            raise _broken(path, f"{key} holds numbers that are not finite")
    return arrays


def _broken(path: Path, reason: object) -> UsageError:
    return UsageError(
        f"{path} is not a readable file of HUST motor ({reason}; expected [{WINDOW}, N] arrays "
        f"{_keys()[0]} to {_keys()[-1]} with N a multiple of {len(STATES)}). "
        f"Download it again: {SOURCE}"
    )


def _windows_of(paths: Sequence[Path]) -> dict[str, Windows]:
    """Return random overlapping windows of the raw files, by modality."""
    gathered: dict[str, dict[str, list[Array]]] = {m: {} for m in MAT_FILES}
    for i, path in enumerate(paths):
        signals = _read_text(path)
        starts = np.random.default_rng(WINDOW_SEED).choice(
            signals.shape[1] - WINDOW + 1, WINDOWS_PER_FILE, replace=False
        )
        windows = np.lib.stride_tricks.sliding_window_view(signals, WINDOW, axis=1)[:, starts]
        load = i // len(STATES) + 1
        for modality, found in zip(MAT_FILES, windows, strict=True):
            for split, chosen in (
                ("train", found[:TRAIN_PER_FILE]),
                ("test", found[TRAIN_PER_FILE:]),
            ):
                gathered[modality].setdefault(f"load{load}_{split}", []).append(chosen)
    return {m: {k: np.concatenate(w) for k, w in arrays.items()} for m, arrays in gathered.items()}


def _read_text(path: Path) -> Array:
    """Return vibration (norm of three axes) and sound [2, T] of a raw file.

    The columns are time, three vibration axes and sound, after some header lines.
    """
    rows = []
    with path.open(errors="replace") as file:
        for number, line in enumerate(file, 1):
            try:
                values = [float(word) for word in line.replace(",", " ").split()]
            except ValueError:
                values = []
            if len(values) >= 5:
                rows.append(values[1:5])
            elif rows and line.strip():
                raise UsageError(f"{path}, line {number}: not five numbers. {SOURCE}")
    if len(rows) < WINDOW + WINDOWS_PER_FILE:
        raise UsageError(f"{path} holds only {len(rows)} rows of five numbers. {SOURCE}")
    table = np.array(rows)
    if not np.isfinite(table).all():
        raise UsageError(f"{path} holds numbers that are not finite. {SOURCE}")
    return np.stack([np.linalg.norm(table[:, :3], axis=1), table[:, 3]]).astype(np.float32)


def _scaled(windows: Array) -> Array:
    """Bring each window [N, 1024] to 0..1 by its own minimum and maximum."""
    low, high = windows.min(axis=1, keepdims=True), windows.max(axis=1, keepdims=True)
    return np.asarray((windows - low) / (high - low + 1e-8), np.float32)
