"""The inline launcher: one run after the other in this process."""

from collections.abc import Sequence

from rich.console import Console

from benchmark.launch.device import Device
from benchmark.launch.execute import execute
from benchmark.launch.progress import board
from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.settings import RunSettings
from mmdg_common import UsageError

ELSEWHERE = "left to the other process that carries it out"


class Inline:
    """Carries out runs in their order, in this process; see `Launcher`."""

    waits = True

    def check(self, settings: RunSettings) -> None:
        """Raise UsageError if this machine lacks the device."""
        check_device(settings.device)

    def device(self, settings: RunSettings) -> Device:
        """Return what the runs compute on."""
        return Device.here(settings)

    def launch(self, specs: Sequence[RunSpec], settings: RunSettings) -> None:
        """Carry out every run."""
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
    """Carry out runs, and record the errors of those that fail.

    Runs that another process carries out come last, and are taken over if it shows no sign of life.
    """
    with board(len(specs), Console()) as shown:
        watchers = {}
        for spec in specs:
            watchers[spec.id] = shown.start(spec.title)
            ending = execute(spec, settings, watchers[spec.id])
            if ending.state != State.RUNNING:
                watchers.pop(spec.id).finish(str(ending))
        for spec in specs:
            if watcher := watchers.get(spec.id):
                ending = execute(spec, settings, watcher, patient=True)
                watcher.finish(ELSEWHERE if ending.state == State.RUNNING else str(ending))
