"""`python -m benchmark.score`: a method of one's own beside committed results."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

import benchmark.results
import benchmark.run
import methods
from benchmark import score
from benchmark.records import provenance
from benchmark.records.run_folder import RunFolder
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store

METHOD = """
from torch.nn import functional as F
from methods import register
from methods.base import Method


@register("NAME")
class Mine(Method):
    def loss(self, batch):
        logits = self.model.fuse(self.model.embed(batch.features))
        return {"fused": F.cross_entropy(logits, batch.labels, label_smoothing=0.1)}
"""
SMALL = ["--dataset-option", "domains=3", "samples_per_class=6", "--epochs", "1", "--threads", "1"]
GRID = """
dataset: synthetic
dataset-option: {domains: 3, samples_per_class: 6}
all-splits: true
method: erm
epochs: 1
seeds: [0, 1]
"""
TWO = """
all-splits: true
method: erm
epochs: 1
seeds: [0, 1, 2]
runs:
  - dataset: sp_sw_har
  - {dataset: synthetic, dataset-option: {domains: 3, samples_per_class: 6}}
"""
SENSORS = """
all-splits: true
method: erm
epochs: 1
seeds: [0, 1]
runs: [{dataset: sp_sw_har}, {dataset: mex}]
"""


def train(store: Path, *what: str) -> None:
    """Train here, as if this code were in a commit."""
    given = ["--all-splits", "--threads", "1", "--no-reuse", "--results", str(store), *what]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(provenance, "commit", lambda: "a" * 40)
        assert benchmark.run.main(given) == 0


def commit(store: Path, to: Path) -> Path:
    given = ["--results", str(store), "--set", str(to), "--by", "us"]
    assert benchmark.results.main(["add", *given]) == 0
    (to.parent / "CURRENT").write_text(f"{to.name}\n")
    return to


@pytest.fixture(scope="module")
def committed(tmp_path_factory):
    """Return a set in which ERM and two others have all runs of the small suite."""
    folder = tmp_path_factory.mktemp("committed")
    what = ["--dataset", "synthetic", *SMALL, "--seeds", "0", "1"]
    train(folder / "store", "--method", "erm", "joint", "late_fusion", *what)
    return commit(folder / "store", folder / "2026")


@pytest.fixture
def here(tmp_path, monkeypatch):
    """Return an empty working folder with the small suite; what is registered is forgotten."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MMDG_DATA", raising=False)
    methods.names()
    monkeypatch.setattr(methods._registry, "_items", dict(methods._registry._items))
    monkeypatch.setattr(sys, "path", [*sys.path])
    (tmp_path / "small.yaml").write_text(GRID)
    return tmp_path


def of_store(root: Path = Path("results")) -> list[tuple[RunSpec, RunFolder]]:
    return list(Store(root).all())


def scored(committed: Path, *given: str) -> int:
    return score.main([*given, "--suite", "small.yaml", "--reuse", str(committed)])


# A method that is committed


@pytest.mark.parametrize("place", ["", "2026"])
def test_a_committed_method_gets_its_card_without_training(committed, here, capsys, place):
    assert scored(committed.parent / place, "late_fusion") == 0
    out = capsys.readouterr().out
    assert "6 runs are taken from committed results: late_fusion (6)" in out
    assert "checks pass" not in out
    assert re.search(r"^late_fusion: [+-]\d+\.\d\d points over erm \(these targets", out, re.M)
    assert re.search(r"rank \d of 3", out)
    assert "late_fusion · small · beside 2026" in out
    assert {spec.method for spec, _ in of_store()} == {"late_fusion"}
    assert all("reused" in folder.result() for _, folder in of_store())


def test_packed_runs_are_scored_alike(committed, here, capsys):
    assert scored(committed, "late_fusion") == 0
    capsys.readouterr()
    assert scored(committed, "late_fusion") == 0
    before = capsys.readouterr()
    assert benchmark.results.main(["pack"]) == 0
    assert {path.name for path in Path("results/runs").rglob("*.*")} == {"packed.zip"}
    capsys.readouterr()
    assert scored(committed, "late_fusion") == 0
    assert capsys.readouterr() == before


def test_the_figures_are_those_of_the_report(committed, here, capsys):
    assert scored(committed, "late_fusion") == 0
    ours = re.search(r"late_fusion: ([+-][\d.]+) points", capsys.readouterr().out).group(1)
    from benchmark import report

    assert report.main(["--results", str(committed), "--table", "gains"]) == 0
    (row,) = (x for x in capsys.readouterr().out.splitlines() if x.startswith("late_fusion"))
    assert row.split()[1] == ours


def test_fewer_seeds_are_compared_with_the_same_seeds_of_all_others(committed, here, capsys):
    assert scored(committed, "late_fusion", "--seeds", "1") == 0
    out = capsys.readouterr().out
    assert "3 runs: 3 done" in out and "rank" in out and "No interval" in out
    assert {spec.seed for spec, _ in of_store()} == {1}


def test_a_dry_run_estimates_by_the_runs_of_erm_and_leaves_nothing(committed, here, capsys):
    assert scored(committed, "mbcd", "--dry-run", "--processes", "1") == 0
    out = capsys.readouterr().out
    assert "6 runs: 6 to do" in out
    assert re.search(r"6 runs to do, 1 at a time: about \d+ s \(6 by committed runs of other", out)
    assert not Path("results").exists()


# Wrong use


def wrong(capsys, *given: str) -> str:
    capsys.readouterr()
    assert score.main(list(given)) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1, error
    return error


def test_wrong_use_is_one_line_that_says_what_to_type(committed, here, capsys):
    beside = ["--suite", "small.yaml", "--reuse", str(committed)]
    for what, said in (
        (["mbdc"], "unknown method, module or file 'mbdc'. Did you mean 'mbcd'?"),
        (["swad+mbdc"], "unknown method 'mbdc'. Did you mean 'mbcd'?"),
        (["mine.py"], "there is no file mine.py"),
        (["erm"], "erm is what all others are compared with"),
        (["mbcd", "--only", "synthetik"], "Did you mean 'synthetic'?"),
        (["mbcd", "--processes", "-1"], "--processes -1: type a whole number"),
        (["mbcd", "--method", "mbdc"], "unknown method 'mbdc'. Did you mean 'mbcd'?"),
    ):
        assert said in wrong(capsys, *what, *beside)
    assert "has no committed results" in wrong(capsys, "mbcd", "--reuse", str(here))
    assert "cannot read nothing.yaml" in wrong(capsys, "mbcd", "--suite", "nothing.yaml")


def test_a_file_of_several_methods_needs_a_choice(committed, here, capsys):
    both = METHOD.replace("NAME", "one_of_two") + METHOD.replace("NAME", "two_of_two")
    Path("both_of_test.py").write_text(both)
    beside = ["--suite", "small.yaml", "--reuse", str(committed)]
    error = wrong(capsys, "both_of_test.py", *beside)
    assert "registers 2 methods, one_of_two, two_of_two: say which, such as --method one" in error
    given = ["both_of_test.py", "--method", "two_of_two", "ema+one_of_two", *beside, "--dry-run"]
    assert score.main(given) == 0
    out = capsys.readouterr().out
    assert {line.split()[3] for line in out.splitlines() if line.startswith("to do")} == {
        "two_of_two",
        "ema+one_of_two",
    }


def test_without_committed_results_nothing_is_trained(here, capsys, monkeypatch):
    from benchmark.records import committed

    monkeypatch.setattr(committed, "HOME", here / "none")
    error = wrong(capsys, "mbcd", "--suite", "small.yaml", "--no-reuse")
    assert "to compare with; name some with --reuse DIR" in error


def test_results_of_another_version_of_the_numbers_are_refused(committed, here, capsys):
    old = here / "old"
    old.mkdir()
    (old / "set.json").write_text('{"schema": 1, "numbers_version": 1}')
    error = wrong(capsys, "mbcd", "--suite", "small.yaml", "--reuse", str(old))
    assert "holds numbers of version 1, and this code makes those of version" in error


def test_runs_without_a_committed_run_of_erm_are_left_out(committed, here, capsys):
    Path("small.yaml").write_text(TWO)
    assert scored(committed, "late_fusion", "--dry-run") == 0
    out = capsys.readouterr().out
    assert "left out: 9 of 9 runs on sp_sw_har, as 2026 has no such run of erm" in out
    assert "left out: 3 of 9 runs on synthetic, as 2026 has no such run of erm" in out
    assert "6 runs: 6 to do" in out
    beside = ["--suite", "small.yaml", "--reuse", str(committed)]
    assert score.main(["mbcd", "--only", "sp_sw_har", *beside]) == 2
    assert "nothing is left to compare" in capsys.readouterr().err


# A method of one's own


def test_a_method_that_breaks_the_contract_is_not_trained(committed, here, capsys):
    body = METHOD.replace("NAME", "endless_of_test").replace("F.cross_entropy(", "float('inf') * (")
    body = body.replace("logits, batch.labels, label_smoothing=0.1", "logits.sum()")
    Path("endless_of_test.py").write_text(body)
    assert scored(committed, "endless_of_test.py") == 1
    shown = capsys.readouterr()
    assert "FAIL" in shown.out and "pass  " not in shown.out
    assert "nothing was trained: endless_of_test breaks the contract" in shown.err
    assert "python -m methods check endless_of_test.py" in shown.err
    assert of_store() == []


def command(*given: str, where: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "benchmark.score", *given], cwd=where, capture_output=True, text=True
    )


@pytest.mark.slow
def test_a_new_method_of_ten_lines_gets_its_row_beside_the_committed_ones(tmp_path, monkeypatch):
    """On recordings. Only its own cells are trained, in processes that have to find the file."""
    monkeypatch.delenv("MMDG_DATA", raising=False)
    what = ["--dataset", "sp_sw_har", "--epochs", "1", "--seeds", "0", "1"]
    train(tmp_path / "store", "--method", "erm", "late_fusion", *what)
    beside = commit(tmp_path / "store", tmp_path / "2026")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab" / "mine.py").write_text(METHOD.replace("NAME", "mine"))
    (tmp_path / "elsewhere" / "suite.yaml").write_text(SENSORS)
    given = ["../lab/mine.py", "--suite", "suite.yaml", "--reuse", str(beside)]

    first = command(*given, "--seeds", "0", "--processes", "1", where=tmp_path / "elsewhere")
    assert (first.returncode, first.stderr) == (0, ""), first.stdout
    assert "22 of 22 checks pass" in first.stdout and "pass  " not in first.stdout
    assert "left out: no data of mex in data; how to get it: python -m datasets" in first.stdout
    assert "3 runs to do, 1 at a time: about" in first.stdout
    assert "3 runs: 3 done" in first.stdout

    results = tmp_path / "elsewhere" / "results"
    before = {
        f.path: f.path.joinpath("result.json").stat().st_mtime_ns for _, f in of_store(results)
    }
    assert len(before) == 3
    second = command(*given, "--processes", "2", where=tmp_path / "elsewhere")
    assert (second.returncode, second.stderr) == (0, ""), second.stdout
    assert "[3/3]" in second.stdout and "6 runs: 6 done" in second.stdout
    assert {spec.method for spec, _ in of_store(results)} == {"mine"}
    assert {(s.target, s.seed) for s, _ in of_store(results)} == {
        (target, seed) for target in ("back", "back_inv", "front") for seed in (0, 1)
    }
    for path, when in before.items():
        assert path.joinpath("result.json").stat().st_mtime_ns == when

    third = command(*given, where=tmp_path / "elsewhere")
    assert third.returncode == 0
    assert "checks pass" not in third.stdout and "[1/" not in third.stdout
    headline = (
        r"mine: [+-]\d+\.\d\d points over erm \(these targets [-+.\d]+ to [-+.\d]+, p [^)]*\)"
    )
    assert re.search(rf"{headline}, rank \d of\s3", third.stdout), third.stdout
    assert re.search(r"^sp_sw_har +\d\d\.\d\d +\d\d\.\d\d +[+-]\d+\.\d\d ", third.stdout, re.M)
    assert "Cost: 1 + 1 passes (forward + backward) per step, erm 1 + 1;" in third.stdout
    assert max(map(len, third.stdout.splitlines())) <= 110
    assert len(third.stdout.splitlines()) < 30


@pytest.mark.slow
def test_failed_runs_are_told_of_and_the_others_are_compared(committed, here):
    body = METHOD.replace("NAME", "brittle_of_test")
    fails = "assert parent_process() is None or not any('d1' in one for one in batch.ids)"
    body = body.replace("        logits =", f"        {fails}\n        logits =")
    Path("brittle.py").write_text(f"from multiprocessing import parent_process\n{body}")
    given = ["brittle.py", "--suite", "small.yaml", "--reuse", str(committed)]
    done = command(*given, "--processes", "1", where=here)
    assert done.returncode == 1
    assert "2 done, 4 failed" in done.stdout
    assert "4 runs, such as brittle_of_test" in done.stderr and "--retry-failed" in done.stderr
    assert "on 0 of 1 targets" in done.stdout or "on 1 of 1 targets" in done.stdout

    Path("brittle.py").write_text(METHOD.replace("NAME", "brittle_of_test"))
    again = command(*given, "--processes", "1", "--retry-failed", where=here)
    assert again.returncode == 0 and "6 runs: 6 done" in again.stdout, again.stderr
    changed = "brittle_of_test has changed since 2 of its runs were trained; --force trains them"
    assert changed in again.stdout
    forced = command(*given, "--processes", "1", "--force", where=here)
    assert forced.returncode == 0 and "changed" not in forced.stdout, forced.stderr
