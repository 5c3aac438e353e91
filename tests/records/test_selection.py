import pytest

from benchmark.records import selection
from mmdg_common import UsageError


def record(accuracy, loss, target):
    return {
        "val": {"fused": {"accuracy": accuracy, "loss": loss}},
        "target": {"fused": {"accuracy": target, "loss": 1.0}},
    }


RECORDS = [
    record(0.5, 1.0, 0.9),
    record(0.8, 0.7, 0.1),
    record(0.8, 0.5, 0.2),
    record(0.8, 0.6, 0.9),
    record(0.7, 0.1, 0.3),
]


def test_best_val_takes_the_highest_accuracy_and_among_equals_the_lower_loss():
    assert selection.best_val(RECORDS) == 2


def test_best_val_never_looks_at_the_target():
    blind = [{"val": r["val"]} for r in RECORDS]
    assert selection.best_val(blind) == 2


def test_last_is_the_last():
    assert selection.last(RECORDS) == 4


def test_oracle_takes_the_first_of_the_best_on_the_target():
    assert selection.oracle(RECORDS) == 0


@pytest.mark.parametrize("rule", selection.RULES)
def test_a_rule_chooses_the_same_when_it_watches_the_records_come_in(rule):
    choose = selection.RULES[rule]
    kept = None
    for n in range(1, len(RECORDS) + 1):
        if choose(RECORDS[:n]) == n - 1:
            kept = n - 1
    assert kept == choose(RECORDS)


def test_a_method_with_its_own_rule_is_reported_by_it():
    assert selection.rule_of({"rules": {"best-val": {}, "own": {}}}, "last") == "own"
    assert selection.rule_of({"rules": {"best-val": {}, "last": {}}}, "last") == "last"
    assert selection.rule_of({"rules": {"best-val": {}, "own": {}}}, "own") == "own"


def test_an_unknown_rule_offers_the_nearest():
    with pytest.raises(UsageError, match="'best-val'"):
        selection.rule_of({"rules": {}}, "best_val")
