"""The analysis `adaptation` of finished runs."""

import json
from pathlib import Path

import pytest
from support import tiny_run
from support_methods import assert_same, tensors

from benchmark import analyze, report
from benchmark.analysis.adaptation import Adaptation, Settings, stream
from benchmark.analysis.finished import FinishedRun
from benchmark.records import read
from benchmark.records.selection import rule_of
from benchmark.settings import RunSettings
from mmdg_common import UsageError

BATCH = 7


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four runs of two epochs that keep their weights; `mbcd` has one modality."""
    place = tmp_path_factory.mktemp("runs")
    options = {"domains": "3", "classes": "3", "samples_per_class": "10"}
    for method in ("erm", "joint", "late_fusion"):
        tiny_run(place, method, keep="best", dataset_options=options)
    tiny_run(place, "mbcd", keep="best", dataset_options=options, modalities=("m2",))
    return place


def opened(results: Path, method: str) -> FinishedRun:
    (record,) = (r for r in read.read([results]).records if r.spec.method == method)
    return FinishedRun(record, RunSettings(results, threads=1))


def measured(results: Path, method: str, **settings: object):
    return Adaptation(Settings(**{"batch_size": BATCH, **settings})).measure(
        opened(results, method)
    )


@pytest.mark.parametrize("method", ["erm", "joint", "late_fusion", "mbcd"])
def test_without_adaptation_it_is_the_accuracy_of_the_record(results, method):
    """In whatever order and batches the samples come."""
    run = opened(results, method)
    recorded = run.record.result["rules"][rule_of(run.record.result, "best-val")]["target"]
    for size in (BATCH, 100):
        found = measured(results, method, batch_size=size, evaluators="t3a")
        assert found["n"] == recorded["n"]
        assert found["without"] == pytest.approx(recorded["accuracy"])


def test_measuring_twice_gives_the_same_numbers_and_leaves_the_run_as_it_was(results):
    analysis, run = Adaptation(Settings(batch_size=BATCH, lr=0.01)), opened(results, "joint")
    before = tensors(run.method)
    first = analysis.measure(run)
    assert analysis.measure(run) == analysis.measure(opened(results, "joint")) == first
    assert_same(tensors(run.method), before)
    assert not any(module.training for module in run.method.modules())
    assert not any(module._forward_hooks for module in run.method.modules())
    json.dumps(first, allow_nan=False)


def test_an_evaluator_is_the_same_alone_and_beside_others(results):
    together = measured(results, "joint", lr=0.01)["evaluators"]
    for name, values in together.items():
        assert measured(results, "joint", lr=0.01, evaluators=name)["evaluators"] == {name: values}


def test_without_a_learning_rate_only_batch_statistics_and_templates_change_anything(results):
    found = measured(results, "joint", lr=0.0)
    for name in ("read", "aeo"):
        assert found["evaluators"][name]["before"] == pytest.approx(found["without"])
    for name in ("tent", "sar", "read", "aeo"):
        values = found["evaluators"][name]
        assert values["before"] == values["after"]


def test_a_large_learning_rate_changes_what_is_predicted_of_later_batches(results):
    found = measured(results, "joint", lr=1.0, sar_margin=2.0, sar_reset=0.0)
    for name in ("tent", "sar", "read", "aeo"):
        values = found["evaluators"][name]
        assert {values["before"], values["after"]} != {found["without"]}, name


def test_what_a_method_lacks_is_said_in_place_of_the_numbers(results):
    found = {m: measured(results, m)["evaluators"] for m in ("erm", "joint", "late_fusion", "mbcd")}
    reasons = {
        method: {name: v["reason"] for name, v in of.items() if "reason" in v}
        for method, of in found.items()
    }
    combined = "its prediction is not that of a fusion head: unimodal ones are combined"
    assert reasons == {
        "erm": {"aeo": "it trains no unimodal heads"},
        "joint": {},
        "late_fusion": {"t3a": combined, "read": combined},
        "mbcd": {},
    }
    for of in found.values():
        for values in of.values():
            lacking = "reason" in values
            assert (values["before"] is None) == (values["after"] is None) == lacking


def test_samples_come_once_and_in_the_same_order_for_all_methods(results):
    orders = [[s.id for s in stream(opened(results, m))] for m in ("erm", "late_fusion", "mbcd")]
    target = [s.id for s in opened(results, "erm").samples("target")]
    assert orders[0] == orders[1] == orders[2] != target
    assert sorted(orders[0]) == sorted(target)


def test_evaluators_are_chosen_by_name(results):
    found = measured(results, "erm", evaluators="read, tent")
    assert list(found["evaluators"]) == ["tent", "read"]
    with pytest.raises(UsageError, match=r"unknown evaluator 'tnet'.*Did you mean 'tent'"):
        Adaptation(Settings(evaluators="tnet")).check()


def test_the_command_measures_and_the_report_shows_it(results, capsys):
    words = ["--set", f"batch_size={BATCH}", "double_softmax=false", "evaluators=tent,aeo"]
    assert analyze.main(["adaptation", "--results", str(results), "--device", "cpu", *words]) == 0
    assert report.main(["--table", "adaptation", "--results", str(results)]) == 0
    shown = capsys.readouterr().out
    header = next(line for line in shown.splitlines() if line.startswith("method"))
    expected = "method without Tent before Tent after AEO before AEO after"
    assert " ".join(header.split()) == expected
    row = next(line for line in shown.splitlines() if line.startswith("erm"))
    assert row.split()[-2:] == ["—", "—"]
    (found,) = opened(results, "joint").record.measured("adaptation")
    assert found.settings["double_softmax"] is False
    assert found.values == measured(results, "joint", double_softmax=False, evaluators="tent,aeo")


@pytest.mark.gpu
def test_on_a_gpu_it_is_what_it_is_on_a_cpu(results):
    run = opened(results, "joint")
    there = FinishedRun(run.record, RunSettings(results, device="cuda"))
    analysis = Adaptation(Settings(batch_size=BATCH))
    found, expected = analysis.measure(there), analysis.measure(run)
    for name, values in expected["evaluators"].items():
        assert found["evaluators"][name]["before"] == pytest.approx(values["before"], abs=0.1)
