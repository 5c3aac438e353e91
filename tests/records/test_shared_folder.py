"""A results folder that several people share: all of it is their group's, whatever their umasks."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from launcher_contract import GRID, LONG, PROJECT
from support import numbers

from benchmark.launch import snapshot
from benchmark.records import claims
from benchmark.records.run_folder import RunFolder
from benchmark.records.store import Store
from datasets.bulk import locked
from mmdg_common import make_folder, written_atomically

SHORT = "epochs: 1\n"
GROUP = 64321
SEES_ALL = "dac_read_search"
"""So that a user without rights can read the Python and the code of whoever runs the tests."""


def as_user(number: int) -> list[str]:
    """Return what to put before a command of a user whose second group is the shared one."""
    who = [f"--reuid={number}", f"--regid={number}", f"--groups={GROUP}"]
    return ["setpriv", *who, f"--inh-caps=+{SEES_ALL}", f"--ambient-caps=+{SEES_ALL}"]


def sweep(folder: Path, *before: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [*before, sys.executable, "-m", "benchmark.sweep", "grid.yaml"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": str(PROJECT), "USER": "member"},
        umask=0o022,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def umask_022() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def modes(folder: Path) -> dict[str, int]:
    """Return by path what the group may do: 7, 6 or less."""
    return {
        str(path.relative_to(folder)): path.stat().st_mode >> 3 & 7
        for path in folder.rglob("*")
        if "__pycache__" not in path.parts
    }


def write_everything(results: Path) -> None:
    """Write what a sweep writes beside records, and what a run that ends at once does."""
    make_folder(results / "a" / "b")
    with written_atomically(results / "c" / "d.json"), locked(results / "cache" / "lock"):
        pass
    snapshot.take(results / "slurm" / "code")
    run = RunFolder(results / "runs" / "one")
    run.log("started")
    with claims.take(run.path) as claim:  # type: ignore[union-attr]
        claim.note_stop()
    claims.take(run.path)
    run.write_status("running")


def test_what_is_made_in_a_folder_of_a_group_is_the_groups(tmp_path, umask_022):
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o2775)
    write_everything(shared)
    found = modes(shared)
    written = {path.rpartition("/")[2] for path in found}
    assert {"b", "d.json", "lock", "log.txt", "claim-1.json", "claim-2.json"} <= written
    for path, mode in found.items():
        assert mode == (7 if (shared / path).is_dir() else 6), path
    assert stat.S_IMODE((shared / "a" / "b").stat().st_mode) == 0o2775


def test_in_a_folder_of_ones_own_nothing_is_the_groups(tmp_path, umask_022):
    write_everything(tmp_path / "own")
    assert not [path for path, mode in modes(tmp_path / "own").items() if mode & 2]


def test_what_has_another_group_is_not_opened_to_it(tmp_path, umask_022):
    """As in a shared folder without the bit that hands its group on."""
    if os.geteuid():
        pytest.skip("only root may give a folder to any group")
    os.chown(tmp_path, -1, GROUP)
    tmp_path.chmod(0o775)
    with written_atomically(tmp_path / "file"):
        pass
    assert stat.S_IMODE((tmp_path / "file").stat().st_mode) == 0o644


@pytest.mark.slow
def test_all_files_of_a_sweep_in_a_shared_folder_are_the_groups(tmp_path):
    (tmp_path / "grid.yaml").write_text(GRID + SHORT)
    (tmp_path / "results").mkdir()
    (tmp_path / "results").chmod(0o2775)
    process = sweep(tmp_path)
    assert process.communicate()[1] == ""
    found = modes(tmp_path / "results")
    assert any(path.endswith("/result.json") for path in found)
    assert not [path for path, mode in found.items() if mode < 6]


@pytest.fixture
def lab() -> Iterator[Path]:
    """A folder where any user may come, with a results folder of the shared group."""
    if os.geteuid() or not shutil.which("setpriv"):
        pytest.skip("only root can be several users")
    # Not below pytest's folder, which nobody else may enter.
    with tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as name:
        folder = Path(name)
        folder.chmod(0o755)
        (folder / "results").mkdir()
        os.chown(folder / "results", -1, GROUP)
        (folder / "results").chmod(0o2775)
        yield folder


@pytest.mark.slow
def test_a_second_user_goes_on_with_what_the_first_one_left(lab):
    (lab / "grid.yaml").write_text(GRID + LONG)
    first, second = as_user(64322), as_user(64323)
    process = sweep(lab, *first)
    give_up = time.monotonic() + 240
    while not (found := list(lab.rglob("checkpoint.pt"))):
        assert time.monotonic() < give_up and process.poll() is None, process.communicate()
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    process = sweep(lab, *second)
    out, err = process.communicate(timeout=280)
    assert (process.returncode, err) == (0, ""), out
    (victim,) = {path.parent for path in found}
    log = (victim / "log.txt").read_text()
    assert log.count("started") == 1 and "resumed at step" in log
    assert {path.stat().st_uid for path in victim.iterdir()} == {64322, 64323}
    done = {spec.id: numbers(folder) for spec, folder in Store(lab / "results").all()}
    shutil.rmtree(lab / "results" / "runs")
    undisturbed = sweep(lab, *first)
    assert undisturbed.communicate(timeout=280)[1] == ""
    assert {s.id: numbers(folder) for s, folder in Store(lab / "results").all()} == done
