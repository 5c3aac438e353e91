"""MEx: made-up recordings."""

from pathlib import Path

import numpy as np
import pytest
from support_mex import BOTH, opened

from datasets import duplicates, mex, mex_files
from mmdg_common import UsageError


@pytest.mark.slow
def test_the_stand_in_is_complete_and_classes_show_through_subjects(fabricated: Path) -> None:
    dataset = opened(fabricated / "data", fabricated / "cache")
    assert dataset.fabricated and opened(fabricated / "data" / "MEx").fabricated
    assert [len(dataset.samples(d, "target")) for d in dataset.card.domains] == [32] * 5
    assert [len(dataset.samples(d, "val")) for d in dataset.card.domains] == [16] * 5
    assert list(dataset.remarks()) == []
    dataset.prepare(BOTH)
    train, test = dataset.samples("s1s2", "target"), dataset.samples("s9s10", "target")
    for modality in BOTH:
        mean = {s.id: dataset.load(s, [modality], None)[modality].mean(1) for s in (*train, *test)}
        nearest = [min(train, key=lambda t: (mean[t.id] - mean[s.id]).norm()).label for s in test]
        assert np.mean([a == s.label for a, s in zip(nearest, test, strict=True)]) > 0.6


@pytest.mark.slow
def test_the_stand_in_has_nothing_wrong(fabricated: Path) -> None:
    dataset = opened(fabricated / "data", fabricated / "cache")
    assert list(dataset.verify()) == []
    assert list(duplicates.anywhere(dataset)) == []


def test_what_is_no_stand_in_is_not_written_over(tree: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds other files"):
        mex.Mex.fabricate(tree, 2)
    with pytest.raises(UsageError, match="at least 2 windows"):
        mex.Mex.fabricate(tmp_path / "new", 1)
    assert not (tmp_path / "new").exists()


def test_another_number_of_windows_is_told_of_where_all_files_are_there(
    fabricated: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(mex_files, "windows", lambda *_: {"depth": np.zeros((11, 1))})
    dataset = opened(fabricated / "data")
    dataset.fabricated = False
    (problem,) = dataset.verify()
    assert "hold 880 windows, those of the extract 857" in problem
