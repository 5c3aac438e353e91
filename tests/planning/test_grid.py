"""Grids: how entries, variants and labels become rows of runs."""

from argparse import Namespace
from pathlib import Path

import pytest
from support_grids import BASE, planned

from benchmark import sweep
from benchmark.planning import grid, yaml_values
from benchmark.planning import request as from_options
from mmdg_common import UsageError

pytest_plugins = ["support_grids"]


def test_texts_stay_what_the_file_says(written):
    path = written(
        "time: 10:30\nplain: no\nnumber: 0o17\nnull: ~\nquoted: '1e-3'\nlist: [on, 1_0]\n"
    )
    found = yaml_values.read(path).mapping()
    assert {key: value.content for key, value in found.items() if key != "list"} == {
        "time": "10:30",
        "plain": "no",
        "number": "0o17",
        "null": "~",
        "quoted": "1e-3",
    }
    assert found["list"].texts() == ["on", "1_0"]
    assert found["list"].line == 6


def test_a_value_reaches_the_command_as_it_is_written(written):
    text = f"{BASE}method: no\n"
    with pytest.raises(UsageError, match="unknown method 'no'"):
        planned(written(text))


def test_what_is_said_at_the_top_holds_below_unless_it_is_said_anew(written):
    rows = planned(
        written(
            f"{BASE}epochs: 3\nlr: 0.1\nseeds: [0, 1]\n"
            "dataset-option: {domains: 3, classes: 4}\n"
            "set: {beta: 0.9, alpha: 0.1}\n"
            "method: mbcd\n"
            "runs:\n"
            "  - {}\n"
            "  - {label: own, epochs: 4, dataset-option: {classes: 3}, set: {beta: 0.5}}\n"
            "variants:\n"
            "  - {lr: 0.2, seeds: 5, dataset-option: {samples_per_class: 6}}\n"
            "  - {label: last, epochs: 9, all-splits: false, sources: [d1, d2], target: d3,\n"
            "     dataset-option: {classes: 5}, set: {beta: 0.3}}\n"
        )
    )
    assert [row.label for row in rows] == ["", "mbcd, last", "own", "own, last"]
    found = [
        (
            s.recipe.epochs,
            s.recipe.lr,
            tuple(sorted({spec.seed for spec in row.plan.specs})),
            (s.options["domains"], s.options["classes"], s.options["samples_per_class"]),
            s.hyperparameters["mbcd"]["beta"],
            s.hyperparameters["mbcd"]["alpha"],
            len(row.plan.specs),
        )
        for row in rows
        for s in row.plan.specs[:1]
    ]
    assert found == [
        (3, 0.2, (5,), (3, 4, 6), 0.9, 0.1, 3),
        (9, 0.1, (0, 1), (3, 5, 20), 0.3, 0.1, 2),
        (4, 0.2, (5,), (3, 3, 6), 0.5, 0.1, 3),
        (9, 0.1, (0, 1), (3, 5, 20), 0.3, 0.1, 2),
    ]
    # Two rows may ask for the same run, which is then done once.
    assert len(grid.specs(rows)) == 3 + 2 + 3


def test_a_row_is_named_by_its_labels_and_by_its_method_where_that_is_not_enough(written):
    rows = planned(
        written(
            f"{BASE}runs:\n"
            "  - {label: one, method: erm}\n"
            "  - {label: two, method: [erm, joint], epochs: 1}\n"
            "  - {method: [ema, swad+erm]}\n"
            "variants:\n"
            "  - {}\n"
            "  - {label: no neck, neck: none}\n"
        )
    )
    wanted = {
        "one": {"erm"},
        "one, no neck": {"erm"},
        "erm, two": {"erm"},
        "joint, two": {"joint"},
        "erm, two, no neck": {"erm"},
        "joint, two, no neck": {"joint"},
        "": {"ema", "swad"},
        "ema, no neck": {"ema"},
        "swad, no neck": {"swad"},
    }
    assert {row.label: {s.method for s in row.plan.specs} for row in rows} == wanted
    assert len(rows) == len(wanted)
    assert all(len(row.plan.specs) == 4 * len(wanted[row.label]) for row in rows)


def test_options_of_the_command_line_win_over_those_of_the_file(written):
    path = written(f"{BASE}method: erm\nthreads: 3\nresults: there\nworkers: 1\n")

    def settings(*words):
        return sweep._Sweep(path, [str(path), "--dry-run", *words]).settings

    found = settings()
    assert (found.threads, found.workers, found.results) == (3, 1, Path("there"))
    found = settings("--threads", "2", "--results", "here")
    assert (found.threads, found.workers, found.results) == (2, 1, Path("here"))
    # Without either, one thread: the same everywhere, so that the bits are the same.
    written(f"{BASE}method: erm\n")
    found = settings()
    assert (found.threads, found.workers, found.results) == (1, None, Path("results"))


def test_folders_and_checkpoints_can_be_mappings(written, roots):
    lines = "".join(f"  {name}: {root}\n" for name, root in roots.items())
    path = written(f"{BASE}method: erm\nweights: {{m1: a, m2: b}}\ndata-root:\n{lines}")
    given = grid.read(path).given
    assert given["weights"] == ["m1=a", "m2=b"]
    assert from_options.data_roots(given["data_root"], {"hac", "utd_mhad"}, [Path("data")]) == roots
    args = sweep.parser().parse_args([str(path), "--weights", "m3=c"], Namespace(**given))
    assert args.weights == ["m3=c"]
