"""Carrying out one run, whatever launched it: claim the folder, train, record the ending."""

import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import FrameType
from typing import TYPE_CHECKING

from benchmark.launch import faults
from benchmark.records import claims
from benchmark.records.claims import DIED, Claim
from benchmark.records.spec import RunSpec
from benchmark.records.state import ENDED, State
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from mmdg_common import UsageError, causes

if TYPE_CHECKING:  # a command that finds nothing to run must not wait for torch
    from benchmark.records.run_folder import RunFolder
    from benchmark.training.train import Training
    from benchmark.training.watcher import Watcher

MOST_DEATHS = 3
"""Starts in a row that came no further, after which a run counts as failed."""
OUT_OF_TIME = 128 + signal.SIGUSR2
"""The exit code of a process that stops because its job comes to the time limit."""


@dataclass(frozen=True)
class Ending:
    """How an attempt at a run ended."""

    state: State
    """`running` says that another process carries out the run."""
    reason: str = ""
    over: bool = False
    """Whether this process cannot carry out any other run: its machine or its GPU is at fault."""

    def __str__(self) -> str:
        return f"{self.state}: {self.reason}" if self.reason else self.state


def execute(
    spec: RunSpec, settings: RunSettings, watcher: "Watcher", patient: bool = False
) -> Ending:
    """Carry out one run to its end; resume what was interrupted.

    A run that is done or failed, or that another process carries out, is left alone. An error of
    the run is recorded, not raised.

    Args:
        spec: the run.
        settings: how it is carried out.
        watcher: is told of the progress.
        patient: where another process seems to carry out the run, wait for a sign of life, and
            take the run over if there is none.

    Raises:
        KeyboardInterrupt: the user wants to stop; the run can be resumed.
        SystemExit: a signal asked the process to stop; the run can be resumed.
    """
    folder = Store(settings.results).folder(spec)
    try:
        if ended := _ended(folder):
            return ended
        claim = claims.take(folder.path, folder.mark())
        if claim is None and patient:
            claims.wait_for_sign(folder.path)
            claim = claims.take(folder.path, folder.mark())
        if claim is None:
            return _ended(folder) or Ending(State.RUNNING)
        folder.claim = claim
        with claim, _heeding_sigterm(claim):
            # Asked again, as the run may have ended while this process came to claim it.
            return _ended(folder) or _carry_out(spec, settings, folder, watcher)
    except claims.ClaimLostError:
        return Ending(State.RUNNING)  # of another process, and this one must not write there
    except OSError as error:  # a disk so full that the run cannot even be claimed
        return Ending(State.INTERRUPTED, str(error), over=faults.ends_process(error))
    except Exception as error:  # an error of ours, which must not take the remaining runs along
        traceback.print_exc()
        return Ending(State.INTERRUPTED, f"{type(error).__name__}: {error}")


def _ended(folder: "RunFolder") -> Ending | None:
    """Return the ending of a run that is done or failed, None for any other."""
    state = folder.status().state
    return Ending(state) if state in ENDED else None


@contextmanager
def _heeding_sigterm(claim: Claim) -> Iterator[None]:
    """Note in the claim that a stop was asked for, so that it does not count as a death."""
    if threading.current_thread() is not threading.main_thread():
        yield  # only the main thread receives signals
        return
    before = signal.getsignal(signal.SIGTERM)

    def stop(number: int, frame: FrameType | None) -> None:
        claim.note_stop()
        if callable(before):
            before(number, frame)
        elif before == signal.SIG_DFL:
            raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _carry_out(
    spec: RunSpec, settings: RunSettings, folder: "RunFolder", watcher: "Watcher"
) -> Ending:
    from benchmark.launch import recording
    from benchmark.training.setup import configure

    configure(settings)
    try:
        folder.tidy()
        folder.write_spec(spec)
        folder.write_status(State.RUNNING)
        _check(spec, settings)
        _check_progress(folder)
        training = _begun(spec, settings, folder)
        outcome = training.run(recording.Recorder(folder, watcher))
        recording.record(outcome, spec, folder, settings)
        folder.write_status(State.DONE)
        folder.log("done")
    except claims.ClaimLostError:
        raise
    except BaseException as error:
        if stop := _stop_behind(error):
            _note_time(stop, folder)
            with suppress(claims.ClaimLostError, OSError):
                folder.write_status(State.INTERRUPTED)
            raise stop from None
        return _recorded(error, folder, settings)
    return Ending(State.DONE)


def _begun(spec: RunSpec, settings: RunSettings, folder: "RunFolder") -> "Training":
    """Return the training, at its start or where it was saved; say which in the log."""
    from benchmark.launch import recording
    from benchmark.training.checkpoint import UnreadableCheckpointError
    from benchmark.training.train import Training

    dataset = settings.open_dataset(spec.dataset, spec.options)

    def training() -> "Training":
        return Training(spec, dataset, settings, recording.checkpoints(folder, settings))

    found = training()
    try:
        step = found.resume()
    except UnreadableCheckpointError as error:
        folder.keep_checkpoint_aside("unreadable")
        folder.log(f"{error}; it is kept as checkpoint-unreadable.pt")
        found, step = training(), None
    folder.log("started" if step is None else f"resumed at step {step}")
    if told := settings.read_at(spec.dataset)[1]:
        folder.log(told)
    return found


def _recorded(error: BaseException, folder: "RunFolder", settings: RunSettings) -> Ending:
    """Record the error that ended a run, as far as the disk allows."""
    message = str(error) if isinstance(error, UsageError) else f"{type(error).__name__}: {error}"
    over = faults.ends_process(error)
    if fault := faults.of_machine(error):
        message = faults.described(fault)
    if fault or isinstance(error, OSError):  # such as a killed loading process: not the run's
        with suppress(OSError):
            folder.log(f"interrupted: {message}")
            folder.write_status(State.INTERRUPTED, error=message)
        return Ending(State.INTERRUPTED, message, over)
    details = "".join(traceback.format_exception(error))
    first, here = folder.noted().failed_on, claims.host()
    state = State.INTERRUPTED if settings.confirm_failures and first in ("", here) else State.FAILED
    if state is State.INTERRUPTED:
        message = f"{message} (on {here}; to be tried on another machine)"
    folder.log(f"{state} on {here}: {message}\n{details}")
    folder.write_status(
        state, error=message, traceback=details, **({} if state in ENDED else {"failed_on": here})
    )
    return Ending(state, message if state is State.INTERRUPTED else "", over)


def _check(spec: RunSpec, settings: RunSettings) -> None:
    """Raise UsageError if checkpoints or data are not those that the run was planned with."""
    from benchmark.training.setup import check_starts

    dataset = settings.open_dataset(spec.dataset, spec.options)
    check_starts(spec, settings)
    if dataset.fingerprint(spec.modalities) != spec.data:
        raise UsageError(
            f"the data of {spec.dataset} changed since this run was planned; "
            "run the same command again to plan it anew"
        )


def _stop_behind(error: BaseException) -> BaseException | None:
    """Return the interruption that an error is or was caused by; None for other errors.

    A signal raises it anywhere, and what is left halfway may raise an error of its own, as
    torch.save does.
    """
    return next((one for one in causes(error) if not isinstance(one, Exception)), None)


def _note_time(stop: BaseException, folder: "RunFolder") -> None:
    if isinstance(stop, SystemExit) and stop.code == OUT_OF_TIME and folder.claim:
        folder.claim.note_stop(out_of_time=True)


class NoProgressError(Exception):
    """The processes that carried out a run ended again and again before it came any further."""


def _check_progress(folder: "RunFolder") -> None:
    assert folder.claim is not None
    ends = folder.claim.fruitless()
    if len(ends) < MOST_DEATHS:
        return
    if DIED not in ends:
        raise NoProgressError(
            f"{len(ends)} jobs in a row came to their time limit before the run saved its state: "
            "raise `time` in the profile, or save more often (--checkpoint-every)"
        )
    if folder.mark():
        where = "after the same saved step; the kernel kills processes when memory runs out"
    else:
        where = (
            "before the run had saved anything: while its data was loaded, or in the first "
            "--checkpoint-every seconds of training; the kernel kills processes when memory runs "
            "out, and a scheduler does at a time limit"
        )
    raise NoProgressError(f"{len(ends)} processes in a row were killed {where}")
