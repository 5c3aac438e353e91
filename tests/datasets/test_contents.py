"""Digests of what files hold: right, kept by path, and never those of what was there before."""

import json
import os
import shutil
from pathlib import Path

import pytest
from damage import CRAFTED, poison

from datasets import contents
from datasets.contents import BESIDE, address, digests

NAMES = ["a.bin", "deep/b.bin", "ümläut.bin"]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    for number, name in enumerate(NAMES):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(bytes([number]) * 3000)
    return root


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that are read, in the order of their names."""
    found, real = list[str](), contents._of_file
    monkeypatch.setattr(contents, "_of_file", lambda p: (found.append(p.name), real(p))[1])
    return found


def test_equal_contents_have_equal_digests_and_what_is_not_there_has_none(root: Path) -> None:
    shutil.copyfile(root / "a.bin", root / "twin.bin")
    (root / "empty").touch()
    found = digests(root, [*NAMES, "twin.bin", "empty", "gone", "a.bin/x", "n\0l"], None)
    assert found["a.bin"] == found["twin.bin"]
    assert len({*found.values()}) == 5  # three contents, that of an empty file, and nothing
    assert found["gone"] == found["a.bin/x"] == found["n\0l"] == ""
    assert found["empty"] != ""


def test_a_file_is_read_once_and_again_when_it_changed(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    def changed() -> list[str]:
        read.clear()
        digests(root, NAMES, tmp_path / "cache")
        return sorted(read)

    assert changed() == ["a.bin", "b.bin", "ümläut.bin"]
    before = digests(root, NAMES, tmp_path / "cache")
    assert changed() == []
    os.utime(root / "a.bin", (1, 1))
    assert changed() == ["a.bin"]
    assert digests(root, NAMES, tmp_path / "cache") == before
    poison(root / "deep/b.bin")  # of the same size and time
    assert changed() == ["b.bin"]
    assert changed() == []
    after = digests(root, NAMES, tmp_path / "cache")
    assert [before[name] == after[name] for name in NAMES] == [True, False, True]
    digests(root, ["a.bin"], tmp_path / "cache")
    assert changed() == []  # asking for less forgets nothing


def test_a_copy_elsewhere_is_read_and_is_told_to_be_the_same(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    cache, other = tmp_path / "cache", tmp_path / "other"
    shutil.copytree(root, other)  # times included
    at = address(root, NAMES, cache)
    read.clear()
    assert address(other, NAMES, cache) == at
    assert len(read) == 3
    poison(other / "a.bin")
    assert address(other, NAMES, cache) != at
    # The folder of the changed copy under the name of the first.
    shutil.rmtree(root)
    other.rename(root)
    assert address(root, NAMES, cache) != at


def test_of_a_folder_the_names_and_contents_of_its_files_count(root: Path, tmp_path: Path) -> None:
    folder = root / "deep"
    (folder / "c.bin").write_text("c")

    def now() -> str:
        return digests(root, ["deep"], tmp_path / "cache")["deep"]

    found = [now()]
    shutil.copytree(folder, root / "twin")
    assert digests(root, ["twin"], None)["twin"] == found[0]
    (folder / "inner").mkdir()
    assert now() == found[0]
    (tmp_path / "new").write_text("d")
    (tmp_path / "new").rename(folder / "c.bin")  # of the same size
    found.append(now())
    (folder / "c.bin").rename(folder / "e.bin")
    found.append(now())
    (folder / "e.bin").unlink()
    found.append(now())
    assert len(set(found)) == 4


def test_what_cannot_be_read_is_like_nothing_else(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:

        def refuse(path: Path) -> str:
            raise OSError("Input/output error")

        patch.setattr(contents, "_of_file", refuse)
        first, second = (digests(root, NAMES, tmp_path / "cache") for _ in range(2))
    assert len({*first.values(), *second.values()}) == 6
    assert digests(root, NAMES, tmp_path / "cache") == digests(root, NAMES, None)


@pytest.mark.parametrize("crafted", CRAFTED.values(), ids=CRAFTED)
def test_a_broken_memory_is_as_good_as_none(root: Path, tmp_path: Path, crafted: bytes) -> None:
    right = digests(root, NAMES, tmp_path / "cache")
    (path,) = (tmp_path / "cache" / "contents").iterdir()
    path.write_bytes(crafted)
    assert digests(root, NAMES, tmp_path / "cache") == right
    whole = path.read_bytes()
    assert whole != crafted
    for wrong in (None, 3, "x", [], [1, 2], [1, 2, 3, 4], {"a": 1}):
        path.write_text(json.dumps(dict.fromkeys(NAMES, wrong)))
        assert digests(root, NAMES, tmp_path / "cache") == right
        assert json.loads(path.read_bytes()) == json.loads(whole)


def test_a_disk_that_takes_no_memory_stops_nothing(root: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    assert digests(root, NAMES, tmp_path / "cache") == digests(root, NAMES, None)


def test_a_copy_with_a_memory_beside_it_uses_that_one_also_from_a_folder_inside(
    root: Path, tmp_path: Path, read: list[str]
) -> None:
    beside = root.with_name(root.name + BESIDE)
    beside.write_text("{}")
    right = digests(root, NAMES, tmp_path / "cache")
    assert set(json.loads(beside.read_bytes())) == set(NAMES)
    assert not (tmp_path / "cache").exists()
    read.clear()
    assert digests(root / "deep", ["b.bin"], None) == {"b.bin": right["deep/b.bin"]}
    assert read == []
