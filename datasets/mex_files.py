"""The files of MEx: where they are, what they must hold, the windows, and a made-up stand-in."""

import contextlib
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.base import announced
from datasets.media import fabricate
from datasets.sensors import signals, tables
from datasets.sensors.arrays import Arrays, cached
from mmdg_common import UsageError

Array = NDArray[Any]

CACHE_VERSION = 1
"""In the name of the cache file; raise it whenever a change alters what is read."""
SOURCE = (
    "take the public extract of 10 subjects of MEx "
    "(https://data.mendeley.com/datasets/p89fwbzmkd; CC BY 4.0 as far as known, check it): "
    "MEx/act/SS/act_SS_exercise_EE_R.csv (ms, x, y, z in g; 100 Hz) and "
    "MEx/dc_0.05_0.05/SS/dc_0.05_0.05_SS_exercise_EE_R.csv (ms, 192 depths from 0 to 1; 1 Hz), "
    "times from 0, no header."
)
ADVICE = f"To get the data, {SOURCE}"
FOLDERS = {"accelerometer": "act", "depth": "dc_0.05_0.05"}
"""Modalities, and their folders in MEx."""
SUBJECTS = tuple(f"{number:02d}" for number in range(1, 11))
EXERCISES = ("01_1", "02_1", "03_1", "04_1", "04_2", "05_1", "06_1", "07_1")
"""Exercise and repetition of the recordings of each subject; 04 is done on both sides."""
OFFICIAL = tuple(f"{subject}/{exercise}" for subject in SUBJECTS for exercise in EXERCISES)
OFFICIAL_WINDOWS = 857

WINDOW_MS, STEP_MS, FRAME_MS = 5000, 10, 1000
STEPS, FRAMES = WINDOW_MS // STEP_MS, WINDOW_MS // FRAME_MS
"""Measurements of a window."""
PIXELS = (12, 16)
"""Rows and columns of a depth image."""
AXES = ("x", "y", "z")
MOST_G = 1000
"""No wearable sensor measures more; what a float32 cannot hold is far beyond."""
CELLS = tuple(f"pixel {number}" for number in range(1, PIXELS[0] * PIXELS[1] + 1))


def home(root: Path) -> Path:
    """Return the folder of the sensors' folders: `MEx` in the root, or the root itself."""
    inner = root / "MEx"
    return inner if inner.is_dir() else root


def file_of(recording: str, modality: str) -> str:
    """Return the path below the home of a recording's file; a recording is named `01/04_2`."""
    subject, _, exercise = recording.partition("/")
    sensor = FOLDERS[modality]
    return f"{sensor}/{subject}/{sensor}_{subject}_exercise_{exercise}.csv"


def listing(folder: Path) -> dict[str, dict[str, int]]:
    """Return the bytes of each recording's files by modality, recordings in order.

    Raises:
        UsageError: there is no recording, one has a single sensor, or a file is in a place where
            it does not belong.
    """
    found: dict[str, dict[str, int]] = {}
    for modality, sensor in FOLDERS.items():
        for subject in SUBJECTS:
            for path in tables.files(folder / sensor / subject):
                sizes = found.setdefault(_recording(path, sensor), {})
                sizes[modality] = path.stat().st_size
    if not found:
        raise UsageError(f"mex: {folder} holds no recording. {ADVICE}")
    for recording in sorted(found):
        for modality in FOLDERS.keys() - found[recording].keys():
            (there,) = found[recording]
            raise UsageError(
                f"{folder / file_of(recording, modality)} is missing, but "
                f"{file_of(recording, there)} is there; get it, or remove the other"
            )
    return {recording: found[recording] for recording in sorted(found)}


def not_read(folder: Path) -> tuple[list[str], list[str]]:
    """Return the folders of other sensors, and the other subjects of those that are read."""
    sensors = {path.name for path in folder.iterdir() if path.is_dir()} - set(FOLDERS.values())
    inside = [path for sensor in FOLDERS.values() for path in (folder / sensor).iterdir()]
    subjects = {path.name for path in inside if path.is_dir()} - set(SUBJECTS)
    return sorted(sensors), sorted(subjects)


def recorded(folder: Path, sizes: Mapping[str, Mapping[str, int]], cache: Path | None) -> Arrays:
    """Return the windows of these recordings, one after the other, from the cache if possible.

    Args:
        folder: the home of the files.
        sizes: what `listing` returned.
        cache: a folder for the arrays; None keeps nothing.

    Returns:
        `accelerometer` [N, 3, 500] in g and `depth` [N, 1, 5, 12, 16] from 0 to 1, float32, and
        `counts`, the number of windows of each recording.

    Raises:
        UsageError: something in a file is wrong, or the cache cannot be written.
    """
    files = [file_of(name, modality) for name, of in sizes.items() for modality in of]

    def make() -> Arrays:
        names = announced(list(sizes), f"reading {len(sizes)} recordings")
        cut = [windows(folder, name) for name in names]
        arrays = {modality: np.concatenate([c[modality] for c in cut]) for modality in FOLDERS}
        return {**arrays, "counts": np.array([len(c["depth"]) for c in cut])}

    return cached(cache, f"mex-v{CACHE_VERSION}", folder, files, make)


def windows(folder: Path, recording: str) -> dict[str, Array]:
    """Return the windows that both sensors hold all of, float32 by modality.

    Raises:
        UsageError: something in a file is wrong, or it is shorter than one window.
    """
    paths = {modality: folder / file_of(recording, modality) for modality in FOLDERS}
    times, values = _accelerometer(paths["accelerometer"])
    frames = _depth(paths["depth"])
    whole = {"accelerometer": int(times[-1] + STEP_MS) // WINDOW_MS, "depth": len(frames) // FRAMES}
    for modality, count in whole.items():
        if not count:
            raise UsageError(
                f"{paths[modality]} is shorter than one window of 5 s; remove both "
                f"files of the recording {recording}, or get them again"
            )
    count = min(whole.values())
    grid = np.arange(count * STEPS, dtype=float) * STEP_MS
    measured = signals.at(grid, times, values).reshape(count, STEPS, len(AXES))
    images = frames[: count * FRAMES].reshape(count, 1, FRAMES, *PIXELS)
    return {
        "accelerometer": measured.transpose(0, 2, 1).astype(np.float32),
        "depth": images.astype(np.float32),
    }


def _recording(path: Path, sensor: str) -> str:
    """Return the recording that a file name tells; UsageError if it belongs somewhere else."""
    name = re.compile(rf"{re.escape(sensor)}_(\d\d)_exercise_(0[1-7]_[1-9])\.csv")
    match = name.fullmatch(path.name)
    if match is None:
        raise UsageError(
            f"{path} is not named like a recording, such as {sensor}_01_exercise_01_1.csv; "
            "remove it"
        )
    subject, exercise = match.groups()
    if path.parent.name != subject:
        raise UsageError(
            f"{path} is a file of subject {subject} in the folder of {path.parent.name}; move it"
        )
    return f"{subject}/{exercise}"


def _accelerometer(path: Path) -> tuple[Array, Array]:
    """Return times [N] in ms, from 0 and without gaps, and values [N, 3] in g."""
    table = tables.read(path, ("ms", *AXES), header=False)
    # A lost measurement is interpolated, but not two in a row.
    tables.check_times(path, table.ms, gap=2 * STEP_MS)
    times = table.ms.to_numpy()
    if abs(times[0]) > STEP_MS / 2:
        raise UsageError(f"{path} begins at {times[0]:g} ms instead of 0. {ADVICE}")
    values = table[list(AXES)]
    beyond = (values.abs() > MOST_G).any(axis=1)
    if beyond.any():
        raise UsageError(
            f"{path}, line {beyond.idxmax()}: more than {MOST_G} g; get the file again"
        )
    return times, values.to_numpy()


def _depth(path: Path) -> Array:
    """Return [N, 192] from 0 to 1, a frame for each second from 0."""
    table = tables.read(path, ("ms", *CELLS), texts=CELLS, header=False)
    tables.check_times(path, table.ms, gap=math.inf)
    times = table.ms.to_numpy()
    due = np.arange(len(times)) * FRAME_MS
    wrong = np.flatnonzero(abs(times - due) >= FRAME_MS / 2)
    if len(wrong):
        line, time = table.index[wrong[0]], times[wrong[0]]
        raise UsageError(
            f"{path}, line {line}: the time is {time:.15g} ms, but with one frame a second "
            f"{due[wrong[0]]} ms is due. {ADVICE}"
        )
    frames = _numbers(path, table[list(CELLS)].to_numpy())
    outside = np.argwhere((frames < 0) | (frames > 1))
    if len(outside):
        row, column = outside[0]
        line, value = table.index[row], frames[row, column]
        raise UsageError(
            f"{path}, line {line}: {CELLS[column]} is {value:.15g}, but depths are from 0 to 1; "
            "get the file again"
        )
    return frames


def _numbers(path: Path, cells: Array) -> Array:
    with contextlib.suppress(ValueError):
        numbers = cells.astype(float)
        if np.isfinite(numbers).all():
            return np.asarray(numbers)
    # Reading a column at a time takes much longer, but tells which cell is wrong.
    return tables.read(path, ("ms", *CELLS), header=False)[list(CELLS)].to_numpy()


def write_stand_in(root: Path, per_class: int) -> None:
    """Write made-up recordings of all subjects.

    Args:
        root: a new folder, or one that was fabricated before.
        per_class: windows of each recording.

    Raises:
        UsageError: fewer than two windows, as some train and some validate, or `root` holds
            something else.
    """
    if per_class < 2:
        raise UsageError("fabricate at least 2 windows of each recording: train and validation")
    fabricate.claim(root)
    folder = root / "MEx"
    fabricate.claim(folder)  # either can be given as the root
    for recording in OFFICIAL:
        for modality, values in _made_up(recording, per_class).items():
            path = folder / file_of(recording, modality)
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savetxt(path, values, fmt="%.4f", delimiter=",")


def _made_up(recording: str, count: int) -> dict[str, Array]:
    """Return the rows of a recording's files by modality.

    The class shows in the thigh's slope and rhythm, and in where the person is in the picture; the
    subject in how the sensor sits, in how far everything is, and in the noise.
    """
    subject, label = SUBJECTS.index(recording[:2]), int(recording[3:5]) - 1
    rng = np.random.default_rng(list(recording.encode()))
    ms = np.arange(count * STEPS) * STEP_MS
    slope = 0.45 * label + 0.015 * subject
    beat = np.sin(2 * np.pi * (0.4 + 0.3 * label) * ms / 1000 + rng.uniform(0, 2 * np.pi))
    axes = np.array([np.cos(slope), np.sin(slope), 0.1 * subject])
    moved = axes + np.outer(beat, [0.1, 0.2, 0.3]) * (0.8 + 0.05 * subject)
    moved += rng.normal(0, 0.02 + 0.005 * subject, moved.shape)
    seconds = np.arange(count * FRAMES)
    images = np.full((len(seconds), *PIXELS), 0.95 - 0.01 * subject)
    person = 0.5 + 0.01 * subject + 0.1 * np.sin(seconds * (1 + label))
    images[:, 4:9, 2 * label : 2 * label + 4] = person[:, None, None]
    images += rng.normal(0, 0.005, images.shape)
    return {
        "accelerometer": np.column_stack([ms, moved]),
        "depth": np.column_stack([seconds * FRAME_MS, images.reshape(len(seconds), -1).clip(0, 1)]),
    }
