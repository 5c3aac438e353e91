"""From a training run to the files of its record."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.records.run_folder import RunFolder
from benchmark.records.selection import OWN
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from benchmark.training import kept
from benchmark.training.checkpoint import Checkpoints
from benchmark.training.outcome import Outcome
from benchmark.training.watcher import Watcher

KEPT = {"best": "best-val", "last": "last"}
"""The selection rule whose weights `--keep-checkpoints` keeps."""


class Recorder:
    """A watcher that writes progress into the run's folder, and passes it on."""

    def __init__(self, folder: RunFolder, watcher: Watcher) -> None:
        self.folder, self.watcher = folder, watcher

    def step(self, step: int, total: int) -> None:
        """Write how far the run has come, every few seconds."""
        self.watcher.step(step, total)
        self.folder.tell(step, total)

    def alive(self, step: int, total: int) -> None:
        """Write how far the run has come, every few seconds."""
        self.watcher.alive(step, total)
        self.folder.tell(step, total)

    def filling(self, done: int, total: int) -> None:
        """Pass it on."""
        self.watcher.filling(done, total)

    def validated(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Write `metrics.jsonl`."""
        self.folder.write_metrics(records)
        self.watcher.validated(records)


def checkpoints(folder: RunFolder, settings: RunSettings) -> Checkpoints:
    """Return where and how often a run of this folder saves its state."""
    return Checkpoints(lambda: folder.to_write(folder.checkpoint.name), settings.checkpoint_every)


def record(outcome: Outcome, spec: RunSpec, folder: RunFolder, settings: RunSettings) -> None:
    """Write the record of a finished run; `result.json` comes last, as it makes the run done."""
    folder.write_predictions(outcome.predictions)
    folder.write_metrics(outcome.records)
    keep = settings.keep_checkpoints
    if keep == "none" and not spec.target:
        keep = "best"  # such a run is trained to be used
    if keep != "none":
        weights = outcome.weights.get(OWN, outcome.weights[KEPT[keep]])
        path = folder.to_write(kept.file(folder.path, keep).name)
        kept.save(path, weights, outcome.state)
    folder.write_result(
        {
            "id": spec.id,
            "setting": spec.setting,
            "rules": outcome.rules,
            "classes": list(outcome.classes),
            "shapes": {k: list(shape) for k, shape in outcome.shapes.items()},
            "left_out": outcome.left_out,
            "duplicates": outcome.duplicates,
            "method": outcome.summary,
            "parameters": outcome.parameters,
            "passes": None if outcome.passes is None else vars(outcome.passes),
            "provenance": _provenance(outcome, spec, settings),
        }
    )
    folder.remove_checkpoints()


def _provenance(outcome: Outcome, spec: RunSpec, settings: RunSettings) -> dict[str, Any]:
    root = settings.data_root(spec.dataset)
    last = outcome.segments[-1]
    told = {
        **{name: value for name, value in last.items() if name not in ("start", "end")},
        "feature_cache": settings.features is not None,
        "data_root": None if root is None else str(root),
        "data_root_given": spec.dataset in settings.data_roots,
        "weights": settings.origins(spec),
        "wall_s": outcome.seconds,
        "peak_memory_mb": outcome.peak_memory_mb,
    }
    # One segment says nothing that is not there already.
    return told | ({"segments": outcome.segments} if len(outcome.segments) > 1 else {})
