"""How a training run reports its progress."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Watcher(Protocol):
    """Receives the progress of a run, to show it or to record it."""

    def step(self, step: int, total: int) -> None:
        """Note that a training step is done."""

    def alive(self, step: int, total: int) -> None:
        """Note that the run, at this step, goes on with something else, such as a validation."""

    def filling(self, done: int, total: int) -> None:
        """Note that so many of the samples that the feature cache lacked are in it."""

    def validated(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Note the validations so far, of which the last is new."""


class Silent:
    """A watcher that ignores everything."""

    def step(self, step: int, total: int) -> None:
        """Do nothing."""

    def alive(self, step: int, total: int) -> None:
        """Do nothing."""

    def filling(self, done: int, total: int) -> None:
        """Do nothing."""

    def validated(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Do nothing."""
