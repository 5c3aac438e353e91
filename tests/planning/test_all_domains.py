"""Runs on all domains: how they are asked for, what their records hold, and who leaves them out."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from support import SPEC, DiesAt, Interrupted, Silent, numbers, tiny_run, tiny_specs

from benchmark import report, run, sweep
from benchmark.contract.case import TinyRun
from benchmark.launch.execute import execute
from benchmark.records import read, result
from benchmark.records.shape import UnreadableError
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from datasets.synthetic import Synthetic
from mmdg_common import UsageError

ALL = {"settings": ("all-domains",), "sources": (), "target": None}
WORDS = [
    *("--dataset", "synthetic", "--epochs", "1", "--threads", "1"),
    *("--dataset-option", "domains=3", "classes=3", "samples_per_class=10"),
]


# What is planned


@pytest.mark.parametrize("all_splits", [False, True])
def test_there_is_one_split_with_every_domain_and_no_target(tmp_path, all_splits):
    (spec,) = tiny_specs(tmp_path, **ALL, all_splits=all_splits)
    assert (spec.setting, spec.sources, spec.target) == ("all-domains", ("d1", "d2", "d3"), "")
    assert spec.title == "erm · synthetic · all domains · m1+m2+m3 · seed 0"
    assert Store(tmp_path).folder(spec).path.parts[-3] == "all_domains"


@pytest.mark.parametrize("more", [{"target": "d1"}, {"sources": ("d1", "d2")}])
def test_sources_and_target_contradict_it(tmp_path, more):
    with pytest.raises(UsageError, match="leave out --sources and --target"):
        tiny_specs(tmp_path, **ALL | more)


def test_a_spec_has_a_target_in_every_other_setting_and_in_this_one_never():
    alone = replace(SPEC, setting="all-domains", target="")
    assert RunSpec.from_json(json.loads(json.dumps(alone.to_json()))).id == alone.id != SPEC.id
    for wrong in (replace(SPEC, target=""), replace(SPEC, setting="all-domains")):
        with pytest.raises(UsageError, match="no spec of this version of the suite: target"):
            RunSpec.from_json(wrong.to_json())


def test_every_domain_trains_and_its_validation_part_validates():
    dataset = Synthetic(None, None, {"domains": "3", "classes": "3", "samples_per_class": "10"})
    parts = dataset.parts(("d1", "d2", "d3"), "")
    assert parts["target"] == []
    for role in ("train", "val"):
        assert parts[role] == [s for d in ("d1", "d2", "d3") for s in dataset.samples(d, role)]


# What is recorded


@pytest.mark.parametrize("method", ["erm", "swad", "unimodal"])
def test_the_record_has_validation_scores_and_no_target(tmp_path, method):
    spec, folder = tiny_run(tmp_path, method, **ALL)
    own = {"own"} if method in ("swad", "unimodal") else set()
    rules = folder.result()["rules"]
    assert set(rules) == {"best-val", "last", "reference"} | own
    for scores in rules.values():
        assert set(scores) == {"epoch", "step", "val"} and scores["val"]["n"] == 3 * 3 * 2
    lines = folder.metrics(tested=False)
    assert len(lines) == 2 and not any("target" in line for line in lines)
    parts = {name.split("/")[1] for name in np.load(folder.path / "predictions.npz").files}
    assert parts == {"val"}
    assert (folder.path / "weights-best.pt").is_file()  # although nobody asked to keep them
    (found,) = read.read([tmp_path]).records
    assert (found.state, found.spec) == ("done", spec)
    assert found.metrics() == lines and found.problems == []


def test_the_last_weights_are_kept_where_they_are_asked_for(tmp_path):
    (spec,) = tiny_specs(tmp_path, **ALL)
    execute(spec, RunSettings(tmp_path, threads=1, keep_checkpoints="last"), Silent())
    kept = [path.name for path in Store(tmp_path).folder(spec).path.glob("*.pt")]
    assert kept == ["weights-last.pt"]


def test_only_such_a_run_may_lack_the_target(tmp_path):
    _, folder = tiny_run(tmp_path, **ALL)
    found = folder.result()
    result.require(found)
    for setting in ({}, {"setting": "multi-source"}):
        other = {k: v for k, v in found.items() if k != "setting"} | setting
        with pytest.raises(UnreadableError, match=r"rules\.\S+\.target is missing"):
            result.require(other)
    with pytest.raises(UnreadableError, match="line 1: target is missing"):
        folder.metrics()


def test_an_interrupted_run_goes_on_to_the_same_numbers(tmp_path):
    _, whole = tiny_run(tmp_path / "whole", "mbcd", **ALL)
    (spec,) = tiny_specs(tmp_path / "cut", "mbcd", **ALL)
    settings = RunSettings(tmp_path / "cut", threads=1, checkpoint_every=0)
    folder = Store(tmp_path / "cut").folder(spec)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    for step in (3, 10):
        with pytest.raises(Interrupted):
            TinyRun(spec, dataset, folder, settings).run(DiesAt(step))
    execute(spec, settings, Silent())
    assert "resumed at step 9" in (folder.path / "log.txt").read_text()
    assert numbers(folder) == numbers(whole)
    assert folder.metrics(tested=False) == whole.metrics(tested=False)


# The commands


@pytest.fixture
def results(tmp_path, capsys):
    """A results folder with a run that has a target, and with one that has none."""
    root = tmp_path / "res"
    for more in (["--sources", "d1", "d2", "--target", "d3"], ["--setting", "all-domains"]):
        assert run.main(["--method", "erm", *WORDS, *more, "--results", str(root)]) == 0
    capsys.readouterr()
    return root


def test_the_command_says_how_to_predict_with_the_best_of_a_search(tmp_path, capsys):
    words = ["--method", "mbcd", *WORDS, "--setting", "all-domains", "--search", "2"]
    assert run.main([*words, "--results", str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    (written,) = (tmp_path / "searches").rglob("*.json")
    chosen = json.loads(written.read_text())["chosen"]
    (line,) = [line for line in printed.splitlines() if "benchmark.predict" in line]
    folder = Path(line.split()[line.split().index("benchmark.predict") + 1])
    assert folder.name == chosen and (folder / "weights-best.pt").is_file()
    assert "benchmark.report" not in printed
    assert run.main([*words, "--results", str(tmp_path), "--status"]) == 0
    assert "2 runs: 2 done" in capsys.readouterr().out


@pytest.mark.parametrize("table", [[], ["--table", "all"], ["--table", "cost"], ["--tuned"]])
def test_every_table_leaves_them_out_and_says_so_once(results, capsys, table):
    assert report.main(["--results", str(results), *table, "--format", "csv"]) == 0
    shown = capsys.readouterr()
    assert "all-domains" not in shown.out and "erm" in shown.out
    assert shown.err == "left out: 1 run of --setting all-domains, without a target\n"


@pytest.mark.parametrize("rule", ["last", "oracle"])
def test_under_any_rule_they_are_left_out_for_having_no_target(results, capsys, rule):
    assert report.main(["--results", str(results), "--select", rule]) == 0
    assert capsys.readouterr().err.count("left out") == 1


def test_the_page_and_its_figures_leave_them_out(results, tmp_path):
    page = tmp_path / "page.html"
    words = ["--results", str(results), "--format", "html", "--output", str(page)]
    assert report.main(words) == 0
    assert "all-domains" not in page.read_text() and "all domains" not in page.read_text()


def test_without_any_other_run_the_report_says_what_such_runs_are_for(results, capsys):
    assert report.main(["--results", str(results), "--setting", "all-domains"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "benchmark.predict RUN_FOLDER" in error
    assert "--method erm --dataset synthetic --all-splits" in error


def test_exported_runs_are_read_again(results, tmp_path, capsys):
    path = tmp_path / "runs.jsonl"
    assert report.main(["--results", str(results), "--export", str(path)]) == 0
    assert report.main(["--results", str(path)]) == 0
    assert "left out: 1 run of --setting all-domains" in capsys.readouterr().err
    assert {r.spec.target for r in read.read([path]).records} == {"", "d3"}


GRID = """
method: erm
dataset: synthetic
dataset-option: {domains: 3, classes: 3, samples_per_class: 10}
epochs: 1
runs:
  - {sources: [d1, d2], target: d3}
  - {setting: all-domains}
"""


def test_a_grid_may_hold_such_an_entry(results, tmp_path, capsys):
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    assert sweep.main([str(grid), "--results", str(results)]) == 0
    assert len(read.read([results]).records) == 2  # they are the runs that were there
    assert report.main(["--results", str(results), "--plan", str(grid)]) == 0
    shown = capsys.readouterr()
    assert "Missing" not in shown.out and "all-domains" not in shown.out
    grid.write_text("\n".join(GRID.splitlines()[:-2] + GRID.splitlines()[-1:]))
    assert report.main(["--results", str(results), "--plan", str(grid)]) == 2
    assert "no run of the grid has a target" in capsys.readouterr().err
