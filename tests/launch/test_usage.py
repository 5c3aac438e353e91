"""How long the processes of a launcher trained, and how long they waited for their next run."""

from benchmark.launch.local import _Usage


def test_the_time_between_two_runs_of_a_process_is_waited():
    usage = _Usage()
    usage.add(None, 10.0, 12.0)  # the first run of a process, whose start counts as nothing
    usage.add(12.0, 12.5, 15.5)
    usage.add(None, 11.0, 14.0)
    assert str(usage) == "trained for 8.0 s and waited for 0.5 s between runs"
