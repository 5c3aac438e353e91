"""Fetching and unpacking."""

import os
import zipfile
from pathlib import Path
from typing import Any

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

    def local(repository: str, *, repo_type: str, local_dir: Path) -> None:
        assert (repository, repo_type) == ("some/thing", "dataset")
        archive(local_dir / "a.zip", ["a/one"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", local)
    hub.fetch("some/thing", tmp_path)
    assert (tmp_path / "a" / "one").is_file()
