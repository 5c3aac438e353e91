"""`benchmark.report --advise`: hand-made runs whose best method is known."""

import re
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from support_folder import FOURS, table, vectors
from support_reports import DOMAINS, make_spec, parsed, predicted, row_of, store_runs

from benchmark import predict, report, run
from benchmark.records.read import Record
from benchmark.records.spec import NUMBERS_VERSION
from benchmark.records.store import Store
from benchmark.reporting.kinds import advice, versus
from benchmark.reporting.kinds.advice import Advice
from benchmark.reporting.model import Interval
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.write.advice import render
from mmdg_common import UsageError

FAR = {d: [0.50, 0.51, 0.49] for d in DOMAINS}
GOOD = {d: [0.90, 0.91, 0.89] for d in DOMAINS}
NEAR = {"d1": [0.89, 0.91, 0.90], "d2": [0.90, 0.89, 0.88], "d3": [0.91, 0.90, 0.88]}


def advised(runs: Sequence[Record], **view: Any) -> Advice:
    (found,) = advice.build(Wanted(runs, View(**view)))
    return found


def said(found: Advice, *results: str) -> str:
    """Return the text in one line."""
    return " ".join(render([found], results).split())


def cut(values: Mapping[str, Sequence[float]], seeds: int) -> dict[str, list[float]]:
    return {target: list(of[:seeds]) for target, of in values.items()}


def test_a_clear_winner(tmp_path: Path) -> None:
    runs = [*predicted(tmp_path, "erm", FAR), *predicted(tmp_path, "mbcd", GOOD)]
    runs += predicted(tmp_path, "swad", {d: [0.3, 0.31, 0.29] for d in DOMAINS}, rule="own")
    found = advised(runs)
    assert found.best is not None and found.gain is not None and found.gain.ends is not None
    assert (found.best.label, round(found.best.mean, 6)) == ("mbcd", 90.0)
    assert [(one.label, one.close) for one in found.others] == [("erm", False), ("swad", False)]
    assert found.gain.value == pytest.approx(40)
    assert 30 < found.gain.ends[0] < 40 < found.gain.ends[1] < 50
    text = said(found)
    assert (
        "Take mbcd: accuracy 90.00 % on unseen domains, the mean over 3 targets and 3 seeds" in text
    )
    assert "How sure: it is significantly better than all others (2)." in text
    assert f"Over erm: +40.00 points, 95 % interval {found.gain.ends[0]:+.2f} to" in text
    assert "May be as good" not in text and "Left out" not in text


def test_the_interval_of_two_methods_is_that_of_versus(tmp_path: Path) -> None:
    runs = [*predicted(tmp_path, "erm", NEAR), *predicted(tmp_path, "mbcd", GOOD)]
    found = advised(runs)
    assert found.gain is not None and found.gain.ends is not None
    cells = versus.build("erm", "mbcd", Wanted(runs))[-1].rows[0].cells
    (ends,) = [cell for cell in cells if isinstance(cell, Interval)]
    # Here the variances of the table's two rows are drawn together, which changes the width alone.
    assert sum(found.gain.ends) / 2 == pytest.approx((ends.low + ends.high) / 2)
    assert found.gain.ends[0] < 0 < found.gain.ends[1]


def test_a_tie_names_whoever_cannot_be_told_apart_and_the_simplest(tmp_path: Path) -> None:
    runs = [*predicted(tmp_path, "erm", NEAR), *predicted(tmp_path, "mbcd", GOOD)]
    runs += predicted(tmp_path, "swad", FAR)
    found = advised(runs)
    assert found.best is not None and found.best.label == "mbcd"
    assert [(one.label, one.close) for one in found.others] == [("erm", True), ("swad", False)]
    text = said(found)
    assert "it cannot be told apart from erm (89.56 %), which may be as good" in text
    assert "it is significantly better than the others (1)" in text
    assert "May be as good, too: erm is the simplest." in text


def test_of_equal_means_plain_training_is_taken(tmp_path: Path) -> None:
    runs = [*predicted(tmp_path, "mbcd", GOOD), *predicted(tmp_path, "erm", GOOD)]
    found = advised(runs)
    assert found.best is not None and found.best.label == "erm" and found.gain is None
    assert "erm is plain training, and no other method has a better mean." in said(found)


def test_a_much_cheaper_method_that_may_be_as_good_is_told_of(tmp_path: Path) -> None:
    def costing(method: str, values: Mapping[str, list[float]], seconds: float) -> list[Record]:
        runs = predicted(tmp_path, method, dict(values))
        where = {"device": "cpu", "threads": 1, "wall_s": seconds}
        return [replace(r, result={**(r.result or {}), "provenance": where}) for r in runs]

    runs = [*costing("mbcd", GOOD, 100.0), *costing("erm", NEAR, 40.0), *costing("swad", FAR, 1.0)]
    found = advised(runs)
    assert [one.cheaper for one in found.others] == [0.4, None]  # swad is no match
    assert "erm is the simplest and trains in 0.40 of the time" in said(found)
    runs = [*costing("mbcd", GOOD, 100.0), *costing("erm", NEAR, 60.0)]
    assert [one.cheaper for one in advised(runs).others] == [None]


def test_without_the_baseline_the_gain_is_unknown(tmp_path: Path) -> None:
    runs = [*predicted(tmp_path, "mbcd", GOOD), *predicted(tmp_path, "swad", FAR)]
    found = advised(runs)
    assert found.best is not None and found.best.label == "mbcd" and found.gain is None
    assert "Over erm: unknown, as erm was not run on every target." in said(found)


def test_one_seed_cannot_say_how_sure_it_is(tmp_path: Path) -> None:
    runs = [*predicted(tmp_path, "erm", cut(FAR, 1)), *predicted(tmp_path, "mbcd", cut(GOOD, 1))]
    found = advised(runs)
    assert [one.close for one in found.others] == [None]
    assert found.gain is not None and found.gain.ends is None
    text = said(found)
    assert "the mean over 3 targets and 1 seed." in text
    assert "How sure: one seed cannot say; run at least two more, --seeds 0 1 2." in text
    assert "Over erm: +40.00 points. " in text and "interval" not in text


def test_without_stored_predictions_the_means_count_and_nothing_is_claimed() -> None:
    found = advised([*row_of("erm", FAR), *row_of("mbcd", GOOD)])
    assert found.best is not None and found.best.label == "mbcd"
    assert "without stored predictions nothing can be said of erm" in said(found)
    assert "Over erm: +40.00 points. " in said(found)


def test_rows_that_lack_a_target_or_a_seed_are_left_out(tmp_path: Path) -> None:
    """The best figures count for nothing where a hard target is missing."""
    runs = [*predicted(tmp_path, "erm", FAR), *predicted(tmp_path, "mbcd", GOOD)]
    best = predicted(tmp_path, "swad", {d: [0.99, 0.99, 0.99] for d in ("d1", "d2")})
    found = advised([*runs, *best])
    assert found.best is not None and found.best.label == "mbcd"
    assert found.incomplete == ("swad",) and [one.label for one in found.others] == ["erm"]
    text = render([found], ["some where"])
    assert "  Left out, as they lack runs: swad (1 of 3 methods).\n" in text
    assert "    python -m benchmark.report --results 'some where' --dataset toy\n" in text
    lucky = predicted(tmp_path / "one", "swad", {d: [0.99] for d in DOMAINS})
    found = advised([*runs, *lucky])
    assert found.best.label == "mbcd" and found.incomplete == ("swad",)  # type: ignore[union-attr]
    assert found.seeds == (0, 1, 2)


def test_more_seeds_of_one_row_do_not_leave_the_others_out(tmp_path: Path) -> None:
    more = {d: [*values, 0.1] for d, values in GOOD.items()}
    runs = [*predicted(tmp_path, "erm", FAR), *predicted(tmp_path, "swad", NEAR)]
    found = advised([*runs, *predicted(tmp_path, "mbcd", more)])
    assert found.best is not None and found.seeds == (0, 1, 2) and found.incomplete == ()
    assert (found.best.label, round(found.best.mean, 6)) == ("mbcd", 90.0)  # on these seeds


def test_without_any_whole_row_there_is_no_advice(tmp_path: Path) -> None:
    runs = predicted(tmp_path, "erm", {"d1": [0.5], "d2": [0.5]})
    found = advised(runs)
    assert found.best is None and found.wanted is None and found.incomplete == ("erm",)
    text = said(found)
    assert "No advice: no method has a run on every target yet." in text
    assert "benchmark.predict" not in text


def test_few_subjects_are_told_of(tmp_path: Path) -> None:
    runs = [*predicted(tmp_path, "erm", FAR), *predicted(tmp_path, "mbcd", GOOD)]
    for record in runs:
        assert record.folder is not None
        path = record.folder / "predictions.npz"
        arrays = dict(np.load(path))
        subjects = 4 if record.spec.target == "d2" else 25
        arrays["best-val/target/groups"] = np.array([[f"s{i % subjects}"] for i in range(200)])
        np.savez(path, **arrays)
    found = advised(runs)
    assert found.few == ("d2 4",)
    assert "say little about others where a target has so few: d2 4." in said(found)


def test_each_set_of_modalities_has_a_block_of_its_own(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = row_of("erm", GOOD, modalities=("m1",)) + row_of("mbcd", FAR, modalities=("m1",))
    both = row_of("erm", FAR) + row_of("mbcd", GOOD)
    root = store_runs(tmp_path / "res", [*some, *both])
    assert report.main(["--results", str(root), "--advise"]) == 0
    text = capsys.readouterr().out
    blocks = text.split("\n\n")[:-1]
    assert [b.splitlines()[0] for b in blocks] == ["toy · m1", "toy · m1+m2"]
    assert [re.findall(r"Take (\w+)", b)[0] for b in blocks] == ["erm", "mbcd"]
    assert report.main(["--results", str(root), "--advise", "--modalities", "m2+m1"]) == 0
    assert "Take erm" not in capsys.readouterr().out
    path = tmp_path / "advice.txt"
    assert report.main(["--results", str(root), "--advise", "--output", str(path)]) == 0
    assert path.read_text() == text and capsys.readouterr().out == ""


def test_the_commands_are_of_the_best_row_with_all_that_it_was_asked_for(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    runs = row_of("erm", FAR) + row_of(
        "mbcd", GOOD, hyperparameters={"mbcd": {"beta": 0.5, "alpha": 1e-4}}
    )
    root = store_runs(tmp_path / "res", runs)
    assert report.main(["--results", str(root), "--advise"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    (train,) = [line for line in lines if line.startswith("python -m benchmark.run")]
    args = parsed(train)
    assert (args.method, args.dataset, args.setting) == (["mbcd"], "toy", "all-domains")
    assert (args.sources, args.target, args.seeds) == ([], None, [0])
    assert (args.set, args.modalities, str(args.results)) == (
        ["mbcd.beta=0.5"],
        ["m1+m2"],
        str(root),
    )
    (use,) = [line for line in lines if line.startswith("python -m benchmark.predict")]
    spec = replace(
        make_spec("mbcd", hyperparameters={"mbcd": {"beta": 0.5, "alpha": 1e-4}}),
        setting="all-domains",
        sources=DOMAINS,
        target="",
        numbers_version=NUMBERS_VERSION,
    )
    assert shlex.split(use)[3] == str(Store(root).folder(spec).path)
    predict.parser().parse_args(shlex.split(use)[3:])


def test_of_a_search_the_command_searches_again(tmp_path: Path) -> None:
    runs = [replace(record, tried=8) for record in row_of("mbcd", GOOD)]
    text = said(advised([*runs, *row_of("erm", FAR)]))
    assert "Take mbcd (best of 8)" in text
    assert "--setting all-domains --modalities m1+m2 --seeds 0 --search 8" in text
    assert "benchmark.predict RUN_FOLDER --data-root" in text


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["--table", "cost"], "leave --table out"),
        (["--versus", "erm", "mbcd"], "leave --versus out"),
        (["--figures", "x"], "leave --figures out"),
        (["--format", "csv"], "leave --format out"),
        (["--metric", "accuracy", "macro-f1"], "name one"),
        (["--select", "oracle"], "leave --select out"),
    ],
)
def test_it_stands_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], words: list[str], says: str
) -> None:
    root = store_runs(tmp_path, row_of("erm", FAR))
    assert report.main(["--results", str(root), "--advise", *words]) == 2
    assert says in capsys.readouterr().err


def test_without_runs_that_leave_a_domain_out_the_error_says_how_to_make_some() -> None:
    alone = [replace(r, spec=replace(r.spec, setting="single-source", sources=("d9",)))
             for r in row_of("mbcd", GOOD)]  # fmt: skip
    with pytest.raises(UsageError, match="--method erm mbcd --dataset toy --all-splits --seeds"):
        advice.build(Wanted(alone))


def test_the_printed_commands_train_the_run_and_predict_with_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """From a user's own recordings of two domains, named against the alphabet, to predictions."""
    monkeypatch.chdir(tmp_path)
    table(tmp_path / "data", vectors(tmp_path / "data", {k: 6 for k in FOURS}))
    words = ["--dataset", "folder", "--data-root", "data", "--epochs", "2", "--threads", "1"]
    words += ["--method", "erm", "mbcd", "--all-splits", "--set", "mbcd.beta=0.5", "--lr", "0.01"]
    assert run.main(words) == 0
    capsys.readouterr()
    assert report.main(["--advise"]) == 0
    lines = [line.strip() for line in capsys.readouterr().out.splitlines()]
    train, use = (
        shlex.split(next(line for line in lines if line.startswith(f"python -m benchmark.{name}")))
        for name in ("run", "predict")
    )
    assert "--results" not in train and train[train.index("--lr") + 1] == "0.01"
    folder = Path(use[3])
    assert not folder.exists() and folder.parts[:3] == ("results", "runs", "folder")
    assert run.main([*train[3:], "--threads", "1"]) == 0
    assert shlex.join(use) in capsys.readouterr().out  # the same command is printed there
    shutil.copytree("data", "NEW_DIR")
    assert predict.main(use[3:]) == 0
    assert len(Path("predictions.csv").read_text().splitlines()) == 1 + 24
    assert report.main(["--advise"]) == 0  # as before, beside the run on all domains
    assert shlex.join(use) in capsys.readouterr().out
