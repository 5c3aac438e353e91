"""What a table is made of, from the records of runs to what any format prints."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Any

from benchmark.records.read import Record
from benchmark.records.spec import NUMBERS_VERSION, RunSpec

METRICS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "accuracy": lambda scores: scores["accuracy"],
    "macro-f1": lambda scores: scores["macro_f1"],
    "worst-class": lambda scores: min(scores["per_class"]),
    "balanced-accuracy": lambda scores: fmean(scores["per_class"]),
}
"""How a metric is read from the scores of a part in a result."""
AVERAGE = "average"


@dataclass(frozen=True)
class Cell:
    """The figures of one row in one column: percent by seed, and the seeds that lack one."""

    values: Mapping[int, float]
    missing: tuple[int, ...]
    best: bool = False
    second: bool = False
    close: bool = False
    """Not the best, but not significantly worse than it either."""

    @property
    def n(self) -> int:
        """Return the number of seeds measured."""
        return len(self.values)

    @property
    def mean(self) -> float:
        """Return the mean over seeds; there must be one."""
        return fmean(self.values.values())

    @property
    def std(self) -> float:
        """Return the sample standard deviation (n - 1) over seeds; there must be two."""
        return stdev(self.values.values())


@dataclass(frozen=True)
class Plain:
    """A cell that is no score of seeds: a text, and the number in it for sorting and CSV."""

    text: str
    value: float | None = None


@dataclass(frozen=True)
class Row:
    """One composition with one setting of its hyper-parameters; the last cell is the average."""

    label: str
    rule: str
    cells: tuple[Cell | Plain, ...]
    group: str = ""
    """What the row shares with its neighbours, such as a set of modalities."""
    kind: str = "method"
    """`method`; `upper bound`: trained on the target's own train part; `ensemble`: the summed
    logits of a row's seeds. Only methods are compared with each other."""
    tried: int = 1
    """The settings of which source validation chose, for each cell and seed."""
    records: tuple[Record, ...] = ()
    """The runs that the row is made of."""


@dataclass(frozen=True)
class Missing:
    """Seeds that a cell lacks and that one command runs; failed ones need a command apart."""

    row: str
    column: str
    states: Mapping[int, str]
    """What became of each seed, in words."""
    run: RunSpec
    """One of the runs that fill the cell; the others differ in the seed."""
    failed: bool
    data_root: str | None
    """Where the data of the table's other runs was; None where a command finds it by itself."""
    tried: int = 1
    """The settings that a search tries for the row."""


@dataclass(frozen=True)
class Table:
    """All that any format prints."""

    name: str
    """Of the kind, such as `multi-source`."""
    subject: tuple[str, ...]
    """What the title says: dataset, setting, modalities if all rows share them, condition."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    rule: str = "best-val"
    metric: str = "accuracy"
    first: str = "method"
    """What the labels of the rows are."""
    grouped: str = ""
    """What the groups are; empty where there is but one."""
    scores: bool = True
    """Whether the cells are scores over seeds, of which the last is the average."""
    part: str = "target"
    """The part of the data that is scored: `target`, or `val` for the sources' validation."""
    fabricated: bool = False
    numbers_version: int = NUMBERS_VERSION
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()
    """What this table says beyond what all of its kind say."""
    mixtures: tuple[str, ...] = ()
    """In what the runs differ that is no condition yet may move numbers, and what they lack."""
