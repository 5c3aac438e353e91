"""How correlated are real runs? The correlations that simulations assume, from stored records.

    python tests/calibration/correlations.py RESULTS [RESULTS ...]

prints a line for each accuracy table of these results. Runs are compared by their residuals: what
is left of an accuracy without the mean of its method and that of its seed, as in differences of two
methods. It needs three methods with the same two seeds or more.
"""

import argparse
from collections.abc import Iterator, Sequence
from itertools import combinations
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmark.records import read
from benchmark.records.read import Record
from benchmark.reporting.answers import groups_of
from benchmark.reporting.conditions import column_of
from benchmark.reporting.request import Wanted
from benchmark.reporting.rows import Block
from benchmark.reporting.sheets import sheets

Array = NDArray[np.float64]


def residuals(block: Block) -> tuple[Array, list[Record]]:
    """Return the residuals in points, [columns, methods, seeds], and a record of each column."""
    lines = [line for line in block.lines if line.kind == "method"]
    seeds = sorted(set.intersection(*(set(s.values) for line in lines for s in line.scores)))
    y = np.array(
        [[[line.scores[c].values[s] for s in seeds] for line in lines]
         for c in range(len(block.splits))]
    )  # fmt: skip
    if y.shape[1] < 3 or y.shape[2] < 2:
        return y[:0], []
    left = y - y.mean(2, keepdims=True) - y.mean(1, keepdims=True) + y.mean((1, 2), keepdims=True)
    some = {column_of(record.spec): record for record in block.records}
    return left, [some[split] for split in block.splits]


def correlation(left: Array, pairs: Sequence[tuple[int, int]]) -> float | None:
    """Return the correlation of residuals over pairs of columns: mean covariance over variance."""
    if not pairs:
        return None
    together = np.mean([(left[i] * left[j]).mean() for i, j in pairs])
    return float(together / (left**2).mean())


def icc(block: Block, rule: str) -> Iterator[tuple[float, float]]:
    """Yield the correlation of samples in a group: of being right, and of methods' differences.

    Of the mean over seeds; one-way analysis of variance, by column.
    """
    for split in block.splits:
        right: dict[str, list[Array]] = {}
        group = None
        for line in block.lines:
            for record in line.records:
                found = record.predicted(line.rule) if column_of(record.spec) == split else None
                if found is not None:
                    group, _ = groups_of(found)
                    hits = (found.classes == found.labels).astype(float)
                    right.setdefault(line.label, []).append(hits)
        means = [np.mean(of, axis=0) for of in right.values()]
        if group is None or len(group) == group.max() + 1 or len({len(m) for m in means}) > 1:
            continue
        apart = [a - b for a, b in combinations(means, 2)]
        yield (
            float(np.mean([_one_way(m, group) for m in means])),
            float(np.mean([_one_way(d, group) for d in apart])),
        )


def _one_way(values: Array, group: NDArray[np.int64]) -> float:
    sizes = np.bincount(group)
    count, n = len(sizes), len(values)
    means = np.bincount(group, values) / sizes
    between = (sizes * (means - values.mean()) ** 2).sum() / (count - 1)
    within = ((values - means[group]) ** 2).sum() / (n - count)
    size = (n - (sizes**2).sum() / n) / (count - 1)
    total = between + (size - 1) * within
    return float((between - within) / total) if total else 0.0


def main() -> None:
    """Print a table as markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("results", nargs="+", type=Path)
    wanted = Wanted(read.read(parser.parse_args().results).records)
    print("| runs | sd | over targets | same model | samples of a group | their differences |")
    print("| --- | ---: | ---: | ---: | ---: | ---: |")
    for sheet in sheets(wanted):
        for block in sheet.blocks:
            left, records = residuals(block)
            if not len(left):
                continue
            methods, seeds = left.shape[1:]
            sd = np.sqrt((left**2).sum((1, 2)).mean() / ((methods - 1) * (seeds - 1)))
            pairs = list(combinations(range(len(left)), 2))
            sources = [record.spec.sources for record in records]
            same = [(i, j) for i, j in pairs if sources[i] == sources[j]]
            other = [(i, j) for i, j in pairs if sources[i] != sources[j]]
            inside = list(icc(block, wanted.view.rule))
            figures = (
                correlation(left, other),
                correlation(left, same),
                *(np.mean(inside, axis=0) if inside else (None, None)),
            )
            cells = ["" if x is None else f"{x:.2f}" for x in figures]
            where = f"{' · '.join(sheet.subject)}: {methods} methods, {seeds} seeds"
            print(f"| {where} | {sd:.1f} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
