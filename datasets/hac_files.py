"""HAC on disk: its layout, its split files, and a made-up stand-in of it."""

import csv
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from datasets.base import Card, Sample, announced
from datasets.media import fabricate
from mmdg_common import UsageError

SPLITS = "HAC_Splits"
COPY = "@test"
"""Ends the id of a `test` row whose clip is also in `train`, to keep ids unique."""

FOLDERS = {"video": "videos", "flow": "flow", "audio": "audio"}
SUFFIXES = {"video": [".mp4"], "flow": ["_flow_x.mp4", "_flow_y.mp4"], "audio": [".wav"]}

OFFICIAL: Mapping[tuple[str, str], tuple[int, ...]] = {
    ("human", "train"): (159, 158, 160, 158, 158, 158, 160),
    ("human", "test"): (39, 40, 39, 40, 40, 38, 40),
    ("animal", "train"): (103, 117, 123, 112, 109, 93, 73),
    ("animal", "test"): (36, 26, 25, 21, 24, 27, 17),
    ("cartoon", "train"): (83, 93, 135, 104, 121, 163, 171),
    ("cartoon", "test"): (23, 28, 28, 22, 27, 51, 39),
}
"""Rows of the official split files, by class."""


@dataclass(frozen=True)
class Rows:
    """The clips of one domain in the order of its split files."""

    train: list[Sample]
    test: list[Sample]

    @property
    def new(self) -> list[Sample]:
        """The rows of `test` whose clips are not in `train`."""
        return [sample for sample in self.test if not sample.id.endswith(COPY)]

    def miscounted(self, domain: str) -> Iterator[str]:
        """Yield the classes that have another number of rows than the official files."""
        for split, rows in (("train", self.train), ("test", self.test)):
            for label, official in enumerate(OFFICIAL[domain, split]):
                count = sum(sample.label == label for sample in rows)
                if count != official:
                    yield (
                        f"HAC_{split}_only_{domain}.csv has {count} rows of class {label}, "
                        f"the official file {official}"
                    )


def read_rows(root: Path, domain: str, classes: int) -> Rows:
    """Read both split files of a domain.

    Raises:
        UsageError: a file is missing, or a line of it is not `NAME.mp4,LABEL`.
    """
    train = _read_split(split_file(root, domain, "train"), domain, classes)
    test = _read_split(split_file(root, domain, "test"), domain, classes)
    known = {sample.id for sample in train}
    # A copy keeps the group of its original, as both are the same clip.
    return Rows(train, [replace(s, id=s.id + COPY) if s.id in known else s for s in test])


def split_file(root: Path, domain: str, split: str) -> Path:
    """Return where the split file of a domain belongs; `split` is `train` or `test`."""
    return root / SPLITS / f"HAC_{split}_only_{domain}.csv"


def home(root: Path, domain: str) -> str:
    """Return the folder of a domain below the root.

    MMDG_Benchmark's loaders expect the domains inside the folder of the split files.
    """
    inside = f"{SPLITS}/{domain}"
    return inside if (root / inside).is_dir() and not (root / domain).is_dir() else domain


def names(home: str, sample: Sample, modality: str) -> list[str]:
    """Return the files of one modality of a clip, below the root."""
    clip = sample.id.split("/", 1)[1].removesuffix(COPY)
    return [f"{home}/{FOLDERS[modality]}/{clip}{suffix}" for suffix in SUFFIXES[modality]]


def listing(root: Path, homes: Sequence[str]) -> dict[str, int]:
    """Return the size in bytes of every file that is there, by its path below the root."""
    sizes: dict[str, int] = {}
    for folder in (f"{home}/{folder}" for home, folder in product(homes, FOLDERS.values())):
        if (root / folder).is_dir():
            with os.scandir(root / folder) as entries:
                sizes |= {f"{folder}/{e.name}": e.stat().st_size for e in entries if e.is_file()}
    return sizes


def write_stand_in(card: Card, root: Path, per_class: int) -> None:
    """Write made-up clips of every class and domain, a quarter of them into the test files.

    Raises:
        UsageError: fewer than two clips per class, as some train and some test, or `root` holds
            something else.
    """
    if per_class < 2:
        raise UsageError("fabricate at least 2 clips of each class and domain: train and test")
    fabricate.claim(root)
    tests = max(1, round(per_class / 4))
    clips = list(product(enumerate(card.domains), enumerate(card.classes), range(per_class)))
    lines: dict[Path, list[str]] = {}
    for (domain, place), (label, action), number in announced(
        clips, f"fabricating {len(clips)} clips"
    ):
        subject = fabricate.Subject(label, len(card.classes), domain, len(card.domains))
        name = f"{action}_{number}"
        _write_clip(root / place, name, subject, np.random.default_rng([domain, label, number]))
        split = split_file(root, place, "test" if number < tests else "train")
        lines.setdefault(split, []).append(f"{name}.mp4,{label}\r\n")
    for split, rows in lines.items():
        split.parent.mkdir(exist_ok=True)
        split.write_text("".join(rows), newline="")


def _write_clip(
    folder: Path, name: str, subject: fabricate.Subject, rng: np.random.Generator
) -> None:
    frames = int(rng.integers(64, 81))
    scene = fabricate.scene(subject, rng, frames)
    pictures = {"video": [scene.rgb], "flow": [scene.x, scene.y]}
    for modality, streams in pictures.items():
        for suffix, images in zip(SUFFIXES[modality], streams, strict=True):
            fabricate.write_mp4(folder / FOLDERS[modality] / f"{name}{suffix}", images)
    sound = fabricate.sound(subject, rng, frames / fabricate.FPS)
    fabricate.write_wav(folder / FOLDERS["audio"] / f"{name}.wav", sound)


def _read_split(path: Path, domain: str, classes: int) -> list[Sample]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = [(number, row) for number, row in enumerate(csv.reader(file), 1) if row]
    except OSError as error:
        raise UsageError(f"hac: the split file {path} is missing ({error.strerror})") from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise UsageError(
            f"hac: the split file {path} is not text in UTF-8 ({error}); save it as CSV UTF-8"
        ) from error
    if not rows:
        raise UsageError(f"hac: the split file {path} names no clip; get it again")
    samples: dict[str, Sample] = {}
    for number, row in rows:
        name, label = row if len(row) == 2 else ("", "")
        clip = f"{domain}/{name.removesuffix('.mp4')}"
        good = name.endswith(".mp4") and label.isdecimal() and int(label) < classes
        if not good or clip in samples:
            what = "names a clip again" if good else f"is not NAME.mp4,LABEL with LABEL < {classes}"
            raise UsageError(f"hac: line {number} of {path} {what}: {','.join(row)}")
        samples[clip] = Sample(clip, int(label), domain)
    return list(samples.values())
