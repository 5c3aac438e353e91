"""Every registered method and composition passes every check of the contract."""

import functools

import pytest
from support import TINY, tiny_run, tiny_specs

import methods
from benchmark.contract import CHECKS, Case
from benchmark.contract.case import outcome
from methods.erm import ERM

COMPOSITIONS = (
    *methods.names(),
    "swad+mbcd",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("dsu+mbcd", "sam+mbcd")),
)

SEVERAL_RUNS = {
    "resumes",
    "takes_any_number_of_modalities",
    "takes_one_and_three_sources",
    "never_sees_the_targets_labels",
}
"""Checks that train several runs, and are slow for it."""


@pytest.fixture(scope="module")
def case_of(tmp_path_factory):
    """Return a function that returns the case of a composition, always the same one."""
    return functools.cache(lambda name: Case(name, tmp_path_factory.mktemp("runs")))


@pytest.mark.parametrize(
    "check",
    [
        pytest.param(
            check,
            id=check.__name__,
            marks=[pytest.mark.slow] if check.__name__ in SEVERAL_RUNS else [],
        )
        for check in CHECKS
    ],
)
@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_contract(case_of, composition, check):
    check(case_of(composition))


# What is the engine's alone, whatever the method


def test_another_seed_gives_other_numbers(tmp_path):
    runs = [tiny_run(tmp_path, seeds=(seed,))[1] for seed in (0, 1)]
    assert outcome(runs[0])["records"] != outcome(runs[1])["records"]


def test_a_method_that_asks_to_stop_is_stopped_at_that_validation(tmp_path, monkeypatch):
    monkeypatch.setattr(ERM, "validated", lambda self, stats: self.run.epoch == 1)
    for composition in ("erm", "ema", "swad"):
        _, folder = tiny_run(tmp_path, composition, recipe={"epochs": 3})
        assert [record["epoch"] for record in folder.metrics()] == [0, 1]


def test_a_method_is_given_the_sources_and_nothing_of_the_target(tmp_path):
    training = Case("erm", tmp_path).training("run")
    run = training.run_info
    dataset = training.settings.open_dataset("synthetic", TINY)
    for loader, role in ((run.train_loader, "train"), (run.val_loader, "val")):
        ids = [i for batch in loader() for i in batch.ids]
        assert ids == [s.id for domain in ("d1", "d2") for s in dataset.samples(domain, role)]
    assert run.domains == ("d1", "d2")


def test_the_order_in_which_modalities_are_given_makes_no_difference(tmp_path):
    ids = {
        tiny_specs(tmp_path, modalities=(text,))[0].id for text in ("m1+m3", "m3+m1", "m3+m1+m3")
    }
    assert len(ids) == 1
    assert tiny_specs(tmp_path, modalities=("m1+m2",))[0].id not in ids
