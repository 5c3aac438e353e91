"""Fetching and unpacking."""

import os
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from datasets.media import hub
from mmdg_common import UsageError


def archive(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, name)


@pytest.mark.parametrize("prefix", ["", "human/"])
def test_archives_unpack_into_the_folder_of_their_name(tmp_path: Path, prefix: str) -> None:
    archive(tmp_path / "human.zip", [f"{prefix}videos/a.mp4", f"{prefix}audio/a.wav"])
    hub.unpack(tmp_path / "human.zip")
    assert (tmp_path / "human" / "videos" / "a.mp4").is_file()
    assert (tmp_path / "human" / "audio" / "a.wav").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"human", "human.zip"}


def test_unpacking_goes_on_where_it_stopped(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", ["a/one", "a/two"])
    hub.unpack(tmp_path / "a.zip")
    kept = tmp_path / "a" / "one"
    os.utime(kept, (1, 1))
    (tmp_path / "a" / "two").write_text("hal")
    hub.unpack(tmp_path / "a.zip")
    assert kept.stat().st_mtime == 1
    assert (tmp_path / "a" / "two").read_text() == "a/two"


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK half")
    with pytest.raises(UsageError, match=r"a\.zip cannot be unpacked"):
        hub.unpack(tmp_path / "a.zip")


def test_damage_inside_an_archive_is_named_and_leaves_no_file_that_looks_whole(
    tmp_path: Path,
) -> None:
    path = tmp_path / "a.zip"
    archive(path, ["a/one", "a/two"])
    content = path.read_bytes()
    path.write_bytes(content.replace(b"a/twoa/two", b"a/twoa/twx"))
    with pytest.raises(UsageError, match=r"a\.zip cannot be unpacked \(Bad CRC-32.*two"):
        hub.unpack(path)
    assert [p.name for p in (tmp_path / "a").iterdir()] == ["one"]
    assert len(list(tmp_path.iterdir())) == 2
    path.write_bytes(content)
    hub.unpack(path)
    assert (tmp_path / "a" / "two").read_text() == "a/two"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_an_archive_damaged_anywhere_unpacks_or_is_named_in_one_line(
    tmp_path: Path, method: int
) -> None:
    path = tmp_path / "a.zip"
    with zipfile.ZipFile(path, "w", method) as file:
        file.writestr("a/one", bytes(range(256)) * 20)
    content, rng = path.read_bytes(), np.random.default_rng(0)
    for _ in range(200):
        damaged = bytearray(content)
        damaged[rng.integers(len(damaged))] = rng.integers(256)
        path.write_bytes(damaged)
        try:
            hub.unpack(path)
        except UsageError as error:
            assert str(error).startswith(f"{path} cannot be unpacked (")
            assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("flags", "method", "reason"),
    [(1, 0, "is encrypted"), (0, 97, "compression method is not supported")],
)
def test_an_archive_that_is_encrypted_or_of_unknown_compression_is_named(
    tmp_path: Path, flags: int, method: int, reason: str
) -> None:
    path = tmp_path / "a.zip"
    archive(path, ["a/one"])
    content = bytearray(path.read_bytes())
    for start in (6, content.index(b"PK\1\2") + 8):  # in the local and the central header
        content[start : start + 4] = bytes([flags, 0, method, 0])
    path.write_bytes(content)
    with pytest.raises(UsageError, match=rf"a\.zip cannot be unpacked \(.*{reason}"):
        hub.unpack(path)


def test_nothing_is_unpacked_outside_the_folder(tmp_path: Path) -> None:
    inner = tmp_path / "inner"
    inner.mkdir()
    archive(inner / "a.zip", ["../../up", "/top", "a/one"])
    hub.unpack(inner / "a.zip")
    assert [p.name for p in tmp_path.iterdir()] == ["inner"]
    assert {p.name for p in (inner / "a").iterdir()} == {"up", "top", "a"}


def test_without_network_the_download_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*args: Any, **named: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UsageError, match=r"some/thing .*Name or service.* run the same command"):
        hub.fetch("some/thing", tmp_path)


def test_what_is_downloaded_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []

    def local(repository: str, *, repo_type: str, local_dir: Path, **patterns: str | None) -> None:
        assert (repository, repo_type) == ("some/thing", "dataset")
        asked.append(patterns)
        local_dir.mkdir()
        archive(local_dir / "a.zip", ["a/one"])
        archive(local_dir / "b.zip", ["b/one"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", local)
    hub.fetch("some/thing", tmp_path / "all", without="b.zip")
    hub.fetch("some/thing", tmp_path / "one", only="b.zip")
    assert {p.name for p in tmp_path.glob("all/*/")} == {"a"}
    assert {p.name for p in tmp_path.glob("one/*/")} == {"b"}
    assert asked == [
        {"allow_patterns": None, "ignore_patterns": "b.zip"},
        {"allow_patterns": "b.zip", "ignore_patterns": None},
    ]
