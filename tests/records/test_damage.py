"""Damaged and crafted files: no command ends in a traceback, each file is named, the rest is there.

Every command runs in this process, so that an exception it does not handle fails the test.
"""

import io
import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest
from damage import CRAFTED, DIRECTORY, misshapen, put

from benchmark import report, run, sweep
from benchmark.records import claims, predictions
from benchmark.records.read import read
from benchmark.records.run_folder import RunFolder
from benchmark.records.shape import UnreadableError
from benchmark.records.store import Store
from mmdg_common import parse_json

ASKED = (
    *("--method", "erm", "--dataset", "synthetic", "--dataset-option", "domains=3", "classes=3"),
    *("samples_per_class=10", "--sources", "d1", "d2", "--target", "d3", "--epochs", "1"),
    *("--batch-size", "8", "--seeds", "0", "1", "2", "--threads", "1"),
)
GRID = """\
dataset: synthetic
dataset-option: {domains: 3, classes: 3, samples_per_class: 10}
method: erm
sources: [d1, d2]
target: d3
epochs: 1
batch-size: 8
seeds: [0, 1, 2]
"""


@pytest.fixture(scope="module")
def three_runs(tmp_path_factory):
    """A results folder with three runs that are done; tests work on copies of it."""
    root = tmp_path_factory.mktemp("damage") / "results"
    assert run.main([*ASKED, "--results", str(root)]) == 0
    return root


@pytest.fixture
def folders(three_runs, tmp_path, monkeypatch):
    """The folders of the three runs; the first one is for breaking."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(GRID)
    shutil.copytree(three_runs, tmp_path / "results")
    return [folder for _, folder in Store(Path("results")).all()]


def spoil(folder: RunFolder, name: str, content: bytes | str) -> None:
    """Break one file of a run, in a state of the run in which that file counts."""
    if name in ("status.json", "claim-1.json"):
        (folder.path / "result.json").unlink(missing_ok=True)
        folder.write_status("running")
    put(folder.path / name, content)


NAMED = ("spec.json", "status.json", "result.json")
CONTENTS = {**CRAFTED, "a directory": DIRECTORY}


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("name", [*NAMED, "claim-1.json", "metrics.jsonl", "predictions.npz"])
def test_a_damaged_file_is_named_and_the_other_runs_are_told_of(folders, capsys, name, content):
    spoil(folders[0], name, CONTENTS[content])
    path = folders[0].path / name
    assert run.main([*ASKED, "--status"]) == 0
    status = capsys.readouterr().out
    assert ("3 runs: " in status and "2 done" in status) or "3 done" in status
    if name in ("status.json", "result.json"):
        assert f"· {name}: " in status
    assert sweep.main(["grid.yaml", "--status"]) == 0
    assert report.main([]) == 0
    shown = capsys.readouterr()
    assert "(2)" in shown.out or "(3)" in shown.out
    if name in NAMED:
        assert shown.err.count(f"left out: {path}: ") == 1


@pytest.mark.parametrize(
    "content",
    [
        *("another object", "a directory"),
        *(pytest.param(c, marks=pytest.mark.slow) for c in ("an empty object", "deep lists")),
    ],
)
@pytest.mark.parametrize("name", [*NAMED, "claim-1.json", "metrics.jsonl", "predictions.npz"])
def test_the_page_and_its_figures_are_made_of_the_rest(folders, capsys, name, content):
    spoil(folders[0], name, CONTENTS[content])
    assert report.main(["--ensemble", "--format", "html", "--output", "page.html"]) == 0
    shown = capsys.readouterr()
    if name != "claim-1.json":
        assert shown.err.count(f"{folders[0].path / name}: ") == 1
    assert report.main(["--table", "all", "--tuned", "--format", "csv"]) == 0
    assert "erm" in capsys.readouterr().out


@pytest.mark.parametrize("content", CONTENTS)
def test_a_run_without_a_usable_result_is_carried_out_again(folders, capsys, content):
    before = folders[0].result()
    spoil(folders[0], "result.json", CONTENTS[content])
    assert run.main([*ASKED]) == 0
    assert "3 runs: 3 done" in capsys.readouterr().out
    assert folders[0].result()["rules"] == before["rules"]
    aside = folders[0].path / "result-unusable-1.json"
    kept = DIRECTORY if aside.is_dir() else aside.read_bytes()
    assert kept == CONTENTS[content]


@pytest.mark.parametrize("content", ["an empty object", "deep lists", "no UTF-8"])
@pytest.mark.parametrize("name", ["spec.json", "status.json", "claim-1.json", "metrics.jsonl"])
def test_a_run_with_damaged_files_can_be_finished(folders, capsys, name, content):
    spoil(folders[0], name, CONTENTS[content])
    (folders[0].path / "result.json").unlink(missing_ok=True)
    for path in folders[0].path.glob("claim-*.json"):
        os.utime(path, (0, 0))
    assert run.main([*ASKED]) == 0
    assert "3 runs: 3 done" in capsys.readouterr().out
    assert len(read([Path("results")]).problems) == 0


@pytest.mark.parametrize("name", ["spec.json", "status.json", "metrics.jsonl", "predictions.npz"])
def test_a_folder_in_the_place_of_a_file_is_named_by_the_run(folders, capsys, name):
    (folders[0].path / "result.json").unlink()
    spoil(folders[0], name, DIRECTORY)
    (folders[0].path / "result.json").unlink(missing_ok=True)
    assert run.main([*ASKED]) == 1
    shown = capsys.readouterr()
    assert "2 done" in shown.out and name in shown.err


def test_a_folder_of_an_editor_inside_a_run_ends_nothing(folders, capsys):
    (folders[0].path / "result.json").unlink()
    for folder in folders:
        (folder.path / ".ipynb_checkpoints").mkdir()
        (folder.path / ".ipynb_checkpoints" / "log-checkpoint.txt").touch()
    assert sweep.main(["grid.yaml"]) == 0
    assert all(folder.result() for folder in folders)
    assert report.main([]) == 0
    assert "left out" not in capsys.readouterr().err


@pytest.mark.slow
def test_a_result_with_a_wrong_field_is_left_out_or_reported(folders, capsys):
    path = folders[0].path / "result.json"
    values = parse_json(path.read_bytes())
    values["rules"] = {"best-val": values["rules"]["best-val"]}
    refused = 0
    for place, wrong in misshapen(values):
        path.write_text(json.dumps(wrong))
        if problems := read([Path("results")]).problems:
            assert [problem.startswith(f"{path}: ") for problem in problems] == [True], place
            refused += 1
            continue
        for options in ([], ["--metric", "macro-f1", "--tuned"], ["--table", "all"]):
            assert report.main(options) == 0, place
    assert refused > 300


def test_a_result_of_another_setting_than_its_spec_is_named(folders, capsys, tmp_path):
    """One without a target lacks what every table shows."""
    path = folders[0].path / "result.json"
    assert report.main(["--export", "runs.jsonl"]) == 0
    lines = (tmp_path / "runs.jsonl").read_text().splitlines()
    values = parse_json(path.read_bytes())
    values["setting"] = "all-domains"
    for at in values["rules"].values():
        del at["target"]
    path.write_text(json.dumps(values))
    lines[0] = json.dumps(json.loads(lines[0]) | {"result": values})
    (tmp_path / "runs.jsonl").write_text("".join(f"{line}\n" for line in lines))
    for place, name in ((Path("results"), str(path)), (tmp_path / "runs.jsonl", "line 1")):
        capsys.readouterr()
        assert report.main(["--results", str(place)]) == 0
        shown = capsys.readouterr()
        assert f"{name}: of setting all-domains, and the run is of multi-source" in shown.err
        assert "(2)" in shown.out


@pytest.mark.slow
def test_a_spec_with_a_wrong_field_is_left_out_or_reported(folders, capsys):
    path = folders[0].path / "spec.json"
    for place, wrong in misshapen(parse_json(path.read_bytes())):
        path.write_text(json.dumps(wrong))
        assert report.main([]) == 0, place
    assert f"{path}: no spec of this version of the suite: target is" in capsys.readouterr().err


def test_a_status_with_a_wrong_field_is_named(folders, capsys):
    (folders[0].path / "result.json").unlink()
    values = {"state": "failed", "time": 1.75e9, "step": 3, "total": 9, "error": "KeyError"}
    for place, wrong in misshapen({**values, "retry": True, "forced": "1-ab"}):
        (folders[0].path / "status.json").write_text(json.dumps(wrong))
        assert run.main([*ASKED, "--status"]) == 0, place
        assert report.main(["--format", "csv"]) == 0, place
    assert sweep.main(["grid.yaml", "--status"]) in (0, 1)
    shown = capsys.readouterr()
    for name in values:
        assert f"status.json: {name} is missing or wrong" in shown.out
        assert f"status.json: {name} is missing or wrong" in shown.err


def test_a_claim_with_a_wrong_field_names_nobody_and_is_taken_over(folders):
    folder = folders[0].path
    values = parse_json((folder / "claim-1.json").read_bytes())
    values.pop("released")
    for place, wrong in misshapen({**values, "machine": "another"}):
        (folder / "claim-1.json").write_text(json.dumps(wrong))
        assert claims.held(folder), place
        os.utime(folder / "claim-1.json", (0, 0))
        assert claims.take(folder) is not None, place
        (folder / "claim-2.json").unlink()


def test_exported_lines_that_are_damaged_are_named_by_number(folders, capsys, tmp_path):
    assert report.main(["--export", "runs.jsonl"]) == 0
    lines = (tmp_path / "runs.jsonl").read_bytes().splitlines()
    (tmp_path / "runs.jsonl").write_bytes(b"\n".join([*lines[1:], *CRAFTED.values()]))
    found = read([tmp_path / "runs.jsonl"])
    assert len(found.records) == 2
    assert len(found.problems) == len(CRAFTED)
    for number, problem in enumerate(found.problems, 3):
        assert problem.startswith(f"{tmp_path / 'runs.jsonl'}, line {number}: ")
    values = json.loads(lines[0])
    values["result"]["rules"] = {"last": values["result"]["rules"]["last"]}
    part = {"commit": "c", "packages": {"torch": "2"}, "threads": 1, "start": 0, "end": 3}
    values["result"]["provenance"]["segments"] = [part]
    variants = [json.dumps(wrong).encode() for _, wrong in misshapen(values)]
    for _, wrong in misshapen(part):
        values["result"]["provenance"]["segments"] = [part, wrong]
        variants.append(json.dumps(values).encode())
    (tmp_path / "runs.jsonl").write_bytes(b"\n".join([*lines, *variants]))
    capsys.readouterr()
    assert report.main(["--results", "runs.jsonl", "--select", "last"]) == 0
    shown = capsys.readouterr()
    assert "erm" in shown.out and "left out: runs.jsonl, line 4: spec is missing" in shown.err


def test_damaged_records_of_submitted_jobs_are_named(tmp_path, capsys):
    from benchmark.launch import cluster, queue
    from benchmark.launch.submitted import Submitted

    good = {"owner": "me@here", "jobs": ["7", "8"], "runs": ["ab", "cd"]}
    jobs = tmp_path / "slurm" / "jobs"
    jobs.mkdir(parents=True)
    (jobs / "7.json").write_text(json.dumps(good))
    job = cluster.Job("8", "PENDING", "Priority")
    wrong = [json.dumps(values).encode() for _, values in misshapen(good)]
    changes = ({"owner": "x"}, {"owner": "\x1b[31m"}, {"jobs": []}, {"runs": []})
    harmless = [json.dumps(good | change).encode() for change in changes]
    for content in [*CONTENTS.values(), *wrong]:
        put(jobs / "6.json", content)
        found = queue.jobs_of_runs(Submitted(tmp_path), [("me@here", {"8": job})])
        assert found == {"ab": (job,), "cd": (job,)}
        told = capsys.readouterr().err
        if content not in harmless:
            assert told.count(f"left out: {jobs / '6.json'}: ") == 1, content


# Predictions


def arrays_of(folder: RunFolder) -> dict[str, np.ndarray]:
    with np.load(folder.path / "predictions.npz") as arrays:
        return dict(arrays)


def spoiled(arrays):
    """Yield predictions with something wrong about those of `last` on the target."""
    ids, labels, fused = (f"last/target/{name}" for name in ("ids", "labels", "fused"))
    for name in (ids, labels, fused):
        yield {k: v for k, v in arrays.items() if k != name}
        yield {**arrays, name: arrays[name][:-1]}
        yield {**arrays, name: arrays[name][:0]}
        yield {**arrays, name: arrays[name][None]}
        yield {**arrays, name: np.array(3)}
        yield {**arrays, name: np.array([b"x"] * len(arrays[name]))}
    for wrong in (arrays[fused][:, :0], arrays[fused][:, 0], arrays[fused] * np.float16("nan")):
        yield {**arrays, fused: wrong}
    yield {**arrays, labels: arrays[labels] + 1}
    yield {**arrays, labels: arrays[labels] - 1}
    yield {**arrays, labels: arrays[labels].astype(float)}
    yield {k: v[:0] if k.startswith("last/target") else v for k, v in arrays.items()}


def test_predictions_that_lack_something_are_refused(folders, tmp_path):
    arrays = arrays_of(folders[0])
    path = tmp_path / "some.npz"
    np.savez_compressed(path, **arrays)
    assert np.array_equal(predictions.read(path, "last").labels, arrays["last/target/labels"])
    count = 0
    for wrong in spoiled(arrays):
        np.savez_compressed(path, **wrong)
        with pytest.raises(UnreadableError):
            predictions.read(path, "last")
        count += 1
    assert count == 25
    np.savez(path, **{**arrays, "last/target/ids": np.array([{}], dtype=object)})
    with pytest.raises(UnreadableError):
        predictions.read(path, "last")
    with path.open("wb") as file:
        np.save(file, arrays["last/target/fused"])
    with pytest.raises(UnreadableError):
        predictions.read(path, "last")


def test_a_flipped_byte_is_noticed_or_changes_nothing(folders, tmp_path):
    arrays = {
        k: v
        for k, v in arrays_of(folders[0]).items()
        if k.startswith("last/target") or k == "last/val/groups"
    }
    file = io.BytesIO()
    np.savez_compressed(file, allow_pickle=False, **arrays)
    whole, path = file.getvalue(), tmp_path / "flipped.npz"
    noticed = 0
    for place in range(len(whole)):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 0xFF]) + whole[place + 1 :])
        try:
            found = predictions.read(path, "last")
        except UnreadableError:
            noticed += 1
            continue
        names = ("ids", "groups", "labels", "fused", "predicted")
        for name, array in zip(names, found[1:6], strict=True):
            assert np.array_equal(array, arrays[f"last/target/{name}"]), place
    assert noticed > len(whole) / 2


def test_bad_predictions_are_left_out_by_name_and_once(folders, capsys):
    path = folders[0].path / "predictions.npz"
    data = bytearray(path.read_bytes())
    data[100:-200:50] = bytes(255 - byte for byte in data[100:-200:50])
    whole = path.read_bytes()
    for content in (bytes(data), whole[:-40] + b"\x00" * 40):
        path.write_bytes(content)
        options = ["--ensemble", "--format", "html", "--output", "page.html"]
        assert report.main(options) == 0
        assert capsys.readouterr().err.count(f"left out: {path}: ") == 1


def test_predictions_of_other_classes_than_the_result_are_left_out(folders):
    arrays = arrays_of(folders[0])
    wider = {k: np.pad(v, ((0, 0), (0, 1))) if v.ndim == 2 else v for k, v in arrays.items()}
    folders[0].write_predictions(wider)
    found = read([Path("results")])
    kept = [record.predicted("last") is not None for record in found.records]
    assert kept == [False, True, True]
    assert "another number of classes than in result.json" in found.problems[0]
