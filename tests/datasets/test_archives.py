"""Datasets in one file: every format gives the files, and nothing else is ever written."""

import io
import tarfile
import zipfile
from pathlib import Path

import pytest
from support_committed import contents

from datasets import archives
from mmdg_common import UsageError

FILES = {
    "a.txt": b"a" * 5000,
    "deep/er/b.bin": bytes(range(256)) * 40,
    ".hidden": b"",
    "ümläut": b"u",
}


def no_check(size: int, written: int = 0, more: bool = False) -> None:
    pass


def packed(path: Path, files: dict[str, bytes], top: str = "") -> Path:
    """Write an archive of the format of its name."""
    if path.suffix == ".zip":
        with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
            for name, content in files.items():
                archive.writestr(f"{top}{name}", content)
        return path
    mode = {".gz": "w:gz", ".tgz": "w:gz", ".bz2": "w:bz2", ".xz": "w:xz"}.get(path.suffix, "w")
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in files.items():
            member = tarfile.TarInfo(f"{top}{name}")
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


FORMATS = ["tar", "tar.gz", "tgz", "tar.bz2", "tar.xz", "zip"]


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("top", ["", "./", "hac/", "./hac/", "copy-2/"])
def test_every_format_gives_the_files(tmp_path: Path, suffix: str, top: str) -> None:
    archive = packed(tmp_path / f"copy-2.{suffix}", FILES, top)
    assert archives.is_archive(archive)
    to = tmp_path / "home" / "data"
    for _ in range(2):  # the second time in the place of the first
        archives.unpack(archive, "hac", to, no_check)
        assert contents(to) == FILES
        assert [path.name for path in to.parent.iterdir()] == ["data"]


def test_a_folder_of_another_name_is_part_of_the_dataset(tmp_path: Path) -> None:
    archives.unpack(packed(tmp_path / "x.tar", FILES, "data/"), "dsads", tmp_path / "to", no_check)
    assert set(contents(tmp_path / "to")) == {f"data/{name}" for name in FILES}


def test_only_files_of_these_names_are_archives(tmp_path: Path) -> None:
    (tmp_path / "folder.tar").mkdir()
    (tmp_path / "notes.txt").touch()
    for name in ("folder.tar", "notes.txt", "gone.zip"):
        assert not archives.is_archive(tmp_path / name)


@pytest.mark.parametrize("suffix", FORMATS)
@pytest.mark.parametrize("share", [0.0, 0.3, 0.9])
def test_a_cut_off_archive_is_an_error_and_gives_nothing(
    tmp_path: Path, suffix: str, share: float
) -> None:
    noise = {str(i): bytes((i * j * j) % 251 for j in range(20_000)) for i in range(5)}
    archive = packed(tmp_path / f"x.{suffix}", noise)
    whole = archive.read_bytes()
    archive.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(UsageError, match=rf"x\.{suffix} cannot be unpacked: .*; get it again"):
        archives.unpack(archive, "hac", tmp_path / "to", no_check)
    assert not (tmp_path / "to").exists()


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/out"])
@pytest.mark.parametrize("suffix", ["tar", "zip"])
def test_nothing_is_written_outside(tmp_path: Path, suffix: str, name: str) -> None:
    archive = packed(tmp_path / f"x.{suffix}", {name: b"bad"})
    before = set(tmp_path.rglob("*"))
    with pytest.raises(UsageError, match="leads out of the folder"):
        archives.unpack(archive, "hac", tmp_path / "a" / "to", no_check)
    assert {p for p in tmp_path.rglob("*") if p.is_file()} == {p for p in before if p.is_file()}


@pytest.mark.parametrize("compressed", ["", ".gz"])
def test_links_in_an_archive_become_what_they_lead_to(tmp_path: Path, compressed: str) -> None:
    folder = tmp_path / "hac"
    (folder / "b").mkdir(parents=True)
    (folder / "b" / "file").write_bytes(b"content")
    (folder / "a").symlink_to("b/file")
    (folder / "c").hardlink_to(folder / "b" / "file")
    with tarfile.open(tmp_path / f"x.tar{compressed}", f"w:{compressed[1:]}") as archive:  # type: ignore[call-overload]
        archive.add(folder, "hac")
    archives.unpack(tmp_path / f"x.tar{compressed}", "hac", tmp_path / "to", no_check)
    assert contents(tmp_path / "to") == dict.fromkeys(("a", "b/file", "c"), b"content")
    assert not (tmp_path / "to" / "a").is_symlink()


def test_a_link_out_of_an_archive_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (tmp_path / "link").symlink_to(tmp_path / "secret")
    with tarfile.open(tmp_path / "x.tar", "w") as archive:
        archive.add(tmp_path / "link", "link")
    with pytest.raises(UsageError, match="neither a file nor a link to one in the archive"):
        archives.unpack(tmp_path / "x.tar", "hac", tmp_path / "to", no_check)


@pytest.mark.parametrize("suffix", FORMATS)
def test_room_is_asked_for_before_anything_is_written(tmp_path: Path, suffix: str) -> None:
    archive = packed(tmp_path / f"x.{suffix}", FILES)
    asked = []

    def check(size: int, written: int, more: bool) -> None:
        there = contents(tmp_path / "home")
        asked.append((size, written, more, sum(map(len, there.values()))))

    archives.unpack(archive, "hac", tmp_path / "home" / "data", check)
    first, *rest = asked
    known = suffix in ("tar", "zip")
    # Blocks of 4096 bytes: 2 for the first file, 3 for the second, 1 for the last.
    assert first == (6 * 4096 if known else archive.stat().st_size, 0, not known, 0)
    assert [ask[:3] for ask in rest] == [
        (5000, 0, True),
        (15240, 5000, True),
        (15240, 15240, True),
        (15241, 15240, True),
    ]
    assert all(written == there for _, written, _, there in rest)
