"""Copies on a machine's own disk: one for all processes, whole or never used."""

import errno
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections import Counter, namedtuple
from collections.abc import Callable
from pathlib import Path

import pytest
from support_committed import contents
from test_archives import FILES, packed

from datasets import archives, staging
from datasets.contents import BESIDE, digests
from datasets.staging import NoRoomError, near, stage
from mmdg_common import UsageError

PROJECT = Path(__file__).resolve().parents[2]
SCRIPT = """
import os, resource, shutil, sys, time
from pathlib import Path
from datasets import archives, staging
origin, place = map(Path, sys.argv[1:3])
{patch}
print(*staging.near("hac", origin, str(place)), sep="\\n", flush=True)
sys.stdin.read()
"""
HANGS = """
import itertools
real, numbers = {module}.{name}, itertools.count(1)  # one count of all threads
def hang(*args):
    number = next(numbers)
    if number > 2:
        {half}
        if number == 3:
            print("half way", flush=True)
        time.sleep(600)
    return real(*args)
{module}.{name} = hang
"""
"""Stops for good in the middle of the third file."""
HALF_FILE = "Path(args[1]).write_bytes(Path(args[0]).read_bytes()[:1000])"
FOLDER_HANGS = HANGS.format(module="shutil", name="copyfile", half=HALF_FILE)
ARCHIVE_HANGS = HANGS.format(module="archives", name="_write", half="pass")
SLOW = """
real = shutil.copyfile
def slow(*args):
    time.sleep(0.05)
    return real(*args)
shutil.copyfile = slow
"""


class Process:
    """A process that stages a dataset, and reads the copy until its input ends."""

    def __init__(self, origin: Path, place: Path, patch: str = "") -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", SCRIPT.format(patch=patch), str(origin), str(place)],
            env={**os.environ, "PYTHONPATH": str(PROJECT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().rstrip("\n")

    def end(self) -> str:
        """Let it end; return what it said on stderr."""
        return self.process.communicate(timeout=60)[1]

    def kill(self) -> None:
        self.process.send_signal(signal.SIGKILL)
        self.process.communicate(timeout=60)


@pytest.fixture
def origin(tmp_path: Path) -> Path:
    """Forty files in folders, one of which is empty."""
    root = tmp_path / "origin" / "hac"
    for number in range(40):
        path = root / f"part{number % 3}" / f"{number}.bin"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(os.urandom(2000 + number))
    (root / ".marker").write_text("made up")
    (root / "empty" / "inner").mkdir(parents=True)
    return root


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "scratch" / "hac"


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the files that this process copies."""
    found, real = list[str](), shutil.copyfile

    def copy(source: Path, target: Path) -> object:
        found.append(source.name)
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    return found


def homes(place: Path) -> list[Path]:
    """Return the folders of copies, whole or not."""
    return [path for path in place.iterdir() if path.is_dir()] if place.exists() else []


def test_a_copy_has_all_files_and_is_made_once(
    origin: Path, place: Path, copied: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    copy = stage("hac", origin, place)
    assert contents(copy) == contents(origin)
    assert (copy / "empty" / "inner").is_dir()
    assert place in copy.parents
    assert len(copied) == 41
    assert "copying hac from" in capsys.readouterr().err
    assert stage("hac", origin, place) == copy
    assert len(copied) == 41
    assert capsys.readouterr().err == ""


def test_processes_that_start_together_make_one_copy(origin: Path, place: Path) -> None:
    processes = [Process(origin, place, SLOW) for _ in range(4)]
    found = {process.line() for process in processes}
    told = [process.end() for process in processes]
    assert len(found) == 1
    assert sum("copying hac from" in text for text in told) == 1
    assert sum("waiting for another process that copies hac" in text for text in told) >= 1
    assert contents(Path(found.pop())) == contents(origin)
    assert len(homes(place)) == 1


def test_a_killed_process_lets_go_and_leaves_a_copy_that_is_finished(
    origin: Path, place: Path, copied: list[str]
) -> None:
    killed = Process(origin, place, FOLDER_HANGS)
    assert killed.line() == "half way"
    waiting = Process(origin, place)
    (home,) = homes(place)
    assert not staging._is_whole(home)
    assert waiting.process.poll() is None
    killed.kill()
    copy = Path(waiting.line())
    assert "copying hac from" in waiting.end()
    assert contents(copy) == contents(origin)
    assert stage("hac", origin, place) == copy
    assert copied == []


def test_only_what_is_lacking_is_copied_after_a_kill(
    origin: Path, place: Path, copied: list[str]
) -> None:
    killed = Process(origin, place, FOLDER_HANGS)
    assert killed.line() == "half way"
    killed.kill()
    (home,) = homes(place)
    every = {Path(name).name for name in contents(origin)}
    there = {Path(name).name for name in contents(home / "data")} & every
    assert there
    copy = stage("hac", origin, place)
    assert contents(copy) == contents(origin)
    assert set(copied) == every - there


def test_a_kill_while_an_archive_is_unpacked_leaves_nothing_that_is_used(
    tmp_path: Path, place: Path
) -> None:
    archive = packed(tmp_path / "hac.tar.gz", FILES)
    killed = Process(archive, place, ARCHIVE_HANGS)
    assert killed.line() == "half way"
    (home,) = homes(place)
    assert not (home / "data").exists()
    killed.kill()
    assert contents(stage("hac", archive, place)) == FILES
    assert not (home / "unpacking").exists()


def test_a_signal_that_ends_a_process_in_the_middle_leaves_no_half_copy_in_use(
    origin: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.copyfile

    def stop(source: Path, target: Path) -> object:
        if source.name == "7.bin":
            raise SystemExit(140)
        return real(source, target)

    with monkeypatch.context() as patch, pytest.raises(SystemExit):
        patch.setattr(shutil, "copyfile", stop)
        stage("hac", origin, place)
    (home,) = homes(place)
    assert not staging._is_whole(home)
    assert contents(stage("hac", origin, place)) == contents(origin)


def change_size(root: Path) -> None:
    (root / "part0" / "0.bin").write_bytes(b"new")


def change_content(root: Path) -> None:
    path = root / "part0" / "0.bin"
    path.write_bytes(b"x" * path.stat().st_size)


def add(root: Path) -> None:
    (root / "part0" / "new.bin").write_bytes(b"new")


def remove(root: Path) -> None:
    (root / "part0" / "0.bin").unlink()


def rename(root: Path) -> None:
    (root / "part0").rename(root / "part9")


@pytest.mark.parametrize("change", [change_size, change_content, add, remove, rename])
def test_a_changed_origin_is_copied_again_and_the_old_copy_goes(
    origin: Path, place: Path, change: Callable[[Path], None]
) -> None:
    first = Process(origin, place)
    old = Path(first.line())
    first.end()
    change(origin)
    new = stage("hac", origin, place)
    assert new != old
    assert contents(new) == contents(origin)
    assert not old.exists()
    assert len(homes(place)) == 1


def test_an_old_copy_stays_while_it_is_read(origin: Path, place: Path) -> None:
    reading = Process(origin, place)
    old = Path(reading.line())
    before = contents(old)
    change_content(origin)
    other = Process(origin, place)
    assert Path(other.line()) != old
    assert contents(old) == before
    reading.end()
    other.end()
    stage("hac", origin, place)
    assert not old.exists()


def test_a_changed_archive_is_unpacked_again(tmp_path: Path, place: Path) -> None:
    archive = packed(tmp_path / "hac.zip", FILES)
    first = stage("hac", archive, place)
    packed(archive, {**FILES, "new": b"1"})
    second = stage("hac", archive, place)
    assert second != first
    assert contents(second) == {**FILES, "new": b"1"}


def test_copies_of_two_origins_stand_side_by_side(
    origin: Path, place: Path, tmp_path: Path
) -> None:
    other = Path(shutil.copytree(origin, tmp_path / "other"))
    found = []
    for root in (origin, other, origin):
        process = Process(root, place)
        found.append(process.line())
        process.end()
    assert found[0] == found[2] != found[1]
    assert all(Path(path).is_dir() for path in found)


def test_what_a_tidy_of_old_files_took_is_copied_again(
    origin: Path, place: Path, copied: list[str]
) -> None:
    copy = stage("hac", origin, place)
    copied.clear()
    (copy / "part1" / "1.bin").unlink()
    (copy / "part2" / "2.bin").write_bytes(b"")
    assert stage("hac", origin, place) == copy
    assert sorted(copied) == ["1.bin", "2.bin"]
    assert contents(copy) == contents(origin)


def test_links_become_what_they_lead_to(origin: Path, place: Path, tmp_path: Path) -> None:
    (tmp_path / "far").mkdir()
    (tmp_path / "far" / "x.bin").write_bytes(b"far")
    (origin / "linked").symlink_to(tmp_path / "far")
    (origin / "again").symlink_to(tmp_path / "far")
    (origin / "file").symlink_to(tmp_path / "far" / "x.bin")
    (origin / "dead").symlink_to(tmp_path / "nothing")
    os.mkfifo(origin / "pipe")
    copy = stage("hac", origin, place)
    found = contents(copy)
    assert found["linked/x.bin"] == found["again/x.bin"] == found["file"] == b"far"
    assert "dead" not in found
    assert not any(path.is_symlink() for path in copy.rglob("*"))


def test_a_folder_that_links_to_itself_is_read_where_it_is(origin: Path, place: Path) -> None:
    (origin / "part0" / "up").symlink_to(origin)
    root, told = near("hac", origin, str(place))
    assert root == origin
    assert "a folder links to one that it is in" in told


# Room


Usage = namedtuple("Usage", "total used free")


def free(monkeypatch: pytest.MonkeyPatch, *sizes: int) -> None:
    """Let a disk have so many bytes free, each time that it is asked; the last for good."""
    left = list(sizes)
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _: Usage(10**13, 0, left.pop(0) if left[1:] else left[0])
    )


def test_a_folder_that_does_not_fit_is_read_where_it_is(
    origin: Path,
    place: Path,
    copied: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(staging, "RESERVE", 10**9)
    free(monkeypatch, 1_000_100_000)
    root, told = near("hac", origin, str(place))
    assert root == origin
    # 40 files of 2000 bytes and more, and a small one, take 41 blocks of 4096.
    assert told.startswith(f"hac is read from {origin}, as it cannot be copied to {place}: ")
    assert "hac needs 0.0 GB in" in told
    assert "where 1.0 GB are free and 1.0 GB must stay so" in told
    assert told in capsys.readouterr().err
    assert copied == []
    assert homes(place) == []
    free(monkeypatch, 10**9 + 41 * 4096)
    root, told = near("hac", origin, str(place))
    assert contents(root) == contents(origin)
    assert told == f"hac is read from {root}, a copy of {origin}"


@pytest.mark.parametrize("suffix", ["tar", "zip", "tar.gz"])
def test_an_archive_that_does_not_fit_is_an_error_with_both_numbers(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    archive = packed(tmp_path / f"hac.{suffix}", FILES)
    free(monkeypatch, 5 * 10**8)
    more = "more than " if suffix == "tar.gz" else ""
    message = rf"^hac needs {more}0\.0 GB in {place}.* 0\.5 GB are free and 1\.0 GB must stay so$"
    with pytest.raises(NoRoomError, match=message):
        near("hac", archive, str(place))
    assert homes(place) == []


def test_a_disk_that_fills_up_while_an_archive_is_unpacked_is_left_as_it_was(
    tmp_path: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    archive = packed(tmp_path / "hac.tar.xz", {str(i): b"x" * 10**6 for i in range(5)})
    free(monkeypatch, 10**10, 10**10, 10**10, 10**9)
    with pytest.raises(NoRoomError, match="hac needs more than 0"):
        stage("hac", archive, place)
    assert homes(place) == []
    free(monkeypatch, 10**10)
    assert len(contents(stage("hac", archive, place))) == 5


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EIO, errno.ESTALE, errno.EDQUOT])
def test_an_error_of_a_disk_leaves_no_copy_and_the_folder_is_read(
    origin: Path, place: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    real = shutil.copyfile

    def fail(source: Path, target: Path) -> object:
        if source.name == "7.bin":
            target.write_bytes(b"half")
            raise OSError(number, os.strerror(number), str(target))
        return real(source, target)

    with monkeypatch.context() as patch:
        patch.setattr(shutil, "copyfile", fail)
        root, told = near("hac", origin, str(place))
    assert root == origin
    assert os.strerror(number) in told
    assert homes(place) == []
    assert near("hac", origin, str(place))[0] != origin


def test_a_file_that_is_too_large_for_the_disk_leaves_no_copy(origin: Path, place: Path) -> None:
    """The kernel refuses, after some files are there."""
    (origin / "part0" / "large.bin").write_bytes(bytes(300_000))
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))"
    assert resource.RLIMIT_FSIZE >= 0
    process = Process(origin, place, limit)
    assert process.line() == str(origin)
    assert "as it cannot be copied to" in process.line()
    assert "File too large" in process.end()
    assert homes(place) == []


def test_an_origin_that_changes_while_it_is_copied_is_not_taken(
    origin: Path, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = shutil.copyfile

    def copy(source: Path, target: Path) -> object:
        if source.name == "7.bin":
            source.write_bytes(b"y" * source.stat().st_size)
        return real(source, target)

    monkeypatch.setattr(shutil, "copyfile", copy)
    with pytest.raises(OSError, match=r"7\.bin changed while it was copied"):
        stage("hac", origin, place)
    assert homes(place) == []


def test_a_damaged_archive_is_an_error_and_leaves_nothing(tmp_path: Path, place: Path) -> None:
    archive = packed(tmp_path / "hac.tar.gz", FILES)
    archive.write_bytes(archive.read_bytes()[:100])
    with pytest.raises(UsageError, match=r"hac\.tar\.gz cannot be unpacked"):
        near("hac", archive, str(place))
    assert homes(place) == []
    assert archives.is_archive(archive)


# Places


def test_variables_are_those_of_the_machine(
    origin: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("JOB_TMP", str(tmp_path / "job"))
    assert tmp_path / "job" / "hac" in near("hac", origin, "$JOB_TMP/hac")[0].parents
    root, told = near("hac", origin, "${GONE_TMP}/hac")
    assert root == origin
    assert "no environment variable ${GONE_TMP}/hac on this machine" in told
    archive = packed(tmp_path / "hac.tar", FILES)
    with pytest.raises(OSError, match="no environment variable"):
        near("hac", archive, "$GONE_TMP/hac")


def test_a_place_within_the_folder_is_none(origin: Path) -> None:
    root, told = near("hac", origin, str(origin / "part0" / "copies"))
    assert root == origin
    assert "lies in the folder itself" in told
    assert not (origin / "part0" / "copies").exists()


def test_a_place_that_cannot_be_written_is_done_without(origin: Path, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root, told = near("hac", origin, str(tmp_path / "file" / "hac"))
    assert root == origin
    assert "Not a directory" in told


def test_the_place_of_a_dataset_wins_over_that_of_all() -> None:
    assert staging.place_of({}, "hac") == ""
    assert staging.place_of({"hac": "/a"}, "epic_kitchens") == ""
    assert staging.place_of({"hac": "/a", "": "/b"}, "hac") == "/a"
    assert staging.place_of({"hac": "/a", "": "/b"}, "mex") == "/b/mex"


# Contents


def test_a_copy_keeps_its_digests_beside_itself_and_they_are_those_of_the_origin(
    origin: Path, place: Path, tmp_path: Path
) -> None:
    copy = stage("hac", origin, place)
    names = sorted(contents(origin))
    cache = tmp_path / "cache"
    assert digests(copy, names, cache) == digests(origin, names, None)
    assert not cache.exists()
    assert copy.with_name(copy.name + BESIDE).stat().st_size > 1000


READS = """
from datasets import contents
copy = staging.stage("hac", origin, place)
real = contents._of_file
def slow(path):
    os.write(1, b"read\\n")
    time.sleep(0.02)
    return real(path)
contents._of_file = slow
names = sorted(str(p.relative_to(copy)) for p in copy.rglob("*.bin"))
contents.digests(copy, names, None)
"""


def test_a_copy_is_read_for_its_digests_once_on_a_machine(origin: Path, place: Path) -> None:
    processes = [Process(origin, place, READS) for _ in range(3)]
    lines = Counter[str]()
    for process in processes:
        out, _ = process.process.communicate(timeout=60)
        lines.update(out.splitlines())
    assert lines["read"] == 40
