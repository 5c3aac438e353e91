"""Reading sets of committed results: validations, samples, damaged files, and `CURRENT`."""

import json

import numpy as np
import pytest
from damage import CRAFTED
from support_committed import COMMIT, PLACE, RUNS, edit_arrays, edit_line

from benchmark.records import committed, provenance, validations
from benchmark.records.committed import CommittedSet, Samples
from benchmark.records.read import read
from benchmark.records.shape import UnreadableError
from mmdg_common import UsageError

PARTS = {part: {"fused": {"accuracy": 0.5, "loss": 1.25}} for part in ("val", "target")}


def test_the_runs_are_of_a_commit_that_was_made_up(trained):
    """Otherwise a clone with changes could not test packing."""
    found = read([trained / "runs"]).records
    assert {record.result["provenance"]["commit"] for record in found} == {COMMIT}
    assert provenance.commit() != COMMIT


def test_validations_are_kept_with_what_some_of_them_lack():
    records = [
        {"epoch": 0, "step": 3, "train": {"loss/a.b": 0.1}, **PARTS},
        {"epoch": 1, "step": 6, "train": {"loss/a.b": None, 'an "odd" name': 2.0}, **PARTS},
    ]
    columns, values = validations.flattened(records)
    assert (columns.dtype.kind, values.dtype) == ("U", np.float32)
    first, second = validations.read(columns, values)
    assert first["train"] == {"loss/a.b": float(np.float32(0.1)), 'an "odd" name': None}
    assert second == records[1]
    assert type(second["epoch"]) is type(second["step"]) is int
    assert list(second) == ["epoch", "step", "train", "val", "target"]


def test_no_validations_are_kept_as_none():
    assert validations.read(*validations.flattened([])) == []


@pytest.mark.parametrize(
    ("columns", "values"),
    [
        *((np.array(["x"]), np.ones((1, 1))), (np.array(["[1]"]), np.ones((1, 1)))),
        *((np.array(3), np.ones((1, 1))), (np.array(['["a"]']), np.array(3))),
        (np.array(['["a"]', '["b"]']), np.ones((2, 1))),
        (np.array(["[" * 100_000]), np.ones((1, 1))),
        (np.array(['["epoch"]']), np.array([[np.inf]])),
    ],
)
def test_arrays_that_are_no_validations_are_refused(columns, values):
    with pytest.raises(UnreadableError):
        validations.read(columns, values)


def test_samples_are_numbered_by_part():
    found = Samples(
        {
            "ids": np.array(["a", "b", "c"]),
            "groups": np.array([["x"], ["y"], ["z"]]),
            "labels": np.array([0, 1, 2], np.int32),
            "part/k": np.array([2, 0], np.int32),
        }
    )
    ids, groups, labels = found.of("k")
    assert (ids.tolist(), groups.tolist(), labels.tolist()) == (["c", "a"], [["z"], ["x"]], [2, 0])
    with pytest.raises(UnreadableError, match="no part other"):
        found.of("other")


def test_a_key_depends_on_ids_groups_labels_and_their_order():
    ids, groups, labels = np.array(["a", "b"]), np.array([["x"], ["y"]]), np.array([0, 1])
    keys = {
        committed.key_of(*whole)
        for whole in (
            (ids, groups, labels),
            (ids[::-1], groups[::-1], labels[::-1]),
            (np.array(["a", "c"]), groups, labels),
            (ids, np.array([["x"], ["z"]]), labels),
            (ids, groups, np.array([0, 2])),
        )
    }
    assert len(keys) == 5
    assert committed.key_of(ids, groups, labels.astype(np.int32)) in keys


def test_a_damaged_line_is_named_and_the_runs_around_it_are_read(packed):
    path = packed / PLACE / "erm.jsonl"
    lines = path.read_bytes().splitlines()
    path.write_bytes(b"\n".join([*lines[:2], *CRAFTED.values(), *lines[2:]]))
    found = read([packed])
    assert len(found.records) == RUNS
    assert len(found.problems) == len(CRAFTED)
    assert found.problems[0] == f"{path}, line 3: not whole"


def test_damaged_arrays_are_named_when_they_are_needed(packed):
    def change(arrays):
        for name in arrays:
            if name.endswith("/columns") or name.endswith("/target"):
                arrays[name] = arrays[name][:-1]

    edit_arrays(packed / PLACE / "erm.npz", change)
    found = read([packed])
    assert found.problems == []
    for record in found.records:
        whole = record.spec.method != "erm"
        assert (record.predicted("last") is not None) == whole
        assert bool(record.metrics()) == whole
    (problem,) = found.problems
    assert problem.startswith(f"{packed / PLACE / 'erm.npz'}: arrays of the wrong type or shape")


def test_a_run_of_a_part_that_is_not_there_counts_without_predictions(packed):
    edit_line(packed, lambda values: values["parts"].update(target="0123456789ab"))
    found = read([packed])
    record = next(record for record in found.records if record.spec.method == "erm")
    assert record.predicted("last") is None
    assert "samples.npz has no part 0123456789ab" in found.problems[0]


def test_current_names_the_set_that_counts(packed):
    home = packed.parent
    assert committed.current(home) is None
    for content in (b"other", b"", b"\xff\xfe", b"set\x00", b"x" * 300, b"../home/../set"):
        (home / "CURRENT").write_bytes(content)
        with pytest.raises(UsageError, match="which is no set of results"):
            committed.current(home)
    (home / "CURRENT").write_text("set\n")
    assert committed.current(home) == CommittedSet(packed)
    assert committed.current(home).name == "set"


def test_a_line_has_nothing_but_spec_result_and_parts(packed):
    for line in (packed / PLACE / "swad.jsonl").read_text().splitlines():
        values = json.loads(line)
        assert list(values) == ["spec", "result", "parts"]
        assert list(values["parts"]) == ["val", "target"]
        assert list(values["result"]["rules"]) == ["own"]
