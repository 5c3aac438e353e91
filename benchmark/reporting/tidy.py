"""The results of all runs as one tidy table: one row per run, rule, part, head and metric.

A head is the `fused` prediction, or for a modality m its linear `m probe`, the `m masked` fused
prediction from m alone, and the trained `m head`. Values are shares from 0 to 1.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from statistics import fmean
from typing import TYPE_CHECKING, Any

from benchmark.records.read import Record
from benchmark.reporting import conditions

if TYPE_CHECKING:  # takes half a second
    from pandas import DataFrame

FUSED = "fused"
PARTS = ("val", "target")
RUN: Mapping[str, Callable[[Record], Any]] = {
    "run": lambda r: r.spec.id,
    "dataset": lambda r: r.spec.dataset,
    "fabricated": lambda r: r.spec.fabricated,
    "setting": lambda r: r.spec.setting,
    "sources": lambda r: "+".join(r.spec.sources),
    "target": lambda r: r.spec.target,
    "split": lambda r: conditions.column_of(r.spec),
    "modalities": lambda r: "+".join(r.spec.modalities),
    "method": lambda r: r.spec.method,
    "hyperparameters": lambda r: json.dumps(r.spec.hyperparameters, sort_keys=True),
    "seed": lambda r: r.spec.seed,
    "numbers_version": lambda r: r.spec.numbers_version,
    "state": lambda r: r.state,
}
"""The columns that say which run it is."""
SCORE = ("rule", "part", "head", "metric", "value", "samples")
"""The columns of one measured value; `samples` is the size of the part."""


def _seen(per_class: Sequence[float | None]) -> list[float]:
    """Return the recalls of the classes that occur in a part."""
    return [recall for recall in per_class if recall is not None]


METRICS: Mapping[str, Callable[[Mapping[str, Any]], float]] = {
    "accuracy": lambda scores: scores["accuracy"],
    "macro-f1": lambda scores: scores["macro_f1"],
    "worst-class": lambda scores: min(_seen(scores["per_class"])),
    "balanced-accuracy": lambda scores: fmean(_seen(scores["per_class"])),
}
"""How each metric is read from the scores of a part in a result."""


def runs(records: Sequence[Record], rule: str) -> "DataFrame":
    """Return one row per run: `RUN`, and its `condition` and `settings` under a selection rule.

    Runs with equal conditions may share a table; with equal settings of one method, a row of it.
    """
    from pandas import DataFrame

    columns: dict[str, list[Any]] = {name: list(map(look, records)) for name, look in RUN.items()}
    specs = [record.spec for record in records]
    columns["condition"] = [conditions.key(conditions.facts(spec, rule)) for spec in specs]
    columns["settings"] = [
        json.dumps(conditions.settings(spec, rule), sort_keys=True) for spec in specs
    ]
    return DataFrame(columns)


def results(of: "DataFrame", records: Sequence[Record]) -> "DataFrame":
    """Return one row per run, rule, part, head and metric: the columns of `runs`, and `SCORE`.

    A run that is not done has one row, without a score.
    """
    from pandas import DataFrame

    scores = [(i, *line) for i, record in enumerate(records) for line in _scores(record)]
    return of.join(DataFrame(scores, columns=["at", *SCORE]).set_index("at"), how="left")


def _scores(record: Record) -> Iterator[tuple[Any, ...]]:
    """Yield the values of `SCORE` for everything that a record measured."""
    for rule, scored in record.result["rules"].items() if record.result else ():
        for part in PARTS:
            scores = scored.get(part, {})
            samples = scores.get("n")
            for metric, look in METRICS.items():
                try:
                    yield rule, part, FUSED, metric, float(look(scores)), samples
                except (KeyError, ValueError):  # of an older record, or without any class
                    continue
            for modality, values in scores.get("modalities", {}).items():
                for kind, value in values.items():
                    if value is not None:
                        yield rule, part, f"{modality} {kind}", "accuracy", float(value), samples
