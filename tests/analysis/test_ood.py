"""The analysis `ood`: scores and measures by hand, held-out classes, and another dataset."""

import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from support import tiny_run
from support_folder import save, table

import datasets
from benchmark import analyze, report
from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.ood import OutOfDistribution, Settings, scores, separation
from benchmark.records import read
from benchmark.records.selection import rule_of
from benchmark.settings import RunSettings
from mmdg_common import UsageError

OPTIONS = {"domains": "3", "classes": "4", "samples_per_class": "10"}
HELD = OPTIONS | {"hold_out_classes": "c1,c3"}

# Scores and measures


def test_scores_by_hand():
    found = scores(np.log([[1.0, 2.0, 1.0], [6.0, 1.0, 1.0]]))
    assert found["msp"] == pytest.approx([0.5, 0.75])
    assert found["max_logit"] == pytest.approx([math.log(2), math.log(6)])
    assert found["energy"] == pytest.approx([math.log(4), math.log(8)])


def test_scores_of_large_logits_are_finite():
    found = scores(np.array([[1000.0, 999.0], [-1000.0, -1000.0]]))
    assert found["energy"] == pytest.approx([1000 + math.log1p(math.exp(-1)), -1000 + math.log(2)])


def test_measures_by_hand():
    """By rising score: out 0, in 1, out 2, in 3, in 4."""
    found = separation(np.array([4.0, 3.0, 1.0]), np.array([2.0, 0.0]))
    assert found["auroc"] == pytest.approx(5 / 6)  # one of six pairs is in the wrong order
    assert found["aupr_out"] == pytest.approx((1 + 2 / 3) / 2)
    assert found["aupr_in"] == pytest.approx((1 + 1 + 3 / 4) / 3)
    assert found["fpr95"] == {"first": pytest.approx(1 / 3), "nearest": pytest.approx(1 / 3)}


def test_the_two_definitions_of_fpr95_differ():
    """15 of 16 is nearer to 95 % than all, but below."""
    outside = np.array([*np.linspace(0, 1, 15), 3.0])
    inside = np.array([2.0, 4.0, 5.0, 6.0])
    assert separation(inside, outside)["fpr95"] == {"first": 0.25, "nearest": 0.0}


def test_a_perfect_and_an_inverted_score():
    low, high = np.array([0.0, 1.0]), np.array([2.0, 3.0])
    perfect = {"auroc": 1.0, "aupr_in": 1.0, "aupr_out": 1.0, "fpr95": {"first": 0, "nearest": 0}}
    assert separation(high, low) == perfect
    inverted = separation(low, high)
    assert inverted["auroc"] == 0 and inverted["fpr95"]["first"] == 1


def test_a_score_that_is_the_same_for_all_samples_measures_nothing():
    found = separation(np.array([1e-7, 0.0]), np.array([-1e-7]))
    assert found["reason"] and {found[k] for k in ("auroc", "aupr_in", "aupr_out")} == {None}
    assert found["fpr95"] == {"first": None, "nearest": None}


# Held-out classes


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("runs")
    tiny_run(place, "erm", keep="best", dataset_options=HELD)
    tiny_run(place, "late_fusion", keep="best", dataset_options=HELD)
    tiny_run(place, "mbcd", keep="best", dataset_options=HELD, modalities=("m2",))
    tiny_run(place, "joint", keep="best", dataset_options=OPTIONS, modalities=("m1",))
    return place


def opened(results: Path, method: str, **how: object) -> FinishedRun:
    (record,) = (r for r in read.read([results]).records if r.spec.method == method)
    return FinishedRun(record, RunSettings(results, threads=1, **how))


@pytest.mark.parametrize("method", ["erm", "late_fusion", "mbcd"])
def test_held_out_classes_are_told_from_the_target(results, method):
    run = opened(results, method)
    found = OutOfDistribution().measure(run)
    assert (found["in"], found["out"], found["classes"]) == (20, 20, "c1,c3")
    rule = rule_of(run.record.result, "best-val")
    recorded = run.record.result["rules"][rule]["target"]["accuracy"]
    assert found["accuracy"] == pytest.approx(recorded)
    for measures in found["scores"].values():
        for name in ("auroc", "aupr_in", "aupr_out"):
            assert measures[name] is None or 0 <= measures[name] <= 1
    json.dumps(found, allow_nan=False)
    assert OutOfDistribution().measure(run) == found
    assert OutOfDistribution().measure(opened(results, method)) == found


def test_measures_are_of_the_scores_of_exactly_these_samples(results):
    """The logits, computed here from tensors of the whole dataset."""
    run = opened(results, "erm")
    whole = datasets.create("synthetic", **OPTIONS)
    sides: dict[bool, list[torch.Tensor]] = {True: [], False: []}
    for sample in whole.samples("d3", "target"):
        tensors = {k: x[None] for k, x in whole.load(sample, run.modalities, None).items()}
        logits = run.method.predict(tensors, model=run.model)["fused"]
        sides[whole.card.classes[sample.label] in ("c1", "c3")].append(logits)
    inside, outside = (torch.cat(sides[side]).double().numpy() for side in (False, True))
    found = OutOfDistribution().measure(run)["scores"]
    for name in ("msp", "max_logit", "energy"):
        pairs = scores(inside)[name][:, None] - scores(outside)[name]
        wins = ((pairs > 0) + 0.5 * (pairs == 0)).mean()
        assert found[name]["auroc"] == pytest.approx(wins, abs=0.01)


def test_energies_of_combined_probabilities_tell_nothing(results):
    found = OutOfDistribution().measure(opened(results, "late_fusion"))["scores"]
    assert found["energy"]["auroc"] is None and "same for all" in found["energy"]["reason"]
    # The highest logit is the logarithm of the highest probability.
    assert found["msp"]["auroc"] == pytest.approx(found["max_logit"]["auroc"])


def test_the_command_leaves_out_runs_without_held_out_classes_and_the_report_shows_others(
    results, capsys
):
    assert analyze.main(["ood", "--results", str(results), "--device", "cpu"]) == 0
    said = capsys.readouterr()
    assert "1 run left out: no class was held out; train with --dataset-option" in said.err
    assert report.main(["--table", "ood", "--results", str(results), "--format", "csv"]) == 0
    shown = capsys.readouterr().out
    assert "erm,energy AUROC" in shown and "erm,MSP FPR95 first" in shown
    assert '"hold_out_classes=c1,c3",late_fusion,max logit AUPR out' in shown


def test_a_target_without_the_classes_held_out_is_an_error(results, monkeypatch):
    run = opened(results, "erm")
    monkeypatch.setattr(run.dataset, "of_held_out_classes", lambda domain: ())
    with pytest.raises(UsageError, match="d3 has no sample of the classes that were held out"):
        OutOfDistribution().measure(run)


# Another dataset


def written(root: Path, vectors: dict[str, np.ndarray], column: str = "m1") -> Path:
    """Write a dataset of vectors, which are never scaled, in domains `near` and `far`."""
    lines = [["label", "domain", "split", column]]
    for name, vector in vectors.items():
        file = save(root, f"x/{name}.npy", vector)
        lines += [[f"label{len(lines) % 2}", name.split("-")[0], "test", file]]
    return table(root, lines)


def target_vectors(run: FinishedRun) -> list[np.ndarray]:
    return [
        run.dataset.load(sample, ["m1"], None)["m1"].numpy() for sample in run.samples("target")
    ]


def against(results: Path, root: Path, **settings: str):
    run = opened(results, "joint", data_roots={"folder": root})
    return OutOfDistribution(Settings(against="folder", **settings)).measure(run)


@pytest.fixture
def other(results, tmp_path) -> Path:
    """Domain `near` holds the very vectors of the target, `far` others."""
    vectors = target_vectors(opened(results, "joint"))
    near = {f"near-{i}": vector for i, vector in enumerate(vectors)}
    far = {f"far-{i}": 50 + 5 * vector for i, vector in enumerate(vectors[:9])}
    return written(tmp_path / "other", near | far)


def test_the_target_cannot_be_told_from_itself(results, other):
    found = against(results, other, against_domains="near")
    assert found["in"] == found["out"] == 40 and found["domains"] == ("near",)
    for measures in found["scores"].values():
        assert measures["auroc"] == 0.5


def test_all_domains_of_another_dataset_are_taken_unless_some_are_named(results, other):
    found = against(results, other)
    assert found["out"] == 49 and found["domains"] == ("near", "far")
    far = against(results, other, against_domains="far")
    assert far["out"] == 9 and far["scores"]["energy"]["auroc"] != 0.5
    assert far["data"] == datasets.create("folder", other).fingerprint(["m1"])


def test_what_does_not_fit_is_said_in_a_line(results, other, tmp_path):
    run = opened(results, "erm", data_roots={"folder": other})
    with pytest.raises(UsageError, match="folder has no m2; name a dataset with the modalities"):
        OutOfDistribution(Settings(against="folder")).measure(run)
    with pytest.raises(UsageError, match=r"unknown domain of folder 'fra'.*Did you mean 'far'"):
        against(results, other, against_domains="fra")
    short = {f"{d}-{i}": np.zeros(6) for d in ("near", "far") for i in range(3)}
    with pytest.raises(UsageError, match=r"m1 has the shape \(6,\) in folder, .* on \(16,\)"):
        against(results, written(tmp_path / "short", short))


def test_no_run_is_set_against_its_own_dataset_or_one_that_is_not_there(results):
    run = opened(results, "joint")
    own = OutOfDistribution(Settings(against="synthetic")).lacks(run.record, [])
    assert own == "trained on the dataset it would be tested against; name another one"
    assert OutOfDistribution(Settings(against="folder")).lacks(run.record, []) == ""
    with pytest.raises(UsageError, match=r"unknown dataset 'foldr'.*Did you mean 'folder'"):
        OutOfDistribution(Settings(against="foldr")).check()
    with pytest.raises(UsageError, match="say of which dataset"):
        OutOfDistribution(Settings(against_domains="d1")).check()


def test_options_of_the_run_hold_for_the_other_dataset_where_it_has_them(
    results, other, monkeypatch
):
    run = opened(results, "joint", data_roots={"folder": other})
    assert run.dataset.card.name == "synthetic"  # opened with its own options alone
    monkeypatch.setitem(run.spec.options, "standardise", "none")
    dataset, _, _ = OutOfDistribution(Settings(against="folder"))._outside(run)
    assert dataset.options.standardise == "none" and dataset.options.length == 128
