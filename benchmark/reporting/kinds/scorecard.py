"""Where one method stands beside others: its gain over ERM, its rank, where it wins, its cost."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.records.read import Record
from benchmark.reporting import conditions
from benchmark.reporting.kinds import cost, gains
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.kinds.gains import Cells, Difference, Place
from benchmark.reporting.model import Cell, Form, Number, Row, Table, Text
from benchmark.reporting.request import Wanted
from benchmark.reporting.sheets import sheets
from benchmark.reporting.statistics import DIGITS, Estimate, p_text

COLUMNS = ("gain", "these targets", "rank")
NAMED = 3
"""Targets and rows of a kind that are named; the others are counted."""


@dataclass(frozen=True)
class Rank:
    """The place of a gain among those of other rows and of ERM, whose gain is zero."""

    place: int
    """1 for the largest; equal gains share theirs."""
    of: int

    def __str__(self) -> str:
        return f"{self.place} of {self.of}"


@dataclass(frozen=True)
class OnTarget:
    """The means of ERM and of the method on a target, in percent."""

    dataset: str
    target: str
    erm: float
    own: float

    @property
    def gain(self) -> float:
        """Return how many points better the method is."""
        return round(self.own - self.erm, DIGITS)


@dataclass(frozen=True)
class OnDataset:
    """How the method did on the targets of a dataset."""

    name: str
    targets: Sequence[OnTarget]
    found: Difference
    rank: Rank


@dataclass(frozen=True)
class Scorecard:
    """Where a method stands on all datasets, each of which counts the same."""

    method: str
    datasets: Sequence[OnDataset]
    here: Estimate
    """The gain, 0 to 1, with the error of other seeds and samples of these targets."""
    new: Estimate
    """The same, with the error of other datasets."""
    rank: Rank
    first: tuple[str, float]
    """The row with the largest gain, and that gain."""
    unranked: Sequence[str]
    """Rows that lack a target of the method."""

    @property
    def targets(self) -> list[OnTarget]:
        """Return the targets of all datasets, that with the largest gain first."""
        found = [target for dataset in self.datasets for target in dataset.targets]
        return sorted(found, key=lambda one: -one.gain)


def collect(method: str, wanted: Wanted) -> Scorecard | None:
    """Return where a row stands among all others; None where it has nothing in common with ERM."""
    cells = Cells(sheets(wanted), wanted.view)
    mine: dict[str, list[Place]] = {}
    for place in cells.shared(BASELINE, method):
        mine.setdefault(cells.of[method][place].dataset, []).append(place)
    if not mine:
        return None
    found = {name: cells.difference(BASELINE, method, places) for name, places in mine.items()}
    others = {
        label: _gains(cells, label, mine) for label in cells.of if label not in (BASELINE, method)
    } | {BASELINE: dict.fromkeys(mine, 0.0)}
    whole = {label: fmean(of.values()) for label, of in others.items() if len(of) == len(mine)}
    here, new = gains.overall(found)
    first = max(whole.items(), key=lambda one: one[1])
    return Scorecard(
        method,
        [
            OnDataset(
                name,
                list(_targets(cells, method, mine[name])),
                one,
                _rank(one.found.value, [of[name] for of in others.values() if name in of]),
            )
            for name, one in found.items()
        ],
        here,
        new,
        _rank(here.value, whole.values()),
        first if first[1] > here.value else (method, here.value),
        sorted(others.keys() - whole.keys()),
    )


def _gains(cells: Cells, label: str, wanted: dict[str, list[Place]]) -> dict[str, float]:
    """Return the gains over ERM on the datasets of which a row has all wanted cells."""
    theirs = set(cells.shared(BASELINE, label))
    return {
        name: cells.difference(BASELINE, label, places).found.value
        for name, places in wanted.items()
        if theirs.issuperset(places)
    }


def _rank(value: float, others: Iterable[float]) -> Rank:
    others = list(others)
    better = sum(round(other - value, DIGITS) > 0 for other in others)
    return Rank(better + 1, len(others) + 1)


def _targets(cells: Cells, method: str, places: Sequence[Place]) -> Iterator[OnTarget]:
    """Yield the means on each target, over the seeds that all cells of the dataset have."""
    erm, own = cells.of[BASELINE], cells.of[method]
    seeds = {place: erm[place].values.keys() & own[place].values.keys() for place in places}
    common = set.intersection(*map(set, seeds.values()))
    by_target: dict[str, list[Place]] = {}
    for place in places:
        by_target.setdefault(own[place].target, []).append(place)
    for target, same in by_target.items():
        means = (
            fmean(fmean(of[p].values[s] for s in sorted(common or seeds[p])) for p in same)
            for of in (erm, own)
        )
        yield OnTarget(own[same[0]].dataset, target, *means)


# In words


def headline(card: Scorecard) -> str:
    """Return the gain, its intervals and the rank in a sentence."""
    known = []
    if (ends := card.here.interval()) is not None and card.here.p is not None:
        known.append(f"these targets {_points(*ends)}, p {p_text(card.here.p)}")
    if (ends := card.new.interval()) is not None:
        known.append(f"new datasets {_points(*ends)}")
    said = f" ({'; '.join(known)})" if known else ""
    name, most = card.first
    first = "" if name == card.method else f"; first is {name} with {100 * most:+.2f}"
    gain = f"{card.method}: {100 * card.here.value:+.2f} points over {BASELINE}{said}"
    return f"{gain}, rank {card.rank}{first}"


def _points(low: float, high: float) -> str:
    return f"{100 * low:+.2f} to {100 * high:+.2f}"


def table(card: Scorecard, subject: Sequence[str], records: Sequence[Record]) -> Table:
    """Return a row per dataset, and what else there is to say in notes.

    Args:
        card: of the method.
        subject: what the title says beside the method.
        records: of the method and of ERM.
    """
    rows = [_row(one.name, one.targets, one.found.found, one.rank) for one in card.datasets]
    if len(rows) > 1:
        # The means of datasets, so that a large one does not count more.
        means = [
            OnTarget("", one.name, *(fmean(getattr(t, k) for t in one.targets) for k in _MEANS))
            for one in card.datasets
        ]
        rows.append(_row("all", means, card.here, card.rank))
    return Table(
        card.method,
        tuple(subject),
        (BASELINE, card.method, *COLUMNS),
        tuple(rows),
        first="dataset",
        scores=False,
        notes=tuple(_notes(card, records)),
        mixtures=conditions.mixtures(records),
    )


_MEANS = ("erm", "own")


def _row(name: str, targets: Sequence[OnTarget], found: Estimate, rank: Rank) -> Row:
    cells: tuple[Cell, ...] = (
        *(Number(fmean(getattr(one, k) for one in targets)) for k in _MEANS),
        Number(100 * found.value, Form.SIGNED),
        gains.interval(found.interval()),
        Text(str(rank)),
    )
    return Row(name, "", cells)


def _notes(card: Scorecard, records: Sequence[Record]) -> Iterator[str]:
    order = card.targets
    won = [one for one in order if one.gain > 0]
    lost = [one for one in reversed(order) if one.gain < 0]
    yield (
        f"Better than {BASELINE} on {len(won)} of {len(order)} targets{_named(won)}, "
        f"worse on {len(lost)}{_named(lost)}."
    )
    yield _cost(card.method, records)
    new = "New datasets: 95 % interval for datasets that were not tried. "
    yield (
        f"Gain: points of accuracy over {BASELINE} on the seeds of both, averaged over the targets "
        "of a dataset, and over datasets. These targets: 95 % interval and p for other seeds and "
        f"test samples of the same targets. {new if card.new.error is not None else ''}Rank: by "
        "gain, on the same targets, among methods with default hyper-parameters. p is of one "
        "comparison: of many ideas tried, the best looks better than it is."
    )
    if card.here.error is None:
        yield "No interval: it takes two seeds in common, and stored predictions."
    if card.unranked:
        named = ", ".join(card.unranked[:NAMED])
        more = f" and {len(card.unranked) - NAMED} more" if len(card.unranked) > NAMED else ""
        yield f"Not ranked, as they lack some of these targets: {named}{more}."


def _named(targets: Sequence[OnTarget]) -> str:
    said = [f"{one.target} of {one.dataset} {one.gain:+.2f}" for one in targets[:NAMED]]
    return f" ({'most on ' if len(targets) > NAMED else ''}{', '.join(said)})" if said else ""


def _cost(method: str, records: Sequence[Record]) -> str:
    """Return what training costs: passes, which are the same everywhere, and time."""
    own, erm = (
        [record for record in records if (record.spec.method == BASELINE) == baseline]
        for baseline in (False, True)
    )
    said = f"Cost: {_passes(own)} passes (forward + backward) per step, {BASELINE} {_passes(erm)}"
    time = cost.relative(own, erm, "wall_s")
    if time is not None:
        return (
            f"{said}; {time:.2f} times its training time, both on {_devices(erm)}, which "
            "says little unless it was the same machine with nothing else to do."
        )
    return (
        f"{said}. Training times cannot be compared: {BASELINE} ran on {_devices(erm)}, {method} "
        f"on {_devices(own)}."
    )


def _passes(records: Sequence[Record]) -> str:
    found = [r.result["passes"] for r in records if r.result and r.result.get("passes")]
    if not found:
        return "unknown"
    return " + ".join(f"{fmean(one[k] for one in found):.3g}" for k in ("forward", "backward"))


def _devices(records: Sequence[Record]) -> str:
    """Return e.g. `cpu (x86_64), 1 thread`."""
    where = sorted({one for key in cost.results(records) for one in key[-1]}, key=str)
    return " and ".join(f"{device}, {n} thread{'s' * (n != 1)}" for device, n in where)
