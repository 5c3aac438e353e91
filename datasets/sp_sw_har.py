"""sp_sw_har: everyday movements, recorded by a phone in the pocket and a watch on the wrist.

The package carries its windows, so it needs no download: `sp_sw_har.npz` beside this file, with
attribution and licence in `sp_sw_har.md`. With a root, the windows are made from the official
files instead (`sXX/sXX_YY_{sp,sw}.csv`, `executions_info.csv`), and are the same.

Windows last one second and begin every half second, from the first moment that both devices
recorded to the last. A window is kept where at least 70 % of the phone's measurements in it have
one label. Both devices are interpolated at 50 Hz.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets import register, sp_sw_har_files
from datasets.base import Card, ModalitySpec, Recipe, Sample, given_folder
from datasets.media import fabricate
from datasets.sensors.windowed import Window, WindowedDataset, a_fifth_of_each
from datasets.sp_sw_har_files import ADVICE, CLASSES, DEVICES, RATE, SOURCE, Recorded
from mmdg_common import check_choices

Array = NDArray[Any]

SHAPE = int(RATE)
ORIENTATIONS = {
    "back_inv": ["s01", "s03", "s04", "s08", "s09", "s11", "s13", "s14", "s15", "s22", "s23"],
    "back": ["s02", "s06", "s10", "s17", "s19", "s20"],
    "front": ["s05", "s07", "s12", "s16", "s18", "s21"],
}
"""The subjects of each domain: those who carried the phone so in most of their executions."""
GROUPS = {f"group{i + 1}": [f"s{n:02d}" for n in range(i + 1, 24, 5)] for i in range(5)}
CHOICES: Mapping[str, tuple[str, ...]] = {
    "modalities_by": ("device", "sensor"),
    "domains_by": ("orientation", "subjects"),
}
SENSORS = {"accelerometer": (slice(0, 3), "m/s²"), "gyroscope": (slice(3, 6), "rad/s")}


@dataclass(frozen=True)
class SpSwHarOptions:
    """How modalities and domains are cut."""

    modalities_by: str = "device"
    """`device`: phone and watch, each with six channels; `sensor`: accelerometer and gyroscope of
    each, four modalities."""
    domains_by: str = "orientation"
    """`orientation`: how the phone lies in the pocket, each subject in one domain; `subjects`:
    five groups of subjects, between which there is little shift."""

    def __post_init__(self) -> None:
        check_choices(self, CHOICES)


def card(modalities_by: str, domains: tuple[str, ...]) -> Card:
    """Return the card for one way of cutting modalities."""
    if modalities_by == "device":
        modalities = [
            ModalitySpec(device, (6, SHAPE), "window_cnn", "m/s², rad/s", kind="inertial")
            for device in DEVICES
        ]
    else:
        modalities = [
            ModalitySpec(f"{device}_{sensor}", (3, SHAPE), "window_cnn", unit, kind="inertial")
            for device in DEVICES
            for sensor, (_, unit) in SENSORS.items()
        ]
    return Card(
        name="sp_sw_har",
        modalities=tuple(modalities),
        domains=domains,
        classes=tuple(name.lower() for name in CLASSES),
        recipe=Recipe(epochs=6, lr=1e-3, batch_size=64),
        source=SOURCE,
        citation=(
            "M. Matey-Sanz, S. Casteleyn, C. Granell. Dataset of inertial measurements of "
            "smartphones and smartwatches for human activity recognition. Data in Brief 2023, "
            "109809. Data: CC BY 4.0."
        ),
    )


@register("sp_sw_har")
class SpSwHar(WindowedDataset):
    """Phone in the pocket and watch on the wrist, with the phone's orientation as domains."""

    Options = SpSwHarOptions
    options: SpSwHarOptions
    needs_root = False
    card = card("device", tuple(ORIENTATIONS))

    def __init__(self, root: Path | None, cache: Path | None, options: Mapping[str, Any]) -> None:
        super().__init__(root, cache, options)
        if root is not None:
            given_folder(root, "sp_sw_har", ADVICE)
        self.fabricated = root is not None and fabricate.is_fabricated(root)
        domains = ORIENTATIONS if self.options.domains_by == "orientation" else GROUPS
        self._domain = {subject: name for name, of in domains.items() for subject in of}
        self.card = card(self.options.modalities_by, tuple(domains))

    @cached_property
    def recorded(self) -> Recorded:
        """The windows, from the package or from the files in the root."""
        if self.root is None:
            return sp_sw_har_files.packaged()
        return sp_sw_har_files.rebuilt(self.root, self.cache)

    def windows(self) -> Sequence[Window]:
        """Return the windows; by orientation, without those in which a subject's is another."""
        return [window for window, kept in zip(self._all, self._kept, strict=True) if kept]

    def validating(self, windows: Sequence[Window]) -> set[str]:
        """Return a fifth of the executions of each subject."""
        return a_fifth_of_each({w.block: w.sample.group[0] for w in windows}, "sp_sw_har split 0 ")

    def read(self, modality: str) -> Array:
        """Return [N, channels, 50] of a device, or of one of its sensors."""
        device, _, sensor = modality.partition("_")
        channels = SENSORS[sensor][0] if sensor else slice(0, 6)
        return self.recorded.signals(device)[self._kept, channels]

    def verify(self) -> Iterator[str]:
        """Yield what is wrong with the files, and what differs from the packaged windows."""
        yield from self._defects

    def remarks(self) -> Iterator[str]:
        """Yield where the windows come from, and whether files give those of the package."""
        if self.root is None:
            yield "the windows that the package carries; --root DIR makes them from the files"
        elif not self.fabricated and not self._defects:
            yield "the windows made from these files are identical to those of the package"

    @cached_property
    def _defects(self) -> Sequence[str]:
        if self.root is None:
            return []
        expected = None if self.fabricated else sp_sw_har_files.packaged()
        return list(sp_sw_har_files.defects(self.root, expected))

    @classmethod
    def fabricate(cls, root: Path, per_class: int) -> None:
        """Write made-up executions of all subjects; `per_class` of each orientation."""
        sp_sw_har_files.write_stand_in(root, per_class, ORIENTATIONS)

    @cached_property
    def _all(self) -> Sequence[Window]:
        found = []
        for execution, start, label in self.recorded.index():
            subject = execution[:3]
            sample = Sample(
                f"{execution}/{start}",
                label,
                self._domain.get(subject, ""),
                group=(subject, execution),
            )
            found.append(Window(sample, execution))
        return found

    @cached_property
    def _kept(self) -> NDArray[np.bool_]:
        if self.options.domains_by == "subjects":
            return np.array([bool(window.sample.domain) for window in self._all])
        # The two ways of lying in front differ in which end of the phone is up.
        way = {e: o.replace("front_inv", "front") for e, o in self.recorded.orientations().items()}
        return np.array([way[window.block] == window.sample.domain for window in self._all])
