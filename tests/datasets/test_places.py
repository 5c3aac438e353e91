"""Where a dataset lies when its folder is not given."""

from pathlib import Path

import pytest

import datasets
from mmdg_common import homes


def test_the_homes_are_the_folder_of_the_environment_and_then_data(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("MMDG_DATA", raising=False)
    assert homes() == (Path("data"),)
    monkeypatch.setenv("MMDG_DATA", "")
    assert homes() == (Path("data"),)
    monkeypatch.setenv("MMDG_DATA", "~/there")
    assert homes() == (Path.home() / "there", Path("data"))


def test_the_first_home_that_has_a_dataset_wins_and_the_first_takes_a_new_one(
    tmp_path: Path,
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    assert datasets.place("hac", (first, second)) == first / "hac"
    (second / "hac").mkdir(parents=True)
    assert datasets.place("hac", (first, second)) == second / "hac"
    (first / "hac").mkdir(parents=True)
    assert datasets.place("hac", (first, second)) == first / "hac"


def test_the_error_names_the_three_places_and_the_command() -> None:
    says = str(datasets.not_found("hac", (Path("/x"), Path("data")), "--data-root DIR"))
    assert "--data-root (not given), $MMDG_DATA/hac (/x/hac), data/hac." in says
    assert says.endswith("python -m datasets.prepare hac --download")
    assert "$MMDG_DATA/hac (not set), data/hac" in str(
        datasets.not_found("hac", (Path("data"),), "--data-root DIR")
    )
