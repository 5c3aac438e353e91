"""dsads: made-up segments."""

from pathlib import Path

import numpy as np
import pytest
from support_dsads import everything, opened

from datasets import dsads, dsads_files
from mmdg_common import UsageError


def test_made_up_segments_are_whole_and_marked(fabricated: Path) -> None:
    dataset = opened(fabricated)
    assert dataset.fabricated
    assert list(dataset.verify()) == list(dataset.remarks()) == []
    for domain in dataset.card.domains:
        for role in ("train", "val"):
            labels = [s.label for s in dataset.samples(domain, role)]
            assert labels == sorted([*range(19), *range(19)])


def test_made_up_classes_can_be_told_apart_across_subjects(fabricated: Path) -> None:
    dataset = opened(fabricated)
    means: dict[str, list[np.ndarray]] = {"s1s2": [], "s7s8": []}
    for domain, found in means.items():
        for sample in dataset.samples(domain, "target"):
            acceleration = dataset.load(sample, ["accelerometer"], None)["accelerometer"]
            found.append(acceleration.mean(dim=1).numpy())
    same = [np.allclose(x, y, atol=0.1) for x, y in zip(*means.values(), strict=True)]
    assert not any(same)  # subjects differ
    train = np.stack(means["s1s2"]).reshape(19, 4, -1).mean(axis=1)
    own = np.stack(means["s1s2"])
    nearest = np.linalg.norm(own[:, None] - train, axis=2).argmin(axis=1)
    assert (nearest == np.repeat(np.arange(19), 4)).mean() > 0.9  # classes, too


def test_fabricating_again_leaves_nothing_of_before(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dsads_files, "RECORDINGS", ("a01/p1", "a02/p8"))
    root = tmp_path / "dsads"
    dsads.Dsads.fabricate(root, 3)
    dsads.Dsads.fabricate(root, 2)
    assert len(everything(opened(root))) == 2 * 2


@pytest.mark.parametrize("per_class", [0, 1, 61])
def test_fabricating_too_few_or_too_many_is_refused(tmp_path: Path, per_class: int) -> None:
    with pytest.raises(UsageError, match="fabricate 2 to 60 segments"):
        dsads.Dsads.fabricate(tmp_path / "dsads", per_class)
    assert not (tmp_path / "dsads").exists()


def test_fabricating_into_a_real_copy_is_refused(tree: Path) -> None:
    with pytest.raises(UsageError, match="holds other files"):
        dsads.Dsads.fabricate(tree, 2)
