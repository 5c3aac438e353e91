"""The launchers by name: each takes runs and sees to it that they are carried out."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from benchmark.launch.device import Device
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from mmdg_common import Registry


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

        Any command may ask, with other options than those of `launch`: what was queued must be
        found in the results folder.

        Raises:
            UsageError: a scheduler does not answer.
        """

    def cancel(self, specs: Sequence[RunSpec], results: Path) -> int:
        """See to it that runs are not carried out that wait; return how many jobs that ended.

        As with `queued`, what there is to cancel must be found in the results folder.
        """


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


Maker = Callable[[LaunchOptions], Launcher]
"""Makes a launcher: a class, or a function. Raises UsageError if an option of it is wrong."""

_registry: Registry[Maker] = Registry("launcher", __name__)


def register(name: str) -> Callable[[Maker], Maker]:
    """Return a decorator that makes a class or function the launcher called `name`."""
    return _registry.register(name)


def names() -> tuple[str, ...]:
    """Return every launcher, sorted; those of other installed packages included."""
    return _registry.names()


def create(name: str, options: LaunchOptions) -> Launcher:
    """Return a launcher.

    Raises:
        UsageError: the name is unknown, or an option of the launcher is wrong.
    """
    return _registry[name](options)


def queued(results: Path) -> dict[str, str]:
    """Return what waits, whichever launchers have queued it; see `Launcher.queued`."""
    found: dict[str, str] = {}
    for launcher in _every():
        found |= launcher.queued(results)
    return found


def cancel(specs: Sequence[RunSpec], results: Path) -> int:
    """Cancel what waits, whichever launchers have queued it; see `Launcher.cancel`."""
    return sum(launcher.cancel(specs, results) for launcher in _every())


def _every() -> Iterator[Launcher]:
    """Yield all launchers. What they have queued they find in the results folder alone."""
    return (create(name, LaunchOptions()) for name in names())


# The modules of launchers are imported only when they are made.


@register("inline")
def _inline(options: LaunchOptions) -> Launcher:
    from benchmark.launch.inline import Inline

    return Inline()


@register("local")
def _local(options: LaunchOptions) -> Launcher:
    from benchmark.launch.local import Local

    return Local(options.processes)


@register("slurm")
def _slurm(options: LaunchOptions) -> Launcher:
    from benchmark.launch import profile
    from benchmark.launch.slurm import Slurm

    return Slurm(
        profile=profile.read(options.profile) if options.profile else profile.Profile(),
        name=options.name,
        jobs=options.jobs,
    )
