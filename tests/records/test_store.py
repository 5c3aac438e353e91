import json
import os
from dataclasses import replace

import numpy as np
import pytest
from support import SPEC
from support_reports import make_result, whole

from benchmark.records import claims
from benchmark.records.run_folder import write_atomically
from benchmark.records.state import State, Status
from benchmark.records.store import Store

RESULT = whole(make_result(0.5))


@pytest.fixture
def folder(tmp_path):
    return Store(tmp_path).folder(SPEC)


def test_a_run_has_the_folder_that_the_readme_names(tmp_path, folder):
    expected = tmp_path / "runs/synthetic/mbcd/d1+d2_to_d3/m1+m2" / SPEC.id
    assert folder.path == expected


def test_the_names_of_many_modalities_fit_into_a_file_system(tmp_path):
    units = ("torso", "right_arm", "left_arm", "right_leg", "left_leg")
    sensors = ("accelerometer", "gyroscope", "magnetometer")
    fifteen = tuple(f"{unit}_{sensor}" for unit in units for sensor in sensors)
    found = []
    for modalities in (fifteen, (*fifteen[:-1], "another"), fifteen[:14]):
        run = Store(tmp_path).folder(replace(SPEC, modalities=modalities))
        run.write_spec(replace(SPEC, modalities=modalities, encoders=dict.fromkeys(modalities, "")))
        run.write_result(RESULT)
        found_done = list(Store(tmp_path).done("synthetic", "mbcd", modalities))
        assert [(spec.modalities, result) for spec, result in found_done] == [(modalities, RESULT)]
        found.append(run.path.parent.name)
    assert len(set(found)) == 3
    assert all(
        name.startswith(f"{n}_modalities_") for name, n in zip(found, (15, 15, 14), strict=True)
    )


def test_a_run_is_done_when_a_whole_result_is_there_and_never_otherwise(folder):
    assert folder.status() == Status(State.TO_DO)
    folder.write_status(State.DONE)
    (folder.path / "result.json").write_text('{"schema": 1, "rules"')
    assert folder.result() is None
    folder.write_status(State.FAILED)
    assert folder.status().state == "failed"
    folder.write_result(RESULT)
    assert folder.status().state == "done"
    assert folder.result() == RESULT


def test_a_status_done_without_a_result_is_not_done(folder):
    folder.write_status(State.DONE)
    assert folder.status().state == "to do"
    folder.checkpoint.touch()
    assert folder.status().state == "interrupted"


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
        folder.write_result(RESULT)
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


def test_metrics_are_one_line_per_record(folder):
    assert folder.metrics() == []
    scores = {"fused": {"loss": 0.25, "accuracy": 0.5}}
    records = [{"epoch": i, "val": scores, "target": scores} for i in range(2)]
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
    (problem,) = found.problems
    assert problem.startswith(f"{other / 'spec.json'}: no spec of this version of the suite")


def write_raw(folder, name, values):
    folder.path.mkdir(parents=True, exist_ok=True)
    (folder.path / name).write_text(json.dumps(values))


@pytest.mark.parametrize(("word", "state"), [("queued", "to do"), ("preempted", "interrupted")])
def test_the_words_of_earlier_versions_are_read(folder, word, state):
    write_raw(folder, "status.json", {"state": word, "time": 1.75e9, "retry": True})
    status = folder.status()
    assert (status.state, status.retry, status.problem) == (state, True, "")
    folder.write_status(State.RUNNING)
    assert folder.noted().retry


def test_the_details_of_a_status_are_kept_and_lack_nothing(folder):
    folder.await_forced("7-ab")
    folder.write_status(State.RUNNING, step=3, total=9)
    noted = folder.noted()
    assert (noted.state, noted.step, noted.total, noted.forced) == ("running", 3, 9, "7-ab")
    folder.write_status(State.FAILED, error="KeyError: 'a'", traceback="Traceback ...")
    assert (folder.status().error, folder.status().forced) == ("KeyError: 'a'", "7-ab")
    folder.await_retry()
    assert (folder.status().state, folder.status().retry) == ("to do", True)
    folder.write_status(State.FAILED)
    assert not folder.status().retry


def test_an_unusable_result_is_kept_aside_when_the_run_starts_again(folder):
    for number in (1, 2):
        write_raw(folder, "result.json", {"schema": 1, "rules": {}, "provenance": {}})
        assert folder.status().problem == "result.json: rules is empty"
        folder.tidy()
        assert folder.status() == Status(State.TO_DO)
        assert (folder.path / f"result-unusable-{number}.json").exists()
    assert "kept as result-unusable-2.json" in (folder.path / "log.txt").read_text()
    folder.write_result(RESULT)
    folder.tidy()
    assert folder.result() == RESULT


def test_tidying_takes_away_half_written_files_and_nothing_of_others(folder):
    folder.write_status(State.RUNNING)
    (folder.path / ".ipynb_checkpoints").mkdir()
    others = [".ipynb_checkpoints", ".nfs0000a1b2", ".status.json", "status.json"]
    for name in (".status.json.4711.0a1b2c3d", ".now.0a1b2c3d", ".status.json", ".nfs0000a1b2"):
        (folder.path / name).touch()
    folder.tidy()
    assert sorted(path.name for path in folder.path.iterdir()) == sorted(others)


def test_files_of_others_between_the_runs_are_named_and_hidden_ones_passed_over(tmp_path, folder):
    folder.write_spec(SPEC)
    for path in (folder.path.parent, folder.path.parent.parent, tmp_path / "runs"):
        (path / ".ipynb_checkpoints").mkdir()
        (path / ".DS_Store").touch()
    (tmp_path / "runs" / "notes.txt").touch()
    store = Store(tmp_path)
    assert [spec for spec, _ in store.all()] == [SPEC]
    assert store.problems == [f"{tmp_path / 'runs' / 'notes.txt'}: no file of the suite"]


def test_done_runs_of_a_kind_are_those_with_a_result_that_were_not_set_aside(tmp_path):
    def run(**changes):
        spec = replace(SPEC, **changes)
        folder = Store(tmp_path).folder(spec)
        folder.write_spec(spec)
        return folder

    def seconds(wall_s):
        return {**RESULT, "provenance": {"wall_s": wall_s}}

    def done(*kind, **limit):
        found = Store(tmp_path).done(*kind, **limit)
        return sorted((spec.seed, result["provenance"]["wall_s"]) for spec, result in found)

    aside = run(seed=0)
    aside.write_result(seconds(1.0))
    aside.set_aside()
    run(seed=0).write_result(seconds(2.0))
    run(seed=1).write_result(seconds(4.0))
    run(seed=2)
    run(seed=3, method="erm").write_result(seconds(8.0))
    run(seed=4, modalities=("m1",)).write_result(seconds(16.0))
    write_raw(run(seed=5), "result.json", {})
    assert done("synthetic", "mbcd", ("m1", "m2")) == [(0, 2.0), (1, 4.0)]
    assert done("synthetic", "mbcd", ("m3",)) == done("mex") == []
    assert done("synthetic", "mbcd") == [(0, 2.0), (1, 4.0), (4, 16.0)]
    assert done("synthetic", None, ("m1", "m2")) == [(0, 2.0), (1, 4.0), (3, 8.0)]
    assert done(method="erm") == [(3, 8.0)]
    assert len(done()) == 4
    assert [seed for seed, _ in done(each=1) if seed > 2] == [3, 4] and len(done(each=1)) == 3
