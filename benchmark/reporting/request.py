"""What a report is made of: records, what is looked at of them, and a grid if one is given."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from benchmark.records.read import Record
from benchmark.records.spec import MULTI_SOURCE
from benchmark.reporting.blocks import View
from benchmark.reporting.kinds import accuracy, planned
from benchmark.reporting.model import Table

if TYPE_CHECKING:  # a report without a grid plans nothing
    from benchmark.planning.grid import Row as GridRow


@dataclass(frozen=True)
class Wanted:
    """What tables are made of."""

    records: Sequence[Record]
    view: View
    plan: "Sequence[GridRow] | None" = None
    """The rows of a grid, which then says exactly what is expected."""

    def of(self, *settings: str) -> "Wanted":
        """Return the same of some settings alone."""
        rows = self.plan and [
            replace(row, plan=replace(row.plan, specs=specs))
            for row in self.plan
            if (specs := [spec for spec in row.plan.specs if spec.setting in settings])
        ]
        records = [record for record in self.records if record.spec.setting in settings]
        return replace(self, records=records, plan=rows)


def accuracy_tables(wanted: Wanted, name: str = "") -> list[Table]:
    """Return the accuracy tables of everything that is wanted."""
    if wanted.plan is not None:
        return planned.build(wanted.plan, wanted.records, wanted.view, name or MULTI_SOURCE)
    return accuracy.build(wanted.records, wanted.view)
