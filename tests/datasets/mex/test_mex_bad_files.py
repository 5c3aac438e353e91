"""MEx: broken, misplaced and missing files, and what `verify` says of them."""

from collections.abc import Callable
from pathlib import Path

import pytest
from support_mex import LENGTHS, act, dc, edit, everything, opened, write, write_recording

import datasets
from mmdg_common import UsageError


def drop_cell(path: Path) -> None:
    path.write_text("".join(line.rpartition(",")[0] + "\n" for line in path.open()))


def add_cell(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[4] += ",0.5"
    path.write_text("\n".join(lines))


def shorten(path: Path, lines: int) -> None:
    path.write_text("\n".join(path.read_text().splitlines()[:lines]))


def swap(path: Path) -> None:
    lines = path.read_text().splitlines()
    lines[2:4] = reversed(lines[2:4])
    path.write_text("\n".join(lines))


def late(path: Path, factor: float, offset: float) -> None:
    rows = [[float(x) for x in line.split(",")] for line in path.open()]
    write(path, [[factor * row[0] + offset, *row[1:]] for row in rows])


def cut_out(path: Path, first: int, last: int) -> None:
    lines = path.read_text().splitlines()
    path.write_text("\n".join(lines[:first] + lines[last:]))


BROKEN: list[tuple[str, Callable[[Path], Path], Callable[[Path], object], str]] = [
    ("a column less", act, drop_cell, "has 3 columns instead of 4"),
    ("a pixel less", dc, drop_cell, "has 192 columns instead of 193"),
    ("a longer line", act, add_cell, "line 5, saw 5"),
    ("a longer image", dc, add_cell, "line 5, saw 194"),
    ("a shorter line", act, lambda p: edit(p, 5, 0, "50\n60"), "line 6: x is ''"),
    ("a header", act, lambda p: p.write_text("ms,x,y,z\n" + p.read_text()), "line 1: ms is 'ms'"),
    ("NaN", act, lambda p: edit(p, 3, 2, "NaN"), "line 4: y is 'NaN'"),
    ("text", act, lambda p: edit(p, 3, 3, "high"), "line 4: z is 'high'"),
    ("empty cell", act, lambda p: edit(p, 3, 1, ""), "line 4: x is ''"),
    ("NaN pixel", dc, lambda p: edit(p, 3, 7, "nan"), "line 4: pixel 7 is 'nan'"),
    ("text pixel", dc, lambda p: edit(p, 3, 192, "far"), "line 4: pixel 192 is 'far'"),
    ("infinite pixel", dc, lambda p: edit(p, 0, 1, "inf"), "line 1: pixel 1 is 'inf'"),
    ("deep pixel", dc, lambda p: edit(p, 2, 9, "1.01"), "line 3: pixel 9 is 1.01"),
    ("negative pixel", dc, lambda p: edit(p, 2, 9, "-0.1"), "line 3: pixel 9 is -0.1"),
    ("text time", dc, lambda p: edit(p, 2, 0, "noon"), "line 3: ms is 'noon'"),
    ("unsorted", act, swap, "line 4: the time 20 is before"),
    ("unsorted frames", dc, swap, "line 4: the time 2000 is before"),
    ("repeated", act, lambda p: edit(p, 3, 0, "20"), "line 4: the time 20 is equal to"),
    ("repeated frame", dc, lambda p: edit(p, 3, 0, "2000"), "line 4: the time 2000 is equal to"),
    ("empty", act, lambda p: p.write_text(""), "is empty"),
    ("no frame", dc, lambda p: p.write_text("\n"), "is empty"),
    ("bytes", act, lambda p: p.write_bytes(b"\xff\xfe\x00" * 99), "is not a table of CSV"),
    ("beyond a float32", act, lambda p: edit(p, 6, 2, "1e39"), "line 7: more than 1000 g"),
    ("short", act, lambda p: shorten(p, 499), "shorter than one window of 5 s"),
    ("few frames", dc, lambda p: shorten(p, 4), "shorter than one window of 5 s"),
    ("late begin", act, lambda p: late(p, 1, 400), "begins at 400 ms instead of 0"),
    ("lost second", act, lambda p: cut_out(p, 100, 200), "line 101: .* from 990 to 2000 ms"),
    ("lost frame", dc, lambda p: cut_out(p, 3, 4), "line 4: the time is 4000 ms.* 3000 ms is due"),
    ("15 frames a second", dc, lambda p: late(p, 1 / 15, 0), "line 2: the time is 66.6.*1000 ms"),
]


@pytest.mark.parametrize(
    ("file", "damage", "words"), [b[1:] for b in BROKEN], ids=[b[0] for b in BROKEN]
)
def test_a_broken_file_ends_in_one_clear_line(
    tmp_path: Path, file: Callable[[Path], Path], damage: Callable[[Path], object], words: str
) -> None:
    write_recording(tmp_path, "01/01_1", 1000, 10)
    path = file(tmp_path)
    damage(path)
    dataset = opened(tmp_path)
    with pytest.raises(UsageError, match=words) as caught:
        dataset.samples("s1s2", "train")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)
    # The check names it with all else that is wrong.
    assert str(caught.value) in list(opened(tmp_path).verify())


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("act/03/act_05_exercise_01_1.csv", "a file of subject 05 in the folder of 03"),
        ("act/03/act_03_exercise_08_1.csv", "not named like a recording"),
        ("act/03/dc_0.05_0.05_03_exercise_07_1.csv", "such as act_01_exercise_01_1.csv"),
        ("dc_0.05_0.05/01/dc_0.05_0.05_02_exercise_02_1.csv", "a file of subject 02"),
        ("dc_0.05_0.05/03/dc_0_05_0_05_03_exercise_07_1.csv", "not named like a recording"),
        ("act/03/act_03_exercise_01_1.csv", "dc_0.05_0.05_03_exercise_01_1.csv is missing, but"),
        ("dc_0.05_0.05/07/dc_0.05_0.05_07_exercise_04_2.csv", "act_07_exercise_04_2.csv is missi"),
    ],
)
def test_a_file_out_of_place_ends_in_one_clear_line(tree: Path, name: str, words: str) -> None:
    path = tree / "MEx" / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("0,0,0,0\n")
    with pytest.raises(UsageError) as caught:
        opened(tree)
    assert words in str(caught.value) and path.name in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("sensor", ["act", "dc_0.05_0.05"])
def test_a_missing_sensor_is_told_by_its_first_file(tree: Path, sensor: str) -> None:
    (tree / "MEx" / sensor).rename(tree / "elsewhere")
    with pytest.raises(UsageError, match=f"{sensor}_01_exercise_01_1.csv is missing"):
        opened(tree)


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_missing_or_empty_root_says_where_to_get_the_data(root: str | None, tmp_path: Path) -> None:
    given = None if root is None else tmp_path / root
    with pytest.raises(UsageError, match="p89fwbzmkd") as caught:
        datasets.create("mex", given)
    assert given is None or str(given) in str(caught.value)


def test_other_subjects_and_sensors_are_ignored_with_a_remark(tree: Path) -> None:
    before = everything(opened(tree))
    assert list(opened(tree).remarks()) == []
    for name in ("act/11", "act/30", "dc_0.05_0.05/11", "pm_1.0_1.0/01", "acw/01"):
        (tree / "MEx" / name).mkdir(parents=True)
        (tree / "MEx" / name / "any.csv").write_text("x")
    dataset = opened(tree)
    assert everything(dataset) == before
    (remark,) = dataset.remarks()
    assert "the subjects 11, 30 and the folders acw, pm_1.0_1.0" in remark


def test_verify_names_what_is_missing_and_what_is_not_official(tree: Path) -> None:
    write_recording(tree, "02/07_3", 500, 5)
    found = list(opened(tree).verify())
    missing = [line for line in found if line.endswith("is missing")]
    assert len(missing) == 2 * (80 - len(LENGTHS))
    assert f"{dc(tree, '10/07_1')} is missing" in missing
    assert set(found) - set(missing) == {
        f"{there(tree, '02/07_3')} is not an official recording" for there in (act, dc)
    }
