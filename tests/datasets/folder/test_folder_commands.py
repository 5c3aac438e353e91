"""The `folder` dataset under the commands."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_folder import (
    damaged,
    one_of_each,
    table,
    vectors,
)

import datasets
from benchmark import report, run
from datasets import prepare
from datasets.folder import Folder


def test_prepare_counts_and_finds_nothing_wrong(
    example: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(["folder", "--root", str(example)]) == 0
    out = capsys.readouterr().out
    assert "36 recordings of 4 classes in 3 domains" in out
    assert "lab: 12 recordings, 3 to 3 of each class" in out
    assert "folder: complete." in out


def test_prepare_names_everything_that_is_wrong(
    small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    damaged(small)
    assert prepare.main(["folder", "--root", str(small)]) == 1
    out = capsys.readouterr().out
    for row, name in ((2, "B_y_0"), (3, "B_y_1"), (12, "A_y_2"), (17, "A_x_3")):
        assert f"wrong: row {row}, x: {small}/x/{name}.npy" in out
    assert "wrong in 4 places" in out


def test_a_domain_without_validation_is_told(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = {("a", "x"): 2, ("a", "y"): 2, ("b", "x"): 5, ("b", "y"): 5}
    root = table(tmp_path / "d", vectors(tmp_path / "d", counts))
    assert prepare.main(["folder", "--root", str(root)]) == 1
    assert "domain a has nothing to validate on" in capsys.readouterr().out


def test_there_is_nothing_to_download_and_little_to_fabricate(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(["folder", "--root", str(tmp_path / "d"), "--download"]) == 2
    assert "holds your own files. Leave --download out" in capsys.readouterr().err
    assert prepare.main(["folder", "--root", str(tmp_path / "d"), "--fabricate", "2"]) == 2
    assert "at least 3 recordings" in capsys.readouterr().err


def benchmark_run(root: Path, results: Path, *more: str) -> int:
    return run.main(
        [
            *("--method", "erm", "--dataset", "folder", "--data-root", str(root)),
            *("--results", str(results), "--device", "cpu", "--threads", "1", *more),
        ]
    )


def test_two_modalities_run_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Vectors and time series of two domains, one file missing."""
    root, results = tmp_path / "d", tmp_path / "r"
    rng = np.random.default_rng(0)

    def series(i: int) -> tuple[str, Any]:
        return f"{i}.npy", np.sin((1 + i % 2) * np.linspace(0, 9, 50)) + rng.normal(0, 0.1, (2, 50))

    one_of_each(root, x=lambda i: (f"{i}.npy", rng.normal(i % 2, 0.1, 4)), imu=series)
    assert benchmark_run(root, results, "--all-splits", "--epochs", "2") == 0
    (root / "imu/3.npy").unlink()
    assert benchmark_run(root, results, "--all-splits", "--epochs", "2") == 2
    assert "row 5: " in capsys.readouterr().err
    skip = ("--target", "d0", "--sources", "d1", "--epochs", "2", "--on-bad-sample", "skip")
    assert benchmark_run(root, results, *skip) == 0

    records = [json.loads(p.read_text()) for p in results.glob("runs/folder/erm/*/*/*/result.json")]
    assert sorted(len(record["left_out"]) for record in records) == [0, 0, 1]
    capsys.readouterr()
    assert report.main(["--results", str(results)]) == 0
    assert "folder · multi-source · x+imu" in capsys.readouterr().out


def test_the_command_for_a_missing_cell_runs_it(
    tmp_path: Path, small: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import shlex

    more = ("--setting", "single-source", "--epochs", "1")
    assert benchmark_run(small, tmp_path / "r", "--sources", "A", "--target", "B", *more) == 0
    assert benchmark_run(small, tmp_path / "r", "--all-splits", "--seeds", "1", *more) == 0
    capsys.readouterr()
    assert report.main(["--results", str(tmp_path / "r")]) == 0
    (line,) = (n for n in capsys.readouterr().out.splitlines() if "benchmark.run" in n)
    assert run.main([*shlex.split(line)[3:], "--device", "cpu", "--threads", "1"]) == 0
    capsys.readouterr()
    assert report.main(["--results", str(tmp_path / "r")]) == 0
    out = capsys.readouterr().out
    assert "Missing" not in out
    assert out.count("single-source") == 1


def test_a_subclass_has_a_name_and_a_recipe_of_its_own(
    small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dataclasses import replace

    class Gestures(Folder):
        name = "gestures"
        recipe = replace(Folder.recipe, epochs=3)

    datasets.names()  # discovers the others first
    monkeypatch.setitem(datasets._registry._items, "gestures", Gestures)
    card = datasets.create("gestures", small).card
    assert (card.name, card.recipe.epochs, card.recipe.lr) == ("gestures", 3, 1e-3)


@pytest.mark.slow
def test_the_example_is_learned_well_above_chance(tmp_path: Path, example: Path) -> None:
    results = tmp_path / "r"
    more = ("--target", "street", "--sources", "home", "lab", "--epochs", "6", "--batch-size", "8")
    # One validation, at the end: six would take most of the time.
    more += ("--validate-every", "1000")
    subsets = ("video", "audio", "features")
    assert benchmark_run(example, results, *more, "--modalities", *subsets) == 0
    paths = list(results.rglob("result.json"))
    assert len(paths) == len(subsets)
    for path in paths:
        target = json.loads(path.read_text())["rules"]["last"]["target"]
        assert target["n"] == 12
        assert target["accuracy"] >= 0.5, path
