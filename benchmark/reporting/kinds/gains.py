"""How much better than ERM is each method, over all datasets? The headline of a benchmark.

Settings and sets of modalities are averaged within a target, targets within a dataset, and datasets
count the same. ERM is a fixed control, so that nothing is chosen before it is tested.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmark.records.read import Record
from benchmark.records.selection import REFERENCE
from benchmark.records.spec import FAIR, UPPER_BOUND, switches
from benchmark.reporting import significance, statistics
from benchmark.reporting.answers import Answers, answers
from benchmark.reporting.conditions import column_of
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.model import NONE, Cell, Count, Form, Interval, Number, Row, Table, Text
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block, Line
from benchmark.reporting.sheets import Sheet, sheets
from benchmark.reporting.statistics import LEAST_DATASETS, Estimate, Variance

COLUMNS = (
    *("gain", "these targets", "p", "new datasets", "p (new)"),
    *("won", "lost", "targets", "may be best"),
)


@dataclass(frozen=True)
class Measured:
    """One row on one target, setting, condition and set of modalities."""

    dataset: str
    target: str
    line: Line
    column: str
    values: Mapping[int, float]
    """Percent by seed."""


Place = tuple[str, ...]
"""Dataset, setting, condition, modalities and column."""


class Cells:
    """The cells of every method, and what their runs answered.

    Variances over seeds are drawn together across the methods of a dataset, as in its table.
    """

    def __init__(self, every: Sequence[Sheet], view: View, pooled: bool = True) -> None:
        """Collect the cells; `pooled=False` leaves every pair of methods to itself."""
        self._view = view
        self._pooled = pooled
        self._variances: dict[frozenset[Place], dict[str, Variance | None]] = {}
        self._known: dict[int, dict[str, Answers]] = {}
        self.of: dict[str, dict[Place, Measured]] = {}
        """By the label of the row."""
        for sheet in every:
            for block in sheet.blocks:
                if block.spec.setting != UPPER_BOUND:
                    self._add(sheet, block)

    def _add(self, sheet: Sheet, block: Block) -> None:
        targets = {column_of(r.spec): r.spec.target for r in block.records}
        for line in block.lines:
            if line.kind != "method":
                continue
            for column, score in zip(block.splits, line.scores, strict=True):
                if score.n:
                    place = (*sheet.subject, block.modalities, column)
                    cell = Measured(block.spec.dataset, targets[column], line, column, score.values)
                    self.of.setdefault(line.label, {})[place] = cell

    def keep_common(self) -> None:
        """Of the settings, options and sets of modalities of a dataset, keep those most rows have.

        Else a row that has single modalities, too, would be compared on other cells than most.
        """
        parts = {
            label: {(cell.dataset, place[:-1]) for place, cell in of.items()}
            for label, of in self.of.items()
        }
        rows = Counter(part for of in parts.values() for part in of)
        most: dict[str, int] = {}
        for (dataset, _), count in rows.items():
            most[dataset] = max(count, most.get(dataset, 0))
        kept = {place for (dataset, place), count in rows.items() if count == most[dataset]}
        self.of = {
            label: {place: cell for place, cell in of.items() if place[:-1] in kept}
            for label, of in self.of.items()
        }

    def shared(self, a: str, b: str) -> list[Place]:
        """Return the cells on which two rows have a seed in common."""
        mine, theirs = self.of.get(a, {}), self.of.get(b, {})
        both = sorted(mine.keys() & theirs.keys())
        return [p for p in both if mine[p].values.keys() & theirs[p].values.keys()]

    def differences(self, a: str, b: str) -> dict[str, "Difference"]:
        """Return how much better row b is than row a, by dataset, on all cells of both."""
        datasets: dict[str, list[Place]] = {}
        for place in self.shared(a, b):
            datasets.setdefault(self.of[a][place].dataset, []).append(place)
        return {
            dataset: self.difference(a, b, places) for dataset, places in sorted(datasets.items())
        }

    def difference(self, first: str, second: str, places: Sequence[Place]) -> "Difference":
        """Return how much better the second row is, on some of the cells of `shared`."""
        a, b = self.of[first], self.of[second]
        targets: dict[str, list[Place]] = {}
        for place in places:
            targets.setdefault(a[place].target, []).append(place)
        weights = {
            place: 1 / len(targets) / len(same) for same in targets.values() for place in same
        }
        known = self._shrunk(weights) if self._pooled else {}
        of_seeds = known.get(first), known.get(second)
        found = significance.compare(
            self._answers(a, places), self._answers(b, places), weights, of_seeds
        )
        if found is None or found.error is None:  # without predictions or seeds in common
            value = sum(w * _mean_difference(a[place], b[place]) for place, w in weights.items())
            found = Estimate(value / 100)
        return Difference(found, len(targets))

    def _shrunk(self, weights: Mapping[Place, float]) -> dict[str, Variance | None]:
        """Return the variances over seeds of the methods that have all of some cells."""
        key = frozenset(weights)
        if key not in self._variances:
            there = [name for name, of in self.of.items() if of.keys() >= key]
            rows = [self._answers(self.of[name], list(weights)) for name in there]
            found = significance.variances(rows, weights)
            self._variances[key] = dict(zip(there, found, strict=True))
        return self._variances[key]

    def _answers(
        self, of: Mapping[Place, Measured], places: Sequence[Place]
    ) -> dict[Place, Answers]:
        found = {}
        for place in places:
            line = of[place].line
            if id(line) not in self._known:
                self._known[id(line)] = answers(
                    line.records, line.rule, self._view.metric, self._view.part
                )
            if (one := self._known[id(line)].get(of[place].column)) is not None:
                found[place] = one
        return found


def _mean_difference(a: Measured, b: Measured) -> float:
    seeds = a.values.keys() & b.values.keys()
    return fmean(b.values[s] - a.values[s] for s in sorted(seeds))


@dataclass(frozen=True)
class Difference:
    """How much better one row is than another on a dataset, 0 to 1, and on how many targets."""

    found: Estimate
    targets: int


@dataclass(frozen=True)
class Gain:
    """How much better a method is than ERM, 0 to 1."""

    method: str
    here: Estimate
    """With the error of other seeds and samples of these targets."""
    new: Estimate
    """With the error of other datasets."""
    datasets: int
    won: int
    lost: int
    targets: int


def overall(differences: Mapping[str, Difference]) -> tuple[Estimate, Estimate]:
    """Return the mean over datasets: with the error of these targets, and of new datasets."""
    found = [one.found for one in differences.values()]
    here = statistics.weighted(found, [1 / len(found)] * len(found))
    return here, statistics.over_datasets([one.value for one in found])


def by_protocol(wanted: Wanted) -> list[tuple[str, Wanted]]:
    """Return the runs apart by the switches of their protocol, `fair` first, with these in words.

    A mean over runs with different switches would say nothing. Under the rule `reference`, methods
    have switches of their own, and stay together.
    """
    parts: dict[str, list[Record]] = {}
    for record in wanted.records:
        together = wanted.view.rule == REFERENCE
        parts.setdefault("" if together else switches(record.spec.protocol), []).append(record)
    order = sorted(parts, key=lambda told: (told != FAIR, told))
    return [(told, replace(wanted, records=parts[told])) for told in order] or [("", wanted)]


def collect(wanted: Wanted) -> tuple[list[Gain], dict[str, bool]]:
    """Return the gains over ERM, the largest first, and which rows may be the best.

    Rows that lack a target that others have come last, and are no candidates for the best.
    """
    cells = Cells(sheets(wanted), wanted.view)
    cells.keep_common()
    gains = []
    for method in cells.of:
        if method != BASELINE and (found := cells.differences(BASELINE, method)):
            values = [one.found.value for one in found.values()]
            won, lost = sum(v > 0 for v in values), sum(v < 0 for v in values)
            count = sum(one.targets for one in found.values())
            gains.append(Gain(method, *overall(found), len(values), won, lost, count))
    most = max((gain.targets for gain in gains), default=0)
    gains.sort(key=lambda gain: (gain.targets < most, -gain.here.value, gain.method))
    return gains, dict(_may_be_best(cells, gains))


def _may_be_best(cells: Cells, gains: Sequence[Gain]) -> Iterator[tuple[str, bool]]:
    """Yield whether a row is not significantly worse than the one with the largest gain."""
    most = max((gain.targets for gain in gains), default=0)
    rows = [(BASELINE, 0.0), *((g.method, g.here.value) for g in gains if g.targets == most)]
    best, _ = max(rows, key=lambda row: row[1])
    leads = {}
    for method, _ in rows:
        if method == best:
            yield method, True
        elif found := cells.differences(method, best):
            lead, _ = overall(found)
            if lead.error is not None:
                leads[method] = lead
    yield from zip(leads, significance.may_be_best(list(leads.values())), strict=True)


def build(wanted: Wanted) -> list[Table]:
    """Return the table of gains; where runs have different switches, one for each.

    Without rows where no method can be compared with ERM.
    """
    parts = by_protocol(wanted)
    return [_built(part, (told,) if len(parts) > 1 else ()) for told, part in parts]


def _built(wanted: Wanted, subject: tuple[str, ...]) -> Table:
    gains, best = collect(wanted)
    if not gains:
        none = f"No gains: no row has a target and a seed in common with {BASELINE}."
        return _table((), none, subject=subject)
    here = statistics.adjusted([gain.here for gain in gains])
    rows = [_row(gain, p, interval, best) for gain, (p, interval) in zip(gains, here, strict=True)]
    control = (Number(0.0, Form.SIGNED), *[NONE] * 7, _yes(best.get(BASELINE)))
    at = sum(gain.here.value > 0 and gain.targets == gains[0].targets for gain in gains)
    made_up = sorted({r.spec.dataset for r in wanted.records if r.spec.fabricated})
    notes = [NOTE, *([f"Fabricated data stand in for {', '.join(made_up)}."] if made_up else [])]
    every = (*rows[:at], Row(BASELINE, "", control), *rows[at:])
    return _table(every, *notes, subject=subject)


def _row(
    gain: Gain, p: float | None, ends: tuple[float, float] | None, best: Mapping[str, bool]
) -> Row:
    new = gain.new
    cells: tuple[Cell, ...] = (
        Number(100 * gain.here.value, Form.SIGNED),
        interval(ends),
        p_value(p),
        interval(new.interval()),
        p_of_new(new, gain.datasets),
        Count(gain.won),
        Count(gain.lost),
        Count(gain.targets),
        _yes(best.get(gain.method)),
    )
    return Row(gain.method, "", cells)


def p_of_new(new: Estimate, datasets: int) -> Cell:
    """Return the cell of the p-value for new datasets; of too few of them there is none."""
    return p_value(new.p if datasets >= LEAST_DATASETS else None)


def p_value(p: float | None) -> Cell:
    """Return the cell of a p-value."""
    return NONE if p is None else Number(p, Form.P)


def interval(ends: tuple[float, float] | None) -> Cell:
    """Return the cell of an interval of shares, in points."""
    return NONE if ends is None else Interval(100 * ends[0], 100 * ends[1])


def _yes(best: bool | None) -> Cell:
    return NONE if best is None else Text("yes" if best else "no")


NOTE = (
    f"Gain: how many points better than {BASELINE} a method is, over the seeds that both have. "
    "Settings and sets of modalities are averaged within a target, targets within a dataset, and "
    "datasets count the same. Of the settings and sets of modalities of a dataset, those count "
    "that most methods have. These targets: 95 % interval and p for other seeds and other test "
    "samples of the same targets, Holm-corrected over the methods; variances over seeds are drawn "
    "together across the methods. New datasets: 95 % interval for "
    "datasets that were not tried, by a t-test over the means of datasets; p from "
    f"{LEAST_DATASETS} datasets on. Won, lost: datasets with a gain above and below zero. Rows "
    "that lack targets which others have stand below them, as their gains are over fewer. May be "
    "best: on all targets, and not significantly worse than the largest gain (one-sided, "
    "Holm-corrected)."
)


def _table(rows: Sequence[Row], *notes: str, subject: tuple[str, ...] = ()) -> Table:
    columns = COLUMNS if rows else ()
    subject = ("all tables", *subject)
    return Table("gains", subject, columns, tuple(rows), scores=False, notes=notes)
