"""The space of embeddings: neighbours by hand, the plane, and whole runs with their figure."""

import json

import numpy as np
import pytest
import torch
from support_analysis import finished

from benchmark import analyze, report
from benchmark.analysis import base
from benchmark.analysis.embedding import Embedding, Settings, knn_accuracy, neighbours, plane
from benchmark.records import read
from benchmark.reporting import figures
from benchmark.reporting.figures.embedding import embeddings
from benchmark.reporting.request import Wanted
from mmdg_common import UsageError


def points(*x: float) -> torch.Tensor:
    return torch.tensor(x, dtype=torch.float64).unsqueeze(1)


def test_neighbours_by_hand():
    assert neighbours(points(0, 1, 3, 7), 2) == [[1, 2], [0, 2], [1, 0], [2, 1]]
    assert neighbours(points(0, 1, 3), 5) == [[1, 2], [0, 2], [1, 0]]  # no more than there are
    assert neighbours(points(2, 2, 2), 1) == [[1], [0], [0]]  # never the point itself


def test_accuracy_of_neighbours_by_hand():
    near = neighbours(points(0, 1, 2, 3, 10, 11, 12, 13), 3)
    assert knn_accuracy(near, [0, 0, 0, 0, 1, 1, 1, 1]) == 1
    # The second point is alone among others of class 0: they outvote it, and it none of them.
    assert knn_accuracy(near, [0, 1, 0, 0, 1, 1, 1, 1]) == 7 / 8
    assert knn_accuracy(near, [0, 1, 2, 3, 1, 1, 1, 1]) == 4 / 8  # nobody's neighbour is like it


def test_of_as_many_votes_the_nearest_counts():
    near = [[1, 2], [2, 0], [1, 0]]
    assert knn_accuracy(near, [0, 0, 1]) == 1 / 3  # 0: by 1; 1: by 2, wrong; 2: by 1, wrong


def test_accuracy_is_that_of_an_independent_classifier():
    from sklearn.neighbors import KNeighborsClassifier

    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(60, 3)), rng.integers(0, 2, 60)
    x[:, 0] += y
    hits = 0
    for i in range(60):
        others = np.arange(60) != i
        classifier = KNeighborsClassifier(5).fit(x[others], y[others])
        hits += classifier.predict(x[i : i + 1])[0] == y[i]
    assert knn_accuracy(neighbours(torch.from_numpy(x), 5), y.tolist()) == hits / 60


def test_the_plane_repeats_and_keeps_far_groups_apart():
    rng = np.random.default_rng(0)
    of = np.repeat([0, 1], 20)
    x = rng.normal(size=(40, 8)) + 100 * of[:, None]
    found = plane(x, 30)
    assert found == plane(x, 30)
    assert found == [[round(value, 3) for value in point] for point in found]
    assert knn_accuracy(neighbours(torch.tensor(found), 5), of.tolist()) == 1


def test_the_perplexity_is_clipped_to_the_samples():
    x = np.random.default_rng(0).normal(size=(10, 4))
    assert plane(x, 30) == plane(x, 3) != plane(x, 2)
    assert plane(np.ones((6, 3)), 30) is None


def test_what_is_measured_of_a_run(tmp_path):
    run = finished(tmp_path, "joint")
    before = {name: x.clone() for name, x in run.model.state_dict().items()}
    found = Embedding(Settings(samples=20, each=True)).measure(run)
    json.dumps(found, allow_nan=False)
    assert found == Embedding(Settings(samples=20, each=True)).measure(run)
    samples = [*run.samples("val", 10), *run.samples("target", 10)]
    assert len({s.id for s in samples}) == 20
    assert found["labels"] == [s.label for s in samples]
    assert found["domain_names"] == ["d1", "d2", "d3"]
    assert [found["domain_names"][i] for i in found["domains"]] == [s.domain for s in samples]
    assert found["largest_domain"] == 0.5
    for space in (found["all"], *found["modalities"].values()):
        assert np.shape(space["points"]) == (20, 2)
        assert 0 <= space["class_knn"] <= 1 and 0 <= space["domain_knn"] <= 1
    assert set(found["modalities"]) == {"m1", "m2", "m3"}
    plain = Embedding(Settings(samples=20)).measure(run)
    assert plain["all"] == found["all"]
    assert {space["points"] for space in plain["modalities"].values()} == {None}
    for name, x in run.model.state_dict().items():
        assert torch.equal(x, before[name]), name


def test_the_space_is_what_the_fusion_head_reads(tmp_path):
    run = finished(tmp_path, "mbcd")
    samples = run.samples("target")
    spaces = Embedding()._spaces(run, samples)
    joined = torch.cat(list(spaces.values()), dim=1).float()
    logits = run.predict(samples).logits["fused"]
    assert torch.allclose(run.model.fusion(joined), logits, atol=1e-5)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("unimodal", {"modalities": ["m2"]}),
        ("late_fusion", {"switches": {"neck": "none"}}),
        ("erm", {"sources": (), "target": "d3", "settings": ("upper-bound",)}),
    ],
)
def test_other_methods_and_settings_can_be_measured(tmp_path, method, changes):
    run = finished(tmp_path, method, recipe={"epochs": 1}, **changes)
    found = Embedding(Settings(samples=12)).measure(run)
    json.dumps(found, allow_nan=False)
    if "settings" in changes:  # one domain, which is source and target
        assert found["domain_names"] == ["d3"]
        assert found["largest_domain"] == found["all"]["domain_knn"] == 1


def test_without_scikit_learn_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(base, "find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"embedding needs sklearn: pip install"):
        Embedding().check()


def test_the_command_its_table_and_its_figure(tmp_path, capsys):
    for method, seeds in (("erm", [1]), ("erm", [0]), ("joint", [0])):
        finished(tmp_path, method, seeds=seeds, modalities=["m1+m2"], recipe={"epochs": 1})
    assert analyze.main(["embedding", "--results", str(tmp_path), "--set", "samples=20"]) == 0
    capsys.readouterr()
    given = ["--results", str(tmp_path), "--table", "embedding", "--format", "csv"]
    assert report.main(given) == 0
    out = capsys.readouterr().out
    assert "class kNN," in out and "domain kNN m2" in out and "largest domain" in out
    records = read.read([tmp_path]).records
    made = embeddings(Wanted(records))
    assert [f.name for f in made] == [
        f"embedding-synthetic-multi-source-m1+m2-{method}" for method in ("erm", "joint")
    ]
    assert "target d3, seed 0" in made[0].caption
    (record,) = [r for r in records if (r.spec.method, r.spec.seed) == ("erm", 0)]
    (one,) = record.measured("embedding")
    by_class, by_domain = figures.drawn(made[0]).axes
    for ax, groups in ((by_class, one.values["labels"]), (by_domain, one.values["domains"])):
        for drawn, group in zip(ax.collections, sorted(set(groups)), strict=True):
            of = [p for p, g in zip(one.values["all"]["points"], groups, strict=True) if g == group]
            np.testing.assert_allclose(drawn.get_offsets(), of)
    legend = [text.get_text() for text in by_domain.get_legend().get_texts()]
    assert legend == ["d1", "d2", "d3 (target)"]
