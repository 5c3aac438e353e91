import json
import os

import numpy as np
import pytest
from support import SPEC

from benchmark.records import claims, store
from benchmark.records.store import Store, write_atomically


@pytest.fixture
def folder(tmp_path):
    return Store(tmp_path).folder(SPEC)


def test_a_run_has_the_folder_that_the_readme_names(tmp_path, folder):
    expected = tmp_path / "runs/synthetic/mbcd/d1+d2_to_d3/m1+m2" / SPEC.id
    assert folder.path == expected


def test_a_run_is_done_when_a_whole_result_is_there_and_never_otherwise(folder):
    assert folder.status().state == "queued"
    folder.write_status(State.DONE)
    (folder.path / "result.json").write_text('{"schema": 1, "rules"')
    assert folder.result() is None
    folder.write_status(State.FAILED)
    assert folder.status().state == "failed"
    folder.write_result({"rules": {}})
    assert folder.status().state == "done"
    assert folder.result() == {"schema": store.SCHEMA, "rules": {}}


def test_a_status_done_without_a_result_is_not_done(folder):
    folder.write_status(State.DONE)
    assert folder.status().state != "done"


def test_a_running_run_lives_as_long_as_its_claim(folder):
    claim = claims.take(folder.path)
    with claim:
        folder.write_status(State.RUNNING)
        assert folder.status().state == "running"
    assert folder.status().state == "interrupted"


def test_a_process_that_lost_its_run_writes_nothing_more(folder):
    folder.write_spec(SPEC)
    folder.claim = claims.take(folder.path)
    os.utime(folder.claim.path, (0, 0))  # no sign of life since 1970
    content = json.loads(folder.claim.path.read_text())
    folder.claim.path.write_text(json.dumps({**content, "machine": "another"}))
    os.utime(folder.claim.path, (0, 0))
    assert claims.take(folder.path) is not None
    before = {p.name: p.read_bytes() for p in folder.path.iterdir()}
    for write in (
        lambda: folder.write_status(State.DONE),
        lambda: folder.write_metrics([]),
        lambda: folder.write_predictions({}),
        lambda: folder.write_result({}),
        lambda: folder.log("still here"),
        lambda: folder.to_write("checkpoint.pt"),
    ):
        with pytest.raises(claims.ClaimLostError):
            write()
    assert {p.name: p.read_bytes() for p in folder.path.iterdir()} == before


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
