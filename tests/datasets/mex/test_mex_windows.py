"""MEx: which windows there are, and the values that load."""

from pathlib import Path

import pytest
import torch
from support_mex import (
    BOTH,
    act,
    dc,
    edit,
    everything,
    measured,
    opened,
    pixel,
    write,
    write_recording,
)

from datasets import mex
from datasets.base import Sample
from mmdg_common import UsageError

WINDOWS = {"01/01_1": 2, "01/04_1": 5, "01/04_2": 1, "02/02_1": 1, "03/07_1": 1, "10/06_1": 3}


def test_card_is_that_of_the_extract() -> None:
    card = mex.Mex.card
    assert [(m.name, m.shape, m.encoder) for m in card.modalities] == [
        ("accelerometer", (3, 500), "window_cnn"),
        ("depth", (1, 5, 12, 16), "frames_cnn"),
    ]
    assert card.domains == ("s1s2", "s3s4", "s5s6", "s7s8", "s9s10")
    assert (card.classes[0], card.classes[3], card.classes[6]) == (
        *("knee_rolling", "bilateral_clam", "superman"),
    )
    assert (card.recipe.epochs, card.recipe.lr, card.recipe.batch_size) == (20, 1e-3, 32)


def test_windows_are_whole_in_both_sensors_and_in_order(tree: Path) -> None:
    dataset = opened(tree)
    expected = [f"{recording}/{i}" for recording, n in WINDOWS.items() for i in range(n)]
    assert [window.sample.id for window in dataset.windows()] == expected
    assert [sample.id for sample in everything(dataset)] == expected


def test_samples_carry_class_domain_and_group_of_their_file_name(tree: Path) -> None:
    found = {s.id: s for s in everything(opened(tree))}
    assert found["01/04_2/0"] == Sample("01/04_2/0", 3, "s1s2")
    assert found["01/04_2/0"].group == ("01", "01/04_2")
    assert found["02/02_1/0"] == Sample("02/02_1/0", 1, "s1s2")
    assert found["03/07_1/0"] == Sample("03/07_1/0", 6, "s3s4")
    assert found["10/06_1/2"] == Sample("10/06_1/2", 5, "s9s10")


def test_every_value_lands_where_it_must(tree: Path) -> None:
    dataset = opened(tree)
    for sample in everything(dataset):
        recording, number = sample.id[:7], int(sample.id[8:])
        tensors = dataset.load(sample, BOTH, seed=None)
        rows = [measured(recording, 500 * number + k) for k in range(500)]
        expected = torch.tensor(rows, dtype=torch.float32).T
        torch.testing.assert_close(tensors["accelerometer"], expected, rtol=0, atol=1e-6)
        for frame in range(5):
            for row, column in ((0, 0), (0, 15), (1, 0), (11, 15), (6, 9)):
                wanted = pixel(recording, 5 * number + frame, row, column)
                assert tensors["depth"][0, frame, row, column].item() == pytest.approx(wanted)
        for modality in dataset.card.modalities:
            tensor = tensors[modality.name]
            assert (tensor.shape, tensor.dtype) == (modality.shape, torch.float32)


@pytest.mark.parametrize(
    ("measurements", "frames", "windows"),
    [(1000, 10, 2), (999, 10, 1), (1000, 9, 1), (1001, 11, 2), (1499, 14, 2), (1500, 14, 2)],
)
def test_a_window_counts_from_its_last_measurement_on(
    tmp_path: Path, measurements: int, frames: int, windows: int
) -> None:
    write_recording(tmp_path, "05/03_1", measurements, frames)
    assert len(everything(opened(tmp_path))) == windows


def test_measurements_off_the_grid_are_interpolated_by_hand(tmp_path: Path) -> None:
    write_recording(tmp_path, "01/01_1", 500, 5)
    rows = [[10.0 * k, 0, 0, 0] for k in range(500)]
    rows[7] = [72.0, 1.0, -2.0, 4.0]  # 2 ms late
    rows[9] = [86.0, 0.5, 0, 0]  # 4 ms early
    rows[20] = [200.0, 1.0, 0, 0]
    del rows[21]  # lost, between 1 and 3
    rows[21] = [220.0, 3.0, 0, 0]
    write(act(tmp_path), rows)
    dataset = opened(tmp_path)
    x, y, z = dataset.load(everything(dataset)[0], ["accelerometer"], None)["accelerometer"]
    # At 70 ms, ten twelfths of the way from 60 to 72 ms.
    assert [x[7].item(), y[7].item(), z[7].item()] == pytest.approx([10 / 12, -20 / 12, 40 / 12])
    assert x[8].item() == 0
    assert x[9].item() == pytest.approx(0.5 * 10 / 14)  # at 90 ms, from 86 to 100 ms
    assert x[20:23].tolist() == pytest.approx([1, 2, 3])
    assert x[24:].abs().max().item() == 0


@pytest.mark.parametrize("inside", [False, True])
def test_the_root_holds_the_folder_or_is_it(tree: Path, inside: bool) -> None:
    root = tree / "MEx" if inside else tree
    dataset = opened(root)
    (sample,) = dataset.samples("s3s4", "target")
    for modality, there in (("accelerometer", act), ("depth", dc)):
        (file,) = dataset.files_of(sample, modality)
        assert root / file == there(tree, "03/07_1")
        assert dataset.size(sample, modality) == (root / file).stat().st_size
    assert dataset.fingerprint(BOTH) == opened(tree).fingerprint(BOTH)


def test_fingerprint_follows_sizes_of_the_used_modalities(tree: Path) -> None:
    before = {m: opened(tree).fingerprint([m]) for m in BOTH}
    edit(dc(tree), 0, 1, "0.5")
    after = {m: opened(tree).fingerprint([m]) for m in BOTH}
    assert [m for m in BOTH if before[m] != after[m]] == ["depth"]


@pytest.mark.parametrize("use", ["samples", "prepare", "size", "files_of"])
def test_unknown_domain_and_modality_name_the_nearest(tree: Path, use: str) -> None:
    dataset = opened(tree)
    sample = everything(dataset)[0]
    with pytest.raises(UsageError, match="'s1s2'" if use == "samples" else "'depth'"):
        {
            "samples": lambda: dataset.samples("s1s22", "train"),
            "prepare": lambda: dataset.prepare(["dept"]),
            "size": lambda: dataset.size(sample, "dept"),
            "files_of": lambda: dataset.files_of(sample, "dept"),
        }[use]()
