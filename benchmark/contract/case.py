"""A composition under test: its limits, and tiny runs of it through the engine."""

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

import methods
from benchmark.contract.toys import SHAPES
from benchmark.launch import recording
from benchmark.planning import plan
from benchmark.planning.request import Request
from benchmark.records.run_folder import RunFolder
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.outcome import Outcome
from benchmark.training.train import Training
from benchmark.training.watcher import Silent, Watcher
from datasets.base import MultimodalDataset

TINY = {"domains": "3", "classes": "3", "samples_per_class": "10"}


def tiny_specs(results: Path, method: str = "erm", **changes: Any) -> list[RunSpec]:
    """Plan tiny runs: two epochs, three domains, the first split unless asked otherwise."""
    asked = changes.pop("recipe", {})
    recipe = {"batch_size": 8, **({} if "steps" in asked else {"epochs": 2}), **asked}
    values: dict[str, Any] = {
        "methods": [method],
        "dataset": "synthetic",
        "dataset_options": TINY,
        "sources": ("d1", "d2"),
        "target": "d3",
        "recipe": recipe,
    }
    request = Request(**{**values, **changes})
    return plan.make(request, RunSettings(results, threads=1)).specs


class TinyRun(Training):
    """A training that writes its record, as a launcher's does, without a claim."""

    def __init__(
        self, spec: RunSpec, dataset: MultimodalDataset, folder: RunFolder, settings: RunSettings
    ) -> None:
        super().__init__(spec, dataset, settings, recording.checkpoints(folder, settings))
        self.folder = folder

    def run(self, watcher: Watcher) -> Outcome:
        """Resume where a checkpoint is, train to the end, and write the record."""
        self.resume()
        outcome = super().run(recording.Recorder(self.folder, watcher))
        recording.record(outcome, self.spec, self.folder, self.settings)
        return outcome


class Case:
    """A composition, a folder for its runs, and one finished run that several checks look at."""

    def __init__(self, composition: str, scratch: Path) -> None:
        self.composition, self.scratch = composition, scratch
        self.classes = methods.components(composition)
        self.least_modalities = max(cls.min_modalities for cls in self.classes)
        limits = [cls.max_modalities for cls in self.classes if cls.max_modalities is not None]
        self.most_modalities = min(limits, default=99)
        self.least_domains = max(cls.min_domains for cls in self.classes)

    def declares(self, name: str) -> bool:
        """Return whether any part of the composition declares this."""
        return any(getattr(cls, name) for cls in self.classes)

    def toys(self, *wanted: str) -> tuple[str, ...]:
        """Return these modalities of the toys, or as many as the composition takes."""
        others = [k for k in SHAPES if k not in wanted]
        missing = max(self.least_modalities - len(wanted), 0)
        return (*wanted, *others[:missing])[: self.most_modalities]

    def training(
        self,
        folder: str,
        composition: str | None = None,
        dataset: MultimodalDataset | None = None,
        checkpoint_every: float = 1e9,
        **changes: Any,
    ) -> "TinyRun":
        """Return a tiny run that has not begun; `dataset` stands in for the planned one."""
        results = self.scratch / folder
        (spec,) = tiny_specs(results, composition or self.composition, **self._usual() | changes)
        how = RunSettings(
            results, threads=1, keep_checkpoints="best", checkpoint_every=checkpoint_every
        )
        dataset = dataset or how.open_dataset(spec.dataset, spec.options)
        return TinyRun(spec, dataset, Store(results).folder(spec), how)

    def _usual(self) -> dict[str, Any]:
        modalities = min(max(2, self.least_modalities), self.most_modalities)
        domains = max(2, self.least_domains)
        return {
            "dataset_options": TINY
            | {"domains": str(domains + 1), "modalities": str(max(modalities, 3))},
            "modalities": ("+".join(f"m{i + 1}" for i in range(modalities)),),
            "sources": [f"d{i + 1}" for i in range(domains)],
            "target": f"d{domains + 1}",
        }

    def finished(self, folder: str, **changes: Any) -> "TinyRun":
        """Return a tiny run that has come to its end."""
        training = self.training(folder, **changes)
        training.run(Silent())
        return training

    @cached_property
    def whole(self) -> "TinyRun":
        """The run that others are compared with."""
        return self.finished("whole")


def outcome(folder: RunFolder) -> dict[str, Any]:
    """Return all numbers of a run: rules, records and predictions."""
    arrays = np.load(folder.path / "predictions.npz")
    result = result_of(folder)
    return {
        "records": folder.metrics(),
        "predictions": {name: arrays[name].tolist() for name in sorted(arrays.files)},
        "rules": result["rules"],
        "method": result["method"],
    }


def result_of(folder: RunFolder) -> dict[str, Any]:
    """Return the result of a finished run."""
    result = folder.result()
    assert result is not None
    return result
