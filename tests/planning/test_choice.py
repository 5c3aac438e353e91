"""Which runs of a grid are wanted, and in which order they are carried out."""

import argparse
from itertools import product

import pytest
from support_grids import planned

from benchmark.planning import choice
from benchmark.planning.flag_kinds import seconds
from benchmark.records.manifest import specs
from benchmark.reporting import filters
from mmdg_common import UsageError

pytest_plugins = ["support_grids"]
GRID = """
dataset: synthetic
dataset-option: {domains: 3}
all-splits: true
seeds: [1, 0]
runs:
- {label: "ours, whole", method: mbcd}
- {label: plain, method: erm, modalities: [m1+m2, m1+m3]}
- {method: [joint, ema], sources: [d1, d2], target: d3, all-splits: false, seeds: [5]}
"""


@pytest.fixture
def rows(written):
    return [row.launched for row in planned(written(GRID))]


def picked(rows, *only):
    """Return what is left, in short: row or method, target, modalities, seed."""
    found = choice.narrowed(rows, choice.read(only))
    return [
        (row.label or s.method, s.target, "+".join(s.modalities), s.seed)
        for row in found
        for s in row.specs
    ]


def test_each_key_keeps_the_runs_that_match(rows):
    whole = picked(rows)
    assert len(whole) == 6 + 12 + 2
    assert picked(rows, "seed=5") == [
        ("joint", "d3", "m1+m2+m3", 5),
        ("ema", "d3", "m1+m2+m3", 5),
    ]
    assert picked(rows, "method=erm") == picked(rows, "row=plain") == whole[6:18]
    assert picked(rows, "target=d3") == [one for one in whole if one[1] == "d3"]
    assert picked(rows, "sources=d2+d1") == picked(rows, "target=d3")
    assert picked(rows, "modalities=m3+m1") == [one for one in whole if one[2] == "m1+m3"]
    assert picked(rows, "dataset=synthetic") == picked(rows, "setting=multi-source") == whole


def test_several_values_of_a_key_add_up_and_several_keys_do_not(rows):
    whole = picked(rows)
    either = [one for one in whole if one[3] in (1, 5)]
    assert picked(rows, "seed=1,5") == picked(rows, "seed=1", "seed=5") == either
    assert picked(rows, "seed=1, 5") == either
    assert picked(rows, "seed=1,5", "target=d3", "method=mbcd") == [
        ("ours, whole", "d3", "m1+m2+m3", 1)
    ]


def test_the_name_of_a_row_may_have_commas(rows):
    ours = picked(rows, "row=ours, whole")
    assert ours == picked(rows)[:6]
    assert picked(rows, "row=ours, whole", "row=ema") == [*ours, ("ema", "d3", "m1+m2+m3", 5)]
    assert picked(rows, "row=plain,joint") == picked(rows)[6:19]


@pytest.mark.parametrize(
    ("only", "error"),
    [
        (["sed=1"], r"unknown key of --only 'sed'\. Did you mean 'seed'\?.* row\.$"),
        (["seed"], r"--only seed: write key=value, such as seed=0"),
        (["seed="], r"--only seed=: write key=value"),
        (["=1"], r"--only =1: write key=value"),
        (["seed=2"], r"unknown seed of the grid '2'\. .*Valid: 1, 0, 5\.$"),
        (["seed=1,2"], r"unknown seed of the grid '2'"),
        (["method=mbdc"], r"unknown method of the grid 'mbdc'\. Did you mean 'mbcd'\?"),
        (["row=plane"], r"unknown row of the grid 'plane'\. Did you mean 'plain'"),
        (["modalities=m9"], r"Valid: m1\+m2\+m3, m1\+m2, m1\+m3\.$"),
        (["seed=5", "method=erm"], r"no run of the grid matches --only seed and method together"),
    ],
)
def test_a_key_or_value_that_matches_nothing_is_an_error_that_names_what_there_is(
    rows, only, error
):
    with pytest.raises(UsageError, match=error):
        picked(rows, *only)


def test_reports_pick_runs_by_the_same_fields():
    assert all(choice.FIELDS[name] is look for name, look in filters.FILTERS.items())


# The order


def order(rows, name, takes=None):
    labels = {s.id: row.label or s.method for row in rows for s in row.specs}
    found = choice.ordered(
        specs(rows), name, lambda s: labels[s.id], lambda s: takes(labels[s.id], s)
    )
    assert {s.id for s in found} == labels.keys() and len(found) == len(labels)
    return [(labels[s.id], s.seed, s.target) for s in found]


TARGETS = ("d1", "d2", "d3")


def test_seeds_come_first_so_that_a_table_fills_evenly(rows):
    """In the order in which the grid names them, and in each the rows as they stand there."""
    of_seed = {
        seed: [
            *(("ours, whole", seed, target) for target in TARGETS),
            *(("plain", seed, target) for target in TARGETS for _ in range(2)),
        ]
        for seed in (1, 0)
    }
    last = [("joint", 5, "d3"), ("ema", 5, "d3")]
    assert order(rows, "seed") == [*of_seed[1], *of_seed[0], *last]


def test_or_row_after_row(rows):
    assert order(rows, "row") == [
        *(("ours, whole", seed, target) for target, seed in product(TARGETS, (1, 0))),
        *(("plain", seed, target) for target, _, seed in product(TARGETS, "xx", (1, 0))),
        ("joint", 5, "d3"),
        ("ema", 5, "d3"),
    ]


def test_methods_of_one_entry_are_rows_of_their_own(written):
    text = GRID.partition("runs:")[0] + "method: [erm, joint]\n"
    rows = [row.launched for row in planned(written(text))]
    found = order(rows, "row")
    assert [row for row, *_ in found] == ["erm"] * 6 + ["joint"] * 6


def test_or_the_longest_first_and_before_it_what_is_not_known(rows):
    def takes(row, spec):
        return {"joint": None, "plain": 3.0, "ema": 3.0}.get(row, 5.0 - (spec.target == "d2"))

    assert order(rows, "longest", takes) == [
        ("joint", 5, "d3"),
        *(("ours, whole", seed, target) for seed in (1, 0) for target in ("d1", "d3")),
        *(("ours, whole", seed, "d2") for seed in (1, 0)),
        *(("plain", seed, target) for seed in (1, 0) for target in TARGETS for _ in range(2)),
        ("ema", 5, "d3"),
    ]


# Times


@pytest.mark.parametrize(
    ("text", "number"),
    [("45s", 45), ("90m", 5400), ("200h", 720000), ("2d", 172800), ("0.5h", 1800), (" 1h ", 3600)],
)
def test_a_budget_is_a_number_with_its_unit(text, number):
    assert seconds(text) == number


@pytest.mark.parametrize("text", ["", "5", "h", "-1h", "0h", "1w", "1h30m", "1e3h", "nanh", "infh"])
def test_anything_else_is_no_time(text):
    with pytest.raises(argparse.ArgumentTypeError, match="type a time such as 90m, 200h or 2d"):
        seconds(text)
