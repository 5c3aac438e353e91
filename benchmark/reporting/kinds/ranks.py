"""Methods ranked over everything they were all run on. A description; nothing is tested."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmark.reporting import statistics
from benchmark.reporting.model import Number, Row, Score, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.sheets import sheets

FEWEST = 3
"""Methods and cases below which there is nothing to rank."""


@dataclass(frozen=True)
class Scores:
    """One value per case (dataset, setting, condition, target, set of modalities) and method."""

    methods: tuple[str, ...]
    values: NDArray[np.float64]
    """[cases, methods], percent."""
    left_out: tuple[str, ...]
    """Methods that lack a case."""


def collect(wanted: Wanted) -> Scores:
    """Return the means over common seeds on all cases, of the methods that have the most cases."""
    found: dict[tuple[str, ...], dict[str, Score]] = {}
    for sheet in sheets(wanted):
        for block in sheet.blocks:
            for line in block.lines:
                for split, score in zip(block.splits, line.scores, strict=True):
                    if line.kind == "method" and score.n:
                        key = (*sheet.subject, block.modalities, split)
                        found.setdefault(key, {})[line.label] = score
    # A case that only a method or two were run on would leave all others out.
    cases = [case for case in found.values() if len(case) >= FEWEST]
    counts = Counter(method for case in cases for method in case)
    whole = [method for method in counts if counts[method] == max(counts.values())]
    shared = [case for case in cases if all(method in case for method in whole)]
    values = np.array([_means([case[m] for m in whole]) for case in shared])
    left_out = tuple(method for method in counts if method not in whole)
    return Scores(tuple(whole), values.reshape(len(shared), len(whole)), left_out)


def _means(scores: Sequence[Score]) -> list[float]:
    """Return the means over the seeds that all have, or over each one's own where none is."""
    seeds = set.intersection(*(set(score.values) for score in scores))
    return [fmean(score.values[s] for s in seeds or score.values) for score in scores]


def build(wanted: Wanted) -> list[Table]:
    """Return the table of ranks; without rows where there are too few cases or methods."""
    scores = collect(wanted)
    cases, methods = scores.values.shape
    lacking = (
        f" Left out because values are missing: {', '.join(scores.left_out)}."
        if scores.left_out
        else ""
    )
    if min(cases, methods) < FEWEST:
        note = (
            f"No ranks: they need {FEWEST} methods with {FEWEST} values each (one per dataset, "
            f"setting, target and set of modalities). Here there are {methods} methods with "
            f"{cases} values each.{lacking}"
        )
        return [_table((), note)]
    ranks = statistics.average_ranks(scores.values)
    order = sorted(range(methods), key=lambda i: ranks[i])
    rows = [Row(scores.methods[i], "", (Number(ranks[i]),)) for i in order]
    note = (
        f"Average ranks (1 is best) over {cases} values, one per dataset, setting, target and set "
        "of modalities. They describe these values; the targets of a dataset are too alike to test "
        f"ranks over them. --table gains says what can be claimed.{lacking}"
    )
    return [_table(rows, note)]


def _table(rows: Sequence[Row], note: str) -> Table:
    columns = ("average rank",) if rows else ()
    return Table("ranks", ("all tables",), columns, tuple(rows), scores=False, notes=(note,))
