"""The grids in sweeps/questions: the runs that each stands for, all of which keep their weights."""

import re
import shlex
from collections import Counter
from itertools import takewhile
from pathlib import Path

import pytest

from benchmark import sweep
from benchmark.planning import grid
from benchmark.settings import RunSettings

pytest_plugins = ["support_grids"]

PROJECT = Path(__file__).resolve().parents[2]
FILES = sorted((PROJECT / "sweeps" / "questions").glob("*.yaml"))
# By file: the runs by dataset.
WANTED = {
    "broken": {"sp_sw_har": 7 * 3 * 3, "synthetic": 7 * 2 * 4 * 3},
    "curvature": {"sp_sw_har": 16 * 3 * 3},
    "dropped": {"sp_sw_har": 9, "dsads": 12, "mex": 15, "utd_mhad": 12},
    "many_modalities": {"dsads": 4 * 4 * 3, "utd_mhad": 3 * 4 * 3},
    "parts": {"sp_sw_har": 8 * 2 * 9},
    "strength": {"sp_sw_har": 12 * 9},
}


@pytest.fixture(scope="module")
def planned(roots, tmp_path_factory):
    settings = RunSettings(
        tmp_path_factory.mktemp("results"), data_roots=roots, random_weights=True
    )
    return {path.stem: grid.read(path).plan(settings) for path in FILES}


def test_every_file_is_known():
    assert {path.stem for path in FILES} == WANTED.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_plans_its_runs_and_keeps_their_weights(path, planned):
    specs = grid.specs(planned[path.stem])
    assert Counter(spec.dataset for spec in specs) == WANTED[path.stem]
    assert sum(len(row.plan.specs) for row in planned[path.stem]) == len(specs)
    assert grid.read(path).given["keep_checkpoints"] == "best"
    assert {spec.protocol for spec in specs} == {specs[0].protocol.__class__()}
    text = "".join(takewhile(lambda line: line[0] == "#", path.read_text().splitlines(True)))
    words = shlex.split(text.splitlines()[0].removeprefix("# "))
    assert words[:3] == ["python", "-m", "benchmark.sweep"]
    assert PROJECT / sweep.parser().parse_args(words[3:]).grid == path
    assert re.findall(r"(\d+) runs", text) == [str(len(specs))]


def test_the_parts_are_all_combinations_with_the_average_and_without(planned):
    found = {}
    for row in planned["parts"]:
        own = row.plan.specs[0].hyperparameters["mbcd"]
        on = (own["dropout"] == "adaptive", own["consistency"] == "first", own["distill_fused"] > 0)
        assert own["distill_fused"] == own["distill_unimodal"]
        found[(*on, own["beta"] > 0)] = row.label
        names = ("dropout", "consistency", "distillation")
        said = {name for name, is_on in zip(names, on, strict=True) if is_on}
        label, _, average = row.label.partition(", ")
        assert (average == "average") == (own["beta"] == 0.999)
        if label not in ("no part", "all three"):
            assert set(label.split(" and ")) == said
        else:
            assert len(said) == (3 if label == "all three" else 0)
    assert len(found) == 16


def test_strengths_are_as_labelled(planned):
    for row in planned["strength"]:
        own = row.plan.specs[0].hyperparameters["mbcd"]
        name, _, value = row.label.partition(" ")
        if name in ("scale", "threshold"):
            assert own[f"dropout_{name}"] == float(value)
        elif name == "beta":
            assert own["beta"] == float(value)
        elif name == "no":
            assert own["dropout"] == "none"
        else:
            assert own["beta"] == 0.999 and "dropout_scale" not in own


def test_modalities_are_counted_up_to_fifteen(planned):
    specs = grid.specs(planned["many_modalities"])
    counts = Counter((s.dataset, len(s.modalities)) for s in specs)
    assert set(counts) == {
        *(("dsads", m) for m in (2, 3, 5, 15)),
        *(("utd_mhad", m) for m in (2, 3, 4)),
    }
    assert set(counts.values()) == {12}
