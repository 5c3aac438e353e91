"""`stage:` in a profile: jobs read a copy on their node; the records are those of the original."""

import os
import pickle
import shutil
import subprocess
import sys
import tarfile
from collections import namedtuple
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import submitit
from support import Silent, numbers
from support_folder import FOURS, table, vectors

from benchmark import sweep
from benchmark.launch import cluster, profile, snapshot
from benchmark.launch.execute import execute
from benchmark.launch.job import Work
from benchmark.planning import plan
from benchmark.planning.request import Request
from benchmark.records.run_folder import RunFolder
from benchmark.records.spec import RunSpec
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from mmdg_common import UsageError

PROJECT = Path(__file__).resolve().parents[2]
GRID = "dataset: folder\nall-splits: true\nmethod: [erm, ema]\nepochs: 2\n"
JOB = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))()"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with a dataset, a grid and a profile."""
    monkeypatch.chdir(tmp_path)
    root = tmp_path / "origin"
    table(root, vectors(root, FOURS))
    (tmp_path / "grid.yaml").write_text(GRID)
    (tmp_path / "site.yaml").write_text("stage: $NODE_TMP/mmdg\n")
    monkeypatch.setenv("NODE_TMP", str(tmp_path / "node"))
    return root


def packed(root: Path) -> Path:
    with tarfile.open(root.with_name("origin.tar.gz"), "w:gz") as archive:
        archive.add(root, "folder")
    return root.with_name("origin.tar.gz")


def swept(root: Path, results: str, *more: str) -> int:
    given = ["--results", results, "--data-root", f"folder={root}", "--no-reuse"]
    return sweep.main(["grid.yaml", *given, *more])


def folders(results: str | Path) -> dict[str, RunFolder]:
    return {spec.id: folder for spec, folder in Store(Path(results)).all()}


def log(folder: RunFolder) -> str:
    return (folder.path / "log.txt").read_text()


def measured(results: str | Path) -> dict[str, object]:
    """Everything measured, by run: results, every validation, and the predictions' bytes."""
    return {
        name: (numbers(f), f.metrics(), (f.path / "predictions.npz").read_bytes())
        for name, f in folders(results).items()
    }


def data_roots(results: str) -> set[str]:
    found = [folder.result() for folder in folders(results).values()]
    return {result["provenance"]["data_root"] for result in found if result}


@pytest.fixture
def submitted(monkeypatch: pytest.MonkeyPatch) -> list[Work]:
    """What is given to SLURM, which is not there."""
    found: list[Work] = []

    class Executor:
        def __init__(self, folder: Path, python: str) -> None:
            pass

        def update_parameters(self, **_: Any) -> None:
            pass

        def submit_array(self, work: Sequence[Work]) -> list[Any]:
            found.extend(work)
            Job = namedtuple("Job", "job_id")
            return [Job(f"1_{i}") for i in range(len(work))]

    monkeypatch.setattr(submitit, "SlurmExecutor", Executor)
    monkeypatch.setattr(cluster, "require", lambda: None)
    monkeypatch.setattr(cluster, "jobs", dict)
    monkeypatch.setattr(cluster, "_config", lambda on="": {"ClusterName": "here"})
    monkeypatch.setattr(cluster, "machines", lambda *_: 1)
    monkeypatch.setattr(snapshot, "take", lambda place: place)
    return found


def carried_out(work: Work, folder: Path) -> subprocess.Popen[str]:
    """Start a job as a node does: in a process of its own, elsewhere."""
    folder.mkdir()
    (folder / "work.pkl").write_bytes(pickle.dumps(work))
    return subprocess.Popen(
        [sys.executable, "-c", JOB, str(folder / "work.pkl")],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(PROJECT), "SLURM_JOB_ID": folder.name},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


@pytest.mark.slow
def test_jobs_share_one_copy_and_give_the_records_of_the_original(
    here: Path, submitted: list[Work], tmp_path: Path
) -> None:
    assert swept(here, "inline") == 0
    options = ("--launcher", "slurm", "--profile", "site.yaml", "--jobs", "2")
    assert swept(here, "jobs", *options) == 0
    assert len(submitted) == 2
    assert not (tmp_path / "node").exists()  # nothing is copied where jobs are submitted
    jobs = [carried_out(work, tmp_path / f"job{i}") for i, work in enumerate(submitted)]
    told = [job.communicate(timeout=300)[0] for job in jobs]
    assert [job.returncode for job in jobs] == [0] * 2, told
    assert sum("copying folder from" in text for text in told) == 1
    assert len(folders("jobs")) == 4
    assert measured("jobs") == measured("inline")
    assert data_roots("jobs") == data_roots("inline") == {str(here)}
    (copy,) = (tmp_path / "node" / "mmdg" / "folder").glob("*/data")
    for folder in folders("jobs").values():
        assert f"folder is read from {copy}, a copy of {here}" in log(folder)
    kept = {path.name for path in Path("inline/cache").glob("*.json")}
    assert kept == {path.name for path in Path("jobs/cache").glob("*.json")}


def test_an_archive_is_unpacked_to_plan_and_to_train(here: Path, tmp_path: Path) -> None:
    archive = packed(here)
    assert swept(here, "folder") == 0
    assert swept(archive, "archive", "--profile", "site.yaml") == 0
    assert measured("archive") == measured("folder")
    assert data_roots("archive") == {str(archive)}
    assert len(list((tmp_path / "node" / "mmdg" / "folder").glob("*/data"))) == 1


def test_an_archive_that_nobody_unpacks_is_an_error_with_the_way_out(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path("plain.yaml").write_text("time: 5\n")
    for more in ([], ["--launcher", "slurm", "--profile", "plain.yaml"]):
        assert swept(packed(here), "results", "--dry-run", *more) == 2
        error = capsys.readouterr().err
        assert error.count("\n") == 1
        assert "origin.tar.gz is an archive. Unpack it" in error
        assert "--profile my_site.yaml" in error


def one(root: Path) -> RunSpec:
    settings = RunSettings(Path("plan"), data_roots={"folder": root})
    request = Request(["erm"], "folder", sources=["A"], target="B", recipe={"epochs": 1})
    return plan.make(request, settings).specs[0]


def without_room(monkeypatch: pytest.MonkeyPatch) -> None:
    usage = namedtuple("usage", "total used free")
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage(10**13, 0, 3 * 10**8))


def test_a_run_without_room_for_a_copy_reads_the_folder_and_says_so(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = one(here)
    settings = RunSettings(Path("r"), data_roots={"folder": here}, stage={"": "$NODE_TMP"})
    with monkeypatch.context() as patch:
        without_room(patch)
        assert execute(spec, replace(settings, threads=1), Silent()).state == "done"
    (folder,) = folders("r").values()
    assert f"folder is read from {here}, as it cannot be copied to $NODE_TMP/folder" in log(folder)
    assert "0.3 GB are free" in log(folder)


def test_a_run_without_room_for_an_archive_is_interrupted_and_can_be_repeated(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = one(here)
    archive = packed(here)
    shutil.rmtree(here)
    places = {"folder": "$NODE_TMP/here"}
    settings = RunSettings(Path("r"), data_roots={"folder": archive}, stage=places, threads=1)
    with monkeypatch.context() as patch:
        without_room(patch)
        ending = execute(spec, settings, Silent())
    assert ending.state == "interrupted"
    assert "folder needs more than 0.0 GB" in ending.reason
    assert "0.3 GB are free" in ending.reason
    assert execute(spec, settings, Silent()).state == "done"


def test_no_copy_is_made_for_runs_that_are_done(here: Path, tmp_path: Path) -> None:
    spec = one(here)
    settings = RunSettings(Path("r"), data_roots={"folder": here}, threads=1)
    assert execute(spec, settings, Silent()).state == "done"
    assert execute(spec, replace(settings, stage={"": "$NODE_TMP"}), Silent()).state == "done"
    assert not (tmp_path / "node").exists()


# The profile


def read(text: str) -> profile.Profile:
    Path("site.yaml").write_text(text)
    return profile.read("site.yaml")


def test_a_place_is_for_all_datasets_or_for_each_by_name(here: Path) -> None:
    assert read("time: 5\n").stage == {}
    assert read("stage: $TMPDIR/mmdg\n").stage == {"": "$TMPDIR/mmdg"}
    assert read("stage: {hac: /scratch/$USER/hac, mex: ~/mex}\n").stage == {
        "hac": "/scratch/$USER/hac",
        "mex": "~/mex",
    }
    assert "stage" not in read("stage: /x\n").parameters(1)


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("stage: {hack: /x}", r"line 1: unknown key 'hack'\. Did you mean 'hac'"),
        ("stage: scratch", r"line 1: 'scratch' is no folder that every node has"),
        ("stage:\n  hac: a/b", r"line 2: 'a/b' is no folder that every node has"),
        ("stage: [/x]", r"line 1: 'key: value' is wanted here"),
        ("stage: {hac: [/x]}", r"line 1: one value is wanted here"),
        ("stage:", r"line 1: '' is no folder"),
    ],
)
def test_a_place_that_cannot_be_is_an_error(here: Path, text: str, error: str) -> None:
    with pytest.raises(UsageError, match=error):
        read(f"{text}\n")
