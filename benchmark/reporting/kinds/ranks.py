"""Methods ranked over everything they were all run on, with Friedman's and Wilcoxon's tests."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
from numpy.typing import NDArray

from benchmark.reporting import statistics
from benchmark.reporting.model import NONE, Cell, Form, Number, Row, Score, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.sheets import sheets


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
    cases = [case for case in found.values() if len(case) > 2]
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


def _lacking(scores: Scores) -> str:
    return (
        f" Left out because values are missing: {', '.join(scores.left_out)}."
        if scores.left_out
        else ""
    )


def build(wanted: Wanted) -> list[Table]:
    """Return the table of ranks; without rows where there are too few cases or methods."""
    scores = collect(wanted)
    result = statistics.friedman(scores.values)
    if result is None:
        note = (
            f"No ranks: Friedman's test needs three methods with {statistics.LEAST} values each "
            "(one per dataset, setting, target and set of modalities). Here there are "
            f"{len(scores.methods)} methods with {len(scores.values)} values each."
            f"{_lacking(scores)}"
        )
        return [_table((), note)]
    order = sorted(range(len(scores.methods)), key=lambda i: result.ranks[i])
    tests = [
        statistics.wilcoxon(scores.values[:, order[0]].tolist(), scores.values[:, i].tolist())
        for i in order[1:]
    ]
    adjusted = statistics.holm([test.p for test in tests if test is not None])
    rows = [_row(scores.methods[order[0]], result.ranks[order[0]], [NONE] * 3)]
    for i, test, p in zip(order[1:], tests, adjusted, strict=True):
        assert test is not None  # as many cases as Friedman's test had
        figures = [
            Number(test.difference, Form.SIGNED),
            Number(p, Form.P),
            Number(test.effect, Form.SIGNED),
        ]
        rows.append(_row(scores.methods[i], result.ranks[i], figures))
    return [_table(rows, _note(scores, result))]


def _row(method: str, rank: float, figures: Sequence[Cell]) -> Row:
    return Row(method, "", (Number(rank), *figures))


def _table(rows: Sequence[Row], note: str) -> Table:
    columns = ("average rank", "difference", "p", "effect") if rows else ()
    return Table("ranks", ("all tables",), columns, tuple(rows), scores=False, notes=(note,))


def _note(scores: Scores, result: statistics.Ranks) -> str:
    return (
        f"Average ranks (1 is best) over {len(scores.values)} values, one per dataset, setting, "
        "target and set of modalities, never one per seed. Friedman's test: chi-squared "
        f"{result.statistic:.2f}, p {statistics.p_text(result.p, equals=True)}; ranks closer than "
        f"{result.critical:.2f} (Nemenyi's critical difference at 0.05) cannot be told apart. The "
        "other columns compare with the best rank: mean difference in points, p of Wilcoxon's "
        "signed-rank test (two-sided, Holm-corrected) and matched-pairs rank-biserial effect. "
        "Targets of one dataset share training data, so they are less independent than the tests "
        f"assume.{_lacking(scores)}"
    )
