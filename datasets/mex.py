"""MEx: seven physiotherapy exercises, recorded by an accelerometer and a depth camera.

The root holds the folder `MEx`, or is that folder. This reader takes the public extract of 10
subjects and two sensors, the accelerometer on the thigh and one depth image a second; see
`datasets.mex_files.SOURCE` for its layout. The official release has 30 subjects, an accelerometer
on the wrist, a pressure mat, and 15 depth images a second. Other subjects and sensors in the
folder are ignored.

Windows last five seconds, follow each other from the start of each recording, and do not overlap.
Window i covers [5000 i, 5000 (i + 1)) ms and is kept where both sensors hold all of it. The
accelerometer is interpolated at 100 Hz, on a grid of exactly 10 ms.

Values are handed on in physical units: nothing is normalised here, as statistics of an unseen
domain must not reach training. The encoder normalises with those of the sources' training windows.
"""

from collections.abc import Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import mex_files, register
from datasets.base import Card, ModalitySpec, Recipe, Sample, announced, given_folder
from datasets.media import fabricate
from datasets.mex_files import (
    ADVICE,
    FOLDERS,
    FRAMES,
    OFFICIAL,
    OFFICIAL_WINDOWS,
    PIXELS,
    SOURCE,
    STEPS,
    SUBJECTS,
)
from datasets.sensors.arrays import Arrays
from datasets.sensors.windowed import Window, WindowedDataset, last_fifth_of_each, pairs
from mmdg_common import UsageError, unknown

Array = NDArray[Any]

DOMAINS = dict(zip(SUBJECTS, pairs(len(SUBJECTS)), strict=True))
"""The domain of each subject."""


@register("mex")
class Mex(WindowedDataset):
    """MEx with pairs of subjects as domains."""

    card = Card(
        name="mex",
        modalities=(
            ModalitySpec("accelerometer", (3, STEPS), "window_cnn", "g", kind="inertial"),
            ModalitySpec(
                "depth", (1, FRAMES, *PIXELS), "frames_cnn", "relative, 0 to 1", kind="depth"
            ),
        ),
        domains=tuple(dict.fromkeys(DOMAINS.values())),
        classes=(
            *("knee_rolling", "bridging", "pelvic_tilt", "bilateral_clam"),
            *("repeated_extension_in_lying", "prone_punches", "superman"),
        ),
        recipe=Recipe(epochs=20, lr=1e-3, batch_size=32),
        source=SOURCE,
        citation=(
            "A. Wijekoon, N. Wiratunga, K. Cooper. MEx: Multi-modal Exercises Dataset for Human "
            "Activity Recognition. arXiv 1908.08992, 2019. Data: Mendeley Data p89fwbzmkd, CC BY "
            "4.0 as far as known; check it before you use it."
        ),
    )

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        self._root = given_folder(root, "mex", ADVICE)
        self._folder = mex_files.home(self._root)
        self.fabricated = fabricate.is_fabricated(self._folder)
        self._sizes = mex_files.listing(self._folder)

    @cached_property
    def recorded(self) -> Arrays:
        """The windows of all recordings, read at the first need."""
        return mex_files.recorded(self._folder, self._sizes, self.cache)

    def windows(self) -> Sequence[Window]:
        """Return the windows by subject, exercise, repetition and time, each a block."""
        found = []
        for recording, count in zip(self._sizes, self.recorded["counts"].tolist(), strict=True):
            subject, label = recording[:2], int(recording[3:5]) - 1
            for number in range(count):
                name, group = f"{recording}/{number}", (subject, recording)
                sample = Sample(name, label, DOMAINS[subject], group)
                found.append(Window(sample, name))
        return found

    def validating(self, windows: Sequence[Window]) -> set[str]:
        """Return the last fifth of the windows of each recording."""
        return last_fifth_of_each(windows)

    def read(self, modality: str) -> Array:
        """Return [N, *shape] of one modality, in g or from 0 to 1."""
        return np.asarray(self.recorded[_known(modality)])

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of the recording's file of this modality."""
        return self._sizes[sample.group[-1]][_known(modality)]

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the one file of the recording, by its path below the root."""
        path = self._folder / mex_files.file_of(sample.group[-1], _known(modality))
        return [path.relative_to(self._root).as_posix()]

    def remarks(self) -> Iterator[str]:
        """Yield, in one line, what is in the folder but not read."""
        sensors, subjects = mex_files.not_read(self._folder)
        left = [f"the subjects {', '.join(subjects)}"] if subjects else []
        left += [f"the folders {', '.join(sensors)}"] if sensors else []
        if left:
            yield f"mex reads subjects 01 to 10 and two sensors; ignored: {' and '.join(left)}"

    def verify(self) -> Iterator[str]:
        """Yield what is wrong with the files on disk, reading every one of them."""
        for recording in sorted(set(OFFICIAL) ^ set(self._sizes)):
            what = "is not an official recording" if recording in self._sizes else "is missing"
            for modality in FOLDERS:
                yield f"{self._folder / mex_files.file_of(recording, modality)} {what}"
        counts = []
        for recording in announced(list(self._sizes), f"checking {len(self._sizes)} recordings"):
            try:
                counts.append(len(mex_files.windows(self._folder, recording)["depth"]))
            except UsageError as error:
                yield str(error)
        whole = set(OFFICIAL) == set(self._sizes) and len(counts) == len(OFFICIAL)
        if whole and not self.fabricated and sum(counts) != OFFICIAL_WINDOWS:
            yield (
                f"the recordings in {self._folder} hold {sum(counts)} windows, those of the "
                f"extract {OFFICIAL_WINDOWS}"
            )

    @classmethod
    def fabricate(cls, root: Path, per_class: int) -> None:
        """Write made-up recordings of all subjects; `per_class` windows in each, at least two."""
        mex_files.write_stand_in(root, per_class)


def _known(modality: str) -> str:
    if modality not in FOLDERS:
        raise unknown("modality", modality, FOLDERS)
    return modality
