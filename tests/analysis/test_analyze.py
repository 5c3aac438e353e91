"""`benchmark.analyze`: what it measures agrees with the record, and nothing is measured twice."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_run, tiny_specs

from benchmark import analysis, analyze, report
from benchmark.analysis.calibration import Calibration
from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.shapley import Shapley
from benchmark.records import analyses, read
from benchmark.records.selection import rule_of
from benchmark.reporting.kinds.layouts import LAYOUTS
from benchmark.settings import RunSettings

METHODS = ("erm", "mbcd", "late_fusion", "unimodal")


@pytest.fixture(scope="module")
def results(tmp_path_factory) -> Path:
    """Four runs that keep their weights, and one that keeps none."""
    place = tmp_path_factory.mktemp("runs")
    for method in METHODS:
        tiny_run(place, method, keep="best")
    tiny_run(place, "joint")
    return place


@pytest.fixture
def copy(results, tmp_path) -> Path:
    """The same runs, not analysed yet."""
    place = tmp_path / "results"
    shutil.copytree(results, place, ignore=shutil.ignore_patterns("analysis"))
    return place


def call(results: Path, *words: str) -> int:
    return analyze.main([*words, "--results", str(results), "--device", "cpu"])


def records(results: Path) -> dict[str, read.Record]:
    return {r.spec.method: r for r in read.read([results]).records}


def test_numbers_agree_with_those_of_the_record(copy):
    assert call(copy, "shapley", "calibration") == 0
    for method, record in records(copy).items():
        target = record.result["rules"][rule_of(record.result, "best-val")]["target"]
        (found,) = record.measured("calibration")
        assert found.values["target"]["accuracy"] == pytest.approx(target["accuracy"])
        if method == "joint":
            assert record.measured("shapley") == []
            continue
        (found,) = record.measured("shapley")
        zero, mean = (found.values["target"][name] for name in ("zero", "mean"))
        assert zero["all"] == mean["all"] == pytest.approx(target["accuracy"])
        for k, scores in target["modalities"].items():
            assert zero["alone"][k] == pytest.approx(scores["masked"]), (method, k)
        for of in (zero, mean):
            assert sum(of["shapley"].values()) == pytest.approx(of["all"] - of["none"])


def test_a_second_call_measures_nothing_and_force_gives_the_same_numbers(copy, capsys):
    assert call(copy, "shapley") == 0
    files = sorted(copy.rglob("analysis/*.json"))
    before = [file.read_bytes() for file in files]
    assert len(files) == len(METHODS)
    capsys.readouterr()
    assert call(copy, "shapley") == 0
    assert "0 runs to measure, 4 measured before" in capsys.readouterr().out
    assert [file.read_bytes() for file in files] == before
    assert call(copy, "shapley", "--force") == 0
    for file, text in zip(files, before, strict=True):
        assert json.loads(file.read_bytes())["values"] == json.loads(text)["values"]


def test_after_a_stop_the_same_command_goes_on(copy, monkeypatch, capsys):
    done = []

    def stops_at_the_third(self, run):
        if len(done) == 2:
            raise KeyboardInterrupt
        done.append(run.spec.method)
        return {"n": 1}

    monkeypatch.setattr(Calibration, "measure", stops_at_the_third)
    assert call(copy, "calibration") == 130
    assert "goes on" in capsys.readouterr().err
    assert len(list(copy.rglob("analysis/*.json"))) == 2
    monkeypatch.setattr(
        Calibration, "measure", lambda self, run: done.append(run.spec.method) or {}
    )
    assert call(copy, "calibration") == 0
    assert sorted(done) == sorted([*METHODS, "joint"])


def test_a_damaged_file_is_told_of_and_measured_again(copy, capsys):
    assert call(copy, "calibration", "--method", "erm") == 0
    (file,) = copy.rglob("analysis/*.json")
    whole = json.loads(file.read_bytes())["values"]
    file.write_text(file.read_text()[:-40])
    assert report.main(["--results", str(copy), "--table", "calibration"]) == 2
    assert "remove it" in capsys.readouterr().err
    assert call(copy, "calibration", "--method", "erm") == 0
    assert json.loads(file.read_bytes())["values"] == whole


def test_one_failure_takes_no_other_run_along(copy, monkeypatch, capsys):
    measure = Calibration.measure

    def fails_once(self, run):
        if run.spec.method == "mbcd":
            raise ZeroDivisionError("by hand")
        return measure(self, run)

    monkeypatch.setattr(Calibration, "measure", fails_once)
    assert call(copy, "calibration") == 1
    assert "ZeroDivisionError: by hand" in capsys.readouterr().err
    assert len(list(copy.rglob("analysis/*.json"))) == len(METHODS)


def test_reasons_say_what_to_do(results, capsys):
    assert call(results, "shapley", "--dry-run") == 0
    assert (
        "1 run left out: no weights were kept; train again with --keep" in capsys.readouterr().err
    )
    record = records(results)["erm"]
    old = replace(record, spec=replace(record.spec, numbers_version=1))
    assert "numbers version 1" in Shapley().lacks(old, [old])
    exported = replace(record, folder=None)
    assert "predictions are missing" in Calibration().lacks(exported, [])
    assert "no weights" in Shapley().lacks(exported, [])


def test_other_weights_or_settings_are_kept_apart(tmp_path):
    _, folder = tiny_run(tmp_path, "erm", keep="last")
    (record,) = read.read([tmp_path]).records
    assert Shapley().told(record) == {"permutations": 100, "weights": "last"}
    assert call(tmp_path, "shapley") == call(tmp_path, "shapley", "--set", "permutations=7") == 0
    assert len(read.read([tmp_path]).records[0].measured("shapley")) == 2
    assert len({one.key for one in analyses.of(folder.path, [])}) == 2


def test_changed_data_is_refused(results):
    record = records(results)["erm"]
    other = replace(record, spec=replace(record.spec, data="00" * 32))
    with pytest.raises(analyze.UsageError, match="not what the run was trained on"):
        _ = FinishedRun(other, RunSettings(results, device="cpu")).dataset


def test_drawn_samples_do_not_depend_on_the_method(results):
    settings = RunSettings(results, device="cpu")
    chosen = [
        [s.id for s in FinishedRun(record, settings).samples("target", 5)]
        for record in records(results).values()
    ]
    assert len({tuple(ids) for ids in chosen}) == 1 and len(chosen[0]) == 5


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ([], "say what to measure"),
        (["shaply"], "Did you mean 'shapley'?"),
        (["shapley", "--set", "permutation=3"], "Did you mean 'permutations'?"),
        (["shapley", "--set", "permutations"], "key=value"),
        (["shapley", "--set", "permutations=1"], "between 2"),
        (["shapley", "--set", "calibration.bins=1"], "analysis in --set"),
        (["shapley", "--method", "mcbd"], "Did you mean 'mbcd'?"),
    ],
)
def test_wrong_use_is_told(results, capsys, words, said):
    assert call(results, *words) == 2
    assert said in capsys.readouterr().err


def test_without_finished_runs_the_command_says_so(tmp_path, capsys):
    assert call(tmp_path, "shapley") == 2
    assert "no runs" in capsys.readouterr().err


def test_a_missing_package_is_asked_for_by_name(results, monkeypatch, capsys):
    monkeypatch.setattr(Calibration, "packages", ("no_such_package",))
    assert call(results, "calibration") == 2
    assert "no_such_package: pip install 'mmdg-benchmark[analysis]'" in capsys.readouterr().err


def test_every_analysis_is_listed_and_has_a_table_or_figure(capsys):
    assert analyze.main(["--list"]) == 0
    listed = capsys.readouterr().out
    for name in analysis.names():
        assert f"\n{name}: " in f"\n{listed}"
    shown = {layout.analysis or name for name, layout in LAYOUTS.items()}
    assert {"calibration", "shapley"} <= shown <= {*analysis.names()}


def test_tables_average_over_targets_within_seeds(tmp_path, capsys):
    """Two targets, two seeds; one run is not measured, so its seed has no average."""
    for target in ("d2", "d3"):
        for seed in (0, 1):
            sources = tuple(d for d in ("d1", "d2", "d3") if d != target)
            tiny_run(tmp_path, "erm", sources=sources, target=target, seeds=(seed,))
    assert call(tmp_path, "calibration") == 0
    found = read.read([tmp_path]).records
    wanted = [100 * r.measured("calibration")[0].values["target"]["ece"] for r in found]
    by_seed = {
        seed: [v for r, v in zip(found, wanted, strict=True) if r.spec.seed == seed]
        for seed in (0, 1)
    }
    means = [sum(of) / 2 for of in by_seed.values()]
    capsys.readouterr()
    assert report.main(["--results", str(tmp_path), "--table", "calibration"]) == 0
    row = next(line for line in capsys.readouterr().out.splitlines() if line.startswith("erm"))
    assert f"{sum(means) / 2:.2f} ±" in row and "(2)" in row
    next(tmp_path.rglob("analysis/*.json")).unlink()
    assert report.main(["--results", str(tmp_path), "--table", "calibration"]) == 0
    out = capsys.readouterr().out
    assert "1 of 4 runs are not measured" in out and "(1)" in out


def test_a_setting_without_a_row_is_told(tmp_path, capsys):
    """Only a setting beside the default was measured: the table says where its row is."""
    _, default = tiny_run(tmp_path, "mbcd")
    tiny_run(tmp_path, "mbcd", set=["beta=0.5"])
    assert call(tmp_path, "calibration") == 0
    shutil.rmtree(default.path / "analysis")
    capsys.readouterr()
    words = ["--results", str(tmp_path), "--table", "calibration"]
    assert report.main(words) == 0
    out = capsys.readouterr().out
    assert "Not shown: mbcd (beta=0.5). --all-rows" in out
    assert "confidence:" not in out
    assert report.main([*words, "--all-rows"]) == 0
    assert "mbcd (beta=0.5)" in capsys.readouterr().out


def test_specs_are_those_of_plain_runs(tmp_path):
    """Nothing about analyses is part of what a run is."""
    (spec,) = tiny_specs(tmp_path, "erm")
    assert "analysis" not in json.dumps(spec.to_json())
