"""What a table is made of, from the records of runs to what any format prints."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from benchmark.spec import RunSpec

METRICS = ("accuracy", "macro_f1")
AVERAGE = "average"


@dataclass(frozen=True)
class Record:
    """One run of the store; `result` is None until it is done, `error` says why it failed."""

    spec: RunSpec
    state: str
    error: str = ""
    result: Mapping[str, Any] | None = None
    folder: Path | None = None
    """Where the run's files are; None for a record that was exported without them."""
    tried: int = 1
    """The settings among which source validation chose this run."""

    @property
    def predictions(self) -> Path | None:
        """Return the file of a run's predictions, where there is one."""
        path = self.folder / "predictions.npz" if self.folder and self.result else None
        return path if path and path.exists() else None


@dataclass(frozen=True)
class Cell:
    """The figures of one row in one column: percent by seed, and the seeds that lack one."""

    values: Mapping[int, float]
    missing: tuple[int, ...]
    best: bool = False

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
class Row:
    """One composition with one setting of its hyper-parameters; the last cell is the average."""

    label: str
    rule: str
    cells: tuple[Cell, ...]
    kind: str = "method"
    """`method`; `upper bound`: trained on the target's own train part; `ensemble`: the summed
    logits of a row's seeds. Only methods are compared with each other."""
    tried: int = 1
    """The settings of which source validation chose, for each cell and seed."""


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
    """Where the data of the table's other runs was."""
    tried: int = 1
    """The settings that a search tries for the row."""


@dataclass(frozen=True)
class Table:
    """All that any format prints."""

    dataset: str
    setting: str
    modalities: tuple[str, ...]
    condition: tuple[str, ...]
    """What tells this table from others of its dataset, setting and modalities."""
    fabricated: bool
    numbers_version: int
    rule: str
    metric: str
    columns: tuple[str, ...]
    """The domains and, last, the average."""
    rows: tuple[Row, ...]
    missing: tuple[Missing, ...]
    mixtures: tuple[str, ...]
    """In what the runs differ that is no condition yet may move numbers, and what they lack."""
