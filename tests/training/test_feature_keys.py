"""Under which keys features are kept, for every dataset: those of the content, wherever it is."""

import shutil
from pathlib import Path

import pytest
from support_copies import CASES, Case, params

import datasets
from benchmark.training.feature_store import sample_keys
from datasets import hust_files
from datasets.hust_motor import HustMotor
from datasets.media import frames

MAT = Case("hust_motor", lambda root: HustMotor.fabricate(root, 8), ("acoustic",), "*Aud.mat", ())


def keys(case: Case, root: Path, cache: Path, number: int = 0) -> dict[str, str]:
    """Return the key of every sample's modality by the sample's id."""
    dataset = datasets.create(case.dataset, root, cache)
    samples = dataset.recordings()
    k = case.modalities[number]
    found = sample_keys(dataset, samples, k, dataset.follows(k, case.modalities))
    return dict(zip([s.id for s in samples], found, strict=True))


def replaced(path: Path) -> None:
    """Put another file of its size and time into a file's place; only its last digit differs."""
    content = bytearray(path.read_bytes())
    last = max(content.rfind(b"%d" % digit) for digit in range(10))
    content[last] = ord("0") if content[last] == ord("9") else content[last] + 1
    new = shutil.copy2(path, path.with_name("new"))
    new.write_bytes(content)
    shutil.copystat(path, new)
    new.rename(path)


@pytest.mark.parametrize("case", params(hust_motor_mat=MAT))
def test_a_copy_has_the_keys_of_its_origin_until_a_file_changes(case: Case, tmp_path: Path) -> None:
    origin, cache = case.write(tmp_path / "origin"), tmp_path / "cache"
    before = keys(case, origin, cache)
    assert len(set(before.values())) == len(before)
    copy = Path(shutil.copytree(origin, tmp_path / "b" / "copy", copy_function=shutil.copyfile))
    assert keys(case, copy, cache) == before
    file = sorted(copy.rglob(case.file))[-1]
    replaced(file)
    after = keys(case, copy, cache)
    assert after.keys() == before.keys()
    if case.dataset == "sp_sw_har":  # whose windows count themselves, and not this digit
        return
    assert after != before
    replaced(sorted(origin.rglob(case.file))[-1])
    assert keys(case, origin, cache) == after


@pytest.mark.slow
def test_a_frame_in_the_middle_counts(tmp_path: Path) -> None:
    case = CASES["epic_frames"]
    root = case.write(tmp_path / "origin")
    before = keys(case, root, tmp_path / "cache")
    (folder, *_) = sorted(root.glob("rgb/test/D1/*/"))
    replaced(folder / frames.file_name(30))
    after = keys(case, root, tmp_path / "cache")
    moved = {name for name, key in before.items() if after[name] != key}
    assert moved
    assert all(name.startswith("D1/test/") for name in moved)


@pytest.mark.slow
def test_sound_that_is_cut_by_its_video_follows_that_one(tmp_path: Path) -> None:
    case = CASES["hac"]
    root = case.write(tmp_path / "origin")
    before = keys(case, root, tmp_path / "cache", number=2)
    replaced(root / "human/videos/eating_1.mp4")
    after = keys(case, root, tmp_path / "cache", number=2)
    assert {name for name, key in before.items() if after[name] != key} == {"human/eating_1"}


@pytest.mark.slow
def test_a_raw_file_of_hust_motor_counts_for_its_own_windows(tmp_path: Path) -> None:
    case = CASES["hust_motor"]
    root = case.write(tmp_path / "origin")
    before = keys(case, root, tmp_path / "cache")
    replaced(root / hust_files.raw_file("H", 10))
    after = keys(case, root, tmp_path / "cache")
    moved = {name for name, key in before.items() if after[name] != key}
    assert {name.split("/")[0] for name in moved} == {"load2_train", "load2_test"}
    assert len(moved) * 6 == sum(name.startswith("load2_") for name in before)
