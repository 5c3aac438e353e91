"""Hyper-parameter search: the same budget for every method, chosen on source validation alone."""

import json
import random
from dataclasses import dataclass

import pytest
from support import tiny_specs
from support_reports import make_spec, record

import methods
from benchmark import report, run
from benchmark.planning import flags, search
from benchmark.reporting import write
from benchmark.reporting.kinds import accuracy
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from methods.hyperparameters import Choice, LogUniform, Uniform, build, draw, hyper
from methods.mbcd import Hyperparameters
from mmdg_common import UsageError


def test_draws_lie_in_their_ranges_and_repeat():
    fields = {f.name: f.metadata["search"] for f in Hyperparameters.__dataclass_fields__.values()}
    for seed in range(200):
        drawn = draw(Hyperparameters, random.Random(seed))
        assert drawn == draw(Hyperparameters, random.Random(seed))
        assert set(drawn) == {name for name, search in fields.items() if search is not None}
        for name, value in drawn.items():
            if isinstance(fields[name], Choice):
                assert value in fields[name].values
            else:
                assert isinstance(fields[name], LogUniform | Uniform)
                assert fields[name].low <= value <= fields[name].high


def test_a_choice_that_came_later_is_valid_and_moves_no_draw():
    @dataclass(frozen=True)
    class Before:
        kind: str = hyper("a", "which of the three", search=Choice(("a", "b", "c")))
        rate: float = hyper(0.5, "a rate", search=Uniform(0.0, 1.0))

    @dataclass(frozen=True)
    class After:
        kind: str = hyper("a", "which of the four", search=Choice(("a", "b", "c"), also=("d",)))
        rate: float = hyper(0.5, "a rate", search=Uniform(0.0, 1.0))

    for seed in range(50):
        assert draw(After, random.Random(seed)) == draw(Before, random.Random(seed))
    assert build(After, "toy", {"kind": "d"}).kind == "d"
    with pytest.raises(UsageError, match=r"toy\.kind"):
        build(Before, "toy", {"kind": "d"})
    assert "fixed-literal" not in {draw(Hyperparameters, random.Random(i))["dropout"]
                                   for i in range(200)}  # fmt: skip


def test_log_uniform_draws_fall_as_often_in_every_decade():
    drawn = [draw(Hyperparameters, random.Random(i))["alpha"] for i in range(3000)]
    shares = [sum(10.0**d <= x < 10.0 ** (d + 1) for x in drawn) / 3000 for d in (-4, -3, -2)]
    assert shares == pytest.approx([1 / 3] * 3, abs=0.04)


@pytest.mark.parametrize("name", methods.names())
def test_every_methods_draws_are_valid_settings(name):
    for number in range(20):
        setting = methods.draw(name, 0, number)
        methods.resolve(name, setting)
        if number == 0:
            assert setting == {}


def test_a_search_tries_the_default_and_draws_of_every_method(tmp_path):
    made = tiny_specs(tmp_path, methods=["erm", "mbcd", "ema+joint"], search=4)
    counts = {name: sum(s.method == name for s in made) for name in ("erm", "mbcd", "ema+joint")}
    # ERM has nothing to search; EMA has four values of β, which some draws repeat.
    assert (counts["erm"], counts["mbcd"]) == (1, 4)
    assert 2 <= counts["ema+joint"] <= 4
    (default,) = tiny_specs(tmp_path, "mbcd")
    mine = [s.id for s in made if s.method == "mbcd"]
    assert mine[0] == default.id
    longer = [s.id for s in tiny_specs(tmp_path, "mbcd", search=6)]
    assert longer[:4] == mine
    other = [s.id for s in tiny_specs(tmp_path, "mbcd", search=4, search_seed=1)]
    assert other[0] == mine[0] and not set(other[1:]) & set(mine)


def test_what_is_set_by_hand_is_not_searched(tmp_path):
    made = tiny_specs(tmp_path, "mbcd", search=5, set=["alpha=0.5"])
    assert {s.hyperparameters["mbcd"]["alpha"] for s in made} == {0.5}
    assert len({s.hyperparameters["mbcd"]["distill_fused"] for s in made}) == 5


def result(val, target=0.0, rule="best-val"):
    parts = {"val": {"accuracy": val}, "target": {"accuracy": target}}
    return {"rules": {name: parts for name in {"best-val", rule}}}


def test_source_validation_chooses_and_the_first_wins_ties():
    assert search.best([result(0.5, 0.9), result(0.8, 0.1), result(0.8, 0.7), None]) == 1
    assert search.best([None, None]) is None
    own = {"rules": {**result(0.9)["rules"], "own": {"val": {"accuracy": 0.1}}}}
    assert search.best([own, result(0.5)]) == 1


def tried(method, val, accuracy, **changes):
    made = record(make_spec(method, **changes), accuracy)
    for rule in made.result["rules"].values():
        rule["val"] = {"accuracy": val}
    return made


def test_a_tuned_table_shows_the_chosen_setting_cell_by_cell():
    def mbcd(beta, val, accuracy, target):
        settings = {"mbcd": {"beta": beta}}
        return tried("mbcd", val, accuracy, hyperparameters=settings, target=target)

    runs = [mbcd(0.9, 0.6, 0.25, "d1"), mbcd(0.99, 0.7, 0.5, "d1")]
    runs += [mbcd(0.9, 0.8, 0.75, "d2"), mbcd(0.99, 0.7, 1.0, "d2"), tried("erm", 0.5, 0.5)]
    (table,) = accuracy.build(Wanted(accuracy.tuned(runs, "best-val"), View()))
    rows = {row.label: [cell.values for cell in row.cells[:2]] for row in table.rows}
    assert rows == {"erm": [{0: 50.0}, {}], "mbcd (best of 2)": [{0: 50.0}, {0: 75.0}]}
    assert "no hyper-parameters to search" in " ".join(write.render([table], "text").split())
    gap = next(g for g in table.missing if g.row.startswith("mbcd"))
    command = flags.command([gap])
    assert "--search 2" in command and "--set " not in command


def test_the_command_searches_and_says_what_it_tried(tmp_path, capsys):
    common = ["--results", str(tmp_path)]
    arguments = "--method erm ema --dataset synthetic --sources d1 d2 --target d3 --epochs 1"
    quick = ["--threads", "1", "--dataset-option", "samples_per_class=5", "--search", "3"]
    assert run.main([*arguments.split(), *quick, *common]) == 0
    files = sorted((tmp_path / "searches").rglob("*.json"))
    assert len(files) == 2
    for path in files:
        content = json.loads(path.read_text())
        accuracies = [t["val_accuracy"] for t in content["tried"]]
        chosen = next(t for t in content["tried"] if t["id"] == content["chosen"])
        assert chosen["val_accuracy"] == max(accuracies)
        assert all(t["state"] == "done" for t in content["tried"])
    capsys.readouterr()
    assert report.main([*common, "--tuned"]) == 0
    assert "ema (best of" in capsys.readouterr().out


def test_all_stands_for_every_method(tmp_path):
    made = {s.method for s in tiny_specs(tmp_path, methods=["all"])}
    limits = {name: methods.components(name)[0] for name in methods.names()}
    assert made == {n for n, cls in limits.items() if (cls.max_modalities or 3) >= 3}


def test_a_younger_hyper_parameter_at_its_default_is_no_part_of_a_run(tmp_path):
    """`dropout_scale` came after runs of mbcd were stored: their ids must stay what they were."""
    (plain,) = tiny_specs(tmp_path, "mbcd")
    assert "dropout" in plain.hyperparameters["mbcd"]
    assert "dropout_scale" not in plain.hyperparameters["mbcd"]
    (said,) = tiny_specs(tmp_path, "mbcd", set=("dropout_scale=1",))
    (other,) = tiny_specs(tmp_path, "mbcd", set=("dropout_scale=2",))
    assert said.id == plain.id != other.id
    assert other.hyperparameters["mbcd"]["dropout_scale"] == 2.0
    assert other.asked.set == ("mbcd.dropout_scale=2.0",) and plain.asked.set == ()
    assert methods.create(plain.method, plain.hyperparameters).hp.dropout_scale == 1.0
