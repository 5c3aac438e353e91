"""Carrying out one run, whatever launched it: claim the folder, train, record how it ended."""

import json
import traceback
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import datasets
from benchmark import store
from benchmark.spec import RunSpec
from benchmark.store import Store
from mmdg_common import UsageError

if TYPE_CHECKING:
    from datasets.base import MultimodalDataset


@dataclass(frozen=True)
class Execution:
    """How runs are carried out: nothing here changes what a run is, or its id."""

    results: Path
    data_root: Path | None = None
    weights: Mapping[str, str] = field(default_factory=dict)
    """By modality, the checkpoint that its encoder starts from: a file, or a released name."""
    device: str = "cpu"
    threads: int = 0
    """CPU threads; 0 leaves torch's default."""
    workers: int = 0
    """Loading processes; the batches are the same for any number."""
    keep_checkpoints: str = "none"
    """`none`, or the weights at the `best` validation or at the `last` one."""
    checkpoint_every: float = 30.0
    """Seconds between two saves of the state to resume from."""
    _opened: "dict[str, MultimodalDataset]" = field(default_factory=dict, init=False, repr=False)

    @cached_property
    def weights_by_content(self) -> dict[str, str]:
        """Return the SHA-256 of every checkpoint file, and released names as they are."""
        from benchmark.backbones.checkpoints import sha256

        return {k: sha256(w) if Path(w).is_file() else w for k, w in self.weights.items()}

    def open_dataset(self, name: str, options: Mapping[str, Any]) -> "MultimodalDataset":
        """Open a dataset of this data root; a second call returns the same object.

        Raises:
            UsageError: no root is given where one is needed, or as `datasets.create`.
        """
        if datasets.get(name).needs_root and self.data_root is None:
            raise UsageError(
                f"{name} is read from your own copy: add --data-root DIR. "
                f"`python -m datasets.prepare {name} --root DIR` says where to get one"
            )
        key = json.dumps([name, dict(options)], sort_keys=True)
        if key not in self._opened:
            cache = Store(self.results).cache
            dataset = datasets.create(name, self.data_root, cache, **options)
            # A spec names every option, a user only some: both find this object.
            resolved = json.dumps([name, vars(dataset.options)], sort_keys=True)
            self._opened[key] = self._opened.setdefault(resolved, dataset)
        return self._opened[key]


class Watcher(Protocol):
    """What wants to hear of a run's progress."""

    def step(self, step: int, total: int) -> None:
        """Hear that a training step is done."""

    def validated(self, record: dict[str, Any]) -> None:
        """Hear of a validation."""


def execute(spec: RunSpec, execution: Execution, watcher: Watcher) -> str:
    """Carry out one run to its end and return its final state; resume what was interrupted.

    A run that is done, or that another process is at, is left alone. An exception of the run is
    recorded, not raised.

    Raises:
        UsageError: the data is not what the spec was made from.
        KeyboardInterrupt: the user wants to stop; the run can be resumed.
    """
    # Imported here, because training takes its types from this module.
    from benchmark.train import Training, configure

    configure(execution)
    folder = Store(execution.results).folder(spec)
    if folder.result() is not None:
        return store.DONE
    if folder.runs_elsewhere():
        return store.RUNNING
    dataset = execution.open_dataset(spec.dataset, spec.options)
    content = execution.weights_by_content
    if {k: content.get(k) for k in spec.weights} != spec.weights:
        raise UsageError(
            f"this run starts from other checkpoints than the ones given; its own are "
            f"{dict(spec.weights)}: name their files with --weights MODALITY=FILE"
        )
    if dataset.fingerprint(spec.modalities) != spec.data:
        raise UsageError(
            f"the data of {spec.dataset} changed since this run was planned; "
            "run the same benchmark.run command again to plan it anew"
        )
    folder.write_spec(spec)
    folder.write_status(store.RUNNING)
    try:
        Training(spec, dataset, folder, execution).run(watcher)
    except KeyboardInterrupt:
        folder.write_status(store.PREEMPTED)
        raise
    except Exception as error:
        message = f"{type(error).__name__}: {error}"
        folder.log(f"failed: {message}")
        # A failed run starts anew: its state may be what made it fail.
        folder.checkpoint.unlink(missing_ok=True)
        folder.write_status(store.FAILED, error=message, traceback=traceback.format_exc())
        return store.FAILED
    folder.write_status(store.DONE)
    return store.DONE
