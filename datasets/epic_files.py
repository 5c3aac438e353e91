"""EPIC-Kitchens on disk: its split tables, and a made-up stand-in."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np

from datasets.base import Card, Sample, announced
from datasets.media import MediaError, fabricate, frames
from datasets.media.tables import read_table
from mmdg_common import UsageError

SPLITS = "MM-SADA_Domain_Adaptation_Splits"
TABLES = ("train", "test")
FPS = 60
PARTICIPANTS = ("P08", "P01", "P22")
"""Filmed in D1, D2 and D3."""
COLUMNS: Mapping[str, type[Any]] = {
    "uid": int,
    "video_id": str,
    "start_timestamp": str,
    "stop_timestamp": str,
    "start_frame": int,
    "stop_frame": int,
    "verb_class": int,
}
OFFICIAL: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("D1", "train"): (421, 383, 231, 128, 223, 71, 42, 44),
    ("D1", "test"): (124, 104, 52, 34, 66, 13, 20, 22),
    ("D2", "train"): (715, 692, 245, 214, 298, 89, 113, 129),
    ("D2", "test"): (208, 217, 68, 56, 136, 14, 26, 25),
    ("D3", "train"): (919, 1121, 450, 367, 808, 110, 53, 69),
    ("D3", "test"): (241, 280, 102, 71, 245, 29, 1, 5),
}
"""Rows of the official tables, by class."""


@dataclass(frozen=True)
class Segment:
    """One row of a split table: a stretch of a video that shows one action."""

    sample: Sample
    split: str
    video: str
    start: int
    stop: int
    """The first RGB frame, and the one after the last."""
    begin: float
    end: float
    """In seconds."""

    @property
    def folder(self) -> str:
        """Where each kind of media keeps the segments of this split and domain."""
        return f"{self.split}/{self.sample.domain}"

    def span(self, modality: str) -> tuple[int, int]:
        """Return the number of the first frame, and how many there are; flow has every second."""
        if modality == "flow":
            return (self.start + 1) // 2, (self.stop - self.start) // 2
        return self.start, self.stop - self.start


def table_file(root: Path, domain: str, split: str) -> Path:
    """Return where a split table belongs: in the tables' folder, which may be the root itself."""
    folder = root / SPLITS if (root / SPLITS).is_dir() else root
    return folder / f"{domain}_{split}.pkl"


def read_segments(root: Path, domain: str, split: str, classes: int) -> list[Segment]:
    """Read one split table.

    Raises:
        UsageError: it is missing, broken or empty, or a row of it makes no sense.
    """
    path = table_file(root, domain, split)
    segments: dict[str, Segment] = {}
    for row in read_table(path, COLUMNS):
        group = (f"{domain}/{row['video_id']}",)
        sample = Sample(f"{domain}/{split}/{row['uid']}", row["verb_class"], domain, group)
        begin, end = (_seconds(row[f"{edge}_timestamp"]) for edge in ("start", "stop"))
        name, start, stop = row["video_id"], row["start_frame"], row["stop_frame"]
        sensible = {
            "uid": sample.id not in segments,
            "verb_class": 0 <= sample.label < classes,
            "video_id": re.fullmatch(r"\w[\w.-]*", name),  # a name, no way out of the folder
            "stop_frame": start >= 0 and start + 2 <= stop,
            "stop_timestamp": begin is not None and end is not None,
        }
        wrong = next((column for column, good in sensible.items() if not good), None)
        if wrong or begin is None or end is None:
            raise MediaError(f"{path}: {wrong} of the row with uid {row['uid']} makes no sense")
        segments[sample.id] = Segment(sample, split, name, start, stop, begin, end)
    if not segments:
        raise MediaError(f"{path} holds no row; get it again")
    return list(segments.values())


def miscounted(segments: Sequence[Segment], domain: str, split: str) -> Iterator[str]:
    """Yield the classes that have another number of rows than the official table."""
    for label, official in enumerate(OFFICIAL[domain, split]):
        count = sum(segment.sample.label == label for segment in segments)
        if count != official:
            yield (
                f"{domain}_{split}.pkl has {count} rows of class {label}, "
                f"the official table {official}"
            )


def _seconds(stamp: str) -> float | None:
    """Return the seconds of a time stamp HH:MM:SS.ff, if it is one."""
    match = re.fullmatch(r"(\d+):(\d\d):(\d\d(?:\.\d+)?)", stamp)
    return int(match[1]) * 3600 + int(match[2]) * 60 + float(match[3]) if match else None


def write_stand_in(card: Card, root: Path, per_class: int) -> None:
    """Write made-up segments of every class and domain, a quarter of them into the test tables.

    Raises:
        UsageError: fewer than two segments per class, as some train and some test, or `root`
            holds other files.
    """
    if per_class < 2:
        raise UsageError("fabricate at least 2 segments of each class and domain: train and test")
    fabricate.claim(root)
    tests = max(1, round(per_class / 4))
    videos = list(product(range(len(card.domains)), TABLES))
    for domain, split in announced(videos, f"fabricating {len(videos)} videos"):
        numbers = range(tests) if split == "test" else range(tests, per_class)
        _write_video(card, root, domain, split, numbers)


def _write_video(card: Card, root: Path, domain: int, split: str, numbers: range) -> None:
    """Write a video of one domain and split, one segment after another, and its table."""
    classes, folder = len(card.classes), f"{split}/{card.domains[domain]}"
    name = f"{PARTICIPANTS[domain]}_{TABLES.index(split) + 1:02d}"
    start, rows = 1, list[dict[str, Any]]()
    # Frame 1 is a sixtieth of a second into the video.
    sounds = [np.zeros(fabricate.RATE // FPS, np.float32)]
    for number, label in product(numbers, range(classes)):
        rng = np.random.default_rng([domain, label, number])
        subject = fabricate.Subject(label, classes, domain, len(card.domains))
        # Mostly shorter than real ones, for fewer files; some exceed a clip's 64 frames.
        total = int(rng.integers(12, 25) + (60 if number == numbers[0] and not label else 0))
        scene = fabricate.scene(subject, rng, total)
        frames.write(root / "rgb" / folder / name, start, scene.rgb)
        for half, images in (("u", scene.x), ("v", scene.y)):
            moves = images[::2][: total // 2]
            frames.write(root / "flow" / folder / name / half, (start + 1) // 2, moves)
        sounds.append(fabricate.sound(subject, rng, (total + 1) / FPS))
        rows.append(_row(len(rows), name, start, start + total, card.classes[label], label))
        start += total + 1
    fabricate.write_wav(root / "rgb" / folder / f"{name}.wav", np.concatenate(sounds))
    write_table(root / SPLITS / f"{card.domains[domain]}_{split}.pkl", rows)


def _row(uid: int, name: str, start: int, stop: int, verb: str, label: int) -> dict[str, Any]:
    """Return one row with all columns of the official tables."""
    begin, end = (
        f"{frame // (3600 * FPS):02d}:{frame // (60 * FPS) % 60:02d}:{frame / FPS % 60:05.2f}"
        for frame in (start, stop)
    )
    return {
        "uid": uid,
        "participant_id": name.partition("_")[0],
        "video_id": name,
        "narration": f"{verb} it",
        "start_timestamp": begin,
        "stop_timestamp": end,
        "start_frame": start,
        "stop_frame": stop,
        "verb": verb,
        "verb_class": label,
    }


def write_table(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Write rows as a pickled DataFrame."""
    from pandas import DataFrame

    path.parent.mkdir(parents=True, exist_ok=True)
    DataFrame(list(rows)).to_pickle(path)
