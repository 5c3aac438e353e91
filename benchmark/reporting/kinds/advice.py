"""Which method to take, how sure that is, and the run that trains it on all domains.

Methods are compared by their mean over all targets, each of them unseen in training. Only rows
count that have every target for the seeds that most rows have.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from statistics import fmean

from benchmark.records.spec import ALL_DOMAINS, MULTI_SOURCE, NUMBERS_VERSION
from benchmark.reporting import significance, statistics
from benchmark.reporting.answers import Answers, answers, few_groups
from benchmark.reporting.kinds import cost
from benchmark.reporting.kinds.frame import BASELINE
from benchmark.reporting.model import Missing
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block, Line, data_root
from benchmark.reporting.statistics import Estimate
from mmdg_common import UsageError

MUCH = 0.5
"""The share of the best method's training time up to which another one is much cheaper."""


@dataclass(frozen=True)
class Candidate:
    """A row that has every target, beside the best one."""

    line: Line
    mean: float
    """Over all targets and the seeds of all candidates, in percent."""
    close: bool | None = None
    """Whether it may be the best in the long run; None where that cannot be said."""
    cheaper: float | None = None
    """Its training time relative to that of the best, where it is much less."""

    @property
    def label(self) -> str:
        """The label of the row."""
        return self.line.label


@dataclass(frozen=True)
class Gain:
    """How much better the best row is than the baseline, in points, with its 95 % interval."""

    value: float
    ends: tuple[float, float] | None
    """Holm-corrected over all candidates; None where nothing is known of other seeds."""


@dataclass(frozen=True)
class Advice:
    """What to say of one condition and set of modalities."""

    block: Block
    metric: str
    seeds: tuple[int, ...]
    best: Candidate | None
    """None where no row has every target."""
    others: tuple[Candidate, ...]
    """Best first."""
    gain: Gain | None
    """None where the baseline is the best, or no candidate."""
    incomplete: tuple[str, ...]
    """The labels of the rows that lack a target or a seed."""
    few: tuple[str, ...]
    """The targets of few groups of samples, each with their number."""
    wanted: Missing | None
    """The run that trains the best row on all domains."""


def build(wanted: Wanted) -> list[Advice]:
    """Return the advice for every condition and set of modalities with several sources.

    Raises:
        UsageError: there is none.
    """
    several = [block for block in wanted.blocks if block.spec.setting == MULTI_SOURCE]
    if not several:
        spec = wanted.records[0].spec
        raise UsageError(
            "--advise goes by runs that leave one domain out, and there are none; make some: "
            f"python -m benchmark.run --method {BASELINE} {spec.method} --dataset {spec.dataset} "
            "--all-splits --seeds 0 1 2"
        )
    return [_advice(block, wanted.view) for block in several]


def _advice(block: Block, view: View) -> Advice:
    lines = [line for line in block.lines if line.kind == "method"]
    seeds = _usual(lines)
    whole = [line for line in lines if seeds and seeds <= line.average.values.keys()]
    incomplete = tuple(line.label for line in lines if line not in whole)
    if not whole:
        return Advice(block, view.metric, (), None, (), None, incomplete, (), None)
    means = {id(line): fmean(line.average.values[s] for s in seeds) for line in whole}
    # Of equal means the simplest method counts as the best.
    whole.sort(key=lambda line: (-means[id(line)], line.label != BASELINE, line.label))
    known = [_answers(line, view.metric, seeds) for line in whole]
    best, *rest = whole
    close = _close(known, block.splits)
    others = (
        Candidate(line, means[id(line)], near, _cheaper(line, best) if near else None)
        for line, near in zip(rest, close, strict=True)
    )
    return Advice(
        block=block,
        metric=view.metric,
        seeds=tuple(sorted(seeds)),
        best=Candidate(best, means[id(best)]),
        others=tuple(others),
        gain=_gain(whole, means, known, block.splits),
        incomplete=incomplete,
        few=tuple(few_groups(known[0], block.splits)),
        wanted=_run(best, block, min(seeds)),
    )


def _usual(lines: Sequence[Line]) -> set[int]:
    """Return the seeds with every target that most rows have; of several such sets the largest."""
    sets = Counter(tuple(sorted(line.average.values)) for line in lines if line.average.n)
    usual = max(sets, key=lambda seeds: (sets[seeds], len(seeds)), default=())
    return set(usual)


def _answers(line: Line, metric: str, seeds: set[int]) -> dict[str, Answers]:
    """Return the answers of a row on the seeds that are compared."""
    return {
        column: replace(
            one,
            values={s: v for s, v in one.values.items() if s in seeds},
            parts={s: v for s, v in one.parts.items() if s in seeds},
        )
        for column, one in answers(line.records, line.rule, metric).items()
    }


def _close(known: Sequence[Mapping[str, Answers]], splits: Sequence[str]) -> list[bool | None]:
    """Return whether each row but the first, the best, may be the best; None: cannot be said."""
    leads = significance.against(known, 0, splits)[1:]
    found = iter(significance.may_be_best([lead for lead in leads if lead is not None]))
    return [None if lead is None else next(found) for lead in leads]


def _gain(
    lines: Sequence[Line],
    means: Mapping[int, float],
    known: Sequence[Mapping[str, Answers]],
    splits: Sequence[str],
) -> Gain | None:
    """Return how much better the first row is than the baseline."""
    base = next((i for i, line in enumerate(lines) if line.label == BASELINE), None)
    if not base:  # not there, or the best itself
        return None
    value = means[id(lines[0])] - means[id(lines[base])]
    variances = significance.variances(known, splits)
    found: dict[int, Estimate] = {}
    for i, row in enumerate(known):
        pair = variances[base], variances[i]
        if i != base and (one := significance.compare(known[base], row, splits, pair)) is not None:
            found[i] = one
    if 0 not in found:
        return Gain(value, None)
    ends = dict(zip(found, statistics.adjusted(list(found.values())), strict=True))[0][1]
    return Gain(value, None if ends is None else (100 * ends[0], 100 * ends[1]))


def _cheaper(line: Line, best: Line) -> float | None:
    share = cost.relative(line.records, best.records, "wall_s")
    return share if share is not None and share <= MUCH else None


def _run(line: Line, block: Block, seed: int) -> Missing:
    """Return the run that trains a row on all domains that the block knows."""
    domains = {d for record in block.records for d in (*record.spec.sources, record.spec.target)}
    spec = replace(
        line.records[0].spec,
        setting=ALL_DOMAINS,
        sources=tuple(sorted(domains)),
        target="",
        seed=seed,
        numbers_version=NUMBERS_VERSION,
    )
    return Missing(
        line.label, ALL_DOMAINS, {seed: "to do"}, spec, False, data_root(block.records), line.tried
    )
