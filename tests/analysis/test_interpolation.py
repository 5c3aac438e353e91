"""`interpolation`: the line between two runs, its ends, its barriers, and which runs have one."""

import json
from dataclasses import replace

import pytest
import torch
from support_analysis import finished_seeds
from support_flatness import state_of, unchanged
from torch import nn

from benchmark import analyze, report
from benchmark.analysis.interpolation import Interpolation, Line, Settings, _check_stems, profile
from benchmark.analysis.surface import Point, Surface
from benchmark.backbones.base import Encoder
from benchmark.records.spec import Protocol
from benchmark.training.model import build
from methods.base import Batch
from methods.shared.averaging import copied
from mmdg_common import UsageError

QUICK = Settings(samples=16, points=3)


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def pair(results):
    """Two seeds of late fusion on three modalities; one of them has batch norm."""
    return finished_seeds(results, "late_fusion", seeds=(0, 1))


# Barriers


def test_barriers_are_above_the_line_between_the_ends():
    points = [Point(1.0, 0.5), Point(3.0, 0.2), Point(2.0, 0.7)]
    found = profile([0.0, 0.5, 1.0], points)
    assert found["loss_barrier"] == pytest.approx(3 - 1.5)
    assert found["accuracy_barrier"] == pytest.approx(0.6 - 0.2)
    assert found["loss"] == [1.0, 3.0, 2.0]


def test_a_valley_has_no_barrier():
    found = profile([0.0, 0.5, 1.0], [Point(1.0, 0.5), Point(0.5, 0.9), Point(2.0, 0.7)])
    assert (found["loss_barrier"], found["accuracy_barrier"]) == (0.0, 0.0)


def test_where_the_model_overflows_there_is_no_number():
    points = [Point(1.0, 0.5), Point(float("inf"), 0.2), Point(2.0, 0.7)]
    found = profile([0.0, 0.5, 1.0], points)
    assert found["loss_barrier"] is None
    assert found["loss"] == [1.0, None, 2.0]


# The line


def test_between_equal_weights_nothing_changes(pair):
    run = pair[0]
    line = Line(run.method, run.model, run.model)
    batches = list(run.batches(run.samples("val", 16)))
    alphas = [0.0, 0.3, 0.7, 1.0]
    for train in ((), batches):
        points = [Surface(line.at(alpha, train), batches).at({}) for alpha in alphas]
        assert len(set(points)) == 1
        found = profile(alphas, points)
        assert (found["loss_barrier"], found["accuracy_barrier"]) == (0.0, 0.0)


def test_the_ends_are_the_two_runs_and_both_stay_as_they_were(pair):
    other, run = pair
    before = state_of(run), state_of(other)
    values = Interpolation(QUICK).measure(run)
    assert values["alphas"] == [0.0, 0.5, 1.0]
    for part in ("val", "target"):
        for end, one in ((0, run), (-1, other)):
            stats = one.predict(run.samples(part, 16)).stats()["fused"]
            assert values[part]["linear"]["loss"][end] == pytest.approx(stats.loss, rel=1e-5)
            assert values[part]["linear"]["accuracy"][end] == pytest.approx(stats.accuracy)
    assert Interpolation(QUICK).measure(run) == values
    assert unchanged(run, before[0])
    assert unchanged(other, before[1])
    json.dumps(values, allow_nan=False)


def test_the_middle_is_the_mean_of_weights_and_of_batch_norm_statistics(pair):
    other, run = pair
    middle = copied(run.model)
    states = run.model.state_dict(), other.model.state_dict()
    mean = {k: (a + b) / 2 if a.is_floating_point() else a
            for (k, a), b in zip(states[0].items(), states[1].values(), strict=True)}  # fmt: skip
    middle.load_state_dict(mean)
    samples = run.samples("val", 16)
    with torch.no_grad():
        rows = [run.method.predict(b.features, model=middle) for b in run.batches(samples)]
    labels = torch.tensor([sample.label for sample in samples])
    loss = nn.functional.cross_entropy(torch.cat([x["fused"] for x in rows]), labels).item()
    found = Interpolation(QUICK).measure(run)["val"]
    assert found["linear"]["loss"][1] == pytest.approx(loss, rel=1e-5)
    assert found["reset"]["loss"][1] != pytest.approx(loss, rel=1e-5)


# Batch norm


def a_model(seed=0, stem=0):
    """A modality with a frozen layer, drawn from `stem`, and batch norm in what is trained."""

    def make():
        with torch.random.fork_rng():
            torch.manual_seed(stem)
            frozen = nn.Linear(3, 3)
        tail = nn.Sequential(nn.Linear(3, 2), nn.BatchNorm1d(2))
        return Encoder(frozen, tail, 2)

    return build({"a": make}, 4, Protocol(), seed).eval()


def test_refreshed_statistics_are_the_means_over_batches_of_what_enters():
    model = a_model()
    layer, norm = model.encoder("a").tail
    norm.running_mean.fill_(7)
    norm.num_batches_tracked.fill_(5)
    data = torch.randn(10, 3, generator=torch.Generator().manual_seed(0))
    labels = torch.zeros(10, dtype=torch.long)
    parts = [slice(0, 6), slice(6, 10)]
    model.refresh_batch_norms(
        Batch({"a": data[part]}, labels[part], labels[part], ()) for part in parts
    )
    entering = [layer(data[part]).detach() for part in parts]
    means, variances = ([f(x, dim=0) for x in entering] for f in (torch.mean, torch.var))
    assert torch.allclose(norm.running_mean, (means[0] + means[1]) / 2)
    assert torch.allclose(norm.running_var, (variances[0] + variances[1]) / 2)
    assert norm.momentum == 0.1
    assert not norm.training


def test_random_frozen_stages_of_two_seeds_are_refused():
    _check_stems(a_model(seed=0, stem=5), a_model(seed=1, stem=5))
    with pytest.raises(UsageError, match="--weights a=FILE"):
        _check_stems(a_model(stem=0), a_model(stem=1))


# Which runs


def test_each_pair_is_measured_once(pair, results):
    other, run = pair
    among = [other.record, run.record]
    analysis = Interpolation()
    assert analysis.lacks(run.record, among) == ""
    assert "seed 0 is the one" in analysis.lacks(other.record, among)
    swapped = Interpolation(Settings(partner=1))
    assert swapped.lacks(other.record, among) == ""
    assert "seed 1 is the one" in swapped.lacks(run.record, among)


def test_without_a_partner_it_says_what_to_do(pair, tmp_path):
    other, run = pair
    told = "interpolation.partner=SEED"
    assert told in Interpolation().lacks(run.record, [run.record])
    assert told in Interpolation(Settings(partner=5)).lacks(run.record, [r.record for r in pair])
    nowhere = replace(other.record, folder=tmp_path)
    assert told in Interpolation().lacks(run.record, [run.record, nowhere])
    (tmp_path / "weights-last.pt").touch()  # those of another validation do not fit
    assert told in Interpolation().lacks(run.record, [run.record, nowhere])
    unlike = replace(other.record, spec=replace(other.record.spec, method="erm"))
    assert told in Interpolation().lacks(run.record, [run.record, unlike])


def test_the_command_measures_the_pair_and_the_table_shows_barriers(pair, results, capsys):
    words = ["--set", "samples=16", "points=3"]
    assert analyze.main(["interpolation", "--results", str(results), *words]) == 0
    out, err = capsys.readouterr()
    assert "1 measured" in out
    assert "1 run left out: seed 0" in err
    assert report.main(["--results", str(results), "--table", "interpolation"]) == 0
    assert "loss, target, reset" in capsys.readouterr().out
