from pathlib import Path

import pytest

from datasets.sensors import tables
from mmdg_common import UsageError


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "t.csv"
    path.write_text(text)
    return path


def test_numbers_and_texts_are_read_by_the_names_of_their_columns(tmp_path: Path) -> None:
    path = written(tmp_path, "b,label,a\n1,x,2.5\n3,NA,-4e2\n")
    table = tables.read(path, ("a", "b", "label"), texts=("label",))
    assert table.a.tolist() == [2.5, -400] and table.b.tolist() == [1, 3]
    assert table.label.tolist() == ["x", "NA"]  # a label, not a gap


def test_without_a_header_the_first_line_counts(tmp_path: Path) -> None:
    table = tables.read(written(tmp_path, "1,2\n3,4\n"), ("t", "x"), header=False)
    assert table.to_numpy().tolist() == [[1, 2], [3, 4]]


@pytest.mark.parametrize(
    "text, header, said",
    [
        ("", True, "is empty"),
        ("a,b\n", True, "holds no measurement"),
        ("a,c\n1,2\n", True, "has no column 'b', only a, c"),
        ("a,b\n1,2\n3,\n", True, "line 3: b is '', which is not a finite number"),
        ("a,b\n1,2\nnan,4\n", True, "line 3: a is 'nan'"),
        ("a,b\n1,inf\n", True, "line 2: b is 'inf'"),
        ("a,b\n1,2\n\n3,x\n", True, "line 4: b is 'x'"),
        ("a,b\n1,2\n,3\n", True, "line 3: a is ''"),
        ("1,2\n3,x\n", False, "line 2: b is 'x'"),
        ("1,2,3\n", False, "has 3 columns instead of 2"),
        ("a,b\n1,2\n1,2,3\n", True, "is not a table of CSV"),
        ("a,b\n1,\xff\n", True, "line 2: b is"),
    ],
)
def test_a_broken_file_is_one_clear_line(
    tmp_path: Path, text: str, header: bool, said: str
) -> None:
    path = written(tmp_path, text)
    with pytest.raises(UsageError) as caught:
        tables.read(path, ("a", "b"), header=header)
    assert said in str(caught.value) and str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_missing_or_no_text_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="cannot be read: No such file"):
        tables.read(tmp_path / "none.csv", ("a",))
    (tmp_path / "t.csv").write_bytes(b"a,b\n\xff\xfe\x00,1\n")
    with pytest.raises(UsageError, match=r"t\.csv"):
        tables.read(tmp_path / "t.csv", ("a", "b"))


def test_times_must_grow(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("t\n0\n\n1\n1\n2\n")
    times = tables.read(path, ["t"]).t
    tables.check_times(path, times, gap=1, repeats=True)
    with pytest.raises(UsageError, match="line 5: the time 1 is equal to that of the line above"):
        tables.check_times(path, times, gap=1)
    with pytest.raises(UsageError, match="line 4: there is no measurement from 0 to 1 ms"):
        tables.check_times(path, times, gap=0.9, repeats=True)
    path.write_text("0\n2\n1\n")
    with pytest.raises(UsageError, match="line 3: the time 1 is before that of the line above"):
        tables.check_times(path, tables.read(path, ["t"], header=False).t, gap=1, repeats=True)


def test_more_cells_than_columns_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "t.csv"
    path.write_text("a,b\n1,2,\n3,4,\n")
    with pytest.raises(UsageError, match="more cells than columns"):
        tables.read(path, ["a", "b"])
