"""The inline launcher: one run after the other in this process."""

from collections.abc import Sequence

from rich.console import Console

from benchmark.launch.execute import execute
from benchmark.launch.progress import RunWatcher, board
from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.settings import RunSettings
from mmdg_common import UsageError

ELSEWHERE = "left to the process that is at it"


class Inline:
    """Carries out runs in their order."""

    def check(self, settings: RunSettings) -> None:
        """Raise UsageError if runs cannot be carried out so, before anything is changed."""
        check_device(settings.device)

    def launch(self, specs: Sequence[RunSpec], settings: RunSettings) -> None:
        """Carry out every run; one that fails does not stop the others.

        Raises:
            UsageError: a dataset is not what it should be.
        """
        settings.prepare(specs)
        carry_out(specs, settings)


def check_device(device: str) -> None:
    """Raise UsageError if this machine cannot compute on a device; `auto` always can."""
    import torch

    if device == "auto":
        return
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0]
        raise UsageError(f"--device {device} cannot be used ({reason}); try --device cpu") from None


def carry_out(specs: Sequence[RunSpec], settings: RunSettings) -> None:
    """Carry out runs, and record what is wrong with any of them.

    Runs that another process is at come last, and are taken over if it shows no life.
    """
    with board(len(specs), Console()) as shown:
        watchers = {}
        for spec in specs:
            watchers[spec.id] = shown.start(spec.title)
            state = _executed(spec, settings, watchers[spec.id])
            if state != State.RUNNING:
                watchers.pop(spec.id).finish(state)
        for spec in specs:
            if watcher := watchers.get(spec.id):
                state = _executed(spec, settings, watcher, patient=True)
                watcher.finish(ELSEWHERE if state == State.RUNNING else state)


def _executed(
    spec: RunSpec, settings: RunSettings, watcher: RunWatcher, patient: bool = False
) -> str:
    try:
        return execute(spec, settings, watcher, patient)
    except OSError as error:  # a disk so full that the run cannot even be claimed
        return f"not run: {error}"
