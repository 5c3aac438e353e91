"""Carrying out one run, whatever launched it: claim the folder, train, record how it ended."""

import json
import traceback
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import datasets
from benchmark.records import claims, store
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from mmdg_common import UsageError

if TYPE_CHECKING:
    import torch

    from benchmark.records.store import RunFolder
    from datasets.base import MultimodalDataset

MOST_DEATHS = 3
"""How often in a row a run's process may die at one point before the run counts as failed."""


def no_root(dataset: str, option: str) -> UsageError:
    """Return the error for a dataset whose folder is not given; `option` is how to give it."""
    return UsageError(
        f"{dataset} is read from your own copy: add {option}. "
        f"`python -m datasets.prepare {dataset} --root DIR` says where to get one"
    )


@dataclass(frozen=True)
class Execution:
    """How runs are carried out: nothing here changes what a run is, or its id."""

    results: Path
    data_roots: Mapping[str, Path] = field(default_factory=dict)
    """By dataset, where the user's copy is."""
    weights: Mapping[str, str] = field(default_factory=dict)
    """By modality, the checkpoint that its encoder starts from: a file, or a released name."""
    device: str = "cpu"
    """As torch names it, or `auto`: a GPU where the run finds one."""
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

    def torch_device(self) -> "torch.device":
        """Return what this process computes on."""
        import torch

        if self.device == "auto":
            return torch.device("cuda" if torch.cuda.is_available() else "cpu")
        return torch.device(self.device)

    def open_dataset(self, name: str, options: Mapping[str, Any]) -> "MultimodalDataset":
        """Open a dataset of this data root; a second call returns the same object.

        Raises:
            UsageError: no root is given where one is needed, or as `datasets.create`.
        """
        root = self.data_roots.get(name)
        if datasets.get(name).needs_root and root is None:
            raise no_root(name, "--data-root DIR")
        key = json.dumps([name, dict(options)], sort_keys=True)
        if key not in self._opened:
            cache = Store(self.results).cache
            dataset = datasets.create(name, root, cache, **options)
            # A spec names every option, a user only some: both find this object.
            resolved = json.dumps([name, vars(dataset.options)], sort_keys=True)
            self._opened[key] = self._opened.setdefault(resolved, dataset)
        return self._opened[key]

    def prepare(self, specs: Iterable[RunSpec]) -> None:
        """Make ready what the datasets of the runs keep in their cache."""
        parts = {(s.dataset, json.dumps(dict(s.options)), s.modalities): s for s in specs}
        for spec in parts.values():
            self.open_dataset(spec.dataset, spec.options).prepare(spec.modalities)


class Watcher(Protocol):
    """What wants to hear of a run's progress."""

    def step(self, step: int, total: int) -> None:
        """Hear that a training step is done."""

    def validated(self, record: dict[str, Any]) -> None:
        """Hear of a validation."""


def execute(spec: RunSpec, execution: Execution, watcher: Watcher, patient: bool = False) -> str:
    """Carry out one run to its end and return its final state; resume what was interrupted.

    A run that is done or failed, or that another process is at, is left alone. An exception of the
    run is recorded, not raised.

    Args:
        spec: the run.
        execution: how it is carried out.
        watcher: hears of the progress.
        patient: where another process seems to be at the run, wait until it shows that it lives,
            and take the run over if it does not.

    Raises:
        KeyboardInterrupt: the user wants to stop; the run can be resumed.
    """
    folder = Store(execution.results).folder(spec)
    if ended := _ended(folder):
        return ended
    claim = claims.take(folder.path, folder.mark())
    if claim is None and patient:
        claims.wait_for_sign(folder.path)
        claim = claims.take(folder.path, folder.mark())
    if claim is None:
        return _ended(folder) or store.RUNNING
    folder.claim = claim
    with claim:
        try:
            # Asked again, as the run may have ended while this process came to claim it.
            return _ended(folder) or _carry_out(spec, execution, folder, watcher)
        except claims.ClaimLostError:
            return store.RUNNING  # elsewhere; what is there now is not this process's to touch


def _ended(folder: "RunFolder") -> str | None:
    """Return the state of a run that is done or failed, None for any other."""
    state = str(folder.status()["state"])
    return state if state in (store.DONE, store.FAILED) else None


def _check(spec: RunSpec, execution: Execution) -> None:
    """Raise UsageError if checkpoints or data are not those that the run was planned with."""
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
            "run the same command again to plan it anew"
        )


def _carry_out(spec: RunSpec, execution: Execution, folder: "RunFolder", watcher: Watcher) -> str:
    # Imported here, because training takes its types from this module.
    from benchmark.training.train import Training, configure

    configure(execution)
    try:
        folder.tidy()
        folder.write_spec(spec)
        folder.write_status(store.RUNNING)
        _check(spec, execution)
        _check_deaths(folder)
        dataset = execution.open_dataset(spec.dataset, spec.options)
        Training(spec, dataset, folder, execution).run(watcher)
        folder.write_status(store.DONE)
    except claims.ClaimLostError:
        raise
    except BaseException as error:
        if ending := _ending(error):
            with suppress(claims.ClaimLostError, OSError):
                folder.write_status(store.PREEMPTED)
            raise ending from None
        wrong_use = isinstance(error, UsageError)
        message = str(error) if wrong_use else f"{type(error).__name__}: {error}"
        if isinstance(error, OSError):
            # The machine's fault and not the run's: a full disk, a killed loading process.
            with suppress(OSError):
                folder.log(f"interrupted: {message}")
                folder.write_status(store.INTERRUPTED, error=message)
            return store.INTERRUPTED
        details = traceback.format_exc()
        folder.log(f"failed: {message}\n{details}")
        folder.write_status(store.FAILED, error=message, traceback=details)
        return store.FAILED
    return store.DONE


def _ending(error: BaseException) -> BaseException | None:
    """Return what wants to end the process, if this is it or came of it; None for other errors.

    A signal raises it anywhere, and what is left halfway may raise an error of its own, as
    torch.save does.
    """
    ending: BaseException | None = error
    while isinstance(ending, Exception):
        ending = ending.__cause__ or ending.__context__
    return ending


class ProcessDiedError(Exception):
    """The processes that carried out a run died again and again."""


def _check_deaths(folder: "RunFolder") -> None:
    assert folder.claim is not None
    if (deaths := folder.claim.deaths()) >= MOST_DEATHS:
        raise ProcessDiedError(
            f"{deaths} processes in a row died at the same point of this run without a word; "
            "the kernel kills so when memory runs out"
        )
