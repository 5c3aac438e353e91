"""The command `benchmark.results`: what it takes, what it refuses, and what it says to do."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from support_committed import (
    PLACE,
    RUNS,
    add,
    contents,
    edit,
    edit_arrays,
    edit_line,
    folders,
    predicts_otherwise,
    wrong,
)

from benchmark import results
from benchmark.records import committed, verify
from benchmark.records.spec import NUMBERS_VERSION, RunSpec


def respecced(runs: Path, **changes: object) -> str:
    """Let the first run of erm be another one, and return its id."""
    folder = folders(runs)[0]
    values = json.loads((folder.path / "spec.json").read_bytes()) | changes
    spec = RunSpec.from_json(values)
    edit(folder.path / "result.json", lambda result: result.update(id=spec.id))
    folder.write_spec(spec)
    return spec.id


def test_runs_are_added_and_verified(trained, tmp_path, capsys):
    root = tmp_path / "new" / "set"
    assert add(root, trained / "runs", options=("--note", "one night\non a laptop")) == 0
    shown = capsys.readouterr()
    assert f"{root}: {RUNS} runs added, 0 were there already" in shown.out and not shown.err
    assert f"python -m benchmark.results verify {root}" in shown.out
    assert results.main(["verify", str(root)]) == 0
    assert f"{root}: 12 runs of 3 methods on 1 datasets" in capsys.readouterr().out
    book = (root / "labbook.md").read_text()
    for words in (
        *("Ada: 12 runs", "ledger: lines 2 to 13", "methods: erm (4), swad (4), unimodal (4)"),
        *("datasets: synthetic", "seeds: 0 (6), 1 (6)", "commit of the code: cccc"),
        "one night\non a laptop\n",
    ):
        assert words in book


# What is refused


def not_done(runs):
    (folders(runs)[0].path / "result.json").unlink()
    return "it is not done: to do; repeat its command"


def failed(runs):
    folder = folders(runs)[0]
    (folder.path / "result.json").unlink()
    folder.write_status("failed", error="KeyError: 'a'")
    return "it is not done: failed; repeat its command"


def fabricated(runs):
    respecced(runs, fabricated=True)
    return "its data were fabricated; train on real ones"


def dirty(runs):
    edit(
        folders(runs)[0].path / "result.json",
        lambda v: v["provenance"].update(commit="c" * 40 + "+dirty"),
    )
    return "it was trained by code that is in no commit; train from a clean clone"


def dirty_before_it_was_resumed(runs):
    parts = [{"commit": "c" * 40 + sign, "start": 0, "end": 3} for sign in ("+dirty", "")]
    edit(folders(runs)[0].path / "result.json", lambda v: v["provenance"].update(segments=parts))
    return "it was trained by code that is in no commit; train from a clean clone"


def of_no_commit(runs):
    edit(folders(runs)[0].path / "result.json", lambda v: v["provenance"].pop("commit"))
    return "it was trained by code that is in no commit; train from a clean clone"


def older(runs):
    respecced(runs, numbers_version=NUMBERS_VERSION - 1)
    return f"its numbers are of version {NUMBERS_VERSION - 1}, not {NUMBERS_VERSION}; train it"


def unknown_method(runs):
    respecced(runs, method="mine", hyperparameters={"mine": {}})
    return "mine is no method of the suite; add its file to methods/ first"


def unknown_dataset(runs):
    respecced(runs, dataset="../../mine")
    return "../../mine is no dataset of the suite; add its file to datasets/ first"


def no_predictions(runs):
    (folders(runs)[0].path / "predictions.npz").unlink()
    return "its predictions are missing or damaged; train it again"


def cut_predictions(runs):
    path = folders(runs)[0].path / "predictions.npz"
    path.write_bytes(path.read_bytes()[:-100])
    return "its predictions are missing or damaged; train it again"


def no_validations(runs):
    (folders(runs)[0].path / "metrics.jsonl").unlink()
    return "its validations are missing or damaged; train it again"


def damaged_validations(runs):
    path = folders(runs)[0].path / "metrics.jsonl"
    path.write_bytes(path.read_bytes()[:-30] + b"\n")
    return "its validations are missing or damaged; train it again"


def other_validations(runs):
    folder = folders(runs)[0]
    folder.write_metrics(folder.metrics()[:1])
    return "there is no validation at"


def other_scores(runs):
    edit(
        folders(runs)[0].path / "result.json",
        lambda v: v["rules"]["last"]["target"].update(accuracy=0.875),
    )
    return "target accuracy is not what the predictions give (rule last); train it again"


def other_id(runs):
    edit(folders(runs)[0].path / "result.json", lambda v: v.update(id="0123456789ab"))
    return "its id is 0123456789ab, and that of its spec"


def other_samples(runs):
    def change(arrays):
        arrays["last/target/ids"] = arrays["last/target/ids"][::-1]

    edit_arrays(folders(runs)[0].path / "predictions.npz", change)
    return "its rules were scored on different target samples"


def other_setting(runs):
    def change(values):
        values["setting"] = "all-domains"
        for at in values["rules"].values():
            del at["target"]

    edit(folders(runs)[0].path / "result.json", change)
    return "it is not done: to do"


def without_a_target(runs):
    respecced(runs, setting="all-domains", target="")
    other_setting(runs)
    return "it has no target, and so no accuracy to compare"


REFUSED = (
    *(not_done, failed, fabricated, dirty, dirty_before_it_was_resumed, of_no_commit, older),
    *(unknown_method, unknown_dataset),
    *(no_predictions, cut_predictions, no_validations, damaged_validations, other_validations),
    *(other_scores, other_id, other_samples, other_setting, without_a_target),
)


@pytest.mark.parametrize("spoil", REFUSED, ids=lambda spoil: spoil.__name__)
def test_a_run_that_others_cannot_rely_on_is_left_out(runs, tmp_path, capsys, spoil):
    said = spoil(runs)
    root = tmp_path / "set"
    assert add(root, runs) == 1
    shown = capsys.readouterr()
    assert f"{RUNS - 1} runs added" in shown.out
    lines = [line for line in shown.err.splitlines() if said in line]
    assert len(lines) == 1 and lines[0].startswith("left out: "), shown.err
    assert "d1 → d2" in lines[0] or "all domains" in lines[0]
    assert wrong(root) == []
    assert not (tmp_path / "mine").exists()


def test_runs_that_are_refused_alike_are_counted(runs, tmp_path, capsys):
    for folder in folders(runs):
        (folder.path / "result.json").unlink()
    assert add(tmp_path / "set", runs) == 1
    assert "left out: 4 runs, the first " in capsys.readouterr().err


def test_where_all_are_refused_no_set_is_made(runs, tmp_path, capsys):
    for method in ("erm", "swad", "unimodal"):
        for folder in folders(runs, method):
            (folder.path / "predictions.npz").unlink()
    assert add(tmp_path / "set", runs) == 1
    assert "0 runs added" in capsys.readouterr().out
    assert not (tmp_path / "set").exists()


# Other numbers


def test_other_numbers_need_a_reason(packed, runs, tmp_path, capsys):
    predicts_otherwise(folders(runs)[0])
    before = contents(packed)
    for options in ((), ("--replace", ""), ("--replace", "  ")):
        assert add(packed, runs, options=options) == 2
        error = capsys.readouterr().err
        assert error.startswith("error: run ") and error.count("\n") == 1
        assert "erm · synthetic" in error and "--replace WHY" in error
        assert contents(packed) == before
    assert add(packed, runs, by="Bob", options=("--replace", "a  bug,\nmended")) == 0
    assert f"1 runs added, {RUNS - 1} were there already" in capsys.readouterr().out
    ledger = (packed / "ledger.csv").read_bytes()
    assert ledger.startswith(before["ledger.csv"])
    (line,) = ledger[len(before["ledger.csv"]) :].decode().splitlines()
    assert line.endswith(',Bob,"a bug, mended"')
    assert wrong(packed) == []
    assert "Bob: 1 runs" in (packed / "labbook.md").read_text()
    after = contents(packed)
    assert add(packed, runs) == 0
    assert contents(packed) == after


def test_a_run_that_was_taken_out_needs_a_reason_to_come_back(packed, runs, capsys):
    path = packed / PLACE / "erm.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    name = json.loads(lines[0])["result"]["id"]
    path.write_text("".join(lines[1:]))

    def drop(arrays):
        for key in [key for key in arrays if key.startswith(name)]:
            del arrays[key]

    edit_arrays(path.with_suffix(".npz"), drop)
    with (packed / "ledger.csv").open("a") as file:
        file.write(f"{name},,2026-11-30,Ada,wrong files\n")
    assert wrong(packed) == []
    assert add(packed, runs) == 2
    assert "--replace WHY" in capsys.readouterr().err
    assert add(packed, runs, options=("--replace", "they were right")) == 0
    assert wrong(packed) == []


# Wrong use


def test_wrong_use_is_one_line_that_says_what_to_do(packed, runs, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(committed, "HOME", tmp_path / "none")
    other = tmp_path / "other"
    other.mkdir()
    (other / "notes.txt").touch()
    for words, said in (
        (["add", "--results", str(runs), "--by", "Ada"], "name a set with --set"),
        (["add", "--results", str(tmp_path / "no"), "--by", "A", "--set", "x"], "no runs in"),
        (["add", "--results", str(tmp_path / "a.jsonl"), "--by", "A", "--set", "x"], "a.jsonl"),
        (["add", "--results", str(runs), "--by", " ", "--set", str(packed)], "--by is empty"),
        (["add", "--results", str(runs), "--by", "A", "--set", str(other)], "no set of results"),
        (["add", "--results", str(runs), "--by", "A", "--set", str(other / "notes.txt")], "no set"),
        (["verify"], "there are no committed results in"),
        (["verify", str(other)], "is no set of results: it has no set.json"),
        (["verify", str(tmp_path / "no")], "is no set of results"),
    ):
        before = contents(tmp_path)
        assert results.main(words) == 2, words
        shown = capsys.readouterr()
        assert shown.err.startswith("error: ") and shown.err.count("\n") == 1, shown.err
        assert said in shown.err
        assert contents(tmp_path) == before


def test_without_a_name_the_sets_of_the_suite_are_meant(packed, runs, capsys, monkeypatch):
    monkeypatch.setattr(committed, "HOME", packed.parent)
    (packed.parent / "CURRENT").write_text("set\n")
    before = contents(packed)
    assert results.main(["add", "--results", str(runs), "--by", "Ada"]) == 0
    assert contents(packed) == before
    assert results.main(["verify"]) == 0
    edit_line(packed, lambda values: values["result"].update(parameters=1))
    assert results.main(["verify"]) == 1
    (packed.parent / "CURRENT").write_text("other\n")
    assert results.main(["verify"]) == 2
    assert "names 'other', which is no set of results" in capsys.readouterr().err


def test_many_problems_are_counted(packed, capsys):
    path = packed / "ledger.csv"
    path.write_text(path.read_text() + "".join(f"{i},1,2026,Ada,\n" for i in range(50)))
    assert results.main(["verify", str(packed)]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("wrong: ") == results.NAMED + 1 and "wrong: 30 more" in shown.err
    assert "50 problems" in shown.out


def test_a_folder_that_cannot_be_written_to_is_one_line(runs, tmp_path, capsys):
    (tmp_path / "file").touch()
    assert add(tmp_path / "file" / "set", runs) == 1
    shown = capsys.readouterr()
    assert shown.err.startswith("error: ") and shown.err.count("\n") == 1


def test_after_ctrl_c_it_says_that_it_can_be_repeated(packed, runs, capsys, monkeypatch):
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(verify, "run_problems", stop)
    assert add(packed, runs) == 130
    assert results.main(["verify", str(packed)]) == 130
    assert capsys.readouterr().err.count("stopped; the same command can be repeated") == 2


def test_an_odd_name_fits_into_the_files(runs, tmp_path):
    root = tmp_path / "set"
    assert (
        add(root, runs, by='Ada, "the\tfirst"\n\udcff', options=("--note", "caf\udcc3\udca9")) == 0
    )
    assert wrong(root) == []
    assert 'Ada, ""the first"" ?' in (root / "ledger.csv").read_text()
    assert "café" in (root / "labbook.md").read_text()


def test_predictions_of_many_classes_take_more_bytes(packed):
    for path in (packed / PLACE).glob("*.npz"):
        with np.load(path) as arrays:
            kinds = {arrays[k].dtype for k in arrays.files if k.endswith(("/val", "/target"))}
        assert kinds == {np.dtype(np.uint8)}


def test_verifying_needs_no_torch(packed):
    code = (
        "import sys; from benchmark.results import main\n"
        "code = main(['verify', sys.argv[1]])\n"
        "sys.exit(code or 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(packed)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
