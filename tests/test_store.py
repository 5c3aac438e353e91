import json
import os
import socket
import subprocess
import sys
import time

import numpy as np
import pytest
from test_spec import SPEC

from benchmark import store
from benchmark.store import Store, write_atomically


@pytest.fixture
def folder(tmp_path):
    return Store(tmp_path).folder(SPEC)


def test_a_run_has_the_folder_that_the_readme_names(tmp_path, folder):
    expected = tmp_path / "runs/synthetic/mbcd/d1+d2_to_d3/m1+m2" / SPEC.id
    assert folder.path == expected


def test_a_run_is_done_when_a_whole_result_is_there_and_never_otherwise(folder):
    assert folder.status()["state"] == "queued"
    folder.write_status(store.DONE)
    (folder.path / "result.json").write_text('{"schema": 1, "rules"')
    assert folder.result() is None
    folder.write_status(store.FAILED)
    assert folder.status()["state"] == "failed"
    folder.write_result({"rules": {}})
    assert folder.status()["state"] == "done"
    assert folder.result() == {"schema": store.SCHEMA, "rules": {}}


def test_a_status_done_without_a_result_is_not_done(folder):
    folder.write_status(store.DONE)
    assert folder.status()["state"] != "done"


def test_a_running_run_whose_process_is_gone_is_interrupted(folder):
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    folder.write_status(store.RUNNING)
    assert folder.status()["state"] == "running"
    status = {
        "state": "running",
        "host": socket.gethostname(),
        "pid": dead.pid,
        "heartbeat": time.time(),
    }
    (folder.path / "status.json").write_text(json.dumps(status))
    assert folder.status()["state"] == "interrupted"


def test_a_run_on_another_host_lives_by_its_heartbeat(folder):
    folder.write_status(store.RUNNING)
    path = folder.path / "status.json"
    status = json.loads(path.read_text()) | {"host": "elsewhere", "pid": 1}
    path.write_text(json.dumps(status))
    assert folder.status()["state"] == "running"
    path.write_text(json.dumps(status | {"heartbeat": time.time() - 2 * store.STALE_AFTER}))
    assert folder.status()["state"] == "interrupted"


def test_a_run_of_this_process_does_not_run_elsewhere(folder):
    folder.write_status(store.RUNNING)
    assert not folder.runs_elsewhere()
    path = folder.path / "status.json"
    parent = json.loads(path.read_text()) | {"pid": os.getppid()}
    path.write_text(json.dumps(parent))
    assert folder.runs_elsewhere()


def test_a_failed_write_leaves_the_old_file_and_no_temporary_one(tmp_path, monkeypatch):
    path = tmp_path / "a.json"
    write_atomically(path, b"old")

    def broken(*_):
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", broken)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_set_aside_is_kept_and_not_listed(tmp_path, folder):
    for _ in range(2):
        folder.write_spec(SPEC)
        folder.write_result({"rules": {}})
        folder.set_aside()
    assert not folder.path.exists()
    assert {p.name for p in folder.path.parent.iterdir()} == {f"{SPEC.id}~1", f"{SPEC.id}~2"}
    assert list(Store(tmp_path).all()) == []
    folder.write_spec(SPEC)
    assert [spec for spec, _ in Store(tmp_path).all()] == [SPEC]


def test_predictions_are_read_back_without_pickle(folder):
    folder.write_predictions({"best-val/target/fused": np.eye(3, dtype=np.float16)})
    arrays = np.load(folder.path / "predictions.npz", allow_pickle=False)
    assert np.array_equal(arrays["best-val/target/fused"], np.eye(3))


def test_metrics_are_one_line_a_record(folder):
    assert folder.metrics() == []
    records = [{"epoch": 0, "val": {"fused": {"loss": 0.25}}}, {"epoch": 1}]
    folder.write_metrics(records)
    assert len((folder.path / "metrics.jsonl").read_text().splitlines()) == 2
    assert folder.metrics() == records


def test_a_record_of_another_version_is_named_and_stops_nothing(tmp_path, folder):
    folder.write_spec(SPEC)
    other = folder.path.with_name("0123456789ab")
    other.mkdir()
    (other / "spec.json").write_text('{"dataset": "synthetic", "sources": [], "field_of_2031": 1}')
    found = Store(tmp_path)
    assert [spec for spec, _ in found.all()] == [SPEC]
    assert found.unreadable == [other / "spec.json"]
