"""The table that a reader of the field expects: every method, on made-up and on real data."""

import csv

import pytest

import methods
from benchmark import report, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


def table(results, tmp_path):
    """Return the cells of the one table there is, by row and column."""
    path = tmp_path / "table.csv"
    assert report.main(["--results", str(results), "--format", "csv", "--output", str(path)]) == 0
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {(row["row"], row["column"]): row for row in rows}


def test_every_method_fills_its_row_on_the_synthetic_dataset(tmp_path, capsys):
    results = tmp_path / "r"
    arguments = ["--method", "all", "--dataset", "synthetic", "--dataset-option", "domains=3"]
    split = ["--sources", "d1", "d2", "--target", "d3"]
    which = ["--threads", "1", "--results", str(results)]
    assert run.main([*arguments, *split, *which]) == 0, capsys.readouterr().err
    cells = table(results, tmp_path)
    assert {method for method, _ in cells} == set(methods.names())
    shown = {method: cells[method, "d3"] for method in methods.names()}
    assert all(cell["n"] == "1" and not cell["missing_seeds"] for cell in shown.values())
    found = {method: float(cell["mean"]) for method, cell in shown.items()}
    assert min(found.values()) > 2 * 20, found  # five classes


@pytest.mark.data
def test_every_method_trains_on_real_recordings(tmp_path, utd_root, capsys):
    results = tmp_path / "r"
    arguments = ["--method", "all", "--dataset", "utd_mhad", "--data-root", str(utd_root)]
    split = ["--sources", "s1s2", "s3s4", "s5s6", "--target", "s7s8"]
    which = ["--modalities", "skeleton+accelerometer", "--epochs", "3", "--threads", "1"]
    assert run.main([*arguments, *split, *which, "--results", str(results)]) == 0
    cells = table(results, tmp_path)
    found = {method: float(cells[method, "s7s8"]["mean"]) for method in methods.names()}
    assert min(found.values()) > 5 * 100 / 27, found
