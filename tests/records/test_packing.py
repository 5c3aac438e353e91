"""Packing runs into a set of committed results, and what is left of them there."""

import csv
import io
import json
import os
import shutil
import socket
import time

import numpy as np
import pytest
from support_committed import (
    ASKED,
    COMMIT,
    PLACE,
    RUNS,
    add,
    arrays_in,
    contents,
    edit,
    edit_arrays,
    folders,
    predicts_otherwise,
    wrong,
)

from benchmark import report, results, run
from benchmark.records import packing
from benchmark.records.committed import CommittedRun, CommittedSet
from benchmark.records.read import read
from benchmark.records.selection import OWN
from benchmark.records.spec import NUMBERS_VERSION
from benchmark.records.store import Store


def by_id(place):
    found = read([place])
    assert found.problems == []
    return {record.spec.id: record for record in found.records}


def rounded(value):
    """Numbers as single precision keeps them."""
    if isinstance(value, dict):
        return {key: rounded(one) for key, one in value.items()}
    return float(np.float32(value)) if isinstance(value, float) else value


def test_a_packed_run_is_read_back_as_it_was(trained):
    stored, kept = by_id(trained / "runs"), by_id(trained / "set")
    assert stored.keys() == kept.keys() and len(stored) == RUNS
    for name, before in stored.items():
        after = kept[name]
        assert (after.spec, after.spec.asked) == (before.spec, before.spec.asked)
        assert (after.state, after.folder, after.error) == ("done", None, "")
        rules = before.result["rules"]
        rules = {OWN: rules[OWN]} if OWN in rules else rules
        assert after.result["rules"] == rules
        for field in ("schema", "id", "classes", "method", "parameters", "passes", "left_out"):
            assert after.result[field] == before.result[field]
        told = after.result["provenance"]
        assert told.items() <= before.result["provenance"].items()
        assert told["commit"] == COMMIT and {"device", "threads", "wall_s", "packages"} <= {*told}
        for rule in ("best-val", "last", "oracle", "reference"):
            for part in ("val", "target"):
                one, other = before.predicted(rule, part), after.predicted(rule, part)
                for field in ("ids", "groups", "labels", "classes"):
                    assert np.array_equal(getattr(one, field), getattr(other, field))
                assert (one.size, other.logits) == (other.size, None)
        assert after.metrics() == [rounded(record) for record in before.metrics()]


@pytest.mark.parametrize("form", ["text", "csv"])
@pytest.mark.parametrize(
    "options",
    [
        *([], ["--table", "gains", "ranks"], ["--table", "all", "--tuned"]),
        *(["--metric", "macro-f1", "--select", "oracle"], ["--versus", "erm", "unimodal"]),
    ],
)
def test_every_table_is_the_same(trained, capsys, options, form):
    shown = []
    for place in ("runs", "set"):
        words = ["--results", str(trained / place), "--format", form, *options]
        assert report.main(words) == 0
        shown.append(capsys.readouterr())
    assert shown[0] == shown[1]
    assert "erm" in shown[0].out
    if (form, options) == ("text", []):
        assert " ≈" in shown[0].out and "*" in shown[0].out and "_" in shown[0].out


def test_committed_runs_have_no_ensembles(trained, capsys):
    for place, rows in (("runs", 3), ("set", 0)):
        words = ["--results", str(trained / place), "--ensemble", "--format", "csv"]
        assert report.main(words) == 0
        found = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
        assert len({row["row"] for row in found if "ensemble" in row["row"]}) == rows


def test_adding_again_changes_no_byte(packed, runs, capsys):
    before = contents(packed)
    assert add(packed, runs) == 0
    assert add(packed, runs, packed) == 0
    assert contents(packed) == before
    assert capsys.readouterr().out.count(f"0 runs added, {RUNS} were there already") == 2


def test_more_runs_only_add_lines_to_ledger_and_lab_book(runs, tmp_path, trained):
    later = tmp_path / "later"
    for folder in (*folders(runs, "unimodal"), folders(runs, "erm")[-1]):
        target = later / folder.path.relative_to(runs)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.path.rename(target)
    grown = tmp_path / "grown"
    assert add(grown, runs) == 0
    before = contents(grown)
    assert add(grown, later) == 0
    after = contents(grown)
    for name in ("ledger.csv", "labbook.md"):
        assert after[name].startswith(before[name]) and len(after[name]) > len(before[name])
    assert before[str(PLACE / "swad.npz")] == after[str(PLACE / "swad.npz")]
    assert wrong(grown) == []
    assert "ledger: lines 9 to 13" in after["labbook.md"].decode()
    whole = contents(trained / "set")
    assert {k: v for k, v in after.items() if "multi-source" in k} == {
        k: v for k, v in whole.items() if "multi-source" in k
    }


def test_the_order_of_folders_moves_no_byte(runs, tmp_path):
    other = tmp_path / "other"
    for method in ("unimodal", "swad", "erm"):
        folder = folders(runs, method)[0]
        target = other / folder.path.relative_to(runs)
        target.parent.mkdir(parents=True, exist_ok=True)
        folder.path.rename(target)
    assert add(tmp_path / "a", runs, other) == 0
    assert add(tmp_path / "b", other, runs) == 0
    assert contents(tmp_path / "a") == contents(tmp_path / "b")


def test_samples_and_parts_are_there_once(packed):
    arrays = dict(np.load(packed / "synthetic" / "samples.npz"))
    # Two splits, and in each a validation part of the source and the target.
    assert len([name for name in arrays if name.startswith("part/")]) == 4
    assert len(arrays["ids"]) == len({*arrays["ids"].tolist()}) == 2 * (6 + 30)


def test_what_is_refused_leaves_no_samples_behind(runs, tmp_path, capsys):
    split = folders(runs)[0].path.parents[1].name
    for folder in runs.glob(f"runs/*/*/{split}/*/*"):

        def unclean(values):
            values["provenance"]["commit"] += "+dirty"

        edit(folder / "result.json", unclean)
    assert add(tmp_path / "set", runs) == 1
    arrays = np.load(tmp_path / "set" / "synthetic" / "samples.npz")
    assert len([name for name in arrays.files if name.startswith("part/")]) == 2
    assert wrong(tmp_path / "set") == []


def test_an_unpacked_run_is_done_and_reported_alike(packed, tmp_path, capsys):
    store = Store(tmp_path / "again")
    of = CommittedSet(packed)
    for path in of.files():
        for row in of.rows(path):
            packing.unpack(CommittedRun(of, row), store.folder(row.spec))
            values = store.folder(row.spec).result()
            assert values["reused"] == "set"
            assert values == {**row.result, "reused": "set"}
            assert store.folder(row.spec).status().state == "done"
    shown = []
    for place in (packed, store.root):
        assert report.main(["--results", str(place), "--table", "all", "--format", "csv"]) == 0
        shown.append(capsys.readouterr())
    assert shown[0] == shown[1]
    before = by_id(packed)
    for name, record in by_id(store.root).items():
        assert record.metrics() == before[name].metrics()
        one, other = record.predicted("best-val"), before[name].predicted("best-val")
        assert np.array_equal(one.classes, other.classes) and one.logits is None
    # What was taken from a set is not given back to one.
    files = contents(packed)
    assert add(packed, store.root) == 0
    assert f"{RUNS} runs were taken from committed results" in capsys.readouterr().out
    assert contents(packed) == files
    assert add(tmp_path / "new", store.root) == 0
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize("name", ["erm.npz", "erm.jsonl", "../samples.npz", "../../set.json"])
def test_damaged_results_are_not_taken_and_leave_nothing(packed, tmp_path, capsys, name):
    path = packed / PLACE / name
    path.write_bytes(path.read_bytes()[:-60] if name != "../../set.json" else b'{"schema": 2}')
    words = [word for word in ASKED if word != "--no-reuse"]
    store = tmp_path / "store"
    assert run.main([*words, "--reuse", str(packed), "--results", str(store)]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: ") and error.count("\n") == 1 and "--no-reuse" in error
    assert path.name in error
    assert not list(store.rglob("spec.json"))


def test_every_segment_of_a_resumed_run_is_kept(runs, tmp_path):
    parts = [
        {"commit": "a" * 40, "device": "Abacus", "driver": "1.2", "start": 0, "end": 3},
        {"commit": COMMIT, "cpu": "Z1", "kernels": "fast", "threads": 4, "start": 3, "end": 8},
    ]
    path = folders(runs)[0].path / "result.json"
    edit(path, lambda v: v["provenance"].update(segments=[{"host": "x", **p} for p in parts]))
    root = tmp_path / "set"
    assert add(root, runs) == 0 and wrong(root) == []
    record = by_id(root)[path.parent.name]
    assert record.result["provenance"]["segments"] == parts
    book = (root / "labbook.md").read_text()
    assert f"- commit of the code: {'a' * 40}, then {COMMIT} (1), {COMMIT} (11)\n" in book

    store = Store(tmp_path / "again")
    of = CommittedSet(root)
    (row,) = [row for row in of.rows(of.file_of(record.spec)) if row.spec == record.spec]
    packing.unpack(CommittedRun(of, row), store.folder(row.spec))
    assert store.folder(row.spec).result()["provenance"]["segments"] == parts


def test_nothing_tells_of_folders_and_machines(runs, tmp_path, monkeypatch):
    secret = "/home/ada lovelace/films"
    for folder in folders(runs):

        def told(values):
            where = {"host": "ada-laptop", "slurm_job": "4711", "data_root": secret}
            values["provenance"] |= where
            values["provenance"]["segments"] = [{**where, "commit": COMMIT, "start": 0, "end": 3}]
            values["left_out"] = {"clip_7": f"{secret}/clip 7.mp4 cannot be used as a video"}

        edit(folder.path / "result.json", told)
    root = tmp_path / "set"
    assert add(root, runs) == 0
    texts = b"".join(v for k, v in contents(root).items() if not k.endswith(".npz"))
    for _, array in arrays_in(root):
        texts += json.dumps(array.tolist()).encode()
    for word in ("ada-laptop", "4711", "ada lovelace", "clip 7", str(tmp_path), str(runs)):
        assert word.encode() not in texts
    assert b"clip_7" in texts
    # The name of this machine may be a word that texts hold by chance.
    host = json.dumps(socket.gethostname()).encode()
    assert host not in texts and b'"host"' not in texts and b"slurm" not in texts
    assert wrong(root) == []


# Stopped on the way


class Killed(BaseException):
    """Stands for a process that ends at once."""


def killed_at(monkeypatch, number):
    """Let the process end before it puts a file in place, the one of that number."""
    count = 0

    def replace(source, target):
        nonlocal count
        count += 1
        if count == number:
            raise Killed
        shutil.move(source, target)

    monkeypatch.setattr(os, "replace", replace)


@pytest.mark.parametrize("why", ["", "they were trained for longer"])
def test_an_addition_stopped_anywhere_is_finished_by_repeating_it(
    packed,
    runs,
    tmp_path,
    monkeypatch,
    capsys,
    why,
):
    """A set of erm alone gains the rest, or gets runs with other numbers in place of its own."""
    monkeypatch.setattr(time, "strftime", lambda *_: "2026-11-29")
    start = packed if why else tmp_path / "start"
    if why:
        for folder in folders(runs):
            predicts_otherwise(folder)
    else:
        shutil.copytree(runs, tmp_path / "some")
        for method in ("swad", "unimodal"):
            shutil.rmtree(tmp_path / "some" / "runs" / "synthetic" / method)
        assert add(start, tmp_path / "some") == 0
    options = ("--replace", why) if why else ()
    whole = tmp_path / "whole"
    shutil.copytree(start, whole)
    assert add(whole, runs, options=options) == 0
    assert wrong(whole) == []
    number = 0
    while True:
        number += 1
        stopped = tmp_path / f"stopped-{number}"
        shutil.copytree(start, stopped)
        with monkeypatch.context() as patch:
            killed_at(patch, number)
            try:
                assert add(stopped, runs, options=options) == 0
                break
            except Killed:
                pass
        assert add(stopped, runs, options=options) == 0
        assert contents(stopped) == contents(whole), number
    files = 2 + 1 + (2 if why else 4)  # lab book and ledger, samples, and two for every method
    assert number == files + 1


def test_a_first_addition_that_was_killed_is_repeated(runs, tmp_path, capsys):
    root = tmp_path / "set"
    root.mkdir()
    (root / ".set.json.4711.0a1b2c3d").write_bytes(b"{")
    assert add(root, runs) == 0
    assert [text for text in wrong(root) if "hidden" not in text] == []
    assert wrong(root) == [
        f"{root / '.set.json.4711.0a1b2c3d'}: hidden, and no file of a set; remove it"
    ]


def test_arrays_of_runs_that_were_never_finished_are_dropped(packed, runs):
    path = packed / PLACE / "erm.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[1:]))
    assert "which is no run of the file" in " ".join(wrong(packed))
    shutil.rmtree(folders(runs)[0].path)
    (packed / "ledger.csv").unlink()
    assert add(packed, runs) == 0
    assert "which is no run of the file" not in " ".join(wrong(packed))


def test_a_file_that_is_gone_comes_back_without_a_line_in_the_ledger(packed, runs):
    before = contents(packed)
    for name in ("erm.jsonl", "erm.npz"):
        (packed / PLACE / name).unlink()
    assert "is gone" in " ".join(wrong(packed))
    assert add(packed, runs) == 0
    assert contents(packed) == before


def test_damaged_files_are_never_written_over(packed, runs, capsys):
    for name in ("multi-source/erm.jsonl", "multi-source/erm.npz", "samples.npz", "../ledger.csv"):
        path = packed / "synthetic" / name
        whole = path.read_bytes()
        path.write_bytes(whole[: len(whole) // 2])
        (packed / PLACE / "swad.jsonl").unlink()
        before = contents(packed)
        assert add(packed, runs) == 2, name
        assert path.name in capsys.readouterr().err
        assert contents(packed) == before
        path.write_bytes(whole)
        assert add(packed, runs) == 0


def test_a_run_that_was_trained_twice_is_there_already(packed, runs, capsys):
    before = contents(packed)
    for folder in folders(runs):

        def slower(values):
            values["provenance"] |= {"wall_s": 1e4, "commit": "d" * 40}

        edit(folder.path / "result.json", slower)
    assert add(packed, runs) == 0
    assert contents(packed) == before


def test_a_set_of_another_version_is_not_added_to(packed, runs, capsys):
    edit(packed / "set.json", lambda values: values.update(numbers_version=NUMBERS_VERSION + 1))
    assert add(packed, runs) == 2
    assert "start a new set with --set" in capsys.readouterr().err
    assert results.main(["verify", str(packed)]) == 1
    assert f"numbers of version {NUMBERS_VERSION}" in capsys.readouterr().err


def test_other_levels_of_groups_are_refused_and_nothing_is_written(
    packed,
    runs,
    capsys,
):
    for folder in folders(runs):

        def deeper(arrays):
            for name in [name for name in arrays if name.endswith("/groups")]:
                arrays[name] = np.concatenate([arrays[name], arrays[name]], axis=1)

        edit_arrays(folder.path / "predictions.npz", deeper)
    before = contents(packed)
    assert add(packed, runs, options=("--replace", "finer groups")) == 2
    assert "levels of groups" in capsys.readouterr().err
    assert contents(packed) == before
