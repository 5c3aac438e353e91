"""Where a method stands beside others, against hand-worked records."""

import pytest
from support_kinds import done, make_spec, row_of
from support_reports import predicted

from benchmark.reporting.kinds import gains, scorecard
from benchmark.reporting.request import Wanted
from benchmark.reporting.write import text

ERM = {"d1": [0.5, 0.5], "d2": [0.6, 0.6]}
OTHER_ERM = {"d1": [0.8, 0.8], "d2": [0.8, 0.8]}


def on_both(method, first, second):
    """Runs on the datasets `toy` and `more`; None where there are none."""
    return [
        *(row_of(method, first) if first else []),
        *(row_of(method, second, dataset="more") if second else []),
    ]


def plus(values, points):
    return {target: [x + points / 100 for x in seeds] for target, seeds in values.items()}


@pytest.fixture
def card():
    records = [
        *on_both("erm", ERM, OTHER_ERM),
        # +15 and -5 on one dataset, 0 and +10 on the other.
        *on_both("mine", {"d1": [0.6, 0.7], "d2": [0.5, 0.6]}, {"d1": [0.8] * 2, "d2": [0.9] * 2}),
        *on_both("split", plus(ERM, 20), plus(OTHER_ERM, -20)),
        *on_both("steady", plus(ERM, 4), plus(OTHER_ERM, 8)),
        *on_both("half", plus(ERM, 30), None),
        *on_both("scrap", {"d1": [0.9, 0.9]}, None),
    ]
    return scorecard.collect("mine", Wanted(records))


def test_the_gain_is_the_mean_over_datasets_of_the_mean_over_targets(card):
    assert card.here.value == pytest.approx(0.05)
    assert [one.found.found.value for one in card.datasets] == pytest.approx([0.05, 0.05])
    assert [one.name for one in card.datasets] == ["more", "toy"]


def test_ranks_count_the_methods_that_have_every_target_and_erm(card):
    assert (card.rank.place, card.rank.of) == (2, 4)  # steady +6, mine +5, split 0, erm 0
    assert card.first == ("steady", pytest.approx(0.06))
    assert card.unranked == ["half", "scrap"]
    more, toy = card.datasets
    assert (more.rank.place, more.rank.of) == (2, 4)  # steady 8, mine 5, erm 0, split -20
    assert (toy.rank.place, toy.rank.of) == (3, 5)  # half 30, split 20, mine 5, steady 4, erm 0


def test_equal_gains_share_a_rank():
    records = [*row_of("erm", ERM), *row_of("mine", plus(ERM, 5)), *row_of("same", plus(ERM, 5))]
    card = scorecard.collect("mine", Wanted(records))
    assert str(card.rank) == "1 of 3" and card.first[0] == "mine"
    assert scorecard.headline(card).endswith("+5.00 points over erm, rank 1 of 3")


def test_wins_and_losses_are_named_the_largest_first(card):
    found = [(one.dataset, one.target, one.gain) for one in card.targets]
    assert found == [
        ("toy", "d1", pytest.approx(15)),
        ("more", "d2", pytest.approx(10)),
        ("more", "d1", 0),
        ("toy", "d2", pytest.approx(-5)),
    ]
    table = scorecard.table(card, ["quick"], [])
    assert table.notes[0] == (
        "Better than erm on 2 of 4 targets (d1 of toy +15.00, d2 of more +10.00), "
        "worse on 1 (d2 of toy -5.00)."
    )


def test_the_table_has_the_means_of_both_and_of_all_datasets(card):
    printed = text.render([scorecard.table(card, ["quick"], [])], [])
    assert "mine · quick" in printed
    rows = {line.split()[0]: line.split()[1:4] for line in printed.splitlines() if line}
    assert rows["more"] == ["80.00", "85.00", "+5.00"]
    assert rows["toy"] == ["55.00", "60.00", "+5.00"]
    assert rows["all"] == ["67.50", "72.50", "+5.00"]
    assert "No interval" in printed
    assert "Not ranked, as they lack some of these targets: half, scrap." in printed


def test_only_seeds_of_both_count():
    records = [*row_of("erm", ERM), *row_of("mine", {"d1": [0.6], "d2": [0.7]})]
    card = scorecard.collect("mine", Wanted(records))
    assert card.here.value == pytest.approx(0.1)
    (row,) = scorecard.table(card, [], []).rows
    assert [cell.value for cell in row.cells[:3]] == pytest.approx([55, 65, 10])


def test_a_method_without_a_target_of_erm_has_no_card():
    assert scorecard.collect("mine", Wanted([*row_of("mine", ERM)])) is None
    assert scorecard.collect("mine", Wanted([*row_of("erm", ERM)])) is None


def test_the_intervals_are_those_of_the_table_of_gains(tmp_path):
    records = [
        *predicted(tmp_path, "erm", {"d1": [0.5, 0.52], "d2": [0.6, 0.61]}),
        *predicted(tmp_path, "mbcd", {"d1": [0.6, 0.66], "d2": [0.63, 0.62]}),
    ]
    wanted = Wanted(records)
    card = scorecard.collect("mbcd", wanted)
    ((gain,), _) = gains.collect(wanted)
    assert card.here == gain.here
    assert card.new.error is None  # of one dataset
    low, high = gain.here.interval()
    said = (
        f"(these targets {100 * low:+.2f} to {100 * high:+.2f}, p {gain.here.p:.3f}), rank 1 of 2"
    )
    assert said in scorecard.headline(card)


# Cost


def timed(method, seconds, passes, **where):
    return [done(make_spec(method, "d1", 0), 0.5, passes=passes, wall_s=seconds, **where)]


def cost_of(records):
    card = scorecard.collect("mine", Wanted(records))
    return scorecard.table(card, [], records).notes[1]


def test_cost_is_told_in_passes_and_in_times_of_erm():
    said = cost_of([*timed("erm", 10.0, (1, 1)), *timed("mine", 25.0, (3, 2))])
    assert said.startswith(
        "Cost: 3 + 2 passes (forward + backward) per step, erm 1 + 1; 2.50 times"
    )
    assert "cpu, 1 thread," in said


def test_times_of_different_machines_are_not_compared():
    said = cost_of([*timed("erm", 10.0, None, device="H200"), *timed("mine", 25.0, (3, 2))])
    assert "erm unknown." in said
    assert said.endswith(
        "Training times cannot be compared: erm ran on H200, 1 thread, mine on cpu, 1 thread."
    )


def test_the_time_of_a_run_that_went_on_elsewhere_is_not_compared():
    parts = [
        {"device": device, "threads": 1, "start": 0, "end": 3} for device in ("H200", "cpu", "cpu")
    ]
    mine = timed("mine", 25.0, (3, 2), segments=parts)
    said = cost_of([*timed("erm", 10.0, (1, 1)), *mine])
    assert said.endswith(
        "Training times cannot be compared: erm ran on cpu, 1 thread, mine on H200, 1 thread and "
        "cpu, 1 thread."
    )
