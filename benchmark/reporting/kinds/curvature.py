"""Does flatness go with accuracy on the target? Rank correlations over runs, for each measure."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np

from benchmark.records.read import Record
from benchmark.reporting.conditions import column_of
from benchmark.reporting.correlation import LEAST, Correlation, correlation
from benchmark.reporting.kinds.frame import frame
from benchmark.reporting.kinds.layouts.sharpness import PARTS
from benchmark.reporting.kinds.measured import Sheet, sheets
from benchmark.reporting.model import NONE, Cell, Form, Interval, Number, Row, Table
from benchmark.reporting.request import Wanted

NAME, ANALYSIS = "curvature", "sharpness"
RULE = "best-val"
"""The rule that the measured weights were selected by."""
Look = Callable[[Mapping[str, Any]], float | None]
"""Finds one measure in what was measured on a part."""


@dataclass(frozen=True)
class Point:
    """A run: what was measured of it, and its accuracy on the target in percent."""

    record: Record
    values: Mapping[str, Any]
    accuracy: float


def points(sheet: Sheet, wanted: Wanted) -> list[Point]:
    """Return the runs of a sheet that have an accuracy of the weights that were measured."""
    if wanted.view.rule != RULE:
        return []
    accuracies = wanted.results.percent("target", "accuracy")
    return [
        Point(record, measured.values, accuracies[record.spec.id])
        for record in sheet.block.records
        if (measured := sheet.of.get(record.spec.id)) is not None
        and record.spec.id in accuracies
        and measured.settings.get("weights") != "last"
    ]


def correlated(of: Sequence[Point], part: str, look: Look) -> Correlation | None:
    """Return how a measure on a part goes with the accuracy on the target, within targets."""
    found = [(p, value) for p in of if (value := look(p.values[part])) is not None]
    if len(found) < 2:
        return None
    return correlation(
        np.array([value for _, value in found]),
        np.array([p.accuracy for p, _ in found]),
        [column_of(p.record.spec) for p, _ in found],
        [p.record.spec.method for p, _ in found],
    )


def top(values: Mapping[str, Any]) -> float | None:
    """Return the largest eigenvalue of the Hessian."""
    found: float | None = values["hessian"]["top"]
    return found


def _measures(of: Sequence[Point]) -> Iterator[tuple[str, Look]]:
    for radius in of[0].values["val"]["random"]:
        yield f"rise at r = {radius}", partial(_rise, radius=radius)
    yield "one-step rise", lambda values: values["worst"]["one_step"]
    yield "worst rise", lambda values: values["worst"]["steps"]
    yield "λ₁", top
    yield "trace", lambda values: values["hessian"]["trace"]


def _rise(values: Mapping[str, Any], radius: str) -> float | None:
    moved, start = values["random"][radius]["loss"], values["loss"]
    return None if moved is None or start is None else float(moved - start)


def build(wanted: Wanted) -> list[Table]:
    """Return a table for each condition, set of modalities and settings that were measured."""
    found = [(sheet, points(sheet, wanted)) for sheet in sheets(ANALYSIS, wanted)]
    return [_table(sheet, of, wanted) for sheet, of in found if of]


def _table(sheet: Sheet, of: Sequence[Point], wanted: Wanted) -> Table:
    records = tuple(point.record for point in of)
    table = frame(NAME, [sheet.block], wanted.view)
    return replace(
        table,
        subject=(*table.subject, *sheet.told),
        columns=tuple(f"{what}, {part}" for part in PARTS.values() for what in ("ρ", "95 %")),
        rows=tuple(
            Row(label, "", tuple(_cells(of, look)), records=records)
            for label, look in _measures(of)
        ),
        first="measure",
        metric="",
        notes=tuple(_notes(of)),
    )


def _cells(of: Sequence[Point], look: Look) -> Iterator[Cell]:
    for part in PARTS:
        found = correlated(of, part, look)
        yield NONE if found is None else Number(found.value, Form.SIGNED)
        yield Interval(*found.interval) if found and found.interval else NONE


def _notes(of: Sequence[Point]) -> Iterator[str]:
    methods = len({point.record.spec.method for point in of})
    targets = len({column_of(point.record.spec) for point in of})
    yield (
        "Spearman's rank correlation ρ of each measure of flatness, on samples of the sources' "
        "validation part or of the target, with the accuracy on the target: below 0 where flatter "
        f"runs are better. Runs ({len(of)}) of all methods ({methods}) are ranked within their "
        f"target ({targets}). On the target itself much of it is that a loss that is low is flat, "
        "too."
    )
    yield (
        "The 95 % intervals are for other methods: Fisher's z with the jackknife error over "
        f"methods. There are none for fewer than {LEAST} methods. A correlation does not say that "
        "flatness is the reason."
    )
