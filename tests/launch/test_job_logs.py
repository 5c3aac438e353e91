"""The logs of SLURM jobs: which go when runs are packed. The commands of SLURM are scripts here."""

import json
import os
from pathlib import Path

import pytest

from benchmark import results
from benchmark.launch import cluster
from benchmark.launch.submitted import Submitted
from benchmark.records.store import Store


@pytest.fixture
def queue(tmp_path, monkeypatch):
    """Stand in for SLURM's commands; return the file that holds what squeue says."""
    said = tmp_path / "queue"
    said.touch()
    for name, text in {
        "squeue": f"cat {said}",
        "scontrol": "echo 'ClusterName = here'",
    }.items():
        path = tmp_path / "bin" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"#!/bin/sh\n{text}\n")
        path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}{os.pathsep}{os.environ['PATH']}")
    cluster._config.cache_clear()
    yield said
    cluster._config.cache_clear()


def submitted(root: Path, array: int, *runs: str, owner: str = "", jobs: int = 2) -> None:
    """Leave what an array that was submitted long ago leaves, with a log of each of its jobs."""
    names = [f"{array}_{task}" for task in range(jobs)]
    place = root / "slurm"
    for folder in ("jobs", "logs"):
        (place / folder).mkdir(parents=True, exist_ok=True)
    record = {"owner": owner or cluster.owner(), "jobs": names, "runs": list(runs)}
    path = place / "jobs" / f"{array}.json"
    path.write_text(json.dumps(record))
    os.utime(path, (1e9, 1e9))
    for name in names:
        for end in ("0_log.out", "submitted.pkl", "0_result.pkl"):
            (place / "logs" / f"{name}_{end}").touch()
    script = place / "logs" / f"{array}_submission.sh"
    script.touch()
    (place / "logs" / f".submission_file_{array}.sh").symlink_to(script)


def drop(root: Path, done: set[str]) -> int:
    return Submitted(root).drop_logs(done, cluster.jobs(), cluster.owner())


def there(root: Path) -> set[str]:
    return {p.name for p in (root / "slurm" / "logs").iterdir() if p.suffix == ".out"}


def test_logs_go_once_a_job_is_over_and_all_its_runs_are_done(tmp_path, queue):
    root = tmp_path / "results"
    submitted(root, 1, "a", "b", "c")
    submitted(root, 2, "a", "failed", jobs=1)
    submitted(root, 3, "a")
    submitted(root, 4, "a", owner="another@here", jobs=1)
    queue.write_text("3_0|RUNNING|None\n")
    assert drop(root, {"a", "b", "c"}) == 2
    assert there(root) == {"2_0_0_log.out", "3_0_0_log.out", "3_1_0_log.out", "4_0_0_log.out"}
    # Whose log it is stays known until it goes; the array that is over and forgotten has no files.
    assert {p.name for p in (root / "slurm" / "jobs").iterdir()} == {"2.json", "3.json", "4.json"}
    left = {p.name for p in (root / "slurm" / "logs").iterdir()}
    assert not {name for name in left if name.startswith("1_") or name.endswith("_1.sh")}
    assert "3_0_submitted.pkl" in left and "2_0_submitted.pkl" not in left
    queue.write_text("")
    assert drop(root, {"a", "b", "c", "failed"}) == 3
    assert there(root) == {"4_0_0_log.out"}


def test_packing_says_how_many_logs_went(tmp_path, queue, capsys):
    from support import tiny_run

    spec, _ = tiny_run(tmp_path / "results")
    root = tmp_path / "results"
    submitted(root, 1, spec.id)
    submitted(root, 2, spec.id, "unknown", jobs=1)
    assert results.main(["pack", "--results", str(root)]) == 0
    shown = capsys.readouterr()
    assert "dropped: 1 claims, 1 logs, 2 logs of jobs" in shown.out and not shown.err
    assert there(root) == {"2_0_0_log.out"}
    assert len(list(Store(root).all())) == 1


def test_where_the_queue_cannot_be_asked_the_logs_stay(tmp_path, queue, capsys):
    root = tmp_path / "results"
    (root / "runs").mkdir(parents=True)
    submitted(root, 1, jobs=1)
    (tmp_path / "bin" / "squeue").write_text("#!/bin/sh\necho 'no controller' >&2\nexit 1\n")
    assert results.main(["pack", "--results", str(root)]) == 0
    assert "the logs of SLURM jobs stay: squeue failed (no controller)" in capsys.readouterr().err
    assert there(root) == {"1_0_0_log.out"}
