"""The columns of the table of an analysis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.reporting.model import Form

Values = Mapping[str, Any]
"""What was measured of one run."""


@dataclass(frozen=True)
class Column:
    """One number of each run."""

    label: str
    place: tuple[str, ...]
    """Where the number stands in what was measured."""
    percent: bool = False
    """Whether it is a share, shown in percent."""
    form: Form = Form.QUANTITY
    gain: bool = False
    """Whether it is shown in points above the same number of the baseline's runs."""

    def look(self, values: Values) -> float | None:
        """Return the number; None where a run has none."""
        found: Any = values
        for name in self.place:
            found = found.get(name) if isinstance(found, Mapping) else None
        return None if found is None else float(found)


@dataclass(frozen=True)
class Layout:
    """The table of an analysis."""

    columns: Callable[[Sequence[Values]], Sequence[Column]]
    """Of what was measured of all its runs."""
    notes: Sequence[str]
    """What the columns hold."""
    analysis: str = ""
    """What measured it, where the table has another name."""
    remarks: Callable[[Sequence[Values]], Sequence[str]] = lambda _: ()
    """What is to be said of what was measured, such as what could not be."""
