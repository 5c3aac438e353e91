"""Runs that are committed are taken from there instead of being trained."""

import json

import pytest

import benchmark.report
import benchmark.results
import benchmark.run
import benchmark.sweep
from benchmark.records import provenance
from benchmark.records.store import Store

WHAT = ("--dataset", "synthetic", "--epochs", "1", "--threads", "1")
WHAT += ("--dataset-option", "domains=2", "samples_per_class=6")


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """A set of results that has ERM on both targets."""
    folder = tmp_path_factory.mktemp("committed")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "commit", lambda: "a" * 40)
        assert run(folder / "store", "--method", "erm", "--no-reuse") == 0
    given = ["--results", str(folder / "store"), "--set", str(folder / "2026"), "--by", "us"]
    assert benchmark.results.main(["add", *given]) == 0
    (folder / "CURRENT").write_text("2026\n")
    return folder


def run(results, *given):
    given = (*WHAT, "--setting", "single-source", "--all-splits", "--results", str(results), *given)
    return benchmark.run.main(given)


def taken(results):
    found = {f.path: f.result() for _, f in Store(results).all()}
    return {path: result for path, result in found.items() if result and "reused" in result}


def trained(results):
    return {
        spec.method for spec, folder in Store(results).all() if folder.path not in taken(results)
    }


@pytest.mark.parametrize("place", ["", "2026"])
def test_only_what_is_not_committed_is_trained(committed, tmp_path, capsys, place):
    given = ("--method", "erm", "ema", "--reuse", str(committed / place))
    assert run(tmp_path, *given) == 0
    out = capsys.readouterr().out
    assert "2 runs are taken from committed results: erm (2)" in out and "[2/2]" in out
    assert trained(tmp_path) == {"ema"} and len(taken(tmp_path)) == 2
    assert {result["reused"] for result in taken(tmp_path).values()} == {"2026"}
    assert run(tmp_path, *given) == 0
    assert "taken" not in capsys.readouterr().out


def test_what_is_taken_has_the_numbers_of_training(committed, tmp_path):
    assert run(tmp_path / "taken", "--method", "erm", "--reuse", str(committed)) == 0
    assert run(tmp_path / "trained", "--method", "erm", "--no-reuse") == 0
    first, second = (Store(tmp_path / name).all() for name in ("taken", "trained"))
    for (spec, a), (same, b) in zip(first, second, strict=True):
        assert spec == same and a.result()["rules"] == b.result()["rules"]


def test_a_table_says_what_was_taken(committed, tmp_path, capsys):
    run(tmp_path, "--method", "erm", "--reuse", str(committed))
    capsys.readouterr()
    assert benchmark.report.main(["--results", str(tmp_path)]) == 0
    assert "taken from the committed results 2026 (runs): erm (2)." in capsys.readouterr().out
    assert benchmark.report.main(["--results", str(tmp_path), "--ensemble"]) == 0
    assert "ensembles of committed runs, which keep no logits" in capsys.readouterr().err


def test_no_reuse_trains_what_was_taken_before(committed, tmp_path):
    run(tmp_path, "--method", "erm", "--reuse", str(committed))
    assert run(tmp_path, "--method", "erm", "--no-reuse") == 0
    assert not taken(tmp_path) and trained(tmp_path) == {"erm"}
    assert run(tmp_path, "--method", "erm", "--reuse", str(committed)) == 0
    assert not taken(tmp_path), "what was trained here is never replaced"


@pytest.mark.parametrize(
    "given", [("--keep-checkpoints", "best"), ("--log-gradients",), ("--force",)]
)
def test_weights_gradients_and_force_need_training(committed, tmp_path, given):
    assert run(tmp_path, "--method", "erm", "--reuse", str(committed), *given) == 0
    assert not taken(tmp_path) and trained(tmp_path) == {"erm"}


def test_a_plan_says_what_is_committed(committed, tmp_path, capsys):
    given = ("--method", "erm", "ema", "--reuse", str(committed))
    assert run(tmp_path, *given, "--dry-run") == 0
    assert "2 of them are in the committed results" in capsys.readouterr().out
    assert not (tmp_path / "runs").exists()


def test_a_sweep_takes_them_too(committed, tmp_path, capsys):
    grid = tmp_path / "grid.yaml"
    grid.write_text(
        "dataset: synthetic\nepochs: 1\ndataset-option: {domains: 2, samples_per_class: 6}\n"
        "setting: single-source\nall-splits: true\nmethod: [erm, ema]\n"
    )
    given = [str(grid), "--results", str(tmp_path / "r"), "--reuse", str(committed)]
    assert benchmark.sweep.main([*given, "--dry-run"]) == 0
    assert "2 runs to do are in the committed results" in capsys.readouterr().out
    assert benchmark.sweep.main(given) == 0
    assert len(taken(tmp_path / "r")) == 2 and trained(tmp_path / "r") == {"ema"}


@pytest.mark.parametrize("broken", ["", "no.txt", "CURRENT", "line"])
def test_a_place_without_results_is_one_line(committed, tmp_path, capsys, broken):
    place = tmp_path / "place"
    if broken == "line":
        (place / "synthetic" / "single-source").mkdir(parents=True)
        (place / "set.json").write_text(json.dumps({"schema": 1, "numbers_version": 3}))
        (place / "synthetic" / "single-source" / "erm.jsonl").write_text("{}\n")
    elif broken:
        place.mkdir()
        (place / broken).write_text("nothing\n")
    assert run(tmp_path / "r", "--method", "erm", "--reuse", str(place)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: ") and str(place) in line


def test_a_report_without_runs_shows_the_committed_ones(committed, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmark.records.committed.HOME", committed)
    assert benchmark.report.main(["--dataset", "synthetic"]) == 0
    out, err = capsys.readouterr()
    assert "no runs of your own yet; these are the committed results 2026" in err
    assert "single-source" in out and "erm" in out and "--results" not in out
    run(tmp_path / "results", "--method", "ema", "--no-reuse")
    capsys.readouterr()
    assert benchmark.report.main([]) == 0
    out, err = capsys.readouterr()
    assert "committed results" not in out + err and "erm" not in out
