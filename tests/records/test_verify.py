"""Whatever is changed in a set of committed results by hand is found, each change alone."""

import json
import os
import shutil
import zipfile

import numpy as np
import pytest
from damage import CRAFTED, DIRECTORY, misshapen, put
from support_committed import (
    PLACE,
    commit,
    edit,
    edit_arrays,
    edit_line,
    in_ledger_again,
    wrong,
)

from benchmark import report, results
from benchmark.records import verify
from benchmark.records.committed import CommittedSet
from benchmark.records.spec import NUMBERS_VERSION


def test_an_untouched_set_is_right(packed):
    found = verify.check(CommittedSet(packed))
    assert found.problems == []
    assert len(found.runs) == len(found.digests) == 12


# One change to a line, and then what is said even if the ledger was changed as well


def score(part, name, index=None):
    def change(values):
        for at in values["result"]["rules"].values():
            if index is None:
                at[part][name] = at[part][name] * 0.5 + 0.25
            else:
                at[part][name][index] = 0.123

    return change


def of_spec(**changes):
    return lambda values: values["spec"].update(changes)


def of_result(**changes):
    return lambda values: values["result"].update(changes)


def of_provenance(**changes):
    return lambda values: values["result"]["provenance"].update(changes)


def of_rule(rule, **changes):
    return lambda values: values["result"]["rules"][rule].update(changes)


def other_rule(rule, taken):
    """The scores of one rule stand under the name of another."""

    def change(values):
        rules = values["result"]["rules"]
        rules[rule] = rules[taken]

    return change


def hyperparameter(values):
    values["spec"]["hyperparameters"]["erm"]["hidden"] = 7


LINES = {
    "accuracy": (score("target", "accuracy"), "target accuracy is not what the predictions give"),
    "macro_f1": (score("val", "macro_f1"), "val macro_f1 is not what the predictions give"),
    "per_class": (score("target", "per_class", 0), "target per_class is not what the predictions"),
    "n": (lambda v: v["result"]["rules"]["last"]["target"].update(n=29), "n is 29, and it has 30"),
    "more classes": (
        lambda v: v["result"]["rules"]["last"]["val"]["per_class"].append(None),
        "it has scores of 3, 4 classes",
    ),
    "other classes": (of_result(classes=["a", "b"]), "scores of 3 classes, and 2 are named"),
    "no classes": (of_rule("last", val={"accuracy": 1, "macro_f1": 1, "per_class": []}), "0 class"),
    "the id": (of_result(id="0123456789ab"), "its id is 0123456789ab, and that of its spec"),
    "no id": (lambda v: v["result"].pop("id"), "its id is None"),
    "the seed": (of_spec(seed=7), "and that of its spec"),
    "the target": (of_spec(target="d3"), "and that of its spec"),
    "a hyper-parameter": (hyperparameter, "and that of its spec"),
    "the method": (of_spec(method="swad"), "belongs into"),
    "the dataset": (of_spec(dataset="sp_sw_har"), "belongs into"),
    "the setting": (of_spec(setting="single-source"), "belongs into"),
    "the version": (of_spec(numbers_version=2), f"numbers of version 2, not {NUMBERS_VERSION}"),
    "fabricated data": (of_spec(fabricated=True), "its data were fabricated"),
    "a dirty commit": (of_provenance(commit="c" * 40 + "+dirty"), "code that is in no commit"),
    "a dirty commit before it was resumed": (
        of_provenance(segments=[{"commit": "c" * 40 + "+dirty", "start": 0, "end": 3}]),
        "code that is in no commit",
    ),
    "no commit": (of_provenance(commit=None), "code that is in no commit"),
    "the epoch": (of_rule("last", epoch=0), "rule last: there is no validation at epoch 0"),
    "the step": (of_rule("oracle", step=4), "its arrays are"),
    "an unknown rule": (
        lambda v: v["result"]["rules"].update(luckiest=v["result"]["rules"]["oracle"]),
        "rule luckiest",
    ),
    "an unknown part": (
        lambda v: v["parts"].update(val="0123456789ab"),
        "has no part 0123456789ab",
    ),
    "parts that are swapped": (
        lambda v: v.update(parts={"val": v["parts"]["target"], "target": v["parts"]["val"]}),
        "predictions do not fit its",
    ),
}


@pytest.mark.parametrize("what", LINES)
def test_a_changed_line_is_found(packed, what):
    change, said = LINES[what]
    name = edit_line(packed, change)
    found = wrong(packed)
    assert any(said in problem for problem in found), found
    assert any(f"run {name} is" in problem for problem in found if "ledger" not in problem) or any(
        "ledger" in problem for problem in found
    )
    in_ledger_again(packed)
    assert any(said in problem for problem in wrong(packed))


@pytest.mark.parametrize(
    "change",
    [
        of_spec(asked={"set": [], "others": ["--epochs", "9"]}),
        of_provenance(device="Abacus", wall_s=1.0),
        of_provenance(threads=2),
        of_provenance(segments=[{"commit": "c" * 40, "start": 0, "end": 3}]),
        of_result(parameters=1),
        of_result(left_out={"clip": "was too hard"}),
        of_result(method={"start": 1}),
        lambda v: v["result"]["rules"]["last"]["target"]["modalities"]["m1"].update(masked=1.0),
    ],
)
def test_what_cannot_be_computed_again_is_compared_with_the_ledger(packed, change):
    name = edit_line(packed, change)
    (problem,) = wrong(packed)
    assert f"run {name} is not what was added on " in problem and "by Ada" in problem


def test_words_that_no_run_has_are_found(packed):
    """They would be in no digest."""
    edit_line(packed, lambda values: values.update(remark="the best of all"))
    (problem,) = wrong(packed)
    assert "erm.jsonl: not as `add` writes it" in problem


@pytest.mark.parametrize("rule", ["best-val", "last", "oracle", "reference"])
def test_another_validation_than_a_rule_chooses_is_found(packed, rule):
    """Its scores, epoch and step stand under the name of the rule."""
    path = packed / PLACE / "erm.jsonl"
    found = 0
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        rules = json.loads(line)["result"]["rules"]
        taken = next((n for n in rules if rules[n]["step"] != rules[rule]["step"]), None)
        if taken is None:
            continue
        values = json.loads(line)
        values["result"]["rules"][rule] = rules[taken]
        changed = [*lines[:number], json.dumps(values, separators=(",", ":")), *lines[number + 1 :]]
        path.write_text("".join(f"{text}\n" for text in changed))
        in_ledger_again(packed)
        problems = wrong(packed)
        said = (f"rule {rule}: the validation at step", "its arrays are")
        assert any(words in text for words in said for text in problems), problems
        found += 1
    assert found


def test_validations_that_were_moved_to_suit_a_choice_are_found(packed):
    """The accuracy of a validation was raised so that a rule would have chosen it."""

    def change(arrays):
        names = [name for name in arrays if name.endswith("/metrics")]
        for name in names:
            columns = arrays[name.replace("metrics", "columns")].tolist()
            place = columns.index('["target", "fused", "accuracy"]')
            arrays[name][0, place] = 1.0

    edit_arrays(packed / PLACE / "erm.npz", change)
    in_ledger_again(packed)
    found = wrong(packed)
    assert any("rule oracle: the validation at step" in problem for problem in found)


def test_validations_of_an_own_rule_must_end_where_it_counts(packed):
    path = packed / PLACE / "swad.npz"

    def change(arrays):
        for name in [name for name in arrays if name.endswith("/metrics")]:
            arrays[name] = np.concatenate([arrays[name], arrays[name][-1:] + np.float32(0.0)])
            arrays[name][-1, :2] += 1  # epoch and step

    edit_arrays(path, change)
    in_ledger_again(packed)
    assert any("rule own: it counts after the last validation" in p for p in wrong(packed))


# Arrays


def first(arrays, end):
    return next(name for name in sorted(arrays) if name.endswith(end))


def other_class(arrays):
    name = first(arrays, "/target")
    arrays[name] = arrays[name].copy()
    arrays[name][3] = (arrays[name][3] + 1) % 3


def replaced(end, how):
    def change(arrays):
        name = first(arrays, end)
        arrays[name] = how(arrays[name])

    return change


def removed(end):
    return lambda arrays: arrays.pop(first(arrays, end))


def extra(arrays):
    arrays[first(arrays, "/val") + "2"] = np.zeros(3)


def stranger(arrays):
    arrays["0123456789ab/9/val"] = np.zeros(3)


ARRAYS = {
    "one predicted class": (other_class, "is not what the predictions give"),
    "no such class": (replaced("/target", lambda a: a + np.uint8(3)), "predictions do not fit"),
    "a negative class": (replaced("/target", lambda a: a.astype(int) - 3), "do not fit"),
    "classes that are no integers": (replaced("/target", lambda a: a + 0.25), "do not fit"),
    "classes that are words": (replaced("/val", lambda a: a.astype(str)), "do not fit"),
    "predictions in rows": (replaced("/val", lambda a: a[None]), "do not fit"),
    "fewer predictions": (replaced("/val", lambda a: a[:-1]), "do not fit"),
    "no prediction": (replaced("/val", lambda a: a[:0]), "do not fit"),
    "one number": (replaced("/val", lambda a: np.array(1)), "do not fit"),
    "no predictions": (removed("/val"), "its arrays are "),
    "no validations": (removed("/metrics"), "its arrays are "),
    "an extra array": (extra, "its arrays are "),
    "arrays of nobody": (stranger, "arrays of 0123456789ab, which is no run of the file"),
    "validations in a line": (replaced("/metrics", lambda a: a[0]), "validations are damaged"),
    "validations that are words": (replaced("/metrics", lambda a: a.astype(str)), "are damaged"),
    "no number": (replaced("/metrics", lambda a: a * np.nan), "validations are damaged"),
    "infinite numbers": (replaced("/metrics", lambda a: a + np.inf), "validations are damaged"),
    "no validation": (replaced("/metrics", lambda a: a[:0]), "there is no validation at"),
    "columns that are numbers": (
        replaced("/columns", lambda a: np.arange(len(a))),
        "validations are damaged",
    ),
    "columns of other names": (
        replaced("/columns", lambda a: np.array(['["x"]'] * len(a))),
        "validations are damaged: epoch is missing",
    ),
    "columns in each other": (
        replaced("/columns", lambda a: np.array(['["x"]', '["x", "y"]', *a[2:]])),
        "validations are damaged",
    ),
    "columns without names": (
        replaced("/columns", lambda a: np.array(["[]"] * len(a))),
        "validations are damaged",
    ),
}


@pytest.mark.parametrize("what", ARRAYS)
def test_changed_arrays_are_found(packed, what):
    change, said = ARRAYS[what]
    edit_arrays(packed / PLACE / "erm.npz", change)
    found = wrong(packed)
    assert any(said in problem for problem in found), found
    in_ledger_again(packed)
    assert any(said in problem for problem in wrong(packed))


@pytest.mark.parametrize("content", ["missing", "cut off", "empty", "pickled"])
def test_arrays_that_cannot_be_read_are_named(packed, content):
    path = packed / PLACE / "erm.npz"
    whole = path.read_bytes()
    path.unlink()
    if content == "pickled":
        np.savez(path, **{"a/columns": np.array([{}], dtype=object)})
    elif content != "missing":
        path.write_bytes(whole[: len(whole) // 2 if content == "cut off" else 0])
    (problem,) = wrong(packed)  # and not one for each of its runs
    assert problem.startswith(f"{path}: cannot be read: ")


@pytest.mark.parametrize("name", [str(PLACE / "erm.npz"), "synthetic/samples.npz"])
def test_other_files_among_arrays_are_found(packed, name):
    with zipfile.ZipFile(packed / name, "a") as file:
        file.writestr("remark.txt", "the best of all")
    found = wrong(packed)
    assert any("remark.txt is no array" in text and name in text for text in found), found


# Samples


def a_label(arrays):
    arrays["labels"][5] = (arrays["labels"][5] + 1) % 3


def a_name(arrays):
    arrays["ids"][5] = "d9"


def a_group(arrays):
    arrays["groups"][5] = "d9"


def a_part(arrays):
    name = next(name for name in arrays if name.startswith("part/"))
    arrays[name] = arrays[name][::-1]


def no_part(arrays):
    arrays.pop(next(name for name in arrays if name.startswith("part/")))


def out_of_range(arrays):
    name = next(name for name in arrays if name.startswith("part/"))
    arrays[name][0] = len(arrays["ids"])


SAMPLES = {
    "a label": (a_label, "were changed; restore the file"),
    "an id": (a_name, "were changed; restore the file"),
    "a group": (a_group, "were changed; restore the file"),
    "the order of a part": (a_part, "were changed; restore the file"),
    "no part": (no_part, "samples.npz has no part"),
    "no such sample": (out_of_range, "does not consist of its samples"),
    "a part that is no list": (lambda a: a.update({"part/0": np.array(1)}), "part 0 does not"),
    "a part of no sample": (lambda a: a.update({"part/0": np.zeros(0, int)}), "part 0 does not"),
    "a part of fractions": (lambda a: a.update({"part/0": np.ones(3)}), "part 0 does not"),
    "no labels": (lambda a: a.pop("labels"), "its arrays are not"),
    "fewer labels": (lambda a: a.update(labels=a["labels"][1:]), "do not fit together"),
    "negative labels": (lambda a: a.update(labels=a["labels"] - 9), "do not fit together"),
    "labels that are words": (lambda a: a.update(labels=a["ids"]), "its arrays are not"),
    "something else": (lambda a: a.update(remark=a["ids"]), "its arrays are not"),
}


@pytest.mark.parametrize("what", SAMPLES)
def test_changed_samples_are_found(packed, what):
    change, said = SAMPLES[what]
    path = packed / "synthetic" / "samples.npz"
    edit_arrays(path, change)
    found = wrong(packed)
    assert any(said in problem and "samples.npz" in problem for problem in found), found
    in_ledger_again(packed)
    assert any(said in problem for problem in wrong(packed))


# Whole files


def test_a_row_that_is_gone_is_found(packed):
    path = packed / PLACE / "erm.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    name = json.loads(lines[1])["result"]["id"]
    path.write_text("".join([lines[0], *lines[2:]]))
    found = wrong(packed)
    assert f"{packed}: run {name} is gone, and the ledger does not say why" in found
    assert f"{path}: arrays of {name}, which is no run of the file" in found


def test_a_row_that_is_there_twice_or_elsewhere_is_found(packed):
    path = packed / PLACE / "erm.jsonl"
    text = path.read_text()
    lines = text.splitlines(keepends=True)
    path.write_text(text + lines[-1])
    (problem,) = wrong(packed)
    assert "is there twice" in problem
    path.write_text("".join(lines[::-1]))
    (problem,) = wrong(packed)
    assert "not as `add` writes it" in problem
    path.write_text(text + "\n")
    (problem,) = wrong(packed)
    assert f"{path}, line 5: not whole" in problem


def test_a_flipped_bit_anywhere_in_a_line_is_found(packed):
    path = packed / PLACE / "erm.jsonl"
    whole = path.read_bytes()
    for place in range(0, len(whole), len(whole) // 60):
        path.write_bytes(whole[:place] + bytes([whole[place] ^ 1]) + whole[place + 1 :])
        assert wrong(packed), place


def test_a_method_that_is_gone_is_found(packed):
    for name in ("erm.jsonl", "erm.npz"):
        (packed / PLACE / name).unlink()
        found = wrong(packed)
        assert sum("is gone, and the ledger does not say why" in text for text in found) == 4
    assert len(found) == 4
    shutil.copy(packed / PLACE / "swad.npz", packed / PLACE / "erm.npz")
    assert f"{packed / PLACE / 'erm.npz'}: arrays of runs whose erm.jsonl is gone" in wrong(packed)


@pytest.mark.parametrize("with_samples", [False, True])
def test_a_method_in_the_folder_of_another_dataset_is_found(packed, with_samples):
    other = packed / "sp_sw_har" / "multi-source"
    other.mkdir(parents=True)
    if with_samples:
        shutil.copy(packed / "synthetic" / "samples.npz", packed / "sp_sw_har")
    for name in ("erm.jsonl", "erm.npz"):
        (packed / PLACE / name).rename(other / name)
    found = wrong(packed)
    assert sum(f"belongs into {packed / PLACE / 'erm.jsonl'}" in text for text in found) == 4
    assert len(found) == (4 if with_samples else 5)


def test_a_copy_of_a_method_is_found(packed):
    other = packed / "synthetic" / "single-source"
    other.mkdir()
    for name in ("erm.jsonl", "erm.npz"):
        shutil.copy(packed / PLACE / name, other / name)
    found = wrong(packed)
    assert any("is there twice, here and in" in text for text in found)
    assert any("belongs into" in text for text in found)


def test_runs_of_one_split_on_other_samples_are_found(packed):
    """A run was tested on fewer samples, and everything that says so was changed."""
    from benchmark.records.committed import arrays_of, key_of
    from benchmark.records.scores import scores

    path = packed / "synthetic" / "samples.npz"
    of = CommittedSet(packed)
    row = next(of.rows(packed / PLACE / "erm.jsonl"))
    whole = of.samples("synthetic").of(row.parts["target"])
    few = tuple(array[:20] for array in whole)
    rows = arrays_of(path)[f"part/{row.parts['target']}"][:20]
    edit_arrays(path, lambda arrays: arrays.update({f"part/{key_of(*few)}": rows}))

    def cut(arrays):
        for name in [n for n in arrays if n.startswith(row.spec.id) and n.endswith("/target")]:
            arrays[name] = arrays[name][:20]

    edit_arrays(packed / PLACE / "erm.npz", cut)
    kept = arrays_of(packed / PLACE / "erm.npz")

    def change(values):
        values["parts"]["target"] = key_of(*few)
        for at in values["result"]["rules"].values():
            predicted = kept[f"{row.spec.id}/{at['step']}/target"].astype(np.int64)
            at["target"] |= {"n": 20, **vars(scores(few[2], predicted, 3))}

    edit_line(packed, change)
    in_ledger_again(packed)
    found = wrong(packed)
    assert any("of one split have other target samples" in text for text in found), found


def test_links_hidden_and_large_files_are_found(packed, monkeypatch):
    monkeypatch.setattr(verify, "LARGEST", 10_000)
    os.symlink(packed / "labbook.md", packed / "readme.md")
    os.symlink("nowhere", packed / "link")
    (packed / "synthetic" / ".erm.npz.4711.0a1b2c3d").write_bytes(b"PK")
    (packed / "video.mp4").write_bytes(b"x" * 10_001)
    found = [problem for problem in wrong(packed) if "erm.jsonl" not in problem]
    for name, said in (
        ("readme.md", "a link"),
        ("link", "a link"),
        ("synthetic/.erm.npz.4711.0a1b2c3d", "hidden, and no file of a set"),
        ("video.mp4", "larger than"),
    ):
        assert any(text.startswith(f"{packed / name}: {said}") for text in found), found


def test_a_set_without_a_lab_book_or_of_another_schema_is_found(packed):
    (packed / "labbook.md").unlink()
    assert wrong(packed) == [f"{packed}: no labbook.md"]
    edit(packed / "set.json", lambda values: values.update(schema=2))
    assert wrong(packed) == [f"{packed / 'set.json'}: not of schema 1"]


def test_a_version_that_the_runs_do_not_have_is_found(packed):
    edit(packed / "set.json", lambda values: values.update(numbers_version=9))
    assert f"numbers of version {NUMBERS_VERSION}, not 9" in wrong(packed)[0]


def test_runs_without_a_target_are_no_committed_ones(packed, capsys):
    path = packed / PLACE / "erm.jsonl"
    whole = path.read_text()

    def untested(values):
        values["result"]["setting"] = "all-domains"
        for at in values["result"]["rules"].values():
            del at["target"]

    edit_line(packed, untested)
    assert wrong(packed) == [
        f"{path}, line 1: rules.best-val.target is missing or wrong",
    ]
    path.write_text(whole)
    edit_line(packed, of_spec(setting="all-domains", target=""))
    assert wrong(packed) == [f"{path}, line 1: a run without a target"]
    assert report.main(["--results", str(packed)]) == 0
    assert f"left out: {path}, line 1: a run without a target" in capsys.readouterr().err


# Damaged files: one line each, and no traceback

CONTENTS = {**CRAFTED, "a directory": DIRECTORY, "a large array": b"[" + b"1," * 99_999 + b"1]"}
FILES = ("set.json", "ledger.csv", "labbook.md", "synthetic/samples.npz")


@pytest.mark.parametrize("name", [*FILES, str(PLACE / "erm.jsonl"), str(PLACE / "erm.npz")])
def test_damaged_files_are_named(packed, capsys, name):
    for what, content in CONTENTS.items():
        if (what, name) == ("an empty file", str(PLACE / "erm.jsonl")):
            continue  # a file without runs, which are gone
        put(packed / name, content)
        code = results.main(["verify", str(packed)])
        shown = capsys.readouterr()
        if name == "labbook.md":
            assert code == (what == "a directory")
        elif (what, name) == ("a directory", "set.json"):
            assert code == 2 and "is no set of results" in shown.err
        else:
            assert code == 1, what
            assert f"{packed / name}" in shown.err, what
        if name not in ("ledger.csv", "labbook.md", "set.json"):
            assert report.main(["--results", str(packed)]) == 0
            told = capsys.readouterr()
            assert str(packed / name) in told.err and "swad" in told.out, what


def test_a_set_of_another_schema_is_not_reported(packed, capsys):
    edit(packed / "set.json", lambda values: values.update(schema=2))
    assert report.main(["--results", str(packed)]) == 2
    assert f"left out: {packed / 'set.json'}: not of schema 1" in capsys.readouterr().err


@pytest.mark.slow
def test_a_line_with_a_wrong_field_is_named(packed):
    path = packed / PLACE / "erm.jsonl"
    for other in ("swad", "unimodal"):
        for end in ("jsonl", "npz"):
            (packed / PLACE / f"{other}.{end}").unlink()
    line = path.read_text().splitlines()[0]
    path.write_text(f"{line}\n")
    mine = json.loads(line)["result"]["id"]

    def alone(arrays):
        for name in [name for name in arrays if not name.startswith(mine)]:
            del arrays[name]

    edit_arrays(path.with_suffix(".npz"), alone)
    in_ledger_again(packed)
    assert wrong(packed) == []
    values = json.loads(line)
    count = 0
    for place, changed in misshapen(values):
        path.write_text(json.dumps(changed, separators=(",", ":")) + "\n")
        if changed != values:
            assert wrong(packed), place
            count += 1
    assert count > 2000


def test_a_history_without_changes_is_right(packed, capsys):
    commit(packed.parent)
    assert results.main(["verify", str(packed)]) == 0
    shown = capsys.readouterr()
    assert "12 runs of 3 methods on 1 datasets" in shown.out and "note:" not in shown.out
    assert "all scores follow from the predictions" in shown.out
