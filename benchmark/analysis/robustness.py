"""The accuracy on the target when one modality is corrupted, and when some are missing."""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

import datasets
from benchmark.analysis import corruptions, register, subsets
from benchmark.analysis.base import Analysis, chosen
from benchmark.analysis.corrupted import Corruptible, available
from benchmark.analysis.corruptions import SEVERITIES, Corruption, sound
from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.subsets import ABSENCES, Subsets
from benchmark.records.read import Record
from benchmark.records.spec import RunSpec
from benchmark.training.loader import Inputs
from datasets.base import ModalitySpec, Sample
from methods.hyperparameters import hyper
from mmdg_common import UsageError

ALL = "all"
NOTHING = (
    "none of its modalities is of a kind that can be corrupted; measure runs with other "
    f"modalities, or declare in the dataset's card what it is: {', '.join(corruptions.BY_KIND)}"
)
REASONS = {
    "video": "its frames are not loaded as bytes",
    "flow": "optical flow is computed beforehand, of frames that nothing corrupts",
    "": "the dataset's card does not say what kind it is",
}
"""Why a modality of a kind has no corruption."""
OTHERS = "it has other corruptions than the chosen ones"
Cell = tuple[str, str, int]
"""Modality, corruption and severity."""


@dataclass(frozen=True)
class RobustnessSettings:
    """See each field."""

    corruptions: str = hyper(ALL, "names joined by commas, or all")
    severities: str = hyper(",".join(map(str, SEVERITIES)), "numbers joined by commas")
    noise_dir: str = hyper("", "a folder of .wav or .flac files: each is a corruption of sound")
    most: int = hyper(0, "samples of the target to corrupt, drawn at random; 0: all", low=0)

    def __post_init__(self) -> None:
        numbers = [str(severity) for severity in SEVERITIES]
        # One spelling for one choice, so that what is measured has one name.
        object.__setattr__(
            self, "severities", ",".join(chosen("severity", self.severities, numbers))
        )
        recorded = (
            [path.name for path in sound.files(Path(self.noise_dir))] if self.noise_dir else []
        )
        if self.corruptions != ALL:
            names = [*corruptions.names(), *recorded]
            object.__setattr__(
                self, "corruptions", ",".join(chosen("corruption", self.corruptions, names))
            )

    @property
    def levels(self) -> list[int]:
        """The severities."""
        return [int(number) for number in self.severities.split(",")]

    def wants(self, corruption: str) -> bool:
        """Return whether a corruption is chosen."""
        return self.corruptions == ALL or corruption in self.corruptions.split(",")


@register("robustness")
class Robustness(Analysis):
    """What is left of the accuracy when something is wrong with the modalities, at test alone?

    One modality is corrupted at a time, at severities 1 to 5, while the others are clean; or some
    are missing altogether. What a modality is, by its card, says what can go wrong with it. All
    methods see the same corrupted samples.
    """

    about = "accuracy with one modality corrupted, and from every subset of the modalities."
    Settings = RobustnessSettings
    settings: RobustnessSettings

    def lacks(self, record: Record, among: Collection[Record]) -> str:
        """Return why a run cannot be measured."""
        if reason := super().lacks(record, among):
            return reason
        return "" if _may_be_corrupted(record.spec) else NOTHING

    def told(self, record: Record) -> dict[str, Any]:
        """Return the settings as they are kept: with what noise there is, not where."""
        folder = self.settings.noise_dir
        of_noise = {"noise_dir": sound.checksum(Path(folder))} if folder else {}
        return super().told(record) | of_noise

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return accuracies: clean, by modality, corruption and severity, and by subset."""
        noise = sound.recordings(Path(self.settings.noise_dir)) if self.settings.noise_dir else {}
        specs = {m.name: m for m in run.dataset.card.modalities if m.name in run.modalities}
        chosen = {k: self._wanted(available(spec, noise)) for k, spec in specs.items()}
        if not any(chosen.values()):
            lacking = f"none of its modalities has the corruptions {self.settings.corruptions}"
            raise UsageError(NOTHING if self.settings.corruptions == ALL else lacking)
        samples = run.samples("target", self.settings.most)
        spoiled = [Corruptible(run, specs[k], of, samples) for k, of in chosen.items() if of]
        clean, accuracies = self._accuracies(run, samples, spoiled)
        found = {one.name: _by_corruption(accuracies, one.name, clean) for one in spoiled}
        mean = fmean(of["mean"] for of in found.values())
        return {
            "n": len(samples),
            "clean": clean,
            "mean": mean,
            "retained": mean / clean if clean else None,
            "corrupted": found,
            "left_out": {k: _reason(specs[k], noise) for k, of in chosen.items() if not of},
            "missing": {
                absence: _by_subset(Subsets(run, "target", absence)) for absence in ABSENCES
            },
        }

    def _wanted(self, of: Mapping[str, Corruption]) -> Mapping[str, Corruption]:
        return {name: one for name, one in of.items() if self.settings.wants(name)}

    def _accuracies(
        self, run: FinishedRun, samples: Sequence[Sample], spoiled: Sequence[Corruptible]
    ) -> tuple[float, dict[Cell, float]]:
        """Return the clean accuracy, and those with one modality corrupted.

        The other modalities are loaded and embedded once for all.
        """
        clean, right = 0, Counter[Cell]()
        for inputs in run.inputs(samples):
            seen = inputs.to(run.device)
            z = _embedded(run, seen)
            clean += _right(run, z, seen)
            for one in spoiled:
                for name, severity, changed in one.corrupted(seen, self.settings.levels):
                    own = z | _embedded(run, changed)
                    right[one.name, name, severity] += _right(run, own, seen)
        return clean / len(samples), {cell: n / len(samples) for cell, n in right.items()}


@torch.no_grad()
def _embedded(run: FinishedRun, inputs: Inputs) -> dict[str, Tensor]:
    return run.model.embed(run.stemmed(inputs).features)


def _right(run: FinishedRun, z: Mapping[str, Tensor], of: Inputs) -> int:
    return int((run.classified(z, run.modalities).argmax(dim=1) == of.labels).sum())


def _by_corruption(accuracies: Mapping[Cell, float], modality: str, clean: float) -> dict[str, Any]:
    """Return the accuracies with one modality corrupted, and means over severities and all."""
    found: dict[str, dict[str, float]] = {}
    for (k, name, severity), accuracy in accuracies.items():
        if k == modality:
            found.setdefault(name, {})[str(severity)] = accuracy
    by = {name: {"mean": fmean(of.values()), "severity": of} for name, of in found.items()}
    mean = fmean(fmean(of.values()) for of in found.values())
    return {"mean": mean, "retained": mean / clean if clean else None, "by": by}


def _by_subset(of: Subsets) -> dict[str, float]:
    return {subsets.name(s): of.accuracy(s) for s in subsets.some(of.run.modalities)}


def _may_be_corrupted(spec: RunSpec) -> bool:
    """Return whether a modality of a run has a corruption, or its card is not known beforehand."""
    cls = datasets.get(spec.dataset) if spec.dataset in datasets.names() else None
    card = getattr(cls, "card", None)
    known = {m.name: m for m in card.modalities} if card else {}
    if not known.keys() >= set(spec.modalities):  # the user's copy or an option decides
        return True
    return any(available(known[k], {}) for k in spec.modalities)


def _reason(modality: ModalitySpec, noise: Mapping[str, Corruption]) -> str:
    """Return why a modality is not corrupted."""
    return OTHERS if available(modality, noise) else REASONS[modality.kind]
