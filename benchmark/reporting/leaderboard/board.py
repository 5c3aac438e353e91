"""What the leaderboard shows: tables, cells and methods of some records, each computed once."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

from benchmark.reporting.kinds import accuracy, cost, gains
from benchmark.reporting.kinds.gains import Cells, Place
from benchmark.reporting.leaderboard.facts import Facts, facts
from benchmark.reporting.model import Row, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.rows import by_average
from benchmark.reporting.sheets import sheets
from benchmark.reporting.write.clean import cleaned, printable

Block = Place
"""A place without its column: the table and set of modalities that it stands in."""


@dataclass(frozen=True)
class Entry:
    """A row label: a method with one setting of its hyper-parameters."""

    number: int
    """By which the page tells entries apart."""
    label: str
    """As rows show it."""
    raw: str
    """As it is in the records."""
    place: str
    """The id of its part of the page; empty where it has none, as an ensemble."""
    facts: Facts


@dataclass(frozen=True)
class Board:
    """Records, and what the parts of the page share of them."""

    wanted: Wanted

    @cached_property
    def plain(self) -> Wanted:
        """Return the records without ensembles of their seeds."""
        return self.wanted.seen(ensembles=False)

    @cached_property
    def standings(self) -> list[Table]:
        """Return the accuracy tables, the best average on top."""
        return [cleaned(by_average(table)) for table in accuracy.build(self.wanted)]

    @cached_property
    def headline(self) -> Table:
        """Return the gains over all datasets."""
        return cleaned(gains.build(self.plain)[0])

    @cached_property
    def costs(self) -> list[Table]:
        """Return the tables of what methods cost."""
        return [cleaned(table) for table in cost.build(self.plain)]

    @cached_property
    def cells(self) -> Cells:
        """Return the cells of every method, and what their runs answered."""
        return Cells(sheets(self.plain), self.plain.view)

    @cached_property
    def entries(self) -> Mapping[str, Entry]:
        """Return the entries by label, in alphabetical order."""
        methods = {
            row.label: row.records[0].spec.method for table in self.standings for row in table.rows
        }
        raw = {printable(label): label for label in self.cells.of}
        places = dict(zip(sorted(raw), _places(sorted(raw)), strict=True))
        return {
            label: Entry(i, label, raw.get(label, label), places.get(label, ""), facts(method))
            for i, (label, method) in enumerate(sorted(methods.items()))
        }

    def title(self, block: Block) -> str:
        """Return a short title of a block: its dataset, and what tells it from others there."""
        alike = [other for other in self._blocks if other[0] == block[0]]
        words = dict.fromkeys(block)
        own = [word for word in words if not all(word in other for other in alike)]
        return printable(" · ".join([block[0], *(own if block in alike else [*words][1:])]))

    @cached_property
    def _blocks(self) -> list[Block]:
        return list({place[:-1]: None for cells in self.cells.of.values() for place in cells})

    @cached_property
    def cost_rows(self) -> Mapping[str, Row]:
        """Return the row of costs that belongs to a row of another table, by `key`."""
        return {key(row): row for table in self.costs for row in table.rows}


def key(row: Row) -> str:
    """Return what rows of the same runs have in common, in tables of any kind."""
    return row.records[0].spec.id


def _places(labels: Sequence[str]) -> Iterator[str]:
    """Yield an id for each label, which its text lets a reader guess."""
    taken: set[str] = set()
    for label in labels:
        name = f"method-{re.sub(r'[^A-Za-z0-9_+.-]+', '-', label)}"
        while name in taken:
            name += "-"
        taken.add(name)
        yield name
