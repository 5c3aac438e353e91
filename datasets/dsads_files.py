"""The files of dsads: which segments there are, their values, and what is wrong with them."""

import contextlib
import io
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.base import announced
from datasets.media import fabricate
from datasets.sensors import arrays as kept
from datasets.sensors import tables
from mmdg_common import UsageError

Array = NDArray[Any]

CACHE_VERSION = 1
"""In the name of a cache file; raise it whenever a change alters what is read."""
SOURCE = (
    "unpack the zip file of https://archive.ics.uci.edu/dataset/256/daily+and+sports+activities "
    "into one folder, so that it holds data/a01/p1/s01.txt."
)
ADVICE = (
    "Check the folder with `python -m datasets.prepare dsads --root DIR`. To get the data, "
    + SOURCE
)
CLASSES = (
    *("sitting", "standing", "lying_on_back", "lying_on_right_side", "ascending_stairs"),
    *("descending_stairs", "standing_in_elevator", "moving_in_elevator", "walking_parking_lot"),
    *("walking_treadmill_flat", "walking_treadmill_incline", "running_treadmill", "stepper"),
    *("cross_trainer", "cycling_horizontal", "cycling_vertical", "rowing", "jumping"),
    "basketball",
)
"""Activities 1 to 19."""
UNITS = ("torso", "right_arm", "left_arm", "right_leg", "left_leg")
"""Where on the body the sensors sit, in the order of the columns."""
SENSORS = {"accelerometer": "m/s²", "gyroscope": "rad/s", "magnetometer": "without unit"}
COLUMNS = tuple((unit, sensor, axis) for unit in UNITS for sensor in SENSORS for axis in "xyz")
RATE = 25
STEPS = 5 * RATE
SUBJECTS = 8
RECORDINGS = tuple(
    f"a{activity:02d}/p{subject}"
    for activity in range(1, len(CLASSES) + 1)
    for subject in range(1, SUBJECTS + 1)
)
"""Five minutes of one activity of one subject, which the authors cut into 60 segments."""
SEGMENTS = tuple(f"s{number:02d}" for number in range(1, 61))
FILE = re.compile(r"(s(?:0[1-9]|[1-5]\d|60))\.txt")


def listing(root: Path) -> dict[str, int]:
    """Return the bytes of every segment by its id, by activity, subject and segment.

    Args:
        root: the folder; a segment `a01/p1/s01` is its `data/a01/p1/s01.txt`.

    Raises:
        UsageError: a folder cannot be read.
    """
    found: dict[str, int] = {}
    for recording in RECORDINGS:
        folder = root / "data" / recording
        try:
            with os.scandir(folder) as entries:
                sizes = {m[1]: _size(e) for e in entries if (m := FILE.fullmatch(e.name))}
        except FileNotFoundError:
            continue
        except OSError as error:
            raise UsageError(f"{folder} cannot be read: {error.strerror}") from None
        found |= {f"{recording}/{segment}": sizes[segment] for segment in sorted(sizes)}
    return found


def file(segment: str) -> str:
    """Return the path of a segment's file below the root."""
    return f"data/{segment}.txt"


def values(root: Path, sizes: Mapping[str, int], cache: Path | None) -> Array:
    """Return [N, 45, 125] float32 of the segments listed, read from the cache or written to it.

    Raises:
        UsageError: a file cannot be used, or the cache cannot be written.
    """
    name = f"dsads-v{CACHE_VERSION}"
    files = map(file, sizes)
    made = kept.cached(cache, name, root, files, lambda: {"values": _read(root, list(sizes))})
    return made["values"]


def defects(root: Path, sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield everything that is wrong with the files, reading each of them.

    A copy that lacks the same segments of all recordings is not wrong: see `remark`.
    """
    held, usual = _held(sizes), _usual(sizes)
    for recording in RECORDINGS:
        folder, segments = root / "data" / recording, held.get(recording, set())
        if not segments:
            yield f"{folder} is missing or holds no segment"
            continue
        if lacking := usual - segments:
            yield f"{folder} lacks what most others have: {_ranges(lacking)}"
        if extra := segments - usual:
            yield f"{folder} has what most others lack: {_ranges(extra)}"
    yield from _strangers(root, sizes)
    for paths in announced(_recordings(root, sizes), f"checking {len(sizes)} segments"):
        if _recording(paths) is None:
            for path in paths:
                try:
                    read_segment(path)
                except UsageError as error:
                    yield str(error)


def remark(sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield one line where most recordings lack some of their segments."""
    held, usual = _held(sizes), _usual(sizes)
    if len(usual) == len(SEGMENTS):
        return
    text = f"{len(sizes):,} of {len(RECORDINGS) * len(SEGMENTS):,} segments are here"
    if all(segments == usual for segments in held.values()):
        text += (
            f", {len(usual)} of {len(SEGMENTS)} of every activity and subject ({_ranges(usual)})"
        )
    yield f"{text}. Accuracies on them do not compare with those on all"


def read_segment(path: Path) -> Array:
    """Return [45, 125] float32 of one file.

    Raises:
        UsageError: it cannot be read, has another shape, or has a cell that is no finite number;
            the message names the file, and the line of a cell.
    """
    table = tables.read(path, ["_".join(column) for column in COLUMNS], header=False)
    if len(table) != STEPS:
        raise UsageError(f"{path} has {len(table)} rows instead of {STEPS}; get it again")
    with np.errstate(over="ignore"):
        found = table.to_numpy(np.float32).T
    if not np.isfinite(found).all():
        raise UsageError(f"{path} holds values beyond what its sensors can measure; get it again")
    return found


def _size(entry: "os.DirEntry[str]") -> int:
    """Return the bytes of a file, 0 of one that cannot be opened, which reading it says."""
    with contextlib.suppress(OSError):
        return entry.stat().st_size
    return 0


def _recordings(root: Path, segments: Iterable[str]) -> list[list[Path]]:
    """Return the files of each recording."""
    found: dict[str, list[Path]] = {}
    for name in segments:
        found.setdefault(name.rpartition("/")[0], []).append(root / file(name))
    return list(found.values())


def _read(root: Path, segments: Sequence[str]) -> Array:
    found = np.empty((len(segments), len(COLUMNS), STEPS), np.float32)
    row = 0
    recordings = _recordings(root, segments)
    for paths in announced(recordings, f"reading {len(segments)} segments"):
        several = _recording(paths)
        if several is None:
            several = np.stack([read_segment(path) for path in paths])
        found[row : row + len(paths)] = several
        row += len(paths)
    return found


def _recording(paths: Sequence[Path]) -> Array | None:
    """Return [N, 45, 125] float32 of several files at once, four times as fast as one by one.

    None where anything is unusual: then `read_segment` finds out of which file, and what.
    """
    import pandas as pd

    try:
        contents = [path.read_bytes() for path in paths]
    except OSError:
        return None
    # So no line goes on from one file to the next.
    if any(text.count(b"\n") != STEPS or not text.endswith(b"\n") for text in contents):
        return None
    try:
        joined = io.BytesIO(b"".join(contents))
        table = pd.read_csv(joined, header=None, dtype=np.float64, na_filter=False)
    except ValueError:  # pandas' own errors and undecodable bytes among them
        return None
    if table.shape != (len(paths) * STEPS, len(COLUMNS)):
        return None
    with np.errstate(over="ignore"):
        rows = table.to_numpy(np.float32)
    if not np.isfinite(rows).all():
        return None
    return rows.reshape(len(paths), STEPS, len(COLUMNS)).transpose(0, 2, 1)


def _held(sizes: Iterable[str]) -> dict[str, set[str]]:
    """Return the segments there are of each recording that has any."""
    held: dict[str, set[str]] = {}
    for name in sizes:
        recording, _, segment = name.rpartition("/")
        held.setdefault(recording, set()).add(segment)
    return held


def _usual(sizes: Iterable[str]) -> set[str]:
    """Return the segments that more than half of the recordings have."""
    held = _held(sizes)
    counts = Counter(segment for segments in held.values() for segment in segments)
    return {segment for segment, count in counts.items() if 2 * count > len(held)}


def _ranges(segments: Iterable[str]) -> str:
    """Return segments in words, such as `s01-s30, s45`."""
    found: list[list[str]] = []
    for name in sorted(segments):
        if found and int(name[1:]) == int(found[-1][-1][1:]) + 1:
            found[-1].append(name)
        else:
            found.append([name])
    return ", ".join(run[0] if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in found)


def _strangers(root: Path, sizes: Mapping[str, int]) -> Iterator[str]:
    """Yield the folders with text files, hidden ones aside, that are named like no segment."""
    official = {root / file(name) for name in sizes}
    found: dict[Path, list[str]] = {}
    for path in sorted((root / "data").glob("*/*/*.[tT][xX][tT]")):
        if path not in official and not path.name.startswith("."):
            found.setdefault(path.parent, []).append(path.name)
    for folder, names in found.items():
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        yield f"{folder} holds {names[0]}{more}, which is no segment of the dataset"


def write_stand_in(root: Path, per_class: int) -> None:
    """Write made-up segments of all activities and subjects in the official layout.

    Args:
        root: a new folder, or one that was fabricated before.
        per_class: segments of each activity and subject.

    Raises:
        UsageError: not from 2 to 60 segments, as some train and some validate, or `root` holds
            something else.
    """
    if not 2 <= per_class <= len(SEGMENTS):
        raise UsageError(
            f"fabricate 2 to {len(SEGMENTS)} segments of each activity and subject: some train, "
            "some validate"
        )
    fabricate.claim(root)
    line = ",".join(["%.5g"] * len(COLUMNS)) + "\n"
    total = len(RECORDINGS) * per_class
    for recording in announced(RECORDINGS, f"fabricating {total} segments"):
        folder = root / "data" / recording
        folder.mkdir(parents=True, exist_ok=True)
        for old in folder.glob("s*.txt"):
            old.unlink()
        for name in SEGMENTS[:per_class]:
            made = _made_up(f"{recording}/{name}")
            (folder / f"{name}.txt").write_text(line * STEPS % tuple(made.ravel()))


def _made_up(segment: str) -> Array:
    """Return [125, 45]: a pose and a rhythm of the class, turned and strengthened by subject."""
    rng = np.random.default_rng(list(segment.encode()))
    label, subject = int(segment[1:3]) - 1, int(segment[5])
    angle = 2 * np.pi * label / len(CLASSES) + 0.1 * subject + np.arange(len(UNITS))
    direction = np.stack([np.cos(angle), np.sin(angle), np.full(len(UNITS), 0.2)], axis=1)
    scale = np.array([9.81, 0.5, 0.7])[:, None]  # of each sensor
    pose = (direction[:, None] * scale).ravel()
    seconds = np.arange(STEPS) / RATE + rng.uniform(0, 10)
    beat = np.sin(2 * np.pi * (0.5 + 0.3 * label) * seconds)
    moving = 1 + (0.2 + 0.03 * subject) * beat[:, None]
    noise = rng.normal(0, 0.05, (STEPS, len(UNITS), *scale.shape[:1], 3)) * scale
    return np.asarray(pose * moving + noise.reshape(STEPS, -1))
