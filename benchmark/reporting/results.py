"""The results behind a report: its records as a tidy table, grouped by condition once."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from benchmark.records.read import Record
from benchmark.records.selection import OWN
from benchmark.reporting import group, tidy
from benchmark.reporting.group import Condition

if TYPE_CHECKING:  # takes half a second
    from pandas import DataFrame


@dataclass(frozen=True)
class View:
    """The numbers and rows that tables show of every run."""

    rule: str = "best-val"
    metric: str = "accuracy"
    part: str = "target"
    """`target`, or `val` for the validation part of the sources."""
    all_rows: bool = False
    """Show settings of hyper-parameters beside the default, too."""
    ensembles: bool = False
    """Add a row for the ensemble of each row's seeds."""


@dataclass(frozen=True)
class Results:
    """Records under one selection rule."""

    records: Sequence[Record]
    rule: str
    _percent: dict[tuple[str, str, str], Mapping[str, float]] = field(default_factory=dict)

    @cached_property
    def runs(self) -> "DataFrame":
        """Return one row per run."""
        return tidy.runs(self.records, self.rule)

    @cached_property
    def table(self) -> "DataFrame":
        """Return one row per run, rule, part, head and metric."""
        return tidy.results(self.runs, self.records)

    @cached_property
    def conditions(self) -> list[Condition]:
        """Return the runs by condition."""
        return group.by_condition(self.runs, self.records, self.rule)

    def percent(self, part: str, metric: str, head: str = tidy.FUSED) -> Mapping[str, float]:
        """Return a value in percent by run, for the runs that have it.

        Each run counts under the rule asked for, or its method's own if there is one.
        """
        if (part, metric, head) not in self._percent:
            table = self.table
            wanted = (table["part"] == part) & (table["metric"] == metric) & (table["head"] == head)
            found: dict[str, float] = {}
            for rule in (self.rule, OWN):
                of = table[wanted & (table["rule"] == rule)]
                found |= dict(zip(of["run"].tolist(), (100 * of["value"]).tolist(), strict=True))
            self._percent[part, metric, head] = found
        return self._percent[part, metric, head]
