"""The command `benchmark.report`: output, filters, order and wrong use."""

import csv
import io
import subprocess
import sys
from pathlib import Path

import pytest
from support_reports import (
    FULL,
    SOME,
    commands,
    parsed,
    row_of,
    store_runs,
)

from benchmark import report
from benchmark.reporting import write
from benchmark.reporting.model import Table


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A whole row and one that lacks two seeds of one column."""
    return store_runs(tmp_path / "res", [*row_of("erm", FULL), *row_of("mbcd", SOME)])


def test_rows_can_be_ordered_by_their_average_in_every_format(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = [*row_of("erm", FULL), *row_of("mbcd", {d: [0.95] for d in FULL})]
    runs += row_of("swad", {"d1": [0.99]})
    store_runs(tmp_path, runs)

    def order(*options: str) -> list[str]:
        assert report.main(["--results", str(tmp_path), "--format", "csv", *options]) == 0
        lines = csv.DictReader(io.StringIO(capsys.readouterr().out))
        return list(dict.fromkeys(line["row"] for line in lines))

    assert order() == order("--sort", "name") == ["erm", "mbcd", "swad"]
    assert order("--sort", "average") == ["mbcd", "erm", "swad"]  # swad has no average
    assert report.main(["--results", str(tmp_path), "--sort", "averge"]) == 2
    assert "Did you mean 'average'?" in capsys.readouterr().err


def test_output_goes_to_the_file(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for form in ("text", "markdown", "latex", "csv"):
        assert report.main(["--results", str(results), "--format", form]) == 0
        printed = capsys.readouterr().out
        path = results.parent / "new" / f"table.{form}"
        args = ["--results", str(results), "--format", form, "--output", str(path)]
        assert report.main(args) == 0
        assert capsys.readouterr().out == ""
        assert path.read_text() == printed != ""


def test_output_that_cannot_be_written(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert report.main(["--results", str(results), "--output", str(results)]) == 2
    assert f"error: cannot write {results}" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "methods"),
    [
        (["--method", "mbcd"], [["mbcd"]]),
        (["--method", "mbcd", "erm"], [["erm", "erm", "mbcd"], ["erm"]]),
        (["--dataset", "toy2"], [["erm"]]),
        (["--modalities", "m2+m1", "--dataset", "toy"], [["erm", "mbcd"]]),
        (["--modalities", "m1"], [["erm"]]),
        (["--setting", "multi-source"], [["erm", "erm", "mbcd"], ["erm"]]),
    ],
)
def test_filters(
    options: list[str],
    methods: list[list[str]],
    results: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    store_runs(results, row_of("erm", FULL, dataset="toy2"))
    store_runs(results, row_of("erm", FULL, modalities=("m1",)))
    seen: list[Table] = []

    def render(found: list[Table], *_: object) -> str:
        seen.extend(found)
        return ""

    monkeypatch.setattr(write, "render", render)
    assert report.main(["--results", str(results), *options]) == 0
    expected = sorted(methods)
    assert sorted([row.label for row in table.rows] for table in seen) == expected


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "mbdc"], "unknown method among the runs 'mbdc'. Did you mean 'mbcd'?"),
        (["--dataset", "tyo"], "Did you mean 'toy'? Valid: toy."),
        (["--modalities", "m1+m3"], "Did you mean 'm1+m2'?"),
        (["--setting", "single-source"], "Valid: multi-source."),
        (["--seed", "7"], "unknown seed among the runs '7'. Valid: 0, 1, 2."),
        (["--select", "best-vla"], "unknown select 'best-vla'. Did you mean 'best-val'?"),
        (["--metric", "acuracy"], "Did you mean 'accuracy'?"),
        (["--format", "latx"], "Did you mean 'latex'?"),
    ],
)
def test_unknown_names_offer_the_nearest(
    options: list[str], message: str, results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--results", str(results), *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: ") and message in captured.err


def test_seeds_can_be_picked(results: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def counts(*options: str) -> set[str]:
        assert report.main(["--results", str(results), "--format", "csv", *options]) == 0
        return {row["n"] for row in csv.DictReader(io.StringIO(capsys.readouterr().out))}

    assert "3" in counts()
    assert counts("--seed", "0") == {"1"}
    assert "2" in counts("--seed", "0", "1") and "3" not in counts("--seed", "0", "1")


def test_filters_that_match_nothing_together_list_what_is_there(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_runs(results, row_of("erm", FULL, dataset="toy2"))
    assert report.main(["--results", str(results), "--method", "mbcd", "--dataset", "toy2"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no run matches all the filters")
    for dataset, method in (("toy", "erm"), ("toy", "mbcd"), ("toy2", "erm")):
        assert f"--dataset {dataset} --method {method} --modalities m1+m2" in error


def test_nothing_to_report_says_what_to_run_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    first = "python -m benchmark.run --method erm mbcd --dataset synthetic --all-splits"
    assert report.main(["--results", str(tmp_path / "none")]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("error: there are no runs in ")
    assert f"{first} --results {tmp_path / 'none'}\n" in captured.err


def test_default_results_folder_is_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("benchmark.records.committed.HOME", tmp_path / "none")
    assert report.main([]) == 2
    assert "--results" not in capsys.readouterr().err
    store_runs(tmp_path / "results", row_of("erm", {"d1": [0.5]}))
    assert report.main([]) == 0
    found = commands(capsys.readouterr().out)
    assert len(found) == 2 and all(parsed(command).results is None for command in found)


def test_torch_is_not_imported(tmp_path: Path) -> None:
    store_runs(tmp_path, row_of("erm", FULL))
    code = (
        "import sys; from benchmark.report import main\n"
        "try: code = main(sys.argv[1:])\n"
        "except SystemExit as stop: code = stop.code\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    for args in (["--help"], ["--results", str(tmp_path)]):
        run = subprocess.run(
            [sys.executable, "-c", code, *args], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stderr
        assert "82.00" in run.stdout or "usage" in run.stdout
