"""What accuracy tables say, which runs share one, and what is missing."""

import re
import shlex
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from support_reports import (
    FULL,
    SOME,
    build,
    commands,
    figures,
    make_spec,
    parsed,
    record,
    row_of,
    store_runs,
)

import benchmark.run
from benchmark import report
from benchmark.planning import flags
from benchmark.planning import request as options_of_run
from benchmark.records import claims
from benchmark.records.read import Record
from benchmark.records.spec import NUMBERS_VERSION, Protocol
from benchmark.records.state import State
from benchmark.records.store import Store
from benchmark.reporting import captions, write
from benchmark.reporting.kinds import accuracy
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from datasets.base import Recipe


@pytest.fixture
def results(tmp_path: Path) -> Path:
    """A whole row and one that lacks two seeds of one column."""
    return store_runs(tmp_path / "res", [*row_of("erm", FULL), *row_of("mbcd", SOME)])


# What a table says


def test_means_deviations_and_average_by_hand() -> None:
    table = build(row_of("erm", FULL))
    assert table.columns == ("d1", "d2", "d3", "average")
    # Averages by seed: (80+50+90)/3, (84+60+90)/3, (82+70+90)/3 = 73.33, 78.00, 80.67.
    assert figures(table) == {
        "erm": [
            *("*82.00* ± 2.00 (3)", "*60.00* ± 10.00 (3)", "*90.00* ± 0.00 (3)"),
            "*77.33* ± 3.71 (3)",
        ]
    }


def test_average_takes_only_seeds_that_have_every_column() -> None:
    table = build([*row_of("erm", FULL), *row_of("mbcd", SOME)])
    # Seed 0 alone has every column: (82 + 55 + 70) / 3.
    assert figures(table)["mbcd"] == [
        *("*82.00* ± 0.00 (3)", "55.00 (1)", "80.00 ± 10.00 (3)", "69.00 (1)")
    ]
    assert table.rows[1].cells[-1].missing == (1, 2)


def test_average_is_empty_where_no_seed_is_complete() -> None:
    table = build(row_of("erm", {"d1": [0.5], "d2": [0.5]}))
    assert figures(table)["erm"] == ["*50.00* (1)", "*50.00* (1)", "—", "—"]


def test_best_marks_ties_after_rounding_and_nothing_else() -> None:
    rows = [
        *row_of("erm", {"d1": [0.800040], "d2": [0.5], "d3": [0.5]}),
        *row_of("mbcd", {"d1": [0.800010], "d2": [0.6], "d3": [0.5]}),
        *row_of("swad", {"d1": [0.799940], "d2": [0.5], "d3": [0.4]}),
    ]
    best = {row.label: [cell.best for cell in row.cells] for row in build(rows).rows}
    assert best == {
        "erm": [True, False, True, False],
        "mbcd": [True, True, True, True],
        "swad": [False, False, False, False],
    }


def test_uneven_numbers_of_seeds_are_said() -> None:
    even = " ".join(captions.notes(build(row_of("erm", FULL)), "Bold marks"))
    assert "different numbers of seeds" not in even
    uneven = " ".join(
        captions.notes(build([*row_of("erm", FULL), *row_of("mbcd", SOME)]), "Bold marks")
    )
    assert "rest on different numbers of seeds: d2, average." in uneven
    # A dash has no mean that could be compared.
    dashes = build([*row_of("erm", {"d1": [0.5], "d2": [0.5]}), *row_of("mbcd", {"d1": [0.5]})])
    assert "different numbers" not in " ".join(captions.notes(dashes, "Bold marks"))


@pytest.mark.parametrize(
    ("rule", "metric", "expected"),
    [
        ("best-val", "accuracy", "*75.00* (1)"),
        ("last", "accuracy", "*62.50* (1)"),
        ("oracle", "accuracy", "*78.12* (1)"),
        ("best-val", "macro-f1", "*50.00* (1)"),
    ],
)
def test_rule_and_metric_choose_the_figure(rule: str, metric: str, expected: str) -> None:
    table = build(row_of("erm", {"d1": [0.75]}), rule, metric)
    assert figures(table)["erm"][0] == expected
    said = " ".join(captions.notes(table, "Bold marks"))
    assert f"Selection rule: {rule}" in said
    assert f"Each cell is the {metric} on the target domain" in said


def test_the_command_passes_rule_and_metric_on(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--select", "last", "--metric", "macro-f1", "--method", "erm"]
    assert report.main(["--results", str(results), *options]) == 0
    # d1: 82 - 12.5 - 25.
    assert "erm     *44.50* ± 2.00 (3)" in capsys.readouterr().out


def with_classes(run: Record, *per_class: float | None) -> Record:
    assert run.result is not None
    for scores in run.result["rules"].values():
        scores["target"]["per_class"] = list(per_class)
    return run


def test_balanced_accuracy_stands_in_a_note_where_large_classes_decide() -> None:
    rows = {"d1": [0.9, 0.8], "d2": [0.7], "d3": [0.8]}  # seed 1 has no average
    uneven = [with_classes(run, 1.0, 0.5, None) for run in row_of("erm", rows)]
    equal = {target: [0.8] for target in rows}
    same = [with_classes(run, 0.7, 0.9) for run in row_of("mbcd", equal)]
    (note,) = [note for note in build([*uneven, *same]).notes if "balanced" in note]
    assert "the average is: erm 75.00, mbcd 80.00" in note  # erm: 80.00 over samples
    assert not any("balanced" in note for note in build(same).notes)
    assert not any("balanced" in note for note in build(uneven, metric="macro-f1").notes)


def test_balanced_accuracy_tells_sets_of_modalities_apart() -> None:
    rows = {"d1": [0.9], "d2": [0.7], "d3": [0.8]}
    both = [with_classes(run, 0.8, 0.8) for run in row_of("erm", rows)]
    one = [with_classes(run, 1.0, 0.4) for run in row_of("erm", rows, modalities=("m1",))]
    (note,) = [note for note in build([*one, *both]).notes if "balanced" in note]
    assert "erm with m1 70.00, erm with m1+m2 80.00" in note


def test_several_metrics_have_a_table_each_and_costs_one(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    metrics = ["accuracy", "macro-f1", "accuracy"]
    assert report.main(["--results", str(results), "--metric", *metrics, "--table", "all"]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line.endswith("m1+m2")]
    assert sum(title.startswith("toy · multi-source") for title in titles) == 1
    both = [title for title in titles if "cost" in title]
    assert len(both) == 1, both
    assert report.main(["--results", str(results), "--metric", *metrics]) == 0
    titles = [line for line in capsys.readouterr().out.splitlines() if line.startswith("toy ·")]
    assert titles == [
        "toy · multi-source · m1+m2",
        "toy · multi-source · m1+m2 · macro-f1",
    ]


def test_own_rule_is_used_and_marked() -> None:
    own = record(make_spec("swad"), 0.5)
    assert own.result is not None
    own.result["rules"]["own"] = {"target": {"accuracy": 0.9, "macro_f1": 0.8}}
    table = build([own, *row_of("erm", {"d1": [0.7]})], "last")
    assert [(captions.labelled(row), row.rule) for row in table.rows] == [
        ("erm", "last"),
        ("swad †", "own"),
    ]
    assert figures(table)["swad"][0] == "*90.00* (1)"
    assert "† Reported under the method's own rule" in write.render([table], "text")
    assert "†" not in write.render([build(row_of("erm", FULL))], "text")


def test_single_source_has_a_column_for_every_ordered_pair() -> None:
    changes: dict[str, Any] = {"setting": "single-source", "sources": ("d2",)}
    runs = [record(make_spec("erm", "d1", **changes), 0.5)]
    runs += [record(make_spec("erm", "d3", **changes), 0.7)]
    table = build(runs)
    assert table.columns == (
        *("d1 → d2", "d1 → d3", "d2 → d1", "d2 → d3", "d3 → d1", "d3 → d2", "average"),
    )
    assert figures(table)["erm"][2:4] == ["*50.00* (1)", "*70.00* (1)"]
    assert [(gap.run.sources, gap.run.target) for gap in table.missing] == [
        *((("d1",), "d2"), (("d1",), "d3"), (("d3",), "d1"), (("d3",), "d2"))
    ]


def test_rows_name_the_hyperparameters_in_which_they_differ() -> None:
    def settings(beta: float) -> dict[str, Any]:
        return {"hyperparameters": {"mbcd": {"beta": beta, "alpha": 1e-4}}, "asked": None}

    runs = [record(make_spec("mbcd", **settings(beta)), beta / 2) for beta in (0.999, 0.9)]
    table = build([*runs, record(make_spec("erm"), 0.5)])
    assert [row.label for row in table.rows] == ["erm", "mbcd (beta=0.9)", "mbcd (beta=0.999)"]
    assert figures(table)["mbcd (beta=0.9)"][0] == "45.00 (1)"


def test_row_labels_name_the_component_where_the_key_alone_is_unclear() -> None:
    variants = [{"swad": {"rate": a}, "dsu": {"rate": b}} for a, b in ((10.0, 1.0), (9.0, 2.0))]
    runs = [record(make_spec("swad", hyperparameters=v), 0.5) for v in variants]
    assert [row.label for row in build(runs).rows] == [
        "swad (dsu.rate=1.0, swad.rate=10.0)",
        "swad (dsu.rate=2.0, swad.rate=9.0)",
    ]


# Which runs share a table


@pytest.mark.parametrize(
    ("changes", "distinct"),
    [
        ({"recipe": Recipe(epochs=5, lr=1e-3, batch_size=32)}, ("epochs=20", "epochs=5")),
        ({"protocol": Protocol(neck="none")}, ("neck=layernorm", "neck=none")),
        ({"data": "ff" * 8}, ("data=ab12cd34", "data=ffffffff")),
        ({"options": {"snr": "2"}, "data": "ff" * 8}, ("", "snr=2")),
        (
            {"recipe": Recipe(20, 1e-3, 32, validate_every=7)},
            ("validate_every=0", "validate_every=7"),
        ),
        ({"encoders": {"m1": "big", "m2": "signal_cnn"}}, ("m1 encoder=big", "m1 encoder=mlp")),
        ({"numbers_version": 99}, (f"numbers_version={NUMBERS_VERSION}", "numbers_version=99")),
        ({"sources": ("d2", "d3", "d4")}, ("domains=d1+d2+d3", "domains=d1+d2+d3+d4")),
        ({"fabricated": True, "data": "ff" * 8}, ("", "fabricated data")),
    ],
)
def test_conditions_are_never_mixed(changes: dict[str, Any], distinct: tuple[str, str]) -> None:
    runs = [record(make_spec(), 0.25), record(make_spec(**changes), 0.75)]
    pair = accuracy.build(Wanted(runs, View()))
    assert [table.rows[0].cells[0].n for table in pair] == [1, 1]
    titles = sorted(captions.title(table) for table in pair)
    start = "toy · multi-source · m1+m2"
    assert titles == [f"{start} · {text}" if text else start for text in distinct]


@pytest.mark.parametrize("changes", [{"dataset": "toy2"}, {"setting": "single-source"}])
def test_other_experiments_have_tables_of_their_own(changes: dict[str, Any]) -> None:
    sources = ("d2",) if "setting" in changes else ("d2", "d3")
    runs = [record(make_spec(), 0.25), record(make_spec(sources=sources, **changes), 0.75)]
    first, second = accuracy.build(Wanted(runs, View()))
    assert captions.title(first) != captions.title(second)
    assert first.subject[2:] == second.subject[2:] == ("m1+m2",)


def test_sets_of_modalities_are_groups_of_one_table_and_marked_apart() -> None:
    one = {"modalities": ("m1",), "encoders": {"m1": "mlp"}, "data": "ee" * 8}
    runs = [*row_of("erm", {"d1": [0.5]}), *row_of("mbcd", {"d1": [0.75]})]
    runs += [*row_of("erm", {"d1": [0.25]}, **one), *row_of("mbcd", {"d1": [0.125]}, **one)]
    table = build(runs)
    assert captions.title(table) == "toy · multi-source" and table.grouped == "modalities"
    assert [(row.group, row.label, row.cells[0].best) for row in table.rows] == [
        *(("m1", "erm", True), ("m1", "mbcd", False)),
        *(("m1+m2", "erm", False), ("m1+m2", "mbcd", True)),
    ]
    text = write.render([table], "text")
    assert (
        "m1+m2       mbcd    *75.00* (1)" in text
        and "Among rows of the same modalities, stars" in " ".join(text.split())
    )
    # Sets that were trained under other conditions stand apart.
    other = [replace(run, spec=replace(run.spec, recipe=Recipe(5, 1e-3, 32))) for run in runs[2:]]
    pair = accuracy.build(Wanted([*runs[:2], *other], View()))
    assert [captions.title(table) for table in pair] == [
        "toy · multi-source · m1+m2 · epochs=20",
        "toy · multi-source · m1 · epochs=5",
    ]


def test_fabricated_data_is_marked_twice() -> None:
    table = build([record(make_spec(fabricated=True), 0.5)])
    text = write.render([table], "text")
    assert text.splitlines()[0].endswith("fabricated data")
    assert "made-up files stand in for toy" in text
    assert "abricated" not in write.render([build([record(make_spec(), 0.5)])], "text")


def test_mixed_provenance_is_named() -> None:
    runs = [
        record(make_spec(seed=0), 0.5, commit="a" * 40),
        record(make_spec(seed=1), 0.5, commit="a" * 40 + "+dirty", threads=4),
        record(make_spec(seed=2), 0.5, commit=None, device="H100"),
    ]
    assert build(runs).mixtures == (
        "runs come from 2 devices: H100, cpu (x86_64).",
        "runs come from 2 thread counts: 2, 4.",
        "runs come from 2 commits: aaaaaaaaaa, unknown.",
        "1 of 3 runs come from code with uncommitted changes, "
        "so their commit does not say what ran.",
    )
    assert build(runs[:1]).mixtures == ()


def test_what_changed_inside_runs_is_named_with_their_number() -> None:
    def part(**changes: Any) -> dict[str, Any]:
        usual = {"device": "cpu", "cpu": "Xeon", "threads": 2, "commit": "a" * 40}
        return {**usual, "packages": {"torch": "2.11.0"}, **changes}

    def trained(seed: int, *parts: dict[str, Any]) -> Record:
        return record(make_spec(seed=seed), 0.5, **parts[-1], segments=list(parts))

    runs = [
        record(make_spec(seed=0), 0.5, **part()),
        trained(1, part(device="H100", driver="550.1"), part()),
        trained(2, part(packages={"torch": "2.10.0"}, commit="b" * 40), part(), part()),
        trained(3, part(commit="a" * 40 + "+dirty"), part(commit="b" * 40)),
        trained(4, part(), part()),
    ]
    assert build(runs).mixtures == (
        "runs come from 2 devices: H100, cpu.",
        "runs come from 2 torch versions: 2.10.0, 2.11.0.",
        "runs come from 2 commits: aaaaaaaaaa, bbbbbbbbbb.",
        "3 of 5 runs were interrupted and went on with another device (1), torch version (1), "
        "commit (2).",
        "1 of 5 runs come from code with uncommitted changes, so their commit does not say what "
        "ran.",
    )
    assert build([runs[0], runs[4]]).mixtures == ()
    assert "3 of 5 runs were interrupted" in write.render([build(runs)], "text").replace("\n", " ")


# What is missing


def test_missing_seeds_are_named_with_one_command_a_cell(
    results: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert report.main(["--results", str(results)]) == 0
    out = capsys.readouterr().out
    assert "Missing: 2 runs." in out
    assert "- mbcd, d2: seeds 1, 2 not run\n" in out
    (command,) = commands(out)
    args = parsed(command)
    assert (args.method, args.dataset, args.setting) == (["mbcd"], "toy", "multi-source")
    assert (args.sources, args.target, args.seeds) == (["d1", "d3"], "d2", [1, 2])
    assert (args.modalities, args.results) == (["m1+m2"], results)
    assert not args.retry_failed and args.data_root is None


def test_gaps_that_differ_in_the_method_alone_share_a_command(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    some = {"d1": [0.5, 0.6], "d2": [0.5, 0.6], "d3": [0.5]}
    runs = [*row_of("erm", some), *row_of("swad", some)]
    tuned = {"mbcd": {"beta": 0.5}}
    runs += [
        record(make_spec("mbcd", target, seed, hyperparameters=tuned), 0.5)
        for target, values in some.items()
        for seed in range(len(values))
    ]
    store_runs(tmp_path, runs)
    assert report.main(["--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "Missing: 3 runs." in out
    assert "- erm, swad, d3: seed 1 not run\n" in out
    together, alone = (parsed(command) for command in commands(out))
    assert (together.method, together.set) == (["erm", "swad"], [])
    assert (alone.method, alone.set) == (["mbcd"], ["mbcd.beta=0.5"])


def test_no_gap_no_list(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    store_runs(tmp_path, row_of("erm", FULL))
    assert report.main(["--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert "82.00" in out and "Missing" not in out and "benchmark.run" not in out


def test_states_of_missing_runs(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    runs = row_of("erm", {"d1": [0.5] * 5, "d2": [0.5], "d3": [0.5] * 5})
    runs += [
        Record(
            make_spec("erm", "d2", 1), State.FAILED, "NonFiniteLossError: the loss\n is not finite"
        ),
        Record(make_spec("erm", "d2", 3), State.INTERRUPTED),
    ]
    store_runs(tmp_path, runs)
    status = Store(tmp_path).folder(make_spec("erm", "d2", 4))
    status.write_spec(make_spec("erm", "d2", 4))
    status.write_status(State.RUNNING)  # without a process that claims it
    alive = Store(tmp_path).folder(make_spec("erm", "d2", 2))
    alive.write_spec(make_spec("erm", "d2", 2))
    alive.write_status(State.RUNNING)
    assert claims.take(alive.path)
    assert report.main(["--results", str(tmp_path)]) == 0
    lines = capsys.readouterr().out.splitlines()
    at = lines.index("Missing: 4 runs.")
    assert lines[at + 1] == "- erm, d2: seed 2 running; seeds 3, 4 interrupted"
    assert lines[at + 3] == "- erm, d2: seed 1 failed: NonFiniteLossError: the loss is not finite"
    others, failed = parsed(lines[at + 2]), parsed(lines[at + 4])
    # benchmark.run --retry-failed runs what failed and nothing else.
    assert (others.seeds, others.retry_failed) == ([2, 3, 4], False)
    assert (failed.seeds, failed.retry_failed) == ([1], True)


def test_runs_without_any_result_make_a_table_of_gaps(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store_runs(tmp_path, [Record(make_spec(), State.FAILED, "ValueError: no")])
    assert report.main(["--results", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert re.search(r"^erm +— +— +— +—$", out, re.MULTILINE)
    assert "- erm, d1: seed 0 failed: ValueError: no" in out
    assert "*" not in out.split("Each cell")[0]


def test_command_of_an_unknown_dataset_and_method_leaves_nothing_to_defaults() -> None:
    spec = make_spec(
        dataset="no_such_dataset",
        method="mbcd",
        options={"snr": "2,1"},
        hyperparameters={"no_such_method": {"beta": 0.9}},
        protocol=Protocol("none", "train", "random", {"m1": 0.5, "m2": 0.0}, ema_warmup=False),
        recipe=Recipe(20, 1e-3, 32, validate_every=16),
        asked=None,
    )
    spec = replace(spec, method="no_such_method")
    table = build([record(spec, 0.5, data_root="/data dir/x"), record(replace(spec, seed=1), 0.5)])
    args = parsed(flags.command(table.missing[:1]))
    assert args.data_root == Path("/data dir/x")
    assert args.set == ["no_such_method.beta=0.9"]
    assert args.dataset_option == ["snr=2,1"]
    assert args.backbone == ["m1=mlp", "m2=signal_cnn"]
    assert (args.epochs, args.lr, args.batch_size) == (20, 1e-3, 32)
    assert (args.weight_decay, args.validate_every) == (0.0, 16)
    assert (args.neck, args.frozen_bn, args.tail_init) == ("none", ["train"], ["random"])
    assert args.embedding_dropout == ["m1=0.5"]
    assert args.ema_warmup is False and args.results is None


CHANGED = (
    "--set beta=0.9 --dataset-option snr=2,1 domains=3 --epochs 3 --lr 0.01 --batch-size 8 "
    "--weight-decay 0.5 --validate-every 4 --neck none --embedding-dropout 0.25 --no-ema-warmup"
)


@pytest.mark.parametrize(
    ("options", "flags"),
    [
        ("", {"--sources", "--target"}),
        ("--dataset-option domains=2", {"--dataset-option", "--all-splits"}),
        ("--setting single-source", {"--sources", "--target"}),
        (CHANGED, {*re.findall(r"--[a-z-]+", CHANGED), "--sources", "--target"}),
    ],
)
def test_the_command_plans_exactly_the_missing_run(
    options: str, flags: set[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Through the real planner: plan, pretend all but one are done, run the printed command."""
    from benchmark.planning import plan
    from benchmark.settings import RunSettings

    words = f"--method mbcd --dataset synthetic --all-splits --results {tmp_path} {options}"
    request = options_of_run.request(benchmark.run.parser().parse_args(shlex.split(words)))
    lacking, *others = plan.make(request, RunSettings(tmp_path)).specs
    store_runs(tmp_path, [record(spec, 0.5) for spec in others])
    assert report.main(["--results", str(tmp_path)]) == 0
    (command,) = commands(capsys.readouterr().out)
    always = {"--method", "--dataset", "--setting", "--modalities", "--seeds", "--results"}
    assert set(re.findall(r"(?<= )--[a-z-]+", command)) == always | flags
    assert benchmark.run.main([*shlex.split(command)[3:], "--dry-run"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[2] for line in lines if line.startswith("to do ")] == [lacking.id]


def test_old_numbers_cannot_be_filled_and_that_is_said() -> None:
    runs = row_of("erm", {"d1": [0.5]}, numbers_version=NUMBERS_VERSION - 1)
    assert f"this table at {NUMBERS_VERSION - 1}" in write.render([build(runs)], "text")
    assert "numbers version" not in write.render([build(row_of("erm", {"d1": [0.5]}))], "text")


def test_scripts_that_differ_in_protocol_share_the_table_of_what_they_report() -> None:
    switches = Protocol(neck="none", frozen_bn={"m1": "train", "m2": "eval"})
    erm = record(make_spec(protocol=switches), 0.5)
    mbcd = record(make_spec("mbcd", recipe=Recipe(15, 1e-3, 32)), 0.75)
    fair = record(make_spec(), 0.625)
    apart = accuracy.build(Wanted([erm, mbcd, fair], View()))
    assert [len(t.rows) for t in apart] == [1, 1, 1]
    assert any("frozen_bn=m1:train m2:eval" in part for t in apart for part in t.subject)
    (table,) = accuracy.build(Wanted([erm, mbcd, fair], View("reference")))
    labels = {row.label: row.cells[0].mean for row in table.rows}
    assert labels == {
        "erm (frozen_bn=eval, neck=layernorm)": 56.25,
        "erm (frozen_bn=m1:train m2:eval, neck=none)": 43.75,
        "mbcd": 68.75,
    }
    text = " ".join(write.render([table], "text").split())
    assert "Rows may differ in protocol and recipe" in text
