"""dsads: files that are broken or missing end in one clear line."""

import shutil
from pathlib import Path

import pytest
from support_dsads import content, opened, write

import datasets
from datasets import dsads
from mmdg_common import UsageError


@pytest.mark.parametrize("root", [None, "nowhere", "."])
def test_missing_or_empty_root_says_where_to_get_the_data(root: str | None, tmp_path: Path) -> None:
    given = None if root is None else tmp_path / root
    with pytest.raises(UsageError, match=r"archive\.ics\.uci\.edu/dataset/256") as caught:
        datasets.create("dsads", given)
    assert given is None or str(given) in str(caught.value)
    assert "data/a01/p1/s01.txt" in str(caught.value)


def test_download_says_where_to_get_the_data(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"dsads cannot be downloaded.*archive\.ics\.uci\.edu"):
        dsads.Dsads.download(tmp_path)


GOOD = ",".join(["1.5"] * 45)
LINES = [GOOD] * 125
BROKEN = {
    "empty": (b"", "is empty"),
    "blank": (b"\n\n", "is empty"),
    "too few rows": ("\n".join(LINES[1:]), "has 124 rows instead of 125"),
    "too many rows": ("\n".join([*LINES, GOOD]), "has 126 rows instead of 125"),
    "a column less": ("\n".join([GOOD[4:]] * 125), "has 44 columns instead of 45"),
    "a column more": ("\n".join([GOOD + ",1"] * 125), "has 46 columns instead of 45"),
    "semicolons": ("\n".join(LINES).replace(",", ";"), "has 1 columns instead of 45"),
    "NaN": ("\n".join([*LINES[:6], "NaN" + GOOD[3:], *LINES[7:]]), "line 7: torso_accelerometer_x"),
    "infinite": ("\n".join([*LINES[:6], GOOD[:-3] + "inf", *LINES[7:]]), "line 7: left_leg_magnet"),
    "a text": ("\n".join([*LINES[:2], "1,2,x" + GOOD[11:], *LINES[3:]]), "line 3: torso_acceler"),
    "an empty cell": ("\n".join([*LINES[:2], GOOD[3:], *LINES[3:]]), "line 3: torso_accel"),
    "a short line": (
        "\n".join([*LINES[:2], GOOD[4:], *LINES[3:]]),
        "line 3: left_leg_magnetometer",
    ),
    "a long line": ("\n".join([*LINES[:2], GOOD + ",1", *LINES[3:]]), "in line 3, saw 46"),
    "cut off": ("\n".join(LINES)[:-300], "line 124: right_"),
    "a header": (
        "\n".join([GOOD.replace("1.5", "x"), *LINES[1:]]),
        "line 1: torso_accelerometer_x",
    ),
    "huge": ("\n".join([*LINES[1:], "1e300" + GOOD[3:]]), "beyond what its sensors can measure"),
    "binary": (b"\xff\xfe\0\x01" * 9, "is not a table of CSV"),
    "zeros": (bytes(40_000), "has 1 columns instead of 45"),
    "an open quote": ("\n".join(['"' + GOOD, *LINES[1:]]), "is not a table of CSV"),
}


@pytest.mark.parametrize("newline", ["\n", ""])
@pytest.mark.parametrize("damage", BROKEN)
def test_broken_file_is_one_clear_line(tmp_path: Path, damage: str, newline: str) -> None:
    text, message = BROKEN[damage]
    folder = tmp_path / "data/a07/p5"
    for segment in (1, 2, 3):
        write(folder / f"s{segment:02d}.txt", content(7, 5, segment))
    path = folder / "s02.txt"
    path.write_bytes(text if isinstance(text, bytes) else (text + newline).encode())
    dataset = opened(tmp_path)
    with pytest.raises(UsageError) as caught:
        dataset.prepare(["accelerometer"])
    error = str(caught.value)
    assert error.startswith(str(path)) and "\n" not in error
    assert message in error
    assert [problem for problem in dataset.verify() if "is missing" not in problem] == [error]


@pytest.mark.parametrize("damage", ["folder", "dangling link", "gone"])
def test_file_that_cannot_be_opened_is_one_clear_line(tree: Path, damage: str) -> None:
    path = tree / "data/a07/p5/s04.txt"
    dataset = opened(tree)
    path.unlink()
    if damage == "folder":
        path.mkdir()
    elif damage == "dangling link":
        path.symlink_to(tree / "nowhere")
    if damage != "gone":
        dataset = opened(tree)
    with pytest.raises(UsageError, match=rf"^{path} cannot be read: \w+"):
        dataset.prepare(["accelerometer"])


def test_folder_that_is_a_file_is_one_clear_line(tree: Path) -> None:
    folder = tree / "data/a01/p1"
    shutil.rmtree(folder)
    folder.write_text("")
    with pytest.raises(UsageError, match=f"^{folder} cannot be read: Not a directory"):
        opened(tree)
