"""What statistics need of a row of a table: its metric, and what test samples contribute to it.

A metric is a function of the table of true and predicted classes. How much each sample moves it is
its influence (the delta method): for an accuracy, whether the sample was right, minus the accuracy.
Samples of one recording are not independent, so influences are added up by group.
"""

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from benchmark.records.predictions import Predicted
from benchmark.records.read import Record
from benchmark.reporting.conditions import column_of

Array = NDArray[np.float64]
Classes = NDArray[np.int64]

LEAST_GROUPS = 10
"""Fewest groups whose variance is estimated; where a level has fewer, the next finer one counts."""


@dataclass(frozen=True)
class Answers:
    """How the runs of a row did on one test set."""

    test: str
    """The same for the same samples in the same groups."""
    samples: int
    groups: int
    """Into how many groups the samples fall, which count as independent; see `LEAST_GROUPS`."""
    coarser: tuple[int, ...]
    """How many groups there are on coarser levels, such as subjects: too few to count."""
    values: dict[int, float]
    """The metric by seed, 0 to 1."""
    parts: dict[int, Array]
    """By seed, what each group contributes to the metric's deviation: [groups], of sum zero."""


def answers(
    records: Iterable[Record], rule: str, metric: str = "accuracy", part: str = "target"
) -> dict[str, Answers]:
    """Return the answers of a row by column; seeds that predicted other samples are left out.

    Args:
        records: of the row.
        rule: the selection rule.
        metric: one of `INFLUENCES`; there are no answers in terms of any other.
        part: `target`, or `val` for the validation part of the sources.
    """
    found: dict[str, Answers] = {}
    for record in records:
        key = ("answers", rule, metric, part)
        if key not in record.kept:
            record.kept[key] = _of_run(record, rule, metric, part)
        own: Answers | None = record.kept[key]
        if own is None:
            continue
        fresh = replace(own, values={}, parts={})
        kept = found.setdefault(column_of(record.spec), fresh)
        if kept.test == own.test:
            kept.values.update(own.values)
            kept.parts.update(own.parts)
    return found


def _of_run(record: Record, rule: str, metric: str, part: str) -> Answers | None:
    """Return the answers of one run; None without whole predictions."""
    if (influence := INFLUENCES.get(metric)) is None:
        return None
    predicted = record.predicted(rule, part)
    if predicted is None or not len(predicted.labels):
        return None
    group, counts = groups_of(predicted)
    test = hashlib.sha1(predicted.ids.tobytes() + group.tobytes()).hexdigest()
    value, parts = influence(predicted.labels, predicted.classes)
    by_group = np.bincount(group, parts, counts[-1]).astype(np.float64)
    seed = record.spec.seed
    return Answers(test, len(group), counts[-1], counts[:-1], {seed: value}, {seed: by_group})


def groups_of(predicted: Predicted) -> tuple[NDArray[np.int64], tuple[int, ...]]:
    """Return the number of each sample's group, [N], and how many there are, coarse to fine.

    The coarsest level of at least `LEAST_GROUPS` groups counts, or else the finest; the last of the
    numbers of groups is that of the level that counts.
    """
    counts: list[int] = []
    for level in range(1, predicted.groups.shape[1] + 1):
        _, numbers = np.unique(predicted.groups[:, :level], axis=0, return_inverse=True)
        counts.append(int(numbers.max()) + 1)
        if counts[-1] >= LEAST_GROUPS:
            break
    return numbers.ravel().astype(np.int64), tuple(counts)


def few_groups(row: Mapping[str, Answers], columns: Iterable[str]) -> list[str]:
    """Return the columns that rest on few subjects or recordings, each with their number."""
    found = []
    for column in columns:
        if (of := row.get(column)) is None:
            continue
        counts = [*of.coarser[-1:], *([of.groups] if of.groups < LEAST_GROUPS else [])]
        found += [f"{column} {count}" for count in counts]
    return found


Influence = Callable[[Classes, Classes], tuple[float, Array]]
"""From true and predicted classes, [N] each: a metric, and the influence of each sample on it."""


def _accuracy(labels: Classes, predicted: Classes) -> tuple[float, Array]:
    right = (labels == predicted).astype(float)
    return float(right.mean()), (right - right.mean()) / len(right)


def _balanced(labels: Classes, predicted: Classes) -> tuple[float, Array]:
    """Of the mean of the recalls of the classes that occur."""
    _, true = np.unique(labels, return_inverse=True)
    sizes = np.bincount(true)
    right = (labels == predicted).astype(float)
    recalls = np.bincount(true, right) / sizes
    return float(recalls.mean()), (right - recalls[true]) / sizes[true] / len(sizes)


def _macro_f1(labels: Classes, predicted: Classes) -> tuple[float, Array]:
    """Of the mean of 2 TP / (2 TP + FP + FN) over the classes that occur or are predicted."""
    _, both = np.unique(np.concatenate([labels, predicted]), return_inverse=True)
    true, said = both[: len(labels)], both[len(labels) :]
    count = int(both.max()) + 1
    marked = np.bincount(true, minlength=count) + np.bincount(said, minlength=count)
    hits = np.bincount(true[true == said], minlength=count)
    f1 = 2 * hits / marked
    # Each hit adds 2 / marked; each occurrence of a class, true or predicted, takes f1 / marked.
    influence = 2 * (true == said) / marked[true] - (f1 / marked)[true] - (f1 / marked)[said]
    return float(f1.mean()), influence / count


INFLUENCES: Mapping[str, Influence] = {
    "accuracy": _accuracy,
    "balanced-accuracy": _balanced,
    "macro-f1": _macro_f1,
}
"""The metrics that rows are compared by."""
