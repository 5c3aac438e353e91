"""The launchers by name: each takes runs and sees to it that they are carried out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmark.launch.device import Device
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from mmdg_common import unknown


class Launcher(Protocol):
    """The seam between a plan and whatever carries it out. A launcher never looks inside a spec.

    However many launchers share a results folder, claims see to it that each run has one process
    at a time; how a run ended is in the store.
    """

    @property
    def waits(self) -> bool:
        """Whether `launch` returns only when every run has ended, rather than is queued."""

    def check(self, settings: RunSettings) -> None:
        """Raise UsageError if runs cannot be carried out so, before anything is changed."""

    def device(self, settings: RunSettings) -> Device:
        """Return what the runs compute on."""

    def launch(self, specs: Sequence[RunSpec], settings: RunSettings) -> None:
        """Carry out runs, or queue them; one that fails does not stop the others.

        Raises:
            UsageError: a dataset is not what it should be, or a scheduler refuses.
        """

    def queued(self, results: Path) -> Mapping[str, str]:
        """Return by run id, for runs that wait for something, what a user wants to know of that.

        Raises:
            UsageError: a scheduler does not answer.
        """

    def cancel(self, specs: Sequence[RunSpec], results: Path) -> int:
        """See to it that runs are not carried out that wait; return how many jobs that ended."""


@dataclass(frozen=True)
class LaunchOptions:
    """The options of all launchers; each takes those that concern it."""

    name: str = "mmdg"
    """Of the jobs."""
    processes: int = 0
    """local: at a time; 0: one per GPU, or as many as the cores hold."""
    profile: str = ""
    """slurm: the name or path of a profile; empty: the cluster's defaults."""
    jobs: int = 0
    """slurm: jobs that share the runs; 0: one for each run, up to a usual number."""


def create(name: str, options: LaunchOptions) -> Launcher:
    """Return a launcher.

    Raises:
        UsageError: the name is unknown, or an option of the launcher is wrong.
    """
    if name not in LAUNCHERS:
        raise unknown("launcher", name, LAUNCHERS)
    return LAUNCHERS[name](options)


def _inline(options: LaunchOptions) -> Launcher:
    from benchmark.launch.inline import Inline

    return Inline()


def _local(options: LaunchOptions) -> Launcher:
    from benchmark.launch.local import Local

    return Local(options.processes)


def _slurm(options: LaunchOptions) -> Launcher:
    from benchmark.launch import profile
    from benchmark.launch.slurm import Slurm

    return Slurm(
        profile=profile.read(options.profile) if options.profile else profile.Profile(),
        name=options.name,
        jobs=options.jobs,
    )


LAUNCHERS: Mapping[str, Callable[[LaunchOptions], Launcher]] = {
    "inline": _inline,
    "local": _local,
    "slurm": _slurm,
}
"""What makes each launcher; its modules are imported only then."""
