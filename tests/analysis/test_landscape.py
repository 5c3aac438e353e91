"""`landscape`: a plane through the weights, where the loss is known and on real runs."""

import json

import pytest
import torch
from support_analysis import finished_seeds
from support_flatness import a_quadratic, state_of, unchanged

from benchmark.analysis.landscape import Landscape, Settings, grid
from benchmark.analysis.surface import direction

QUICK = Settings(samples=12, points=1, reach=0.5)


def test_the_plane_of_a_quadratic_is_known():
    surface = a_quadratic(6, shape=(3, 2))
    w = surface.centre["w"]
    one, two = (direction(surface.centre, i)["w"] for i in (0, 1))
    axis = [-1.0, 0.0, 0.5]
    found = grid(surface, axis)["loss"]
    expected = [[surface.loss(w + x * one + y * two).item() for x in axis] for y in axis]
    assert torch.allclose(torch.tensor(found), torch.tensor(expected))
    assert found[0][1] != pytest.approx(found[1][0])


def test_the_two_directions_are_different_ones():
    found = [direction(a_quadratic(6, shape=(3, 2)).centre, i)["w"] for i in (0, 1)]
    assert not torch.allclose(*found)


@pytest.mark.parametrize(("method", "modalities"), [("erm", "m1"), ("late_fusion", "m1+m2")])
def test_the_centre_is_the_run_and_the_run_stays_as_it_was(method, modalities, tmp_path):
    (run,) = finished_seeds(tmp_path, method, modalities=(modalities,))
    before = state_of(run)
    values = Landscape(QUICK).measure(run)
    assert values["axis"] == [-0.5, 0.0, 0.5]
    for part in ("val", "target"):
        stats = run.predict(run.samples(part, 12)).stats()["fused"]
        assert values[part]["loss"][1][1] == pytest.approx(stats.loss, rel=1e-5)
        assert values[part]["accuracy"][1][1] == pytest.approx(stats.accuracy)
        assert len({loss for row in values[part]["loss"] for loss in row}) == 9
    assert Landscape(QUICK).measure(run) == values
    assert unchanged(run, before)
    json.dumps(values, allow_nan=False)
