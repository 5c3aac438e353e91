"""The main job on made-up recordings in real files: everything but the accuracy of real data."""

import csv
import json
from itertools import product
from pathlib import Path
from statistics import fmean

import pytest

import datasets
from benchmark import report, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]

SETS = ("video+flow", "video+audio", "flow+audio", "video+flow+audio")


def fabricated(name: str, root: Path, per_class: int) -> Path:
    datasets.get(name).fabricate(root, per_class)
    return root


def command(name: str, root: Path, results: Path, *more: str) -> list[str]:
    return [
        *("--dataset", name, "--data-root", str(root), "--results", str(results)),
        *("--device", "cpu", "--threads", "1", *more),
    ]


@pytest.mark.parametrize(
    "name, method, option, sets",
    [
        ("hac", "mbcd", ["--modalities", SETS[-1]], SETS[-1:]),
        ("epic_kitchens", "erm", ["--all-modalities"], SETS),
    ],
)
def test_every_split_and_set_of_modalities_is_learned_well_above_chance(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    name: str,
    method: str,
    option: list[str],
    sets: tuple[str, ...],
) -> None:
    root, results = fabricated(name, tmp_path / "data", 4), tmp_path / "r"
    card = datasets.get(name).card
    # One validation, at the end: the clips of the other two would take much of the time.
    more = ("--epochs", "3", "--batch-size", "8", "--lr", "1e-3", "--validate-every", "1000")
    tiny = [f"{spec.name}=tiny_{spec.name}" for spec in card.modalities]
    which = ("--method", method, "--all-splits", *option, "--backbone", *tiny)
    assert run.main(command(name, root, results, *which, *more)) == 0, capsys.readouterr()

    capsys.readouterr()
    assert report.main(["--results", str(results)]) == 0
    text = capsys.readouterr().out
    assert "Missing" not in text
    assert text.count("fabricated data\n") == 1  # the sets of modalities stand in one table

    table = tmp_path / "table.csv"
    assert report.main(["--results", str(results), "--format", "csv", "--output", str(table)]) == 0
    with table.open(newline="") as file:
        rows = list(csv.DictReader(file))
    cells = {(r["modalities"], r["row"], r["column"]): r for r in rows}
    assert set(cells) == set(product(sets, [method], (*card.domains, "average")))
    assert len(cells) == len(rows)
    assert all(r["n"] == "1" and not r["missing_seeds"] for r in rows)
    means = {key[:2]: float(r["mean"]) for key, r in cells.items() if key[2] == "average"}
    chance = 100 / len(card.classes)
    with_sound = [mean for (modalities, _), mean in means.items() if "audio" in modalities]
    assert min(means.values()) >= 3 * chance, means
    assert min(with_sound) >= 5 * chance, means
    assert fmean(means.values()) >= 5 * chance, means


def test_a_step_with_the_official_encoders_runs_on_a_cpu(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """At random weights; of the target the test file alone, for the time it takes."""
    root, results = fabricated("hac", tmp_path / "data", 2), tmp_path / "r"
    arguments = command(
        *("hac", root, results, "--method", "erm", "--sources", "human", "--target", "animal"),
        *("--modalities", "video+audio", "--steps", "1", "--batch-size", "4"),
        *("--backbone", "video=slowfast_r101", "audio=vggsound_resnet18"),
        *("--dataset-option", "target_set=test"),
    )
    assert run.main(arguments) == 0, capsys.readouterr()
    (path,) = results.rglob("result.json")
    assert json.loads((path.parent / "status.json").read_text())["state"] == "done"
    target = json.loads(path.read_text())["rules"]["last"]["target"]
    assert target["n"] == 7
    assert set(target["modalities"]) == {"video", "audio"}
