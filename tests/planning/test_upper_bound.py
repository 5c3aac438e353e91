"""Runs that train on their target: what they see, and how tables show them."""

import numpy as np
import pytest
from support import TINY, tiny_specs

from benchmark import report, run
from benchmark.records import predictions
from benchmark.reporting import ensembles
from datasets.synthetic import Synthetic
from mmdg_common import UsageError

QUICK = ["--epochs", "1", "--threads", "1", "--all-splits", "--dataset", "synthetic"]
OPTIONS = ["--dataset-option", *(f"{k}={v}" for k, v in TINY.items())]


def test_the_target_gives_its_train_part_a_fifth_of_it_and_its_held_out_part():
    dataset = Synthetic(None, None, TINY)
    parts = dataset.parts(("d2",), "d2")
    train = {s.id for s in dataset.samples("d2", "train")}
    mine = {role: {s.id for s in samples} for role, samples in parts.items()}
    assert mine["train"] | mine["val"] == train and not mine["train"] & mine["val"]
    assert mine["target"] == {s.id for s in dataset.samples("d2", "val")}
    per_class = [sum(s.label == c for s in parts["val"]) for c in range(3)]
    assert per_class == [round(8 / 5)] * 3
    assert dataset.parts(("d2",), "d2") == parts
    ordinary = dataset.parts(("d1", "d3"), "d2")
    assert ordinary["target"] == list(dataset.samples("d2", "target"))
    assert {s.domain for s in ordinary["train"] + ordinary["val"]} == {"d1", "d3"}


def test_an_upper_bound_names_the_target_alone(tmp_path):
    (spec,) = tiny_specs(tmp_path, settings=("upper-bound",), sources=(), target="d3")
    assert (spec.setting, spec.sources, spec.target) == ("upper-bound", ("d3",), "d3")
    with pytest.raises(UsageError, match="leave out --sources"):
        tiny_specs(tmp_path, settings=("upper-bound",))


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    root = tmp_path_factory.mktemp("results")
    for more in (["--seeds", "0", "1"], ["--setting", "upper-bound"]):
        assert run.main(["--method", "erm", *QUICK, *OPTIONS, *more, "--results", str(root)]) == 0
    return root


def test_upper_bounds_and_ensembles_stand_below_and_are_never_the_best(results, capsys):
    assert report.main(["--results", str(results), "--ensemble"]) == 0
    text = capsys.readouterr().out
    rows = {line.split("  ")[0]: line for line in text.splitlines() if line.startswith("erm")}
    assert list(rows) == ["erm", "erm, ensemble §", "erm, upper bound ‡"]
    assert rows["erm"].count("*") == 8
    assert "*" not in rows["erm, ensemble §"] + rows["erm, upper bound ‡"]
    assert "Missing" not in text and text.count("multi-source") == 1
    assert "The test set is not that of the other rows" in " ".join(text.split())


def test_an_ensemble_sums_the_logits_of_its_runs(tmp_path):
    logits = ([[2.0, 0.0], [0.0, 1.0]], [[-1.0, 0.0], [3.0, 0.0]])
    for i, values in enumerate(logits):
        arrays = {"ids": np.array(["a", "b"]), "labels": np.array([0, 1])}
        arrays["fused"] = np.array(values, np.float16)
        named = {f"last/target/{name}": array for name, array in arrays.items()}
        np.savez(tmp_path / f"{i}.npz", **named)
    paths = [tmp_path / "0.npz", tmp_path / "1.npz"]
    # Alone the first is right twice; summed, [1, 0] and [3, 1] are right and wrong.
    runs = [predictions.read(path, "last") for path in paths]
    assert ensembles.score(runs[:1], "accuracy") == 1.0
    assert ensembles.score(runs, "accuracy") == 0.5
    named["last/target/ids"] = np.array(["a", "c"])
    np.savez(paths[1], **named)
    with pytest.raises(UsageError, match="predicts other samples"):
        ensembles.score([runs[0], predictions.read(paths[1], "last")], "accuracy")
