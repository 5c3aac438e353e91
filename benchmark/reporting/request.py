"""The input of a report: records, the wanted view of them, and a grid if one is given."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

from benchmark.records.read import Record
from benchmark.reporting import rows
from benchmark.reporting.results import Results, View
from benchmark.reporting.rows import Block

if TYPE_CHECKING:
    from benchmark.planning.grid import Row as GridRow


@dataclass(frozen=True)
class Wanted:
    """The input of tables and figures."""

    records: Sequence[Record]
    view: View = field(default_factory=View)
    plan: "Sequence[GridRow] | None" = None
    """The rows of a grid, which then says exactly which runs are expected."""

    @cached_property
    def results(self) -> Results:
        """Return the records as a tidy table, grouped by condition."""
        return Results(self.records, self.view.rule)

    @cached_property
    def blocks(self) -> list[Block]:
        """Return the rows of every condition."""
        values = self.results.percent(self.view.part, self.view.metric)
        return [rows.block(c, values, self.view) for c in self.results.conditions]

    def seen(self, **changes: Any) -> "Wanted":
        """Return the same records, grouped as they are, in another view; not of another rule."""
        view = replace(self.view, **changes)
        if view == self.view:
            return self
        other = replace(self, view=view)
        vars(other)["results"] = self.results
        return other

    def of_plan(self) -> "Wanted":
        """Return the runs of the grid as if no grid were given; everything where none is."""
        if self.plan is None:
            return self
        planned = {spec.id for row in self.plan for spec in row.plan.specs}
        records = [record for record in self.records if record.spec.id in planned]
        return Wanted(records, self.view)
