"""Published numbers: how ours differ from them, and how far papers lie apart.

The figures are the rows of `results/published/*.csv`; the README beside them says what the columns
mean. Methods are compared by name: `named` writes one that has settings of its own.
"""

import csv
import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from benchmark.reporting import statistics
from mmdg_common import AVERAGE, UsageError, unknown

FOLDER = Path(__file__).resolve().parents[2] / "results" / "published"
ACCURACY, NOT_STATED = "accuracy", "not stated"
EVIDENCE: Mapping[str, str] = {
    "read": "in the paper itself",
    "second-hand": "in a text about the paper",
    "inferred": "the value is in the paper, but what it belongs to is inferred",
}
ASSUMED_SEEDS = 3
"""The seeds behind a paper's standard deviation where it does not say."""
OPTIONAL = ("sources", "std", "std_usable", "n", "note")


@dataclass(frozen=True)
class Figure:
    """One printed figure; the fields are the columns of the files."""

    paper: str
    source: str
    table: str
    dataset: str
    setting: str
    sources: tuple[str, ...]
    """Empty for an average over targets."""
    target: str
    modalities: tuple[str, ...]
    method: str
    """The suite's name where it has the method, else the paper's in lower case."""
    label: str
    """The paper's own name of the method."""
    metric: str
    value: float
    """Percent."""
    std: float | None
    """Over seeds, as printed, in points."""
    std_usable: bool
    """Whether the printed std can be right; False where there is none."""
    n: int | None
    """The number of seeds, where it is known."""
    evidence: str
    """One of `EVIDENCE`."""
    note: str


@dataclass(frozen=True)
class Ours:
    """The suite's accuracy in one cell over `n` seeds, in percent."""

    dataset: str
    setting: str
    sources: tuple[str, ...]
    """Ignored for an average."""
    target: str
    """A domain, or `average`."""
    modalities: tuple[str, ...]
    method: str
    """As `named` writes it."""
    mean: float
    std: float | None
    """The sample standard deviation over seeds; None for one seed."""
    n: int


@dataclass(frozen=True)
class Difference:
    """Our accuracy against that of one paper in the same cell, for the same method."""

    ours: Ours
    figure: Figure
    tables: tuple[str, ...]
    """All tables in which the paper prints the figure."""
    uncertainty: float | None
    """Half the 95 % interval of the difference, in points; None where a spread is missing or
    unusable."""

    @property
    def difference(self) -> float:
        """Return ours minus published, in points."""
        return self.ours.mean - self.figure.value

    @property
    def inside(self) -> bool | None:
        """Return whether seeds alone can explain the difference; None if that cannot be told."""
        if self.uncertainty is None:
            return None
        # Not undone by a last binary digit: printed figures have two decimals.
        return abs(self.difference) <= self.uncertainty + 1e-9


@dataclass(frozen=True)
class Spread:
    """How far papers lie apart that print the same method in the same cell."""

    lowest: Figure
    highest: Figure
    papers: tuple[str, ...]
    """Two at least, that of the lowest value first."""

    @property
    def range(self) -> float:
        """Return the highest value minus the lowest, in points."""
        return self.highest.value - self.lowest.value


COLUMNS = tuple(field.name for field in fields(Figure))


def read(folder: Path | None = None) -> list[Figure]:
    """Return the figures of every CSV file of a folder, by default the suite's own.

    Raises:
        UsageError: there are no files, or a row is wrong; the message has its file and line.
    """
    folder = FOLDER if folder is None else folder
    files = sorted(folder.glob("*.csv"))
    if not files:
        raise UsageError(f"there are no published figures in {folder}: it holds no .csv file")
    return [figure for path in files for figure in _file(path)]


def papers(figures: Iterable[Figure]) -> dict[str, str]:
    """Return where each paper appeared, by its key, in the order of the figures."""
    return {figure.paper: figure.source for figure in figures}


def named(method: str, settings: Mapping[str, Mapping[str, Any]] | None = None) -> str:
    """Return the name of a composition with its settings other than the defaults.

    `mbcd (dropout=none)` for `{"mbcd": {"dropout": "none", "beta": 0.999}}`; without the settings
    that matter, an ablation would be compared with the whole method.

    Raises:
        UsageError: the method or a setting is unknown.
    """
    import methods  # takes torch

    usual, own = methods.resolve(method), methods.resolve(method, settings)
    changed = {
        name if len(own) == 1 else f"{component}.{name}": (
            f"{value:g}" if isinstance(value, float) else str(value)
        )
        for component, values in own.items()
        for name, value in values.items()
        if value != usual[component][name]
    }
    told = ", ".join(f"{name}={value}" for name, value in sorted(changed.items()))
    return f"{methods.canonical(method)} ({told})" if told else methods.canonical(method)


def compare(ours: Sequence[Ours], figures: Iterable[Figure]) -> list[Difference]:
    """Return, cell by cell, the difference to every accuracy printed for the cell and method.

    A figure that a paper prints in several tables is one figure. The uncertainty is that of Welch's
    t-test; n of a paper is `ASSUMED_SEEDS` where it is not known.
    """
    printed: dict[tuple[Any, ...], list[Figure]] = {}
    for figure in figures:
        if figure.metric == ACCURACY:
            key = (_key(figure), figure.paper, figure.value, figure.std)
            printed.setdefault(key, []).append(figure)
    return [
        Difference(one, same[0], tuple(f.table for f in same), _uncertainty(one, same[0]))
        for one in ours
        for key, same in printed.items()
        if key[0] == _key(one)
    ]


def spread(figures: Iterable[Figure]) -> list[Spread]:
    """Return, sorted, how far papers lie apart where at least two print the same accuracy.

    The same: dataset, setting, sources, target or average, modalities and method.
    """
    groups: dict[tuple[Any, ...], list[Figure]] = {}
    for figure in sorted(figures, key=lambda f: f.value):
        # Two figures whose modalities are unknown are not known to be of the same cell.
        if figure.metric == ACCURACY and figure.modalities != (NOT_STATED,):
            groups.setdefault(_key(figure), []).append(figure)
    found = [Spread(group[0], group[-1], tuple(papers(group))) for group in groups.values()]
    several = [one for one in found if len(one.papers) > 1]
    return sorted(several, key=lambda s: (*where(s.lowest), s.lowest.method))


def _file(path: Path) -> Iterator[Figure]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeError) as error:
        raise UsageError(f"cannot read {path}: {error}") from None
    reader, seen = csv.reader(text.splitlines(), strict=True), set()
    try:
        if tuple(next(reader, ())) != COLUMNS:
            raise UsageError(f"the columns must be {','.join(COLUMNS)}")
        for row in reader:
            figure = _figure(row, path.stem)
            if (key := (_key(figure), figure.table, figure.label, figure.metric)) in seen:
                raise UsageError("this figure of this table is there already")
            seen.add(key)
            yield figure
    except (csv.Error, UsageError) as error:
        raise UsageError(f"{path}:{reader.line_num}: {error}") from None


def _figure(row: Sequence[str], paper: str) -> Figure:
    if len(row) != len(COLUMNS):
        raise UsageError(f"{len(row)} fields instead of {len(COLUMNS)}")
    text: dict[str, Any] = dict(zip(COLUMNS, row, strict=True))
    if empty := [name for name in COLUMNS if not text[name] and name not in OPTIONAL]:
        raise UsageError(f"nothing in {', '.join(empty)}")
    if text["paper"] != paper:
        raise UsageError(f"paper is {text['paper']!r}, but the file's name says {paper!r}")
    if text["evidence"] not in EVIDENCE:
        raise unknown("evidence", text["evidence"], EVIDENCE)
    if bool(text["sources"]) == (text["target"] == AVERAGE):
        raise UsageError(f"give sources for a domain as target and none for {AVERAGE!r}")
    if text["std_usable"] not in (("true", "false") if text["std"] else ("",)):
        raise UsageError("std_usable is true or false beside a std, and empty without one")
    if text["n"] and (not text["n"].isdecimal() or int(text["n"]) < 1):
        raise UsageError(f"n is {text['n']!r}; give a number of seeds, or nothing")
    return Figure(
        **text
        | {name: tuple(filter(None, text[name].split("+"))) for name in ("sources", "modalities")}
        | {"value": _percent("value", text["value"]), "std_usable": text["std_usable"] == "true"}
        | {"std": _percent("std", text["std"]) if text["std"] else None}
        | {"n": int(text["n"]) if text["n"] else None}
    )


def _percent(name: str, text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 100:
        raise UsageError(f"{name} is {text!r}; give a number from 0 to 100")
    return value


def _key(one: Figure | Ours) -> tuple[Any, ...]:
    """Return the cell and the method; the order of sources and modalities says nothing."""
    sources = frozenset(() if one.target == AVERAGE else one.sources)
    return (one.dataset, one.setting, sources, one.target, frozenset(one.modalities), one.method)


def where(figure: Figure) -> tuple[str, str, str, str]:
    """Return dataset, setting, split and modalities as texts."""
    split = figure.target
    if figure.sources:
        split = f"{'+'.join(figure.sources)} → {split}"
    return figure.dataset, figure.setting, split, "+".join(figure.modalities)


def _uncertainty(ours: Ours, figure: Figure) -> float | None:
    if ours.std is None or ours.n < 2 or figure.std is None or not figure.std_usable:
        return None
    counts = figure.n or ASSUMED_SEEDS, ours.n
    if min(counts) < 2:
        return None
    found = statistics.welch((figure.value, ours.mean), (figure.std, ours.std), counts)
    return found.margin()


def notes(figures: Iterable[Figure]) -> list[str]:
    """Return what the marks of evidence mean and what is to be known of the figures."""
    shown = list(figures)
    kinds = dict.fromkeys(figure.evidence for figure in shown)
    lines = [f"{kind}: {EVIDENCE[kind]}." for kind in EVIDENCE if kind in kinds]
    by_note: dict[tuple[str, str], dict[str, None]] = {}
    for figure in shown:
        if figure.note:
            by_note.setdefault((figure.paper, figure.note), {})[figure.label] = None
    lines += [f"{paper}, {', '.join(of)}: {note}." for (paper, note), of in by_note.items()]
    return lines
