"""A table as data: numbers, marks and notes, which the writers turn into text."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from statistics import fmean, stdev
from typing import TypeAlias

from benchmark.records.read import Record
from benchmark.records.spec import NUMBERS_VERSION, RunSpec


@dataclass(frozen=True)
class Score:
    """A metric of one row in one column: percent by seed, and the seeds that lack it."""

    values: Mapping[int, float]
    missing: tuple[int, ...] = ()
    best: bool = False
    second: bool = False
    close: bool = False
    """Not the best mean, but not significantly worse: it may be the best in the long run."""
    untested: bool = False
    """Not compared with the best mean."""

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

    @property
    def value(self) -> float | None:
        """Return what the cell is sorted by: the mean, where there is one."""
        return self.mean if self.n else None


class Form(Enum):
    """How a number reads; the writers turn it into text."""

    FIXED = "two decimals"
    SIGNED = "two decimals with a sign"
    QUANTITY = "three significant digits"
    P = "a p-value"


@dataclass(frozen=True)
class Number:
    """A number that is no score, with what belongs to it; `Number(None)` where there is none."""

    value: float | None
    form: Form = Form.FIXED
    std: float | None = None
    n: int | None = None
    """The seeds or pairs that it rests on, where that is said."""
    remark: str = ""
    """Stands beside it in brackets."""


@dataclass(frozen=True)
class Count:
    """A number of things; with `least`, the range from there to `value`."""

    value: int
    least: int | None = None


@dataclass(frozen=True)
class Interval:
    """The ends of a confidence interval of a difference."""

    low: float
    high: float
    value: None = None
    """Intervals have no order, so there is nothing to sort them by."""


@dataclass(frozen=True)
class Text:
    """Words; empty where there is nothing to say."""

    text: str
    value: None = None


Cell: TypeAlias = Score | Number | Count | Interval | Text
NONE = Number(None)


@dataclass(frozen=True)
class Row:
    """One composition with one setting of its hyper-parameters; the last cell is the average."""

    label: str
    rule: str
    cells: tuple[Cell, ...]
    group: str = ""
    """Shared with the neighbouring rows, such as a set of modalities."""
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
    """The state of each seed, in words."""
    run: RunSpec
    """One of the runs that fill the cell; the others differ in the seed."""
    failed: bool
    data_root: str | None
    """Where the data of the table's other runs was; None where a command finds it by itself."""
    tried: int = 1
    """The settings that a search tries for the row."""


@dataclass(frozen=True)
class Table:
    """Everything that the formats print of a table."""

    name: str
    """The kind of table, such as `multi-source`."""
    subject: tuple[str, ...]
    """The title: dataset, setting, modalities if all rows share them, condition."""
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    rule: str = "best-val"
    metric: str = "accuracy"
    first: str = "method"
    """The heading of the rows' labels."""
    grouped: str = ""
    """The heading of the groups; empty where there is only one."""
    scores: bool = True
    """Whether the cells are scores over seeds, of which the last is the average."""
    part: str = "target"
    """The part of the data that is scored: `target`, or `val` for the sources' validation."""
    fabricated: bool = False
    numbers_version: int = NUMBERS_VERSION
    missing: tuple[Missing, ...] = ()
    notes: tuple[str, ...] = ()
    """Said of this table beyond what holds for all of its kind."""
    mixtures: tuple[str, ...] = ()
    """In what the runs differ that is no condition yet may move numbers, and what they lack."""
