"""Carrying out one run, whatever launched it: claim the folder, train, record how it ended."""

import traceback
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Protocol

from benchmark.records import claims
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from mmdg_common import UsageError

if TYPE_CHECKING:
    from benchmark.records.store import RunFolder

MOST_DEATHS = 3
"""How often in a row a run's process may die at one point before the run counts as failed."""


class Watcher(Protocol):
    """What wants to hear of a run's progress."""

    def step(self, step: int, total: int) -> None:
        """Hear that a training step is done."""

    def validated(self, record: dict[str, Any]) -> None:
        """Hear of a validation."""


def execute(spec: RunSpec, settings: RunSettings, watcher: Watcher, patient: bool = False) -> str:
    """Carry out one run to its end and return its final state; resume what was interrupted.

    A run that is done or failed, or that another process is at, is left alone. An exception of the
    run is recorded, not raised.

    Args:
        spec: the run.
        settings: how it is carried out.
        watcher: hears of the progress.
        patient: where another process seems to be at the run, wait until it shows that it lives,
            and take the run over if it does not.

    Raises:
        KeyboardInterrupt: the user wants to stop; the run can be resumed.
    """
    folder = Store(settings.results).folder(spec)
    if ended := _ended(folder):
        return ended
    claim = claims.take(folder.path, folder.mark())
    if claim is None and patient:
        claims.wait_for_sign(folder.path)
        claim = claims.take(folder.path, folder.mark())
    if claim is None:
        return _ended(folder) or State.RUNNING
    folder.claim = claim
    with claim:
        try:
            # Asked again, as the run may have ended while this process came to claim it.
            return _ended(folder) or _carry_out(spec, settings, folder, watcher)
        except claims.ClaimLostError:
            return State.RUNNING  # elsewhere; what is there now is not this process's to touch


def _ended(folder: "RunFolder") -> str | None:
    """Return the state of a run that is done or failed, None for any other."""
    state = folder.status().state
    return state if state in ENDED else None


def _check(spec: RunSpec, settings: RunSettings) -> None:
    """Raise UsageError if checkpoints or data are not those that the run was planned with."""
    dataset = settings.open_dataset(spec.dataset, spec.options)
    content = settings.weights_by_content
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


def _carry_out(spec: RunSpec, settings: RunSettings, folder: "RunFolder", watcher: Watcher) -> str:
    # Imported here, because training takes its types from this module.
    from benchmark.training.train import Training, configure

    configure(settings)
    try:
        folder.tidy()
        folder.write_spec(spec)
        folder.write_status(State.RUNNING)
        _check(spec, settings)
        _check_deaths(folder)
        dataset = settings.open_dataset(spec.dataset, spec.options)
        Training(spec, dataset, folder, settings).run(watcher)
        folder.write_status(State.DONE)
    except claims.ClaimLostError:
        raise
    except BaseException as error:
        if ending := _ending(error):
            with suppress(claims.ClaimLostError, OSError):
                folder.write_status(State.INTERRUPTED)
            raise ending from None
        wrong_use = isinstance(error, UsageError)
        message = str(error) if wrong_use else f"{type(error).__name__}: {error}"
        if isinstance(error, OSError):
            # The machine's fault and not the run's: a full disk, a killed loading process.
            with suppress(OSError):
                folder.log(f"interrupted: {message}")
                folder.write_status(State.INTERRUPTED, error=message)
            return State.INTERRUPTED
        details = traceback.format_exc()
        folder.log(f"failed: {message}\n{details}")
        folder.write_status(State.FAILED, error=message, traceback=details)
        return State.FAILED
    return State.DONE


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
