"""dsads: what `verify` and the remarks say of copies that are broken or lack something."""

import shutil
from pathlib import Path

from support_dsads import everything, opened

from datasets import dsads_files


def test_verify_names_every_broken_file(regular: Path) -> None:
    broken = [regular / f"data/{name}.txt" for name in ("a03/p1/s01", "a03/p1/s02", "a19/p8/s02")]
    for path in broken:
        path.write_text("1,2\n")
    assert list(opened(regular).verify()) == [
        f"{path} has 2 columns instead of 45" for path in broken
    ]


def test_regular_subset_is_sound_and_has_one_remark(regular: Path) -> None:
    dataset = opened(regular)
    assert list(dataset.verify()) == []
    (remark,) = dataset.remarks()
    assert "304 of 9,120 segments are here, 2 of 60 of every activity and subject" in remark
    assert "(s01-s02)" in remark


def test_irregular_copies_have_one_line_for_each_folder_that_differs(regular: Path) -> None:
    data = regular / "data"
    (data / "a05/p3/s02.txt").unlink()
    shutil.copy(data / "a06/p4/s01.txt", data / "a06/p4/s09.txt")
    shutil.copy(data / "a06/p4/s01.txt", data / "a06/p4/s10.txt")
    shutil.rmtree(data / "a07/p1")
    for name in ("s61.txt", "S01.TXT", "._s01.txt", "notes.md"):
        (data / "a08/p1" / name).write_text("")
    (data / "a20/p1").mkdir(parents=True)
    (data / "a20/p1/s01.txt").write_text("")
    dataset = opened(regular)
    assert list(dataset.verify()) == [
        f"{data}/a05/p3 lacks what most others have: s02",
        f"{data}/a06/p4 has what most others lack: s09-s10",
        f"{data}/a07/p1 is missing or holds no segment",
        f"{data}/a08/p1 holds S01.TXT and 1 more, which is no segment of the dataset",
        f"{data}/a20/p1 holds s01.txt, which is no segment of the dataset",
    ]
    (remark,) = dataset.remarks()
    assert "303 of 9,120 segments are here." in remark  # and nothing of "every"
    assert len(everything(dataset)) == 303


def test_whole_copy_has_no_remark() -> None:
    names = [f"{r}/s{n:02d}" for r in dsads_files.RECORDINGS for n in range(1, 61)]
    assert list(dsads_files.remark(dict.fromkeys(names, 1))) == []
    assert list(dsads_files.remark(dict.fromkeys(names[1:], 1))) == []  # for `verify` to tell
