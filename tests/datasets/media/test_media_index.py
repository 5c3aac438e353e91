"""The index of media files."""

import subprocess
import sys
from pathlib import Path

import pytest

from datasets.media import MediaError, index
from mmdg_common import UsageError


def build(root: Path, cache: Path | None) -> tuple[index.Index[int], list[str]]:
    """Index every file of a folder by the number in it; return also which files were read."""
    read = []

    def probe(path: Path) -> int:
        read.append(path.name)
        if not path.read_text().isdecimal():
            raise MediaError(f"{path} is broken")
        return int(path.read_text())

    files = [path.name for path in sorted(root.iterdir())]
    return index.build("some kind", root, files, probe, int, cache), read


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    folder = tmp_path / "numbers"
    folder.mkdir()
    for i in range(4):
        (folder / str(i)).write_text(str(i))
    return folder


def test_index_is_kept_and_broken_files_are_read_again(numbers: Path, tmp_path: Path) -> None:
    (numbers / "2").write_text("x")
    found, read = build(numbers, tmp_path / "cache")
    assert found.known == {"0": 0, "1": 1, "3": 3}
    assert found.broken == {"2": f"{numbers / '2'} is broken"}
    assert read == ["0", "1", "2", "3"]
    assert build(numbers, tmp_path / "cache")[1] == ["2"]
    (numbers / "2").write_text("7")  # as large as the broken one
    found, read = build(numbers, tmp_path / "cache")
    assert (found.known["2"], found.broken) == (7, {})
    found, read = build(numbers, tmp_path / "cache")
    assert (read, len(found.known)) == ([], 4)


def test_index_is_built_anew_when_a_file_changed_or_the_index_is_broken(
    numbers: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    build(numbers, cache)
    (numbers / "0").write_text("100")
    found, read = build(numbers, cache)
    assert (found.known["0"], len(read)) == (100, 4)
    (numbers / "0").write_text("101")
    found, read = build(numbers, cache)
    assert (found.known["0"], len(read)) == (101, 4)
    for path in cache.glob("*.json"):
        path.write_bytes(path.read_bytes()[:10])
    assert len(build(numbers, cache)[1]) == 4
    assert len(build(numbers, None)[1]) == 4


def test_index_that_cannot_be_written_is_an_error_in_words(numbers: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UsageError, match="cannot write the cache"):
        build(numbers, tmp_path / "cache")


def test_index_of_folders_follows_what_is_in_them(tmp_path: Path) -> None:
    looked_into = []

    def probe(folder: Path) -> list[int]:
        looked_into.append(folder.name)
        return [len(list(folder.iterdir()))]

    def built() -> list[str]:
        looked_into.clear()
        found = index.build("x", tmp_path, ["a", "b"], probe, list, tmp_path / "cache")
        assert found.known == {name: probe(tmp_path / name) for name in "ab"}
        return looked_into[:-2]

    for name in ("a/1", "a/2", "b/1"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(name)
    assert built() == ["a", "b"]
    assert built() == []
    (tmp_path / "new").write_text("a-2")  # as large as the one that it replaces
    (tmp_path / "new").rename(tmp_path / "a/2")
    assert built() == ["a", "b"]


def test_importing_the_dataset_waits_for_no_media_library() -> None:
    code = (
        "import sys, datasets.hac\n"
        "slow = {'av', 'soundfile', 'huggingface_hub', 'torchvision', 'torchaudio',"
        " 'scipy.signal'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
