import numpy as np
import pytest

from datasets.sensors import signals


def test_values_between_two_measurements_lie_on_the_line_through_them() -> None:
    found = signals.at(
        np.array([5.0, 0.0, 12.5]), np.array([0.0, 10, 20]), np.array([[0.0, 1], [10, 3], [30, 3]])
    )
    assert found.tolist() == [[5, 2], [0, 1], [15, 3]]


def test_measurements_of_one_time_count_as_one_at_their_mean() -> None:
    times, values = np.array([0.0, 10, 10, 10, 20]), np.array([[0.0], [3], [6], [9], [20]])
    assert signals.at(np.array([5.0, 10, 15]), times, values)[:, 0].tolist() == [3, 6, 13]


@pytest.mark.parametrize(
    "last, expected",
    [(999, []), (1000, [0]), (1499, [0]), (1500, [0, 500]), (2000, [0, 500, 1000])],
)
def test_windows_end_no_later_than_the_recording(last: float, expected: list[float]) -> None:
    assert signals.starts(0, last, 1000, 500).tolist() == expected


def test_times_may_be_those_of_a_clock() -> None:
    now = 1657533977813.0  # ms since 1970
    assert (signals.starts(now, now + 2000, 1000, 500) - now).tolist() == [0, 500, 1000]


def test_windows_begin_where_the_recording_does() -> None:
    assert signals.starts(7, 2007, 1000, 1000).tolist() == [7, 1007]


@pytest.mark.parametrize(
    "labels, expected",
    [([1] * 7 + [0] * 3, 1), ([1] * 6 + [0] * 4, None), ([2], 2), ([], None), ([0, 1, 2], None)],
)
def test_a_label_counts_from_its_share_on(labels: list[int], expected: int | None) -> None:
    assert signals.majority(np.array(labels, int), 0.7) == expected


def test_resampling_keeps_both_ends_and_follows_lines() -> None:
    found = signals.resample(np.array([[0.0], [2.0], [4.0]]), 5)
    assert found[:, 0].tolist() == [0, 1, 2, 3, 4]
