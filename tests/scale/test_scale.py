"""What the scale measurements print, what memory and growth are, and wrong use of them."""

import os
import re
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import meter
import pytest
import reports
from meter import Step
from slurm_cluster import Cluster, slurm  # noqa: F401  (a fixture)
from support import heed_ctrl_c

import sweeps
from benchmark.planning import grid
from benchmark.records import manifest
from mmdg_common import UsageError


def lines(out: str) -> dict[str, list[list[float]]]:
    """The numbers of each step's lines, sizes in the order printed."""
    found: dict[str, list[list[float]]] = {}
    for line in out.splitlines():
        if match := re.match(r"([a-z]*) +(\d+( +-?[\d.]+)+)$", line):
            name = match[1] or [*found][-1]
            found.setdefault(name, []).append([float(word) for word in match[2].split()])
    return found


@pytest.mark.slow
def test_every_step_of_a_sweep_is_measured_once_for_each_size(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert sweeps.main(["--runs", "100", "50", "60"]) == 0
    out = capsys.readouterr().out
    assert re.match(r" +runs +seconds +µs a run +KiB a run +growth\n", out)
    found = lines(out)
    assert list(found) == ["plan", "deduplicate", "recall", "status", "left"]
    for (small, *first), (large, *second) in found.values():
        assert (small, large) == (50, 100)
        for size, (seconds, each, kib, *_) in ((50, first), (100, second)):
            assert seconds > 0 and kib >= 0
            assert each == pytest.approx(seconds * 1e6 / size, abs=0.0006 * 1e6 / size)
        assert (len(first), len(second)) == (3, 4)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_the_state_of_10_000_launched_runs_is_shown_within_five_seconds(tmp_path: Path) -> None:
    """Of processor time, which other work on the machine does not add to."""
    specs = grid.specs(rows := sweeps._planned(tmp_path, 200))
    assert len(specs) == 10_000
    manifest.write(tmp_path, tmp_path / "grid.yaml", [row.launched for row in rows], [])
    sweeps._write_records(specs[:9000], tmp_path)
    command = [sys.executable, "-m", "benchmark.sweep", "grid.yaml", "--results", ".", "--status"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and not done.stderr, done.stderr
    assert re.search(r"10000 runs +9000 +· +· +1000", done.stdout), done.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 5


@pytest.mark.parametrize(
    "runs, seconds, power",
    [
        ((1000, 10_000), (2, 20), 1),
        ((10, 1000), (3, 30_000), 2),
        ((100, 400), (1, 2), 0.5),
        ((7, 70), (5, 5), 0),
    ],
)
def test_the_growth_is_the_slope_between_logarithms(
    runs: tuple[int, int], seconds: tuple[float, float], power: float
) -> None:
    before, after = (Step("plan", n, s, 0) for n, s in zip(runs, seconds, strict=True))
    assert meter.exponent(before, after) == pytest.approx(power)


def test_the_table_keeps_a_step_together_and_compares_it_with_its_last_size() -> None:
    steps = [
        Step("plan", 100, 0.5, 50),
        Step("left", 100, 0.001, 0),
        Step("plan", 1000, 5, 1250),
        Step("left", 1000, 0.1, 0),
        Step("plan", 4000, 80, 1000),
    ]
    assert [line.split() for line in meter.table(steps).splitlines()[1:]] == [
        ["plan", "100", "0.500", "5000.0", "0.50"],
        ["1000", "5.000", "5000.0", "1.25", "1.00"],
        ["4000", "80.000", "20000.0", "0.25", "2.00"],
        ["left", "100", "0.001", "10.0", "0.00"],
        ["1000", "0.100", "100.0", "0.00", "2.00"],
    ]


def two_steps() -> list[Step]:
    measured = meter.Meter(runs=2)
    held = measured("first", lambda: b"x" * 64 * 2**20)
    measured("second", lambda: len(held))
    return measured.steps


@pytest.mark.slow
def test_memory_is_what_a_step_adds_to_the_peak() -> None:
    first, second = meter.apart(two_steps)  # this process has had a higher peak already
    assert 60 * 1024 < first.kib < 80 * 1024
    assert second.kib < 1024


def test_a_measuring_process_that_is_killed_is_an_error() -> None:
    with pytest.raises(UsageError, match="was killed, as when memory runs out"):
        meter.apart(os._exit, 1)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--runs", "100", "0"], "--runs must be at least 1, not 0"),
        (["--submit", "0"], "--submit must be at least 1"),
        (["--profile", "one_gpu"], "--profile is for what is submitted: add --submit N"),
        (["--submit", "20", "--profile", "two_gpu"], "unknown profile 'two_gpu'"),
        (["--runs", "50", "--submit", "20"], "there is no sbatch on this machine"),
    ],
)
def test_wrong_use_of_sweep_is_one_line_and_exit_code_2(
    more: list[str],
    message: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert sweeps.main(more) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(f"error: .*{message}.*\n", captured.err)
    assert not captured.out


def queue(*options: str) -> list[list[str]]:
    """The words that `squeue` says of each job that this command submitted."""
    command = ["squeue", "--array", "--noheader", "--format=%j %F %T %M", *options]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return [line.split() for line in out.splitlines() if line.startswith("speed-")]


@pytest.mark.slurm
def test_submitted_runs_never_start_and_leave_the_queue(
    slurm: Cluster,  # noqa: F811
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert sweeps.main(["--submit", "200"]) == 0
    found = lines(capsys.readouterr().out)
    assert list(found) == ["submit", "status", "cancel"]
    assert all([sizes[0] for sizes in two] == [20, 200] for two in found.values())
    assert not queue()
    ended = queue("--states=all")
    assert {(state, ran) for *_, state, ran in ended} == {("CANCELLED", "0:00")}
    assert len({array for _, array, *_ in ended}) == 2


@pytest.mark.slurm
def test_interrupted_submitting_leaves_nothing_in_the_queue(slurm: Cluster) -> None:  # noqa: F811
    command = [sys.executable, sweeps.__file__, "--submit", "20000"]
    process = subprocess.Popen(command, start_new_session=True, preexec_fn=heed_ctrl_c)
    try:
        while process.poll() is None and not queue():
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(180) == 130
    finally:
        process.kill()
    assert not queue()


def test_the_report_is_measured_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert reports.main(["--runs", "24", "48"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = [line[:16].strip() for line in lines[1:13:2]]
    assert first == ["read", "pack", "read packed", "tables", "csv", "page"]
    assert lines[1].split()[1] == "24" and lines[2].split()[0] == "48"
    assert reports.main(["--runs", "0"]) == 2
