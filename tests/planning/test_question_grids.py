"""The grids in sweeps/questions: the runs that each stands for."""

import re
import shlex
from collections import Counter
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

import pytest

from benchmark import sweep
from benchmark.planning import grid
from benchmark.records.spec import Protocol
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
    "more_seeds": {"sp_sw_har": 72, "dsads": 96, "mex": 120, "utd_mhad": 96},
    "parts": {"sp_sw_har": 8 * 2 * 9},
    "protocols": {"sp_sw_har": 6 * 6 * 9},
    "search": {"sp_sw_har": 138},
    "single_source": {"sp_sw_har": 12 * 2 * (6 + 3)},
    "strength": {"sp_sw_har": 12 * 9},
    "tuned": {"sp_sw_har": 4 * 9 + 9 * 3},
    # One modality alone has nothing to balance, so OGM-GE has no such runs.
    "subsets": {"sp_sw_har": 4 * 2 * 9, "dsads": (4 * 6 + 3) * 12, "mex": 4 * 2 * 15},
}
# Answered by benchmark.report alone, without weights.
WITHOUT_WEIGHTS = {"more_seeds", "protocols", "search", "single_source", "subsets", "tuned"}


@pytest.fixture(scope="module")
def planned(roots, tmp_path_factory):
    settings = RunSettings(
        tmp_path_factory.mktemp("results"), data_roots=roots, random_weights=True
    )
    return {path.stem: grid.read(path).plan(settings) for path in FILES}


def test_every_file_is_known():
    assert {path.stem for path in FILES} == WANTED.keys()


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
def test_a_file_plans_its_runs_and_keeps_weights_where_they_are_analyzed(path, planned):
    specs = grid.specs(planned[path.stem])
    assert Counter(spec.dataset for spec in specs) == WANTED[path.stem]
    assert sum(len(row.plan.specs) for row in planned[path.stem]) == len(specs)
    kept = grid.read(path).given.get("keep_checkpoints", "none")
    assert kept == ("none" if path.stem in WITHOUT_WEIGHTS else "best")
    if path.stem != "protocols":
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


def test_every_choice_of_the_public_scripts_is_given_to_every_method(planned):
    fair = Protocol()
    wanted = {
        "fair": fair,
        "no neck": replace(fair, neck="none"),
        "fixed neck": replace(fair, neck="fixed-layernorm"),
        "dropout on embeddings": replace(fair, embedding_dropout=0.5),
        "averages at once": replace(fair, ema_warmup=False),
        "no neck and dropout": replace(fair, neck="none", embedding_dropout=0.5),
    }
    found = Counter()
    for row in planned["protocols"]:
        method, label = row.label.split(", ", 1)
        assert {s.method for s in row.plan.specs} == {method}
        assert {s.protocol for s in row.plan.specs} == {wanted[label]}
        found[label] += 1
    assert found == dict.fromkeys(wanted, 6)


def test_more_seeds_are_of_the_splits_that_the_leaderboard_has(planned, roots, tmp_path):
    settings = RunSettings(tmp_path, data_roots=roots, random_weights=True)
    board = grid.read(PROJECT / "sweeps" / "leaderboard.yaml").plan(settings)
    ids = {s.id for s in grid.specs(board)}
    more = grid.specs(planned["more_seeds"])
    assert not ids & {s.id for s in more}
    assert {s.seed for s in more} == {3, 4}
    assert {replace(s, seed=0).id for s in more} <= ids
