"""dsads: 19 daily and sports activities by eight subjects, with sensors on torso, arms and legs.

The root is the official layout: `data/aAA/pP/sSS.txt` holds segment SS of activity AA by subject
P, five seconds at 25 Hz. The segments of one activity and subject were cut from one recording of
five minutes, and do not overlap. Whatever segments are there are used.

Values are handed on in physical units, acceleration with gravity: nothing is normalised here, as
statistics of an unseen domain must not reach training. The encoder normalises with those of the
sources' training windows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import dsads_files, register
from datasets.base import Card, ModalitySpec, Recipe, Sample, given_folder
from datasets.dsads_files import ADVICE, CLASSES, COLUMNS, SENSORS, SOURCE, STEPS, SUBJECTS, UNITS
from datasets.media import fabricate
from datasets.sensors.windowed import Window, WindowedDataset, last_fifth_of_each, pairs
from mmdg_common import UsageError, check_choices, unknown

Array = NDArray[Any]

DOMAINS = pairs(SUBJECTS)
"""The domain of each subject."""
MODALITIES = {
    "sensor": tuple(SENSORS),
    "position": UNITS,
    "both": tuple(f"{unit}_{sensor}" for unit in UNITS for sensor in SENSORS),
}
"""The modalities of each way of cutting them, of all units."""


@dataclass(frozen=True)
class DsadsOptions:
    """How the 45 channels are cut into modalities, and which of them are used."""

    modalities_by: str = "sensor"
    """`sensor`: accelerometer, gyroscope and magnetometer, each of all units; `position`: a
    modality of nine channels for each unit; `both`: each sensor of each unit, fifteen."""
    units: str = "all"
    """`all`, or some of torso, right_arm, left_arm, right_leg and left_leg, joined by `+`. Their
    order does not matter."""

    def __post_init__(self) -> None:
        check_choices(self, {"modalities_by": tuple(MODALITIES)})
        if self.units == "all":
            return
        names = self.units.split("+")
        for name in names:
            if name not in UNITS:
                raise unknown("unit", name, UNITS if len(names) > 1 else ("all", *UNITS))
            if names.count(name) > 1:
                raise UsageError(f"units: {name!r} is there twice; name each unit once")
        # One spelling for one choice, so that equal data has equal fingerprints.
        chosen = "+".join(unit for unit in UNITS if unit in names)
        object.__setattr__(self, "units", "all" if len(names) == len(UNITS) else chosen)

    @property
    def chosen(self) -> tuple[str, ...]:
        """The units in use, in official order."""
        return UNITS if self.units == "all" else tuple(self.units.split("+"))


def channels(modality: str, units: Sequence[str]) -> list[int]:
    """Return the columns of a modality, those of some units only."""
    return [
        number
        for number, (unit, sensor, _) in enumerate(COLUMNS)
        if unit in units and modality in (unit, sensor, f"{unit}_{sensor}")
    ]


def card(options: DsadsOptions) -> Card:
    """Return the card for one choice of modalities."""
    physical = {**{unit: ", ".join(SENSORS.values()) for unit in UNITS}, **SENSORS}
    modalities = []
    for name in MODALITIES[options.modalities_by]:
        if count := len(channels(name, options.chosen)):
            text = physical.get(name) or SENSORS[name.rpartition("_")[2]]
            modalities.append(
                ModalitySpec(name, (count, STEPS), "window_cnn", text, kind="inertial")
            )
    return Card(
        name="dsads",
        modalities=tuple(modalities),
        domains=tuple(dict.fromkeys(DOMAINS)),
        classes=CLASSES,
        recipe=Recipe(epochs=6, lr=1e-3, batch_size=64),
        source=SOURCE,
        citation=(
            "K. Altun, B. Barshan, O. Tunçel. Comparative study on classifying human activities "
            "with miniature inertial and magnetic sensors. Pattern Recognition 43(10), 2010, "
            "3605-3620. Data: UCI dataset 256, which names CC BY 4.0; check it before you use it."
        ),
    )


@register("dsads")
class Dsads(WindowedDataset):
    """Daily and Sports Activities with pairs of subjects as domains."""

    Options = DsadsOptions
    options: DsadsOptions
    card = card(DsadsOptions())

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        self._root = root = given_folder(root, "dsads", ADVICE)
        self._sizes = dsads_files.listing(root)
        if not self._sizes:
            raise UsageError(f"dsads: {root} holds no segment. {ADVICE}")
        self.fabricated = fabricate.is_fabricated(root)
        self.card = card(self.options)

    def windows(self) -> Sequence[Window]:
        """Return the segments by activity, subject and number, each a block of its own."""
        found = []
        for name in self._sizes:
            activity, subject, _ = name.split("/")
            sample = Sample(
                name,
                int(activity[1:]) - 1,
                DOMAINS[int(subject[1:]) - 1],
                group=(subject, f"{subject}/{activity}"),
            )
            found.append(Window(sample, name))
        return found

    def validating(self, windows: Sequence[Window]) -> set[str]:
        """Return the last fifth of each recording: one activity by one subject."""
        return last_fifth_of_each(windows)

    def read(self, modality: str) -> Array:
        """Return [N, channels, 125] float32 of one modality in physical units.

        Raises:
            UsageError: the modality is unknown, or a file cannot be used.
        """
        names = [spec.name for spec in self.card.modalities]
        if modality not in names:
            raise unknown("modality", modality, names)
        return np.asarray(self._values[:, channels(modality, self.options.chosen)])

    def size(self, sample: Sample, modality: str) -> int:
        """Return the bytes of the segment's file, which all modalities share."""
        return self._sizes[sample.id]

    def files_of(self, sample: Sample, modality: str) -> Sequence[str]:
        """Return the one file, which all modalities share."""
        return [dsads_files.file(sample.id)]

    def verify(self) -> Iterator[str]:
        """Yield what is wrong with the files on disk, reading every one of them."""
        yield from dsads_files.defects(self._root, self._sizes)

    def remarks(self) -> Iterator[str]:
        """Yield what a user should know of a copy that is sound: it lacks some segments."""
        if not self.fabricated:
            yield from dsads_files.remark(self._sizes)

    @classmethod
    def fabricate(cls, root: Path, per_class: int) -> None:
        """Write made-up segments; `per_class` of each activity and subject, at least two."""
        dsads_files.write_stand_in(root, per_class)

    @cached_property
    def _values(self) -> Array:
        return dsads_files.values(self._root, self._sizes, self.cache)
