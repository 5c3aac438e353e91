"""The main job on a whole real dataset."""

import json
from statistics import fmean

import pytest

from benchmark import report, run

pytestmark = [pytest.mark.data, pytest.mark.slow]

THREE = "skeleton+accelerometer+gyroscope"


def results(tmp_path, method):
    files = tmp_path.glob(f"runs/utd_mhad/{method}/*/*/*/result.json")
    return {p.parts[-4]: json.loads(p.read_text()) for p in files}


def test_erm_reaches_ninety_percent_on_unseen_subjects(tmp_path, utd_root, capsys):
    code = run.main(
        [
            "--method",
            "erm",
            "--dataset",
            "utd_mhad",
            "--data-root",
            str(utd_root),
            "--all-splits",
            "--modalities",
            THREE,
            "--results",
            str(tmp_path),
        ]
    )
    assert code == 0
    found = results(tmp_path, "erm")
    assert len(found) == 4
    assert sum(r["rules"]["best-val"]["target"]["n"] for r in found.values()) == 861
    accuracies = [r["rules"]["best-val"]["target"]["accuracy"] for r in found.values()]
    assert fmean(accuracies) >= 0.90
    capsys.readouterr()
    assert report.main(["--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert f"{100 * fmean(accuracies):.2f}" in out
    assert "Missing" not in out


def test_all_four_modalities_and_a_single_source_run(tmp_path, utd_root):
    arguments = [
        "--method",
        "erm",
        "mbcd",
        "--dataset",
        "utd_mhad",
        "--data-root",
        str(utd_root),
        "--sources",
        "s1s2",
        "--target",
        "s3s4",
        "--epochs",
        "2",
        "--results",
        str(tmp_path),
    ]
    assert run.main(arguments) == 0
    for method in ("erm", "mbcd"):
        (result,) = results(tmp_path, method).values()
        assert set(result["rules"]["last"]["target"]["modalities"]) == {
            "depth",
            "skeleton",
            "accelerometer",
            "gyroscope",
        }
        assert result["rules"]["last"]["target"]["accuracy"] > 3 / 27


def test_a_truncated_file_is_named_and_finished_runs_stay(tmp_path, utd_root, capsys):
    """Copies the inertial part, runs on it, then breaks one file of the copy."""
    copy = tmp_path / "data" / "Inertial"
    copy.mkdir(parents=True)
    for path in (utd_root / "Inertial").iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    arguments = [
        "--method",
        "erm",
        "--dataset",
        "utd_mhad",
        "--data-root",
        str(copy.parent),
        "--sources",
        "s1s2",
        "--target",
        "s3s4",
        "--modalities",
        "accelerometer+gyroscope",
        "--epochs",
        "1",
        "--results",
        str(tmp_path / "r"),
    ]
    assert run.main(arguments) == 0
    (done,) = (tmp_path / "r").rglob("result.json")
    before = done.read_bytes()
    broken = copy / "a5_s3_t2_inertial.mat"
    broken.write_bytes(broken.read_bytes()[:1000])
    capsys.readouterr()
    assert run.main(arguments) == 2
    assert "a5_s3_t2_inertial.mat" in capsys.readouterr().err
    assert done.read_bytes() == before
