"""A suite: which of its datasets count, and the methods and seeds that it is run with."""

import pytest
from support_grids import BASE

from benchmark.planning import grid, suite
from mmdg_common import UsageError

pytest_plugins = ["support_grids"]
THREE = """
method: erm
all-splits: true
seeds: [0, 1]
runs:
  - dataset: sp_sw_har
  - dataset: mex
  - {dataset: utd_mhad, seeds: [3]}
"""


@pytest.fixture
def three(written):
    return grid.read(written(THREE))


def datasets_of(found):
    return [entry.request.dataset for entry in found.entries]


def test_only_some_datasets_of_a_suite_can_be_asked_for(three):
    assert datasets_of(suite.only(three, [])) == ["sp_sw_har", "mex", "utd_mhad"]
    assert datasets_of(suite.only(three, ["mex", "sp_sw_har"])) == ["sp_sw_har", "mex"]
    with pytest.raises(UsageError, match=r"unknown dataset of the grid 'mxe'\. Did you mean 'mex'"):
        suite.only(three, ["mxe"])


def test_datasets_without_data_are_left_out_with_the_command_that_says_how_to_get_them(
    three, tmp_path
):
    (tmp_path / "home" / "mex").mkdir(parents=True)
    homes = [tmp_path / "none", tmp_path / "home"]
    found, told = suite.with_data(three, [], homes)
    assert datasets_of(found) == ["sp_sw_har", "mex"]
    assert told == (
        f"no data of utd_mhad in {homes[0]} or {homes[1]}; how to get it: "
        "python -m datasets.prepare utd_mhad"
    )
    found, told = suite.with_data(three, ["utd_mhad=elsewhere"], homes)
    assert (datasets_of(found), told) == (["sp_sw_har", "mex", "utd_mhad"], "")


def test_a_suite_without_any_data_is_an_error(three, tmp_path):
    with pytest.raises(
        UsageError, match=r"how to get it: python -m datasets.prepare mex utd_mhad$"
    ):
        suite.with_data(suite.only(three, ["mex", "utd_mhad"]), [], [tmp_path])


def test_a_suite_is_run_with_other_methods_beside_its_own(three):
    found = suite.together_with(three, ["mbcd"], [])
    assert [(e.request.methods, list(e.request.seeds)) for e in found.entries] == [
        (["erm", "mbcd"], [0, 1]),
        (["erm", "mbcd"], [0, 1]),
        (["erm", "mbcd"], [3]),
    ]
    found = suite.together_with(three, ["mbcd"], [7])
    assert {tuple(e.request.seeds) for e in found.entries} == {(7,)}


def test_what_a_suite_says_of_the_training_holds_for_the_method(written):
    read = grid.read(written(f"{BASE}method: erm\nepochs: 3\nvariants: [{{neck: none}}]\n"))
    (entry,) = suite.together_with(read, ["mbcd"], []).entries
    assert entry.request.recipe == {"epochs": 3} and entry.request.switches == {"neck": "none"}
