"""The tidy table of results, and the runs that it groups."""

from dataclasses import replace
from typing import Any

import pytest
from support_reports import make_spec, record

from benchmark.records.read import Record
from benchmark.records.selection import REFERENCE
from benchmark.records.spec import Protocol
from benchmark.reporting import tidy
from benchmark.reporting.kinds import accuracy
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import Results, View

SPEC = make_spec(
    "mbcd",
    "d2",
    7,
    dataset="set",
    fabricated=True,
    setting="single-source",
    sources=("d3",),
    modalities=("m1", "m2"),
    numbers_version=41,
)
RESULT: dict[str, Any] = {
    "rules": {
        "best-val": {
            "val": {"n": 80, "accuracy": 0.11, "macro_f1": 0.12, "per_class": [0.13, 0.15]},
            "target": {
                "n": 120,
                "accuracy": 0.21,
                "macro_f1": 0.22,
                "per_class": [0.25, None, 0.23],
                "modalities": {
                    "m1": {"probe": 0.31, "masked": 0.32, "head": 0.33},
                    "m2": {"probe": 0.34, "masked": 0.35, "head": None},
                },
            },
        },
        "last": {"target": {"accuracy": 0.41}},
    },
    "provenance": {},
}
RUN = {
    "run": SPEC.id,
    "dataset": "set",
    "fabricated": True,
    "setting": "single-source",
    "sources": "d3",
    "target": "d2",
    "split": "d3 → d2",
    "modalities": "m1+m2",
    "method": "mbcd",
    "hyperparameters": '{"mbcd": {"alpha": 0.0001, "beta": 0.999}}',
    "seed": 7,
    "numbers_version": 41,
    "state": "done",
}
SCORES = [
    ("best-val", "val", "fused", "accuracy", 0.11, 80),
    ("best-val", "val", "fused", "macro-f1", 0.12, 80),
    ("best-val", "val", "fused", "worst-class", 0.13, 80),
    ("best-val", "val", "fused", "balanced-accuracy", 0.14, 80),
    ("best-val", "target", "fused", "accuracy", 0.21, 120),
    ("best-val", "target", "fused", "macro-f1", 0.22, 120),
    ("best-val", "target", "fused", "worst-class", 0.23, 120),
    ("best-val", "target", "fused", "balanced-accuracy", 0.24, 120),
    ("best-val", "target", "m1 probe", "accuracy", 0.31, 120),
    ("best-val", "target", "m1 masked", "accuracy", 0.32, 120),
    ("best-val", "target", "m1 head", "accuracy", 0.33, 120),
    ("best-val", "target", "m2 probe", "accuracy", 0.34, 120),
    ("best-val", "target", "m2 masked", "accuracy", 0.35, 120),
]


def test_every_column_carries_what_it_says() -> None:
    results = Results([Record(SPEC, "done", result=RESULT)], "best-val")
    assert len(set(map(str, RUN.values()))) == len(RUN)  # no two fields could be mistaken
    table = results.table
    assert list(table.columns) == [*tidy.RUN, "condition", "settings", *tidy.SCORE]
    assert all(line == RUN for line in table[list(RUN)].to_dict("records"))
    scores = [tuple(line) for line in table[list(tidy.SCORE)].itertuples(index=False)]
    assert [line[:4] for line in scores[:-1]] == [line[:4] for line in SCORES]
    for found, expected in zip(scores, SCORES, strict=False):
        assert found[4:] == pytest.approx(expected[4:])
    assert scores[-1][:5] == ("last", "target", "fused", "accuracy", 0.41)


def test_a_run_that_is_not_done_has_one_row_without_a_score() -> None:
    table = Results([Record(SPEC, "failed", "why")], "best-val").table
    (line,) = table.to_dict("records")
    assert {name: line[name] for name in RUN} == {**RUN, "state": "failed"}
    assert table["value"].isna().all() and table["rule"].isna().all()


def test_percent_is_of_the_rule_asked_for_or_the_methods_own() -> None:
    own = {**RESULT, "rules": {**RESULT["rules"], "own": {"target": {"accuracy": 0.51}}}}
    runs = [
        Record(SPEC, "done", result=RESULT),
        Record(replace(SPEC, seed=8), "done", result=own),
        Record(replace(SPEC, seed=9), "running"),
    ]
    for rule, expected in (("best-val", 21.0), ("last", 41.0)):
        found = Results(runs, rule).percent("target", "accuracy")
        assert found == {runs[0].spec.id: pytest.approx(expected), runs[1].spec.id: 51.0}
    found = Results(runs, "best-val").percent("target", "accuracy", "m2 masked")
    assert found[runs[0].spec.id] == 35.0


def test_settings_are_apart_within_a_condition_and_protocols_apart_from_each_other() -> None:
    runs = [
        record(make_spec("mbcd", seed=0), 0.5),
        record(make_spec("mbcd", seed=1), 0.5),
        record(make_spec("mbcd", hyperparameters={"mbcd": {"beta": 0.5}}), 0.5),
        record(make_spec(protocol=Protocol(neck="none")), 0.5),
    ]
    first, second = Results(runs, "best-val").conditions
    methods = {name: [len(of) for of in found] for name, found in first.methods.items()}
    assert methods == {"mbcd": [2, 1]} and list(second.methods) == ["erm"]
    assert (first.told, second.told) == (("neck=layernorm",), ("neck=none",))
    (together,) = Results(runs, REFERENCE).conditions
    assert together.methods.keys() == {"erm", "mbcd"} and together.told == ()


def test_another_view_shares_the_grouping() -> None:
    wanted = Wanted([record(make_spec(), 0.5)], View())
    other = wanted.seen(metric="macro-f1")
    assert other.results is wanted.results and other.view.metric == "macro-f1"
    assert wanted.seen(metric="accuracy") is wanted


def test_worst_and_balanced_accuracy_are_over_the_classes_that_occur() -> None:
    run = Record(SPEC, "done", result=RESULT)
    for metric, expected in (("worst-class", 23.0), ("balanced-accuracy", 24.0)):
        (table,) = accuracy.build(Wanted([run], View(metric=metric)))
        (score,) = (cell for cell in table.rows[0].cells[:-1] if cell.value is not None)
        assert score.value == pytest.approx(expected)


def test_a_metric_that_an_older_record_lacks_is_a_dash_and_no_missing_run() -> None:
    (table,) = accuracy.build(Wanted([record(make_spec(), 0.5)], View(metric="worst-class")))
    assert [cell.value for cell in table.rows[0].cells] == [None] * 4
    assert [gap.column for gap in table.missing] == ["d2", "d3"]
