"""The analysis of a finished run: what it needs, its settings, and what it measures."""

import math
from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import asdict
from importlib.util import find_spec
from typing import Any, ClassVar

from benchmark.analysis.finished import FinishedRun
from benchmark.records import analyses
from benchmark.records.read import Record
from benchmark.records.spec import NUMBERS_VERSION
from methods.hyperparameters import NoHyperparameters
from mmdg_common import UsageError, unknown

EXTRA = "pip install 'mmdg-benchmark[analysis]'"


class Analysis(ABC):
    """Measures one run at a time; the same run and settings give the same numbers."""

    name: ClassVar[str]
    """Set by `register`."""
    about: ClassVar[str]
    """One line of help."""
    version: ClassVar[int] = 1
    """Raised when the same settings give other numbers than before."""
    Settings: ClassVar[type] = NoHyperparameters
    """A frozen dataclass of fields that `methods.hyperparameters.hyper` declares."""
    needs_weights: ClassVar[bool] = True
    """Whether it computes with the weights of a run; if not, stored predictions are enough."""
    packages: ClassVar[Sequence[str]] = ()
    """Modules of the extra `analysis` that it imports."""

    def __init__(self, settings: Any = None) -> None:
        self.settings = self.Settings() if settings is None else settings

    def check(self) -> None:
        """Raise UsageError where a package that it needs is not installed."""
        if lacking := [name for name in self.packages if find_spec(name) is None]:
            raise UsageError(f"{self.name} needs {', '.join(lacking)}: {EXTRA}")

    def lacks(self, record: Record, among: Collection[Record]) -> str:
        """Return why a finished run cannot be measured and what to do; "" where it can.

        Args:
            record: the run.
            among: all runs that were chosen, for what compares one run with another.
        """
        if not self.needs_weights:
            return _lacks_logits(record)
        if record.spec.numbers_version != NUMBERS_VERSION:
            return (
                f"trained under numbers version {record.spec.numbers_version}, and the suite is at "
                f"{NUMBERS_VERSION}: it may read samples in another way now; train again"
            )
        if record.folder is None or FinishedRun.weights_of(record) is None:
            return "no weights were kept; train again with --keep-checkpoints best --force"
        return ""

    def told(self, record: Record) -> dict[str, Any]:
        """Return the settings as they are kept; they say which weights, if not the best ones."""
        last = self.needs_weights and FinishedRun.keeps_last(record)
        return asdict(self.settings) | ({"weights": "last"} if last else {})

    def key(self, record: Record) -> str:
        """Return the name under which a run's folder holds what this measures."""
        return analyses.key(self.name, self.version, self.told(record))

    @abstractmethod
    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return what there is to say of a run, as JSON values by name.

        Accuracies are between 0 and 1.
        """


def _lacks_logits(record: Record) -> str:
    if record.committed is not None:
        return (
            "committed results keep classes and no logits; train the run yourself with --no-reuse"
        )
    if not record.has_predictions:
        return "its predictions are missing; train again with --force"
    return ""


def chosen(kind: str, text: str, valid: Sequence[str], every: str = "") -> list[str]:
    """Return the names that a setting joins by commas, each once, in the order of the valid ones.

    Args:
        kind: what they name, for messages.
        text: the setting.
        valid: all names.
        every: the word that stands for all of them, if there is one.

    Raises:
        UsageError: a name is unknown.
    """
    if every and text == every:
        return list(valid)
    given = {name.strip() for name in text.split(",")}
    for name in sorted(given):
        if name not in valid:
            raise unknown(kind, name, [every, *valid] if every else valid)
    return [name for name in valid if name in given]


def finite(value: float | None) -> float | None:
    """Return a number as JSON can hold it: None where it is infinite or none."""
    return value if value is not None and math.isfinite(value) else None
