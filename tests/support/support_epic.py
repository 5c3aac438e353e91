"""What the tests of EPIC-Kitchens share."""

import math
from itertools import product
from pathlib import Path
from typing import Any

import datasets
from datasets import epic_files, epic_kitchens
from datasets.base import Sample
from datasets.epic_files import SPLITS

ALL = ["video", "flow", "audio"]
DOMAINS = ("D1", "D2", "D3")


def opened(root: Path, cache: Path | None = None, **options: Any) -> epic_kitchens.EpicKitchens:
    dataset = datasets.create("epic_kitchens", root, cache, **options)
    assert isinstance(dataset, epic_kitchens.EpicKitchens)
    return dataset


def replace(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def table_row(**changes: Any) -> dict[str, Any]:
    row = epic_files._row(7, "P08_01", 11, 100, "take", 0)
    return {**row, **changes}


def numbered(root: Path, **changes: Any) -> epic_kitchens.EpicKitchens:
    """One segment a table; those of D1's training table can have frames of `numbered_frames`."""
    for domain, part in product(DOMAINS, ("train", "test")):
        epic_files.write_table(root / SPLITS / f"{domain}_{part}.pkl", [table_row(**changes)])
    return opened(root)


def reference_numbers(start: int, stop: int, modality: str, draw: int | None) -> list[int]:
    """The frames of a clip, walked through one by one as the public code defines them."""
    length, interval = (32, 2) if modality == "video" else (8, 4)
    first, total = start, stop - start
    if modality == "flow":
        first, total = math.ceil(start / 2), int((stop - start) / 2)
    ring = [first + i for i in range(total)]
    if draw is not None:
        position = draw
    else:
        position = int((total - length * interval + 1) / 2) if total > length * interval - 1 else 0
    walked = []
    for _ in range(length):
        walked.append(ring[position])
        for _ in range(interval):
            position = position + 1 if position + 1 < total else 0
    return walked


FIRST = Path("rgb") / "train" / "D1" / "P08_01"


def edges(dataset: epic_kitchens.EpicKitchens, sample: Sample) -> tuple[int, int]:
    segment = dataset._segments[sample.id]
    return segment.start, segment.stop
