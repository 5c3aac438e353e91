"""HUST motor on disk: its two layouts, and a made-up stand-in."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from datasets.media import fabricate
from mmdg_common import UsageError, written_atomically

Array = NDArray[np.float32]
Windows = dict[str, Array]
"""Windows [N, 1024] by key, `load1_train` to `load4_test`, class blocks in order."""

WINDOW = 1024
STATES = ("H", "BF", "BOW", "BROKEN", "MISAL", "UNBAL")
SPEEDS_HZ = (5, 10, 20, 30)
WINDOWS_PER_FILE, TRAIN_PER_FILE = 1000, 800
WINDOW_SEED = 42
MAT_FILES = {"vibration": "Motor_Vib.mat", "acoustic": "Motor_Aud.mat"}
FEWEST = 4
"""Windows of each class and domain that can be trained and validated on."""
SOURCE = (
    "put Motor_Vib.mat and Motor_Aud.mat of MMDG_Benchmark into one folder, or the raw text "
    "files of the HUST motor dataset (H_5HZ.txt to UNBAL_30HZ.txt)."
)


def files(root: Path) -> dict[str, list[Path]]:
    """Return the files of each modality: its .mat file, or every raw file.

    Raises:
        UsageError: neither is complete; the message names the first file that is missing.
    """
    mats = {modality: [root / file] for modality, file in MAT_FILES.items()}
    if any(paths[0].exists() for paths in mats.values()):
        wanted = mats
    else:
        raw = [root / raw_file(state, speed) for speed in SPEEDS_HZ for state in STATES]
        if not any(path.exists() for path in raw):
            raise UsageError(f"hust_motor: {root} holds no data. To get it, {SOURCE}")
        wanted = {modality: raw for modality in MAT_FILES}
    for paths in wanted.values():
        for path in paths:
            if not path.exists():
                raise UsageError(f"hust_motor: {path} is missing. To get the data, {SOURCE}")
    return wanted


def raw_file(state: str, speed: int) -> str:
    """Return the name of the raw file of one state at one speed in Hz."""
    return f"{state}_{speed}HZ.txt"


def _keys() -> list[str]:
    return [f"load{load}_{split}" for load in range(1, 5) for split in ("train", "test")]


def counts(path: Path) -> dict[str, int]:
    """Return the number of windows by key, without reading them.

    Args:
        path: a .mat file, or any of the raw files.

    Raises:
        UsageError: the .mat file is broken.
    """
    if path.suffix == ".mat":
        return _mat_counts(path)
    of = {"train": TRAIN_PER_FILE, "test": WINDOWS_PER_FILE - TRAIN_PER_FILE}
    return {key: len(STATES) * of[key.split("_")[1]] for key in _keys()}


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


def from_mat(path: Path) -> Windows | None:
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


def windows_of(paths: Sequence[Path]) -> dict[str, Windows]:
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


def write_stand_in(root: Path, per_class: int) -> None:
    """Write made-up .mat files: one tone per class, one background per domain.

    Raises:
        UsageError: fewer windows than can be trained and validated on, or `root` holds other files.
    """
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
