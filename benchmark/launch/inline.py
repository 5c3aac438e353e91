"""The inline launcher: one run after the other in this process."""

import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import ClassVar

from rich.console import Console

from benchmark.launch.device import Device
from benchmark.launch.execute import execute
from benchmark.launch.progress import RunWatcher, board
from benchmark.launch.todo import Listed, ToDo
from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.settings import RunSettings
from mmdg_common import UsageError

ELSEWHERE = "left to the other process that carries it out"


class AtOnce(ABC):
    """A launcher without a queue, on this machine; see `Launcher`."""

    waits: ClassVar[bool] = True

    def check(self, settings: RunSettings) -> None:
        """Raise UsageError if this machine lacks the device."""
        check_device(settings.device)

    def device(self, settings: RunSettings) -> Device:
        """Return what the runs compute on."""
        return Device.here(settings)

    def launch(self, specs: Sequence[RunSpec], settings: RunSettings) -> None:
        """Carry out every run.

        Runs that another process carries out come last, and are taken over if it shows no sign of
        life; so is the run of a process that died.
        """
        settings.prepare(specs)
        if reason := self.carry_out(specs, settings):
            print(f"stopped: {reason}", file=sys.stderr)

    @abstractmethod
    def carry_out(self, specs: Sequence[RunSpec], settings: RunSettings) -> str:
        """Carry out runs; return why this machine cannot go on, empty where it could."""

    def queued(self, results: Path) -> Mapping[str, str]:
        """Return nothing, as no run waits."""
        return {}

    def cancel(self, specs: Sequence[RunSpec], results: Path) -> int:
        """Return 0, as there is nothing to cancel: the launcher ends with its command."""
        return 0


class Inline(AtOnce):
    """Carries out runs in their order, in this process."""

    def carry_out(self, specs: Sequence[RunSpec], settings: RunSettings) -> str:
        """See `AtOnce`."""
        return carry_out(Listed(specs), len(specs), settings)


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


def carry_out(todo: ToDo, total: int, settings: RunSettings) -> str:
    """Carry out runs one after the other, and record the errors of those that fail.

    Args:
        todo: gives the runs.
        total: how many there are, to show.
        settings: how they are carried out.

    Returns:
        Why this machine cannot go on; empty where nothing was left to take.
    """
    with board(total, Console()) as shown:
        watchers: dict[str, RunWatcher] = {}
        while taken := todo.take():
            spec, patient = taken
            watcher = watchers.get(spec.id) or shown.start(spec.title)
            ending = execute(spec, settings, watcher, patient)
            elsewhere = ending.state is State.RUNNING
            if elsewhere and not patient and todo.give_back(spec, died=False):
                watchers[spec.id] = watcher
                continue
            watcher.finish(ELSEWHERE if elsewhere else str(ending))
            if ending.over:
                return ending.reason or str(ending)
    return ""
