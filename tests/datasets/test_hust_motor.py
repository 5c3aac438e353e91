import csv
import io

import numpy as np
import pytest
import torch
from scipy.io import savemat
from support_copies import raw_tree

import datasets
from benchmark import backbones, report, run
from datasets import hust_files, hust_motor
from mmdg_common import UsageError

DOMAINS = ("D1", "D2", "D3", "D4")


@pytest.fixture(scope="module")
def fabricated(tmp_path_factory):
    root = tmp_path_factory.mktemp("hust")
    hust_motor.HustMotor.fabricate(root, 8)
    return root


def open_root(root, cache=None):
    return datasets.create("hust_motor", root=root, cache=cache)


def mat_tree(root, **changed):
    """Write .mat files in which every window holds its own number at its maximum."""
    for i, name in enumerate(hust_files.MAT_FILES.values()):
        arrays = {}
        for load in range(1, 5):
            for part, count in (("train", 8), ("test", 2)):
                ramp = np.linspace(0, 1, 1024)[:, None]
                arrays[f"load{load}_{part}"] = ramp ** (1 + np.arange(6 * count) + i)
        savemat(root / name, {**arrays, **changed})
    return root


def test_the_parts_of_a_domain_are_what_the_protocol_says(tmp_path):
    dataset = open_root(mat_tree(tmp_path))
    for domain in DOMAINS:
        parts = {r: dataset.samples(domain, r) for r in ("train", "val", "target")}
        assert {r: len(p) for r, p in parts.items()} == {"train": 36, "val": 12, "target": 12}
        ids = [{s.id for s in p} for p in parts.values()]
        assert not (ids[0] & ids[1] or ids[0] & ids[2] or ids[1] & ids[2])
        for role, per_class in (("train", 6), ("val", 2), ("target", 2)):
            counts = np.bincount([s.label for s in parts[role]])
            assert counts.tolist() == [per_class] * 6


def test_an_emptied_part_is_named(tmp_path):
    dataset = open_root(mat_tree(tmp_path, load3_test=np.zeros((1024, 0))))
    for use in (lambda: dataset.samples("D3", "target"), lambda: dataset.prepare(["acoustic"])):
        with pytest.raises(UsageError, match=r"Motor_.*load3_test has the shape \(1024, 0\)"):
            use()


def test_numbers_that_are_not_finite_are_named(tmp_path):
    windows = np.ones((1024, 12))
    windows[5, 7] = np.nan
    dataset = open_root(mat_tree(tmp_path, load2_test=windows))
    with pytest.raises(UsageError, match=r"Motor_Vib\.mat .*load2_test holds numbers .*not finite"):
        dataset.prepare(["vibration"])
    problems = [problem for problem in dataset.verify() if "not finite" in problem]
    assert len(problems) == 2


def test_the_full_size_is_800_and_200_a_class(tmp_path):
    full = {
        f"load{d}_{p}": np.zeros((1024, 6 * n), np.uint8)
        for d in range(1, 5)
        for p, n in (("train", 800), ("test", 200))
    }
    dataset = open_root(mat_tree(tmp_path, **full))
    assert [len(dataset.samples("D3", r)) for r in ("train", "val", "target")] == [3600, 1200, 1200]


def test_a_window_is_scaled_by_its_own_range_and_its_class_is_its_block(tmp_path):
    dataset = open_root(mat_tree(tmp_path))
    by_id = {s.id: s for role in ("train", "val") for s in dataset.samples("D2", role)}
    sample = by_id["load2_train/17"]
    assert sample.label == 17 // 8
    tensors = dataset.load(sample, ("vibration", "acoustic"), None)
    ramp = torch.linspace(0, 1, 1024)
    assert torch.allclose(tensors["vibration"][0], ramp**18, atol=1e-5)
    assert torch.allclose(tensors["acoustic"][0], ramp**19, atol=1e-5)
    assert tensors["vibration"].shape == (1, 1024)


def test_raw_files_give_windows_of_the_axes_norm_and_the_sound(tmp_path):
    root = tmp_path / "raw"
    root.mkdir()
    cache = tmp_path / "cache"
    dataset = open_root(raw_tree(root), cache)
    assert [len(dataset.samples("D1", r)) for r in ("train", "val", "target")] == [3600, 1200, 1200]
    starts = np.random.default_rng(42).choice(2100 - 1023, 1000, replace=False)
    windows = hust_files.windows_of(dataset._files["vibration"])
    second = windows["vibration"]["load2_test"][5 * 200 + 3]  # UNBAL at 10 Hz, window 803
    np.testing.assert_allclose(second, 5.0 * (starts[803] + np.arange(1024)), rtol=1e-6)
    sound = windows["acoustic"]["load2_test"][5 * 200 + 3]
    np.testing.assert_allclose(sound, 15000 + (starts[803] + np.arange(1024)) % 7)
    sample = dataset.samples("D1", "target")[0]
    first = dataset.load(sample, ("acoustic",), None)["acoustic"]
    assert list(cache.glob("hust_motor-*.npz"))
    again = open_root(root, cache).load(sample, ("acoustic",), None)["acoustic"]
    assert torch.equal(first, again)


def test_wrong_data_is_named(tmp_path):
    with pytest.raises(UsageError, match="there is no folder"):
        open_root(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="holds no data"):
        open_root(tmp_path)
    mat_tree(tmp_path)
    (tmp_path / "Motor_Aud.mat").unlink()
    with pytest.raises(UsageError, match=r"Motor_Aud\.mat is missing"):
        open_root(tmp_path)


def test_a_truncated_mat_file_is_named(tmp_path):
    mat_tree(tmp_path)
    path = tmp_path / "Motor_Vib.mat"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(UsageError, match=r"Motor_Vib\.mat is not a readable"):
        open_root(tmp_path).load(
            open_root(tmp_path).samples("D1", "target")[0], ("vibration",), None
        )


def test_a_missing_or_misshaped_key_is_named(tmp_path):
    with pytest.raises(UsageError, match=r"load2_test has the shape \(1024, 13\)"):
        open_root(mat_tree(tmp_path, load2_test=np.zeros((1024, 13)))).samples("D1", "train")


def test_a_raw_file_with_a_number_that_is_not_finite_is_named(tmp_path):
    path = raw_tree(tmp_path) / "BOW_20HZ.txt"
    lines = path.read_text().splitlines()
    lines[700] = "0 1 nan 1 1"
    path.write_text("\n".join(lines))
    with pytest.raises(UsageError, match=r"BOW_20HZ\.txt holds numbers that are not finite"):
        open_root(tmp_path).prepare(["acoustic"])


def test_a_raw_file_that_breaks_off_is_named(tmp_path):
    raw_tree(tmp_path)
    path = tmp_path / "BOW_20HZ.txt"
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:500], "broken", *lines[500:]]))
    with pytest.raises(UsageError, match=r"BOW_20HZ\.txt, line 501"):
        open_root(tmp_path).prepare(["vibration"])


def test_the_encoder_is_the_published_one():
    encoder = backbones.create("hust_cnn", (1, 1024))
    assert encoder.dim == 128
    assert encoder.tail(torch.randn(2, 1, 1024)).shape == (2, 128)
    weights = {n: tuple(p.shape) for n, p in encoder.tail.named_parameters() if p.ndim == 3}
    assert list(weights.values()) == [(8, 1, 32), (16, 8, 8), (32, 16, 3), (32, 32, 3)]


def test_the_recipe_is_the_published_one():
    recipe = hust_motor.HustMotor.card.recipe
    assert (recipe.steps, recipe.batch_size, recipe.lr) == (10_000, 128, 1e-3)
    assert (recipe.weight_decay, recipe.decay, recipe.validate_every) == (5e-4, "inverse", 200)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["erm", "mbcd"])
def test_made_up_data_trains_above_chance_and_tables_mark_it(fabricated, tmp_path, capsys, method):
    arguments = [
        "--method",
        method,
        "--dataset",
        "hust_motor",
        "--data-root",
        str(fabricated),
        "--sources",
        "D1",
        "D2",
        "D3",
        "--target",
        "D4",
        "--steps",
        "60",
        "--validate-every",
        "20",
        "--batch-size",
        "16",
        "--threads",
        "1",
        "--results",
        str(tmp_path),
    ]
    assert run.main(arguments) == 0
    capsys.readouterr()
    assert report.main(["--results", str(tmp_path), "--format", "csv"]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    (accuracy,) = [float(row["mean"]) for row in rows if row["column"] == "D4"]
    assert accuracy > 2 * 100 / 6
    assert all("fabricated data" in row["condition"] for row in rows)
