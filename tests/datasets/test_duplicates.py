"""The same recording in two domains, or in two parts of one: named by `prepare` and the record."""

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_folder import FOURS, opened, table, vectors

import datasets
from benchmark import run
from datasets import contents, duplicates, prepare


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Vectors of two domains and two classes, four of each; all files are of one size."""
    return table(tmp_path / "data", vectors(tmp_path / "data", FOURS))


def copied(root: Path, source: str, *targets: str) -> None:
    for target in targets:
        shutil.copyfile(root / source, root / target)


def named(root: Path) -> list[str]:
    return list(duplicates.anywhere(opened(root)))


def recorded(root: Path, results: Path, *more: str) -> list[Any]:
    arguments = ["--method", "erm", "--dataset", "folder", "--data-root", str(root)]
    arguments += ["--results", str(results), "--device", "cpu", "--threads", "1", "--epochs", "1"]
    assert run.main([*arguments, "--target", "A", *(more or ("--sources", "B"))]) == 0
    (path,) = results.rglob("result.json")
    found: list[Any] = json.loads(path.read_text())["duplicates"]
    return found


def part_of(root: Path, file: str) -> str:
    dataset = opened(root)
    held = {s.id for s in dataset.samples(file[2], "val")}
    return "val" if file in held else "train"


def test_a_copy_in_another_domain_is_named_by_prepare_which_exits_with_1(
    root: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert prepare.main(["folder", "--root", str(root)]) == 0
    copied(root, "x/B_y_1.npy", "x/A_y_2.npy")
    parts = [part_of(root, f"x/{name}.npy") for name in ("B_y_1", "A_y_2")]
    capsys.readouterr()
    assert prepare.main(["folder", "--root", str(root)]) == 1
    out = capsys.readouterr().out
    places = f"x/B_y_1.npy ({parts[0]} of B) and x/A_y_2.npy ({parts[1]} of A)"
    assert f"wrong: the same recording is in {places}\n" in out
    assert "wrong in 1 place." in out


def test_the_record_names_what_is_in_source_and_target(root: Path, tmp_path: Path) -> None:
    assert recorded(root, tmp_path / "before") == []
    copied(root, "x/B_y_1.npy", "x/A_y_2.npy")
    (group,) = recorded(root, tmp_path / "after")
    assert group == [
        {"file": "x/B_y_1.npy", "domain": "B", "part": part_of(root, "x/B_y_1.npy")},
        {"file": "x/A_y_2.npy", "domain": "A", "part": "target"},
    ]


def test_the_record_of_the_upper_bound_names_what_is_in_its_own_parts(
    tmp_path: Path,
) -> None:
    split = ["train", "train", "train", "test"] * 4
    root = table(tmp_path / "d", vectors(tmp_path / "d", FOURS, split=split))
    copied(root, "x/A_y_3.npy", "x/A_y_0.npy", "x/B_y_0.npy")
    (group,) = recorded(root, tmp_path / "r", "--setting", "upper-bound")
    assert {use["domain"] for use in group} == {"A"}
    assert {"file": "x/A_y_3.npy", "domain": "A", "part": "target"} in group


def test_a_copy_moves_no_id_and_no_number(root: Path, tmp_path: Path) -> None:
    planned = opened(root).fingerprint(["x"])
    for sample in opened(root).samples("A", "target"):
        assert opened(root).files_of(sample, "x") == (sample.id,)
    copied(root, "x/B_y_1.npy", "x/A_y_2.npy")
    assert opened(root).fingerprint(["x"]) == planned


def test_only_copies_in_different_parts_of_a_domain_are_named(root: Path) -> None:
    dataset = opened(root)
    train, val = ([s.id for s in dataset.samples("A", role)] for role in ("train", "val"))
    copied(root, train[0], train[1])
    assert named(root) == []
    copied(root, train[0], val[0])
    (line,) = named(root)
    assert all(f"{file} (train of A)" in line for file in train[:2])
    assert line.endswith(f"and {val[0]} (val of A)")


def test_one_file_named_under_two_domains_is_named(tmp_path: Path) -> None:
    lines = vectors(tmp_path / "d", FOURS, id=[f"r{i}" for i in range(16)])
    (row,) = (line for line in lines if line[2] == "x/A_x_0.npy")
    row[2] = "x/B_y_0.npy"
    (line,) = named(table(tmp_path / "d", lines))
    assert line.count("x/B_y_0.npy") == 2


def test_files_of_zeros_and_empty_files_are_no_copies(root: Path) -> None:
    for name in ("B_y_1", "A_y_2"):
        np.save(root / f"x/{name}.npy", np.zeros(100))
        (root / f"x/{name[0]}_x_0.npy").write_bytes(b"")
    assert named(root) == []


@pytest.mark.parametrize("place", [1, 1 << 20, -1, None])
def test_large_files_are_compared_as_a_whole(root: Path, place: int | None) -> None:
    values = np.random.default_rng(0).integers(1, 255, 3 << 20, np.uint8)
    np.save(root / "x/B_y_1.npy", values)
    if place is not None:
        values[place] = 0
    np.save(root / "x/A_y_2.npy", values)
    assert len(named(root)) == (place is None)


def test_only_files_of_one_size_are_read_and_only_once(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, real = list[str](), contents._of_file
    monkeypatch.setattr(contents, "_of_file", lambda p: (read.append(p.name), real(p))[1])
    for number, path in enumerate(sorted(root.glob("x/*"))):
        np.save(path, np.ones(10 + number))
    copied(root, "x/B_y_1.npy", "x/A_y_2.npy")

    def search() -> list[str]:
        dataset = opened(root, tmp_path / "cache")
        parts = dataset.parts(("B",), "A")
        assert len(duplicates.between(dataset, ["x"], parts, dataset.cache)) == 1
        found = sorted(read)
        read.clear()
        return found

    assert search() == ["A_y_2.npy", "B_y_1.npy"]
    assert search() == []
    copied(root, "x/B_y_1.npy", "x/A_y_2.npy")  # written again
    assert search() == ["A_y_2.npy"]


def test_clips_and_halves_of_flow_and_sound_of_hac_are_compared(tmp_path: Path) -> None:
    datasets.get("hac").fabricate(tmp_path, 2)
    assert list(duplicates.anywhere(datasets.create("hac", tmp_path))) == []
    for folder, suffix in (("videos", ".mp4"), ("flow", "_flow_y.mp4"), ("audio", ".wav")):
        one, other = (f"{d}/{folder}/eating_1{suffix}" for d in ("human", "cartoon"))
        copied(tmp_path, one, other)
    lines = list(duplicates.anywhere(datasets.create("hac", tmp_path)))
    assert len(lines) == 3
    assert "human/flow/eating_1_flow_y.mp4 (train of human) and cartoon/flow/" in lines[1]


def test_the_first_frames_of_segments_are_compared(tmp_path: Path) -> None:
    datasets.get("epic_kitchens").fabricate(tmp_path, 2)
    assert list(duplicates.anywhere(datasets.create("epic_kitchens", tmp_path))) == []
    frame = "frame_0000000001.jpg"
    copied(tmp_path, f"rgb/train/D1/P08_01/{frame}", f"rgb/test/D3/P22_02/{frame}")
    copied(tmp_path, "rgb/train/D2/P01_01.wav", "rgb/test/D2/P01_02.wav")
    one, other = duplicates.anywhere(datasets.create("epic_kitchens", tmp_path))
    assert f"rgb/train/D1/P08_01/{frame} (train of D1) and rgb/test/D3" in one
    assert other.count(".wav") == 2


def test_a_raw_file_of_hust_motor_under_two_speeds_is_named(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    for state in ("H", "BF", "BOW", "BROKEN", "MISAL", "UNBAL"):
        for speed in (5, 10, 20, 30):
            text = "\n".join(" ".join(map(str, row)) for row in rng.random((2100, 5)).round(3))
            (tmp_path / f"{state}_{speed}HZ.txt").write_text(text)
    assert list(duplicates.anywhere(datasets.create("hust_motor", tmp_path))) == []
    copied(tmp_path, "BOW_5HZ.txt", "BOW_30HZ.txt")
    (line,) = duplicates.anywhere(datasets.create("hust_motor", tmp_path))
    assert "BOW_5HZ.txt (train of D1)" in line
    assert "BOW_30HZ.txt (val of D4)" in line


@pytest.mark.data
def test_real_utd_mhad_holds_no_recording_twice(utd_root: Path, tmp_path: Path) -> None:
    assert list(duplicates.anywhere(datasets.create("utd_mhad", utd_root))) == []
    for folder in ("Depth", "Skeleton"):
        (tmp_path / folder).symlink_to(utd_root / folder)
    shutil.copytree(utd_root / "Inertial", tmp_path / "Inertial")
    copied(tmp_path, "Inertial/a1_s1_t1_inertial.mat", "Inertial/a1_s8_t4_inertial.mat")
    (line,) = duplicates.anywhere(datasets.create("utd_mhad", tmp_path))
    assert "a1_s1_t1_inertial.mat" in line
    assert "a1_s8_t4_inertial.mat" in line


def test_files_that_hold_several_modalities_are_read_once(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read, real = list[str](), contents._of_file
    monkeypatch.setattr(contents, "_of_file", lambda p: (read.append(p.name), real(p))[1])
    copied(root, "x/B_y_1.npy", "x/A_y_2.npy")
    dataset = opened(root)
    monkeypatch.setattr(dataset, "files_of", lambda sample, modality: [sample.id])
    parts = {"train": [*dataset.samples("A", "target"), *dataset.samples("B", "target")]}
    assert len(duplicates.between(dataset, ["x", "y", "z"], parts, None)) == 1
    assert len(read) == len(set(read)) == 16
