"""How often are the report's claims wrong? Simulated runs, through the report's own functions.

    python tests/calibration/calibrate.py [--sets 1000] [--only TEXT]

prints the tables of `docs/statistics.md`, in some minutes on one core.
"""

import argparse
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import bootstrap
import numpy as np
from simulate import Row, World, differences, rows

from benchmark.reporting import significance, statistics
from benchmark.reporting.statistics import Estimate

LEVEL = statistics.LEVEL
ROUNDS = 500
"""Of the bootstrap, which is only a point of comparison."""


@dataclass(frozen=True)
class Rates:
    """Shares of simulated sets, 0 to 1; None where something was not measured."""

    wrong: float
    """Two equal methods are called different."""
    covered: float
    """The 95 % interval of the difference contains the true one, with 2 points between methods."""
    seen: float
    """4 points between methods are significant."""
    bootstrap: float | None = None
    """`wrong` of the bootstrap."""
    bootstrap_seen: float | None = None


def two(world: World, sets: int, with_bootstrap: bool = True) -> Rates:
    """Return the rates of comparing two methods on a column, or on the average over several."""
    rng = _rng(world)
    # The bootstrap is slow, and far from 5 %: a quarter of the sets tell enough.
    resampled = sets // 4 if with_bootstrap else 0
    equal = [_two(replace(world, ahead=0.0), rng, i < resampled) for i in range(sets)]
    apart = [_two(replace(world, ahead=2.0), rng, False)[0] for _ in range(sets)]
    far = [_two(replace(world, ahead=4.0), rng, i < resampled) for i in range(sets)]
    return Rates(
        _share(equal, lambda one: _p(one[0]) < LEVEL),
        _share(apart, lambda one: _contains(one, 0.02)),
        _share(far, lambda one: _p(one[0]) < LEVEL),
        _share(equal[:resampled], lambda one: one[1] < LEVEL) if resampled else None,
        _share(far[:resampled], lambda one: one[1] < LEVEL) if resampled else None,
    )


def _two(world: World, rng: np.random.Generator, with_bootstrap: bool) -> tuple[Estimate, float]:
    """Return the first method's lead over the second, and p of the bootstrap."""
    first, second = rows(world, rng)[:2]
    columns = list(first.answers)
    lead = significance.compare(second.answers, first.answers, columns)
    assert lead is not None
    if not with_bootstrap:
        return lead, 1.0
    return lead, bootstrap.p_value(list(differences(second, first, columns)), ROUNDS, rng)


@dataclass(frozen=True)
class Marks:
    """Shares of simulated columns of a table, 0 to 1."""

    left_out: float
    """The best method has no mark; all are equal, so the first counts as the best."""
    left_out_ahead: float
    """The same where it is ahead by 2 points."""
    wrong: float
    """A pair of equal methods differs (two-sided, with the variance that the table shares)."""
    excluded: float
    """A method 4 points behind the best has no mark."""


def marks(world: World, sets: int) -> Marks:
    """Return the rates of the marks of a table's column, or of its average."""
    rng = _rng(world)
    equal = [rows(world, rng) for _ in range(sets)]
    ahead = [rows(replace(world, ahead=2.0), rng) for _ in range(sets)]
    far = [rows(replace(world, ahead=4.0), rng) for _ in range(sets)]
    tested = [lead for one in equal for lead in _leads(one, 0)[1:]]
    others = [close for one in far for close in _close(one)[1:]]
    return Marks(
        _share(equal, lambda one: not _close(one)[0]),
        _share(ahead, lambda one: not _close(one)[0]),
        _share(tested, lambda lead: _p(lead) < LEVEL),
        _share(others, lambda close: not close),
    )


def _leads(made: Sequence[Row], best: int) -> list[Estimate | None]:
    columns = list(made[0].answers)
    return significance.against([row.answers for row in made], best, columns)


def _close(made: Sequence[Row]) -> list[bool]:
    """Return which rows have a mark, the best mean included."""
    means = [np.mean([list(a.values.values()) for a in row.answers.values()]) for row in made]
    best = int(np.argmax(means))
    leads = _leads(made, best)
    others = [i for i, lead in enumerate(leads) if lead is not None]
    found = significance.may_be_best([lead for lead in leads if lead is not None])
    close = dict(zip(others, found, strict=True)) | {best: True}
    return [close[i] for i in range(len(made))]


def new_datasets(count: int, sd: float, sets: int) -> tuple[float, float, float]:
    """Return how often equal methods differ on new datasets, and how often intervals cover.

    Every dataset has four targets, and how much better a method is on a dataset varies by `sd`
    points. The third rate is that of Wilcoxon's test over all targets, as reports made it before.
    """
    from scipy import stats

    world = World(targets=4, sd=2.0)
    rng = _rng(world, count, sd)
    found, ranked = [], []
    for _ in range(sets):
        means, targets = [], []
        for _ in range(count):
            ahead = float(rng.normal(0, sd))
            first, second = rows(replace(world, ahead=ahead), rng)
            each = [
                np.mean(list(first.answers[c].values.values()))
                - np.mean(list(second.answers[c].values.values()))
                for c in first.answers
            ]
            targets += each
            means.append(float(np.mean(each)))
        found.append(statistics.over_datasets(means))
        ranked.append(float(stats.wilcoxon(targets).pvalue))
    return (
        _share(found, lambda one: _p(one) < LEVEL),
        _share(found, lambda one: _contains(one, 0.0)),
        _share(ranked, lambda p: p < LEVEL),
    )


def over_control(world: World, count: int, sets: int) -> tuple[float, float, float]:
    """Return rates of the table of gains: of methods over one control, on several datasets.

    How often any of equal methods differs from the control; how often an interval, of all, lacks
    the truth in no method; and how often a method 4 points ahead on every dataset is seen.
    """
    rng = _rng(world, count, "gains")
    wrong, covered, seen = 0, 0, 0
    for _ in range(sets):
        tested = statistics.adjusted(_over_control(world, count, rng))
        wrong += min(p for p, _ in tested if p is not None) < LEVEL
        covered += all(ends[0] <= 0 <= ends[1] for _, ends in tested if ends is not None)
        p, _ = statistics.adjusted(_over_control(replace(world, ahead=4.0), count, rng))[0]
        seen += p is not None and p < LEVEL
    return wrong / sets, covered / sets, seen / sets


def _over_control(world: World, count: int, rng: np.random.Generator) -> list[Estimate]:
    """Return how much better the last method is than each other, over datasets; it is equal."""
    found = []
    for _ in range(count):
        leads = _leads(rows(world, rng), world.methods - 1)
        found.append([lead for lead in leads if lead is not None])
    return [statistics.weighted(of, [1 / count] * count) for of in zip(*found, strict=True)]


def old_table(world: World, sets: int) -> float:
    """Return how often a column of equal methods had a false "worse" by the bootstrap.

    Two-sided against the best mean, Holm-corrected over the column, as tables were marked before.
    """
    rng = _rng(world, "old")
    wrong = 0
    for _ in range(sets):
        made = rows(world, rng)
        means = [np.mean([right.mean() for right in row.right.values()]) for row in made]
        best = made[int(np.argmax(means))]
        p = [
            bootstrap.p_value(list(differences(row, best, list(best.right))), ROUNDS, rng)
            for row in made
            if row is not best
        ]
        wrong += min(statistics.holm(p)) < LEVEL
    return wrong / sets


def old_ranks(sets: int) -> tuple[float, float, float]:
    """Return how often equal methods differed by Friedman's, Nemenyi's and Wilcoxon's tests.

    40 methods on 16 targets of 4 datasets; the effect of dataset and method makes 0.39 of the
    variance of a score. Wilcoxon's is that against the best rank, Holm-corrected.
    """
    from scipy import stats

    rng, wrong = np.random.default_rng(40), np.zeros(3)
    for _ in range(sets):
        own = np.repeat(rng.normal(0, np.sqrt(0.39), (4, 40)), 4, axis=0)
        scores = own + rng.normal(0, np.sqrt(0.61), (16, 40))
        ranks = stats.rankdata(-scores, axis=1).mean(axis=0)
        critical = stats.studentized_range.ppf(0.95, 40, np.inf) / np.sqrt(2)
        best = int(np.argmin(ranks))
        p = [stats.wilcoxon(scores[:, best] - scores[:, i]).pvalue for i in range(40) if i != best]
        wrong += [
            stats.friedmanchisquare(*scores.T).pvalue < LEVEL,
            np.ptp(ranks) > critical * np.sqrt(40 * 41 / (6 * 16)),
            min(statistics.holm(p)) < LEVEL,
        ]
    return tuple(wrong / sets)  # type: ignore[return-value]


def papers(n: int, sets: int) -> tuple[float, float]:
    """Return how often Welch's interval, and two standard errors, cover a difference of means."""
    rng = np.random.default_rng(n)
    covered, rough = 0, 0
    for _ in range(sets):
        a, b = rng.normal(0, 1, n), rng.normal(0, 2, n)
        means = float(a.mean()), float(b.mean())
        found = statistics.welch(means, (float(a.std(ddof=1)), float(b.std(ddof=1))), (n, n))
        covered += _contains(found, 0.0)
        rough += abs(found.value) < 2 * (found.error or 0.0)
    return covered / sets, rough / sets


def _p(lead: Estimate | None) -> float:
    assert lead is not None and lead.p is not None
    return lead.p


def _contains(lead: Estimate, truth: float) -> bool:
    ends = lead.interval()
    assert ends is not None
    return ends[0] <= truth <= ends[1]


def _share(things: Sequence[object], holds: Callable[..., bool]) -> float:
    return sum(map(bool, map(holds, things))) / len(things)


def _rng(*what: object) -> np.random.Generator:
    """Return a generator that depends on the cell alone, so that cells can be run by themselves."""
    return np.random.default_rng(zlib.crc32(repr(what).encode()))


PAIRS = {
    **{
        f"one target, S = {s}, sd {sd:g}, n = {n}": World(seeds=s, sd=sd, samples=n)
        for s in (2, 3, 5, 10)
        for sd in (0.5, 2, 5, 7)
        for n in (100, 300, 1000, 2000)
        if s == 3 or (sd < 7 and n in (300, 1000))
    },
    **{
        f"average of {t} targets, S = {s}, sd {sd:g}, n = 300": World(s, sd, 300, t)
        for t in (4, 16)
        for s in (3, 5)
        for sd in (0.5, 2, 5)
    },
    **{
        f"single-source average, 12 columns, S = {s}, sd {sd:g}, n = 300": World(
            s, sd, 300, 4, single=True
        )
        for s in (3, 5)
        for sd in (0.5, 2, 5)
    },
    **{
        f"{g} recordings of {n // g} windows, S = {s}, sd {sd:g}": World(s, sd, n, recordings=g)
        for g, n in ((30, 300), (20, 1000), (10, 500), (6, 1200))
        for s in (3, 5)
        for sd in (0.5, 2)
    },
    **{
        f"{metric}, S = {s}, sd {sd:g}, {where}": replace(world, metric=metric)
        for metric in ("balanced-accuracy", "macro-f1")
        for s in (3, 5)
        for sd in (0.5, 2, 5)
        for where, world in (
            ("n = 300", World(s, sd, 300)),
            ("30 recordings of 10", World(s, sd, 300, recordings=30)),
        )
    },
    "as measured on dsads: average of 4 targets, 38 recordings of 30, S = 3, sd 2.5": World(
        3, 2.5, 1140, 4, shared=0.06, recordings=38, together=1.0, accuracy=0.9
    ),
    "as measured on mex: average of 5 targets, 16 recordings of 11, S = 3, sd 3.6": World(
        3, 3.6, 176, 5, shared=0.0, recordings=16, together=1.0, accuracy=0.85
    ),
    "as measured on sp_sw_har: average of 3 targets, 57 recordings of 17, S = 3, sd 5": World(
        3, 5.0, 969, 3, shared=0.09, recordings=57, together=0.1, accuracy=0.87
    ),
}
"""The cells of comparing two methods. Those that were measured have the correlations that
`correlations.py` finds; to a correlation in groups of 0.55 of two methods' differences, which are
of few samples, leads one of 1 of the effects."""

TABLES = {
    f"{m} methods, S = {s}, sd {sd:g}{', unlike' if unlike > 1 else ''}, {where}": replace(
        world, seeds=s, sd=sd, methods=m, unlike=unlike
    )
    for m in (3, 5, 10, 40)
    for s in (3, 5)
    for sd, unlike in ((0.5, 1.0), (2.0, 1.0), (2.0, 4.0), (5.0, 1.0))
    for where, world in (
        ("one target, n = 300", World()),
        ("average of 4 targets, n = 300", World(targets=4)),
    )
}
"""The cells of marks; unlike: the methods' standard deviations differ by a factor of 4."""


GAINS = {
    f"{m} methods, {d} dataset{'s' * (d > 1)} of 4 targets, S = {s}, sd {sd:g}"
    f"{', unlike' if unlike > 1 else ''}": (
        World(seeds=s, sd=sd, targets=4, methods=m + 1, unlike=unlike),
        d,
    )
    for m in (5, 40)
    for d in (1, 4)
    for s in (3, 5)
    for sd, unlike in ((2.0, 1.0), (2.0, 4.0), (5.0, 1.0))
    if s == 3 or m == 40
}
"""The cells of gains over ERM, with the number of datasets."""


def main() -> None:
    """Print the tables as markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sets", type=int, default=1000, metavar="N", help="sets per cell")
    parser.add_argument("--only", default="", metavar="TEXT", help="cells whose name has this text")
    options = parser.parse_args()
    sets, only = options.sets, options.only
    print("| two methods | wrong | covered | 4 points seen | bootstrap: wrong | seen |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for name, world in PAIRS.items():
        if only in name:
            compared = world.metric == "accuracy"
            found = two(world, sets, compared)
            before = (found.bootstrap, found.bootstrap_seen)
            _line(name, found.wrong, found.covered, found.seen, *before)
    print("\n| marks | best left out | 2 points ahead | pairs wrong | 4 points behind unmarked |")
    print("| --- | ---: | ---: | ---: | ---: |")
    for name, world in TABLES.items():
        if only in name:
            enough = max(sets // 4, 4 * sets // world.methods // len(world.columns))
            marked = marks(world, enough)
            _line(name, marked.left_out, marked.left_out_ahead, marked.wrong, marked.excluded)
    print("\n| new datasets | wrong | covered | Wilcoxon over targets: wrong |")
    print("| --- | ---: | ---: | ---: |")
    for count in (2, 3, 4, 5, 6):
        for sd in (0.0, 2.0):
            if only in (name := f"{count} datasets of 4 targets, gains vary by {sd:g}"):
                _line(name, *new_datasets(count, sd, sets // 2))
    print("\n| gains over a control | any wrong | all covered | 4 points seen |")
    print("| --- | ---: | ---: | ---: |")
    for name, (world, count) in GAINS.items():
        if only in name:
            _line(name, *over_control(world, count, max(sets // 4, 1)))
    print("\n| before: a table of 40 equal methods has a false difference | |")
    print("| --- | ---: |")
    for sd, n in ((0.5, 300), (2.0, 300), (5.0, 1000)):
        if only in (name := f"column of 40 equal methods, S = 3, sd {sd:g}, n = {n}, bootstrap"):
            _line(name, old_table(World(3, sd, n, methods=40), max(sets // 20, 1)))
    if only in "ranks over 16 targets of 4 datasets":
        tests = ("Friedman", "Nemenyi", "Wilcoxon against the best")
        for test, rate in zip(tests, old_ranks(max(sets // 10, 1)), strict=True):
            _line(f"ranks of 40 methods over 16 targets of 4 datasets, {test}", rate)
    print("\n| beside papers | Welch covers | two standard errors cover |")
    print("| --- | ---: | ---: |")
    for n in (3, 5, 10):
        if only in (name := f"{n} against {n} runs, standard deviations 1 and 2"):
            _line(name, *papers(n, 10 * sets))


def _line(name: str, *rates: float | None) -> None:
    cells = ["" if rate is None else f"{100 * rate:.1f}" for rate in rates]
    print(f"| {name} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
