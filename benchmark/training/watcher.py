"""Who hears how a training run gets on."""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol


class Watcher(Protocol):
    """Hears of a run's progress; whoever shows or records it implements this."""

    def step(self, step: int, total: int) -> None:
        """Note that a training step is done."""

    def alive(self, step: int, total: int) -> None:
        """Note that the run, at this step, goes on with something else, such as a validation."""

    def validated(self, records: Sequence[Mapping[str, Any]]) -> None:
        """Note the validations so far, of which the last is new."""
