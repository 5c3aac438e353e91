"""The kinds of tables beside accuracy: modalities, their number, cost, searches and cues."""

import copy
import csv
import io
from dataclasses import replace
from functools import partial

import pytest
import torch
from support import numbers, tiny_run
from support_kinds import (
    DOMAINS,
    SETS,
    cued,
    done,
    erm_on_sets,
    erm_with_scores,
    everything,
    make_spec,
    mbcd_with_scores,
    row_of,
    tried,
)

from benchmark import backbones, report
from benchmark.contract.cost import measure
from benchmark.records.spec import Protocol
from benchmark.records.store import Store
from benchmark.reporting import captions, kinds, write
from benchmark.reporting.kinds import cost, modality_count, searches, spurious, unimodal
from benchmark.reporting.model import Score, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.write.cells import Style, written
from benchmark.training import train
from benchmark.training.model import build
from benchmark.training.passes import PassCounter, Passes
from datasets.base import Recipe

VIEW = View()
PLAIN = Style("*{}*", "{}", "")


def figures(table: Table) -> dict[str, dict[str, str]]:
    return {
        " ".join(filter(None, (row.group if table.grouped else "", row.label))): {
            column: written(cell, PLAIN)
            for column, cell in zip(table.columns, row.cells, strict=True)
        }
        for row in table.rows
    }


def said(table: Table) -> str:
    return " ".join(captions.notes(table, "Stars"))


# What a modality is worth


def test_scores_of_modalities_are_averaged_over_targets_then_over_seeds():
    (table,) = unimodal.build(Wanted([*erm_with_scores(), *mbcd_with_scores()], VIEW))
    names = ("probe", "masked", "head")
    assert table.columns == (*(f"{k} {n}" for k in ("m1", "m2") for n in names), "fused")
    # m1's probe: (50 + 70) / 2 and (60 + 80) / 2; m2's masked: (20 + 40) / 2 and (20 + 60) / 2.
    assert figures(table) == {
        "erm": {
            "m1 probe": "65.00 ± 7.07 (2)",
            "m1 masked": "45.00 ± 7.07 (2)",
            "m1 head": "—",
            "m2 probe": "*35.00* ± 7.07 (2)",
            "m2 masked": "*35.00* ± 7.07 (2)",
            "m2 head": "—",
            "fused": "85.00 ± 7.07 (2)",
        },
        "mbcd": {
            "m1 probe": "*90.00* (1)",
            "m1 masked": "*90.00* (1)",
            "m1 head": "*90.00* (1)",
            "m2 probe": "10.00 (1)",
            "m2 masked": "10.00 (1)",
            "m2 head": "*10.00* (1)",
            "fused": "*90.00* (1)",
        },
    }
    assert "There are no runs on a single modality to compare with" in said(table)
    assert "--modalities m1 m2 makes them" in said(table)
    assert [(gap.row, gap.column, dict(gap.states)) for gap in table.missing] == [
        ("mbcd", "d1", {1: "not run"}),
        ("mbcd", "d2", {1: "not run"}),
    ]


def test_a_seed_that_lacks_a_target_counts_in_no_column():
    records = [r for r in erm_with_scores() if (r.spec.target, r.spec.seed) != ("d2", 1)]
    (table,) = unimodal.build(Wanted(records, VIEW))
    assert figures(table)["erm"]["m1 probe"] == "*60.00* (1)"
    assert figures(table)["erm"]["fused"] == "*80.00* (1)"


def test_alone_is_the_method_itself_or_else_erm_and_the_note_says_which():
    alone = [
        *row_of("erm", {"d1": [0.4, 0.5], "d2": [0.6, 0.7]}, modalities=("m1",)),
        *row_of("erm", {"d1": [0.2], "d2": [0.2]}, modalities=("m2",)),
        *row_of("mbcd", {"d1": [0.9], "d2": [0.7]}, modalities=("m1",)),
    ]
    (table,) = unimodal.build(Wanted([*erm_with_scores(), *mbcd_with_scores(), *alone], VIEW))
    assert figures(table)["erm"]["m1 alone"] == "55.00 ± 7.07 (2)"
    assert figures(table)["erm"]["m2 alone"] == "*20.00* (1)"
    assert figures(table)["mbcd"]["m1 alone"] == "*80.00* (1)"
    assert figures(table)["mbcd"]["m2 alone"] == "20.00 (1)"  # of ERM, so without a mark
    assert "By the method itself: erm, mbcd (m1). By erm, because the method has no" in said(table)
    assert "alone: mbcd (m2)." in said(table)


@pytest.mark.parametrize(
    "other",
    [
        {"recipe": Recipe(epochs=5, lr=1e-3, batch_size=32)},
        {"encoders": {"m1": "signal_cnn"}},
        {"hyperparameters": {"mbcd": {"beta": 0.5}}},
    ],
)
def test_runs_made_in_another_way_are_not_the_same_alone(other):
    alone = row_of("mbcd", {"d1": [0.9], "d2": [0.7]}, modalities=("m1",), **other)
    (table,) = unimodal.build(Wanted([*mbcd_with_scores(), *alone], VIEW))
    assert figures(table)["mbcd"].get("m1 alone", "—") == "—"


def test_a_switch_by_modality_does_not_hide_the_runs_alone():
    protocol = make_spec().protocol
    both = replace(protocol, embedding_dropout={"m1": 0.5, "m2": 0.0})
    whole = [replace(r, spec=replace(r.spec, protocol=both)) for r in erm_with_scores()]
    for rate, cell in ((0.5, "50.00 (1)"), (0.0, "—")):
        one = replace(protocol, embedding_dropout=rate)
        alone = row_of("erm", {"d1": [0.4], "d2": [0.6]}, modalities=("m1",), protocol=one)
        (table,) = unimodal.build(Wanted([*whole, *alone], VIEW))
        assert figures(table)["erm"].get("m1 alone", "—").strip("*").replace("*", "") == cell


def test_records_without_scores_of_modalities_show_nothing():
    (table,) = unimodal.build(Wanted(row_of("erm", {"d1": [0.4], "d2": [0.6]}), VIEW))
    assert set(figures(table)["erm"].values()) == {"—", "*50.00* (1)"}


# What it costs


def test_cost_is_relative_to_erm_on_what_both_have():
    records = [
        done(make_spec("erm", "d1"), 0.5, passes=(1, 1), wall_s=10.0, peak_memory_mb=100.0),
        done(make_spec("erm", "d2"), 0.5, passes=(1, 1), wall_s=20.0, peak_memory_mb=100.0),
        done(make_spec("mbcd", "d1"), 0.5, passes=(3, 4), wall_s=30.0, peak_memory_mb=120.0),
        done(make_spec("mbcd", "d2"), 0.5, passes=(3, 3), wall_s=45.0, peak_memory_mb=130.0),
        # A seed that ERM lacks counts in the seconds alone.
        done(make_spec("mbcd", "d2", 1), 0.5, wall_s=99.0, peak_memory_mb=999.0),
    ]
    (table,) = cost.build(Wanted(records, VIEW))
    assert not table.grouped and not table.missing
    assert figures(table) == {
        "erm": {
            "parameters": "1,000",
            "forward": "1",
            "backward": "1",
            "time / ERM": "1.00 (2)",
            "memory / ERM": "1.00 (2)",
            "seconds per run": "15",
            "runs": "2",
        },
        "mbcd": {
            "parameters": "1,000",
            "forward": "3",
            "backward": "3.5",
            "time / ERM": "2.50 (2)",  # (30 + 45) / (10 + 20)
            "memory / ERM": "1.25 (2)",
            "seconds per run": "58",  # (30 + 45 + 99) / 3
            "runs": "3",
        },
    }


def test_other_devices_and_threads_are_not_compared():
    records = [
        done(make_spec("erm", "d1"), 0.5, wall_s=10.0),
        done(make_spec("mbcd", "d1"), 0.5, wall_s=5.0, device="H100"),
        done(make_spec("joint", "d1"), 0.5, wall_s=5.0, threads=2),
    ]
    (table,) = cost.build(Wanted(records, VIEW))
    assert [figures(table)[m]["time / ERM"] for m in ("mbcd", "joint")] == ["—", "—"]
    assert figures(table)["mbcd"]["seconds per run"] == "5"
    assert "They ran on different devices or numbers of threads." in said(table)


def test_records_without_passes_or_times_show_dashes():
    (table,) = cost.build(Wanted([done(make_spec("mbcd"), 0.5)], VIEW))
    shown = figures(table)["mbcd"]
    assert {name for name, text in shown.items() if text == "—"} == {
        *("forward", "backward", "time / ERM", "memory / ERM", "seconds per run")
    }
    assert "have no erm run to compare with" in said(table)


def test_sets_of_modalities_are_groups_with_an_erm_of_their_own():
    records = [
        done(make_spec(method, "d1", modalities=modalities), 0.5, wall_s=seconds)
        for method, modalities, seconds in (
            ("erm", ("m1", "m2"), 10.0),
            ("mbcd", ("m1", "m2"), 20.0),
            ("erm", ("m1",), 4.0),
            ("joint", ("m1",), 6.0),
        )
    ]
    (table,) = cost.build(Wanted(records, VIEW))
    assert table.grouped == "modalities"
    assert {name: row["time / ERM"] for name, row in figures(table).items()} == {
        "m1 erm": "1.00 (1)",
        "m1 joint": "1.50 (1)",
        "m1+m2 erm": "1.00 (1)",
        "m1+m2 mbcd": "2.00 (1)",
    }


# The number of modalities


def test_averages_by_number_of_modalities_and_what_the_last_one_adds():
    (table,) = modality_count.build(Wanted(erm_on_sets(), VIEW))
    assert table.columns == ("2 modalities", "3 modalities", "largest − best smaller")
    # Two: (60 + 80) / 2 and 60. The best of them is m1+m3, from which it is +0 and +10.
    assert figures(table)["erm"] == {
        "2 modalities": "*65.00* ± 7.07 (2)",
        "3 modalities": "*75.00* ± 7.07 (2)",
        "largest − best smaller": "+5.00 ± 7.07 (2)",
    }
    notes = said(table)
    assert "Sets: 2: m1+m2, m1+m3; 3: m1+m2+m3." in notes
    assert "Best and worst sets of 2 modalities: erm: m1+m3 70.00 and m1+m2 60.00." in notes
    assert "erm: m1+m2+m3 against m1+m3." in notes


def test_a_method_that_lacks_a_set_has_no_average_over_them():
    short = row_of("mbcd", SETS["m1", "m3"], modalities=("m1", "m3"))
    whole = row_of("mbcd", {"d1": [0.9], "d2": [0.9]}, modalities=("m1", "m2", "m3"))
    (table,) = modality_count.build(Wanted([*erm_on_sets(), *short, *whole], VIEW))
    assert figures(table)["mbcd"] == {
        "2 modalities": "—",
        "3 modalities": "*90.00* (1)",
        "largest − best smaller": "+10.00 (1)",  # of the seed that both have
    }
    assert "Sets on which a method has no run: mbcd: m1+m2." in said(table)
    gaps = {(gap.row, gap.column): dict(gap.states) for gap in table.missing}
    assert gaps == {("mbcd", f"{d} with m1+m2+m3"): {1: "not run"} for d in DOMAINS}
    # The commands name the set that is lacking, each its own.
    assert all("--modalities m1+m2+m3" in x for x in captions.missing_lines(table, []) if "-m" in x)


def test_sets_of_one_size_alone_make_no_table():
    records = [r for r in erm_on_sets() if len(r.spec.modalities) == 2]
    assert modality_count.build(Wanted(records, VIEW)) == []


# A spurious cue


def test_columns_are_strengths_and_the_drop_is_from_none_to_the_strongest():
    records = [
        *cued(4.0, {"d1": [0.4, 0.5], "d2": [0.2, 0.3]}),
        *cued(0.0, {"d1": [0.8, 0.9], "d2": [0.8, 0.9]}),
        *cued(2.0, {"d1": [0.6, 0.6], "d2": [0.6]}),
    ]
    (table,) = spurious.build(Wanted(records, VIEW))
    assert table.subject == ("toy", "multi-source", "m1+m2", "spurious_modality=1")
    assert figures(table)["erm"] == {
        "strength 0": "*85.00* ± 7.07 (2)",
        "strength 2": "*60.00* (1)",
        "strength 4": "*35.00* ± 7.07 (2)",
        "drop": "+50.00 ± 0.00 (2)",
    }
    assert [gap.column for gap in table.missing] == ["d2 with strength 2"]


def test_every_carrier_of_the_cue_has_a_table_that_shares_the_runs_without_it():
    records = [
        *cued(0.0, {"d1": [0.8], "d2": [0.8]}, modality=0),
        *cued(2.0, {"d1": [0.6], "d2": [0.6]}, modality=1),
        *cued(2.0, {"d1": [0.7], "d2": [0.7]}, modality=2),
    ]
    first, second = spurious.build(Wanted(records, VIEW))
    assert (first.subject[-1], figures(first)["erm"]["drop"]) == (
        "spurious_modality=1",
        "+20.00 (1)",
    )
    assert (second.subject[-1], figures(second)["erm"]["drop"]) == (
        "spurious_modality=2",
        "+10.00 (1)",
    )


def test_without_runs_of_strength_0_there_is_no_drop():
    records = [*cued(2.0, {"d1": [0.6], "d2": [0.6]}), *cued(4.0, {"d1": [0.5], "d2": [0.5]})]
    (table,) = spurious.build(Wanted(records, VIEW))
    assert figures(table)["erm"]["drop"] == "—"
    assert "There are no runs of strength 0." in said(table)


def test_one_strength_or_no_such_option_makes_no_table():
    assert spurious.build(Wanted(cued(2.0, {"d1": [0.6], "d2": [0.6]}), VIEW)) == []
    assert spurious.build(Wanted(row_of("erm", {"d1": [0.6], "d2": [0.6]}), VIEW)) == []


# Searches


def test_a_search_shows_default_choice_gain_and_oracle():
    records = [
        *tried(0, {0.9: (0.95, 0.7), 0.999: (0.90, 0.6), 0.99: (0.85, 0.9)}),
        # Equally good on validation: the default counts.
        *tried(1, {0.9: (0.90, 0.9), 0.999: (0.90, 0.6)}),
        done(make_spec("erm", "d1"), 0.5),
    ]
    (table,) = searches.build(Wanted(records, VIEW))
    assert figures(table) == {
        "ema+erm, d1": {
            "settings": "2 to 3",
            "default: val": "90.00 ± 0.00 (2)",
            "default: target": "60.00 ± 0.00 (2)",
            "chosen: val": "92.50 ± 3.54 (2)",
            "chosen: target": "65.00 ± 7.07 (2)",
            "gain on target": "+5.00 ± 7.07 (2)",
            "oracle: target": "90.00 ± 0.00 (2)",
            "chosen": "by seed, see below",
        }
    }
    assert "Chosen on d1 by ema+erm: seed 0: beta=0.9; seed 1: default." in said(table)


def test_a_search_without_its_default_has_no_gain():
    pending = replace(tried(0, {0.999: (0.0, 0.0)})[0], state="running", result=None)
    records = [*tried(0, {0.9: (0.95, 0.7), 0.99: (0.85, 0.9)}), pending]
    (table,) = searches.build(Wanted(records, VIEW))
    shown = figures(table)["ema+erm, d1"]
    assert (shown["settings"], shown["default: target"], shown["gain on target"]) == ("2", "—", "—")
    assert shown["chosen"] == "beta=0.9"
    assert "1 search lacks the default setting." in said(table)


def test_methods_with_one_setting_have_no_search():
    assert searches.build(Wanted(row_of("erm", {"d1": [0.5, 0.6]}), VIEW)) == []


# All of them


NAMES = ("unimodal", "cost", "modality-count", "search", "spurious")


@pytest.mark.parametrize("form", ["text", "markdown", "latex"])
@pytest.mark.parametrize("name", NAMES)
def test_every_kind_can_be_written_in_every_format(name, form):
    tables = kinds.KINDS[name](Wanted(everything(), VIEW))
    assert tables
    text = write.render(tables, form)
    for table in tables:
        assert all(len(row.cells) == len(table.columns) for row in table.rows)
        assert not table.scores and ("sample standard deviation" in said(table)) == (name != "cost")
    assert name in text and "erm" in text


def test_csv_has_a_line_for_every_cell_that_nothing_else_has():
    tables = [t for name in NAMES for t in kinds.KINDS[name](Wanted(everything(), VIEW))]
    lines = list(csv.DictReader(io.StringIO(write.render(tables, "csv"))))
    assert len(lines) == sum(len(t.rows) * len(t.columns) for t in tables)
    keys = [
        tuple(line[k] for k in ("table", "modalities", "condition", "row", "column"))
        for line in lines
    ]
    assert len(set(keys)) == len(keys)
    (drop,) = (line for line in lines if line["column"] == "drop")
    assert (drop["table"], drop["mean"]) == ("spurious", "")


def test_a_rule_of_the_methods_own_is_marked_and_explained():
    records = [
        replace(r, result={**r.result, "rules": {"own": r.result["rules"]["best-val"]}})
        for r in row_of("erm", {"d1": [0.5], "d2": [0.6]})
        if r.result
    ]
    (table,) = unimodal.build(Wanted(records, VIEW))
    assert captions.labelled(table.rows[0]) == "erm †"
    assert "† Reported under the method's own rule" in said(table)
    (priced,) = cost.build(Wanted(records, VIEW))
    assert captions.labelled(priced.rows[0]) == "erm"  # no rule chooses what a run costs


# Passes, and real runs


@pytest.mark.parametrize("method", ["erm", "sam", "mla", "mbcd"])
def test_a_record_counts_the_passes_of_its_training_steps(tmp_path, method):
    _, folder = tiny_run(tmp_path, method, modalities=["m1+m2"])
    result = folder.result()
    assert result is not None
    steps, epochs = folder.metrics()[-1]["step"], 2
    step = measure(method).step
    # Once an epoch MBCD measures two gradients more.
    extra = 2 * epochs / steps if method == "mbcd" else 0
    expected = {"forward": step.forward, "backward": step.backward + extra}
    assert result["passes"] == pytest.approx(expected)


@pytest.mark.parametrize(
    ("encoder", "shape"), [("skeleton_cnn", (3, 32, 5)), ("slowfast_r101", (3, 8, 32, 32))]
)
def test_passes_count_where_the_first_part_of_an_encoder_trains_nothing_or_is_no_layer(
    encoder, shape
):
    make = {"a": partial(backbones.create, encoder, shape)}
    model = build(make, 3, Protocol(), 0)
    counter = PassCounter(model)
    assert counter.mean() is None
    teacher = copy.deepcopy(model).requires_grad_(False)
    features = model.stem({"a": torch.randn(2, *shape)}, training=True)
    with counter.counting(2):
        model.fuse(model.embed(features)).sum().backward()
        teacher.embed(features)
    model.embed(features)  # not counted
    assert counter.mean() == Passes(2, 1)


def test_counting_changes_no_number(tmp_path, monkeypatch):
    _, counted = tiny_run(tmp_path / "counted", "swad+mbcd", modalities=["m1+m2"])

    class Blind(PassCounter):
        def _watch(self, tail: torch.nn.Module) -> None:
            pass

    monkeypatch.setattr(train, "PassCounter", Blind)
    _, plain = tiny_run(tmp_path / "plain", "swad+mbcd", modalities=["m1+m2"])
    assert numbers(counted) == numbers(plain)
    assert counted.metrics() == plain.metrics()


def test_tables_of_real_runs(tmp_path, capsys):
    for target in ("d1", "d2", "d3"):
        sources = [d for d in ("d1", "d2", "d3") if d != target]
        split = {"sources": sources, "target": target}
        for method, modalities in (
            *(("erm", k) for k in ("m1", "m2", "m1+m2")),
            ("mbcd", "m1+m2"),
        ):
            tiny_run(tmp_path, method, modalities=[modalities], **split)
    assert report.main(["--results", str(tmp_path), "--table", "unimodal", "cost"]) == 0
    printed = capsys.readouterr().out
    assert "unimodal · synthetic · multi-source · m1+m2" in printed
    assert "cost · synthetic · multi-source\n" in printed
    assert "By the method itself: erm. By erm, because the method has no seed" in " ".join(
        printed.split()
    )
    found = [r for r in report.reading.read([tmp_path]).records if r.result]
    (table,) = unimodal.build(Wanted(found, VIEW))
    # By hand: m2 masked of mbcd, as the records have it.
    values = [
        r.result["rules"]["best-val"]["target"]["modalities"]["m2"]["masked"]
        for r in found
        if r.spec.method == "mbcd" and r.result
    ]
    assert len(values) == 3
    row = next(row for row in table.rows if row.label == "mbcd")
    cell = row.cells[table.columns.index("m2 masked")]
    assert isinstance(cell, Score)
    assert cell.mean == pytest.approx(100 * sum(values) / 3)
    assert not [gap for gap in table.missing if Store(tmp_path).folder(gap.run).result()]
