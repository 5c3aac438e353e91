"""Measures of analyses in a set of committed results: packed, read back, checked."""

import json

import pytest
from support_committed import COMMIT, PLACE, add, contents, wrong

from benchmark import analyze, report
from benchmark.records import committed_analyses, provenance
from benchmark.records.read import read

FILE = PLACE / "analyses" / "erm.jsonl"


def measure(runs, *words):
    assert analyze.main(["calibration", "--results", str(runs), "--method", "erm", *words]) == 0


@pytest.fixture
def analysed(runs, monkeypatch):
    """Finished runs, those of erm with their calibration."""
    monkeypatch.setattr(provenance, "commit", lambda: COMMIT)
    measure(runs)
    return runs


def tables(place, capsys):
    words = ["--results", str(place), "--table", "calibration", "--format", "csv"]
    assert report.main(words) == 0
    return capsys.readouterr().out


def test_measures_are_read_back_as_they_were(analysed, packed, capsys):
    capsys.readouterr()
    before = tables(analysed, capsys)
    assert add(packed, analysed) == 0
    assert "4 measures of analyses added, 0 were there already" in capsys.readouterr().out
    assert wrong(packed) == []
    assert tables(packed, capsys) == before and "erm" in before
    kept = {r.spec.id: r for r in read([packed]).records}
    for record in read([analysed]).records:
        mine, theirs = record.measured("calibration"), kept[record.spec.id].measured("calibration")
        assert len(mine) == len(theirs) == (record.spec.method == "erm")
        for one, other in zip(mine, theirs, strict=True):
            assert (one.values, one.settings, one.key) == (other.values, other.settings, other.key)
            assert other.provenance["commit"] == COMMIT and "host" not in other.provenance
    book = (packed / "labbook.md").read_text()
    assert "4 measures\n" in book and "- analyses: calibration\n" in book


def test_adding_or_measuring_again_changes_no_byte(analysed, packed, capsys):
    assert add(packed, analysed) == 0
    before = contents(packed)
    assert add(packed, analysed) == 0
    measure(analysed, "--force")  # another time, the same numbers
    assert add(packed, analysed) == 0
    assert contents(packed) == before
    assert "0 measures of analyses added, 4 were there already" in capsys.readouterr().out


def test_runs_and_measures_are_added_together(analysed, tmp_path):
    assert add(tmp_path / "new", analysed) == 0
    assert wrong(tmp_path / "new") == []
    assert len(committed_analyses.read(tmp_path / "new" / FILE)) == 4


def change_value(lines):
    lines[0]["values"]["target"]["ece"] += 1e-9


def change_setting(lines):
    lines[0]["settings"]["bins"] = 10


def change_run(lines):
    lines[0]["run"] = "0" * 12


def drop(lines):
    del lines[0]


def double(lines):
    lines.append(lines[0])


def change_commit(lines):
    lines[0]["provenance"]["commit"] += "+dirty"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (change_value, "is not what was added"),
        (change_setting, "is not in the ledger"),
        (change_run, "is of no run"),
        (drop, "is gone"),
        (double, "is there twice"),
        (change_commit, "in no commit"),
    ],
)
def test_every_change_is_found(analysed, packed, change, said):
    assert add(packed, analysed) == 0
    path = packed / FILE
    lines = [json.loads(line) for line in path.read_bytes().splitlines()]
    change(lines)
    path.write_text("".join(json.dumps(x, separators=(",", ":")) + "\n" for x in lines))
    assert any(said in problem for problem in wrong(packed)), wrong(packed)


def test_damage_is_found_and_left_out_of_tables(analysed, packed, capsys):
    assert add(packed, analysed) == 0
    path = packed / FILE
    path.write_bytes(path.read_bytes()[:-30])
    assert any("not whole" in problem for problem in wrong(packed))
    capsys.readouterr()
    assert report.main(["--results", str(packed), "--table", "calibration"]) == 2
    assert "not whole" in capsys.readouterr().err


def test_the_whole_file_gone_is_found(analysed, packed):
    assert add(packed, analysed) == 0
    (packed / FILE).unlink()
    assert sum("is gone" in problem for problem in wrong(packed)) == 4


def test_measures_of_another_place_are_found(analysed, packed):
    assert add(packed, analysed) == 0
    (packed / FILE).rename(packed / PLACE / "analyses" / "swad.jsonl")
    assert any("is of no run in" in problem for problem in wrong(packed))


def test_other_numbers_need_a_reason(analysed, packed, capsys):
    assert add(packed, analysed) == 0
    file = next(analysed.rglob("analysis/*.json"))
    values = json.loads(file.read_bytes())
    values["values"]["target"]["ece"] = 0.5
    file.write_text(json.dumps(values))
    capsys.readouterr()
    assert add(packed, analysed) == 2
    assert "--replace WHY" in capsys.readouterr().err
    assert add(packed, analysed, options=("--replace", "a mistake")) == 0
    assert wrong(packed) == []


def test_measures_of_code_that_is_in_no_commit_are_refused(analysed, packed, monkeypatch, capsys):
    monkeypatch.setattr(provenance, "commit", lambda: f"{COMMIT}+dirty")
    measure(analysed, "--force")
    assert add(packed, analysed) == 1
    assert "measure again from a clean clone" in capsys.readouterr().err
    assert not (packed / FILE).exists()


def test_an_addition_killed_before_the_ledger_is_finished_by_repeating_it(
    analysed, packed, monkeypatch
):
    with monkeypatch.context() as patch:
        patch.setattr("benchmark.results.labbook.add", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            add(packed, analysed)
    assert wrong(packed) != []
    assert add(packed, analysed) == 0
    assert wrong(packed) == []
