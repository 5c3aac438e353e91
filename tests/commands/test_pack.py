"""`benchmark.results pack`: every command says of packed runs what it said of their folders."""

import re
from pathlib import Path

import pytest
from damage import CRAFTED
from support import tiny_run
from support_committed import ASKED, RUNS, add, contents, wrong

from benchmark import analyze, report, results, run
from benchmark.analysis.finished import FinishedRun
from benchmark.records import read
from benchmark.records.store import Store

PACKS = 6
"""Of three methods with two splits each."""


def pack(root: Path) -> int:
    return results.main(["pack", "--results", str(root)])


def files(root: Path) -> list[str]:
    return sorted(p.name for p in (root / "runs").rglob("*") if p.is_file())


def test_reports_states_and_additions_are_the_same_before_and_after(runs, tmp_path, capsys):
    here = ["--results", str(runs)]

    def told(name: str) -> list[str]:
        found = []
        for command in (
            lambda: report.main([*here, "--table", "all", "--ensemble"]),
            lambda: report.main([*here, "--format", "csv"]),
            lambda: report.main([*here, "--export", str(tmp_path / f"{name}.jsonl")]),
            lambda: run.main([*ASKED, *here, "--status"]),
            lambda: run.main([*ASKED, *here]),
            lambda: add(tmp_path / name, runs),
        ):
            code = command()
            shown = capsys.readouterr()
            found.append(f"{code}\n{shown.out}\n{shown.err}".replace(name, "NAME"))
        return found

    was = told("set-1")
    assert len(files(runs)) > 6 * RUNS
    assert pack(runs) == 0
    out = capsys.readouterr().out
    assert f"{RUNS} runs packed into {PACKS} files, {RUNS} are packed now\n" in out
    assert f"dropped: {RUNS} claims, {RUNS} logs\n" in out
    size = r"files, \d+\.\d MB\n"
    assert re.search(rf"^before: \d+ {size}now: {PACKS} {size}", out, re.MULTILINE)
    assert files(runs) == ["packed.zip"] * PACKS
    for before, after in zip(was, told("set-2"), strict=True):
        assert before == after
    assert files(runs) == ["packed.zip"] * PACKS  # nothing was trained
    one, other = (contents(tmp_path / name) for name in ("set-1", "set-2"))
    assert one == other and wrong(tmp_path / "set-2") == []
    lines = [(tmp_path / f"{name}.jsonl").read_bytes() for name in ("set-1", "set-2")]
    assert lines[0] == lines[1]


def test_the_page_links_to_the_pack(runs, tmp_path, capsys):
    assert pack(runs) == 0
    options = ["--format", "html", "--output", str(tmp_path / "page.html")]
    assert report.main(["--results", str(runs), *options]) == 0
    page = (tmp_path / "page.html").read_text()
    links = set(re.findall(r'"([^"]*/erm/[^"]*)"', page))
    assert len(links) == 2
    assert all((tmp_path / link).is_file() and link.endswith("packed.zip") for link in links)


@pytest.mark.slow
def test_analyses_of_packed_runs_are_found_added_and_packed(tmp_path, capsys):
    _, folder = tiny_run(tmp_path, keep="best")
    call = ["--results", str(tmp_path)]
    assert analyze.main(["calibration", *call]) == 0
    assert pack(tmp_path) == 0
    assert [path.name for path in folder.path.iterdir()] == ["weights-best.pt"]
    capsys.readouterr()
    assert analyze.main(["calibration", *call]) == 0
    assert "calibration: 0 runs to measure, 1 measured before" in capsys.readouterr().out
    assert analyze.main(["sharpness", *call]) == 0  # with the weights, which stayed
    assert "1 measured" in capsys.readouterr().out
    for _ in range(2):
        record = read.run(folder.path)
        assert [len(record.measured(name)) for name in ("calibration", "sharpness")] == [1, 1]
        assert FinishedRun.weights_of(record) == folder.path / "weights-best.pt"
        assert pack(tmp_path) == 0
    assert sorted(files(tmp_path)) == ["packed.zip", "weights-best.pt"]


def test_a_run_is_found_from_inside_its_folder(tmp_path, monkeypatch):
    """As `benchmark.predict .` names it."""
    _, folder = tiny_run(tmp_path, keep="best")
    assert pack(tmp_path) == 0
    monkeypatch.chdir(folder.path)
    assert read.run(Path()).result is not None


def test_taken_runs_that_are_packed_are_trained_with_no_reuse(packed, tmp_path, capsys):
    store = Store(tmp_path / "results")
    call = [*ASKED, "--results", str(store.root)]
    assert run.main([*call, "--reuse", str(packed)]) == 0
    assert pack(store.root) == 0 and files(store.root) == ["packed.zip"] * PACKS
    capsys.readouterr()
    assert run.main([*call, "--reuse", str(packed)]) == 0
    assert "taken from" not in capsys.readouterr().out
    assert run.main([*call, "--no-reuse"]) == 0
    found = [folder.result() for _, folder in store.all()]
    assert len(found) == RUNS and not any("reused" in result for result in found)


def test_wrong_use_is_one_line(runs, tmp_path, capsys):
    assert pack(tmp_path / "nowhere") == 2
    error = capsys.readouterr().err
    assert error.startswith("error: there are no runs in ") and error.count("\n") == 1
    assert pack(runs) == 0
    place = next(runs.rglob("packed.zip"))
    capsys.readouterr()
    for content in CRAFTED.values():
        place.write_bytes(content)
        assert pack(runs) == 1
        error = capsys.readouterr().err
        assert error.startswith(f"left out: {place}: ") and error.count("\n") == 1
        assert report.main(["--results", str(runs)]) == 0
        shown = capsys.readouterr()
        assert shown.err.count(f"{place}: ") == 1 and shown.err.count("\n") == 1
        assert place.read_bytes() == content
