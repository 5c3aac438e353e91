"""What the tests of dsads share: segments of which every number is known."""

from pathlib import Path

import numpy as np

import datasets
from datasets import dsads
from datasets.base import MultimodalDataset, Sample

ACTIVITIES, SUBJECTS, SEGMENTS = (1, 7), range(1, 9), range(1, 7)
UNITS = ["torso", "right_arm", "left_arm", "right_leg", "left_leg"]
SENSORS = ["accelerometer", "gyroscope", "magnetometer"]


def name_of(activity: int, subject: int, segment: int) -> str:
    return f"a{activity:02d}/p{subject}/s{segment:02d}"


def content(activity: int, subject: int, segment: int) -> np.ndarray:
    """[125, 45]: no number is in two places, and all fit into a float32."""
    rows, columns = np.arange(125)[:, None], np.arange(45)
    return 10 * (100 * activity + 10 * subject + segment) + columns / 8 + rows / 1024


def write(path: Path, values: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [",".join(map(repr, row)) for row in values.tolist()]
    path.write_text("\n".join(lines) + "\n")


def opened(root: Path, cache: Path | None = None, **options: str) -> dsads.Dsads:
    dataset = datasets.create("dsads", root, cache, **options)
    assert isinstance(dataset, dsads.Dsads)
    return dataset


def everything(dataset: MultimodalDataset) -> list[Sample]:
    return [s for domain in dataset.card.domains for s in dataset.samples(domain, "target")]


def names(dataset: MultimodalDataset) -> list[str]:
    return [modality.name for modality in dataset.card.modalities]
