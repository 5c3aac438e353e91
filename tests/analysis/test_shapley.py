"""Shapley values: additive games, the axioms, and runs."""

from itertools import permutations
from statistics import fmean

import pytest

from benchmark.analysis.shapley import exact, sampled
from benchmark.analysis.subsets import some

PLAYERS = ("a", "b", "c", "d")
SHARES = {"a": 0.4, "b": 0.1, "c": 0.0, "d": -0.2}


def additive(of):
    return 0.25 + sum(SHARES[k] for k in of)


def tangled(of):
    """b counts only where a is, and c and d are the same thing twice."""
    return 0.3 * ("a" in of) + 0.2 * ({"a", "b"} <= {*of}) + 0.5 * bool({"c", "d"} & {*of})


def test_in_an_additive_game_everyone_gets_their_share():
    assert exact(PLAYERS, additive) == pytest.approx(SHARES)


def test_values_are_means_over_all_orders():
    found = exact(PLAYERS, tangled)
    for k in PLAYERS:
        gains = [
            tangled(order[: order.index(k) + 1]) - tangled(order[: order.index(k)])
            for order in permutations(PLAYERS)
        ]
        assert found[k] == pytest.approx(fmean(gains))


def test_values_sum_to_what_all_are_worth_and_twins_are_equal():
    found = exact(PLAYERS, tangled)
    assert sum(found.values()) == pytest.approx(tangled(PLAYERS) - tangled(()))
    assert found["c"] == pytest.approx(found["d"]) == pytest.approx(0.25)


def test_all_orders_sampled_are_the_exact_values():
    orders = list(permutations(PLAYERS))
    values, errors = sampled(orders, tangled)
    assert values == pytest.approx(exact(PLAYERS, tangled))
    assert errors["c"] > 0


def test_in_an_additive_game_any_orders_will_do():
    values, errors = sampled([PLAYERS, PLAYERS[::-1]], additive)
    assert values == pytest.approx(SHARES)
    assert max(errors.values()) == pytest.approx(0)


def test_of_many_modalities_few_subsets_are_reported():
    assert len(some(["a", "b", "c"])) == 7
    many = [f"m{i}" for i in range(9)]
    assert sorted({len(s) for s in some(many)}) == [1, 8, 9]
    assert len(some(many)) == 19
