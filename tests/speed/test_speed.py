"""`python -m benchmark.speed`: what it measures, what it prints, and wrong use of it."""

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av.video.reformatter
import numpy as np
import pytest
from slurm_cluster import Cluster, slurm  # noqa: F401  (a fixture)
from support import heed_ctrl_c

from benchmark.speed import __main__ as command
from benchmark.speed import decode, meter
from benchmark.speed.meter import Step
from datasets.media import fabricate, video
from mmdg_common import UsageError

TINY = ["decode", "--clips", "2", "--rounds", "3"]
MADE_UP = [*TINY, "--frames", "80", "--size", "64x48"]
CELL = r"(\d+\.\d) \((\d+\.\d) to (\d+\.\d)\)"


def moving(frames: int) -> np.ndarray:
    images = np.random.default_rng(0).integers(0, 256, (1, 6, 8, 3), np.uint8)
    image = images.repeat(8, axis=1).repeat(8, axis=2)
    return np.concatenate([np.roll(image, i, axis=2) for i in range(frames)])


def test_prints_clips_a_second_of_both_ways_and_their_ratio(
    capsys: pytest.CaptureFixture[str],
) -> None:
    assert command.main([*MADE_UP, "--keyframe-every", "12"]) == 0
    out = capsys.readouterr().out
    assert "2 made-up videos of 80 frames, 64x48, keyframes 12 apart" in out
    assert re.search(r"needed frames +whole videos +times\n", out)
    cells = [tuple(map(float, cell)) for cell in re.findall(CELL, out)]
    assert len(cells) == 3
    assert all(0 < low <= median <= high for median, low, high in cells)


def test_the_ratio_is_the_median_of_the_rounds_own_ratios() -> None:
    rounds = [decode.Round(0.002, 1, 2), decode.Round(0.004, 2, 10), decode.Round(0.006, 4, 4)]
    table = decode._table(rounds, clips=4)
    assert re.findall(CELL, table) == [
        ("2.0", "1.0", "4.0"),
        ("1.0", "0.4", "2.0"),
        ("2.0", "1.0", "5.0"),
    ]
    assert "takes 1.0 ms a video" in table


def test_your_own_videos_are_measured_the_first_ones_by_name(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("b/2.mp4", "a/1.mp4", "c/3.mp4"):
        fabricate.write_mp4(tmp_path / name, moving(40))
    probed, real = list[Path](), video.probe
    monkeypatch.setattr(video, "probe", lambda path: (probed.append(path), real(path))[1])
    assert command.main([*TINY, "--videos", str(tmp_path)]) == 0
    assert {path.name for path in probed} == {"1.mp4", "2.mp4"}
    assert "2 videos of your own" in capsys.readouterr().out


def test_the_one_way_decodes_and_converts_fewer_frames(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    fabricate.write_mp4(path, moving(200), keyframe_every=12)
    decoded, converted = list[int](), list[int]()
    real = video._decoded

    def counted(*arguments: Any) -> Iterator[Any]:
        for pts, frame in real(*arguments):
            decoded.append(pts)
            yield pts, frame

    class Converter:
        def __init__(self, made: Any = av.video.reformatter.VideoReformatter) -> None:
            self.real = made()
            converted.append(0)

        def reformat(self, *arguments: Any, **named: Any) -> Any:
            converted[-1] += 1
            return self.real.reformat(*arguments, **named)

    monkeypatch.setattr(video, "_decoded", counted)
    monkeypatch.setattr(av.video.reformatter, "VideoReformatter", Converter)
    decode.measure([path], rounds=1)
    assert sorted(converted) == [32, 200]
    assert 63 <= len(decoded) < 63 + 12


def test_frames_that_differ_between_the_ways_are_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fabricate.write_mp4(tmp_path / "a.mp4", moving(80))
    real = video.decode
    monkeypatch.setattr(
        video, "decode", lambda path, info, wanted: real(path, info, [0, *wanted[1:-1], 0])
    )
    assert command.main([*TINY, "--videos", str(tmp_path)]) == 2
    assert re.search(r"error: .*a\.mp4: frames .* differ", capsys.readouterr().err)


@pytest.mark.parametrize(
    "more, message",
    [
        (["--clips", "0"], "--clips must be at least 1, not 0"),
        (["--rounds", "-1"], "--rounds must be at least 1"),
        (["--frames", "0"], "--frames must be at least 1"),
        (["--keyframe-every", "0"], "--keyframe-every must be at least 1"),
        (["--size", "64"], "--size must be WxH"),
        (["--size", "63x48"], "--size must be WxH, two even numbers"),
        (["--size", "0x48"], "--size must be WxH"),
        (["--videos", "EMPTY"], "there are no mp4 files in"),
        (["--videos", "NOWHERE"], "there are no mp4 files in"),
        (["--videos", "BROKEN"], r"x\.mp4 cannot be read as a video"),
        (["--videos", "BROKEN", "--size", "64x48"], "--size is for made-up videos"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    more: list[str], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "EMPTY").mkdir()
    (tmp_path / "BROKEN").mkdir()
    (tmp_path / "BROKEN" / "x.mp4").write_bytes(b"x" * 100)
    places = {name: str(tmp_path / name) for name in ("EMPTY", "NOWHERE", "BROKEN")}
    assert command.main([*TINY, *(places.get(word, word) for word in more)]) == 2
    captured = capsys.readouterr()
    *_, last = captured.err.splitlines()
    assert re.match(f"error: .*{message}", last)
    assert captured.err.count("error:") == 1
    assert not captured.out


@pytest.mark.parametrize("what", ["decode", "sweep"])
def test_help_waits_for_nothing_slow(what: str) -> None:
    code = (
        "import sys\nfrom benchmark.speed.__main__ import main\n"
        f"try: main(['{what}', '--help'])\n"
        "except SystemExit as stop: assert stop.code == 0\n"
        "slow = {'torch', 'av', 'numpy', 'rich'} & set(sys.modules)\n"
        "assert not slow, slow"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


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
    assert command.main(["sweep", "--runs", "100", "50", "60"]) == 0
    out = capsys.readouterr().out
    assert re.match(r" +runs +seconds +µs a run +KiB a run +growth\n", out)
    found = lines(out)
    assert list(found) == ["plan", "deduplicate", "status", "left"]
    for (small, *first), (large, *second) in found.values():
        assert (small, large) == (50, 100)
        for size, (seconds, each, kib, *_) in ((50, first), (100, second)):
            assert seconds > 0 and kib >= 0
            assert each == pytest.approx(seconds * 1e6 / size, abs=0.0006 * 1e6 / size)
        assert (len(first), len(second)) == (3, 4)
    assert not list(tmp_path.iterdir())


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
        (["--submit", "20", "--array-size", "0"], "--array-size must be at least 1"),
        (["--array-size", "10"], "--array-size is for what is submitted: add --submit N"),
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
    assert command.main(["sweep", *more]) == 2
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
    assert command.main(["sweep", "--submit", "200", "--array-size", "100"]) == 0
    found = lines(capsys.readouterr().out)
    assert list(found) == ["submit", "status", "cancel"]
    assert all([sizes[0] for sizes in two] == [20, 200] for two in found.values())
    assert not queue()
    ended = queue("--states=all")
    assert {(state, ran) for *_, state, ran in ended} == {("CANCELLED", "0:00")}
    assert len({array for _, array, *_ in ended}) == 1 + 2


@pytest.mark.slurm
def test_interrupted_submitting_leaves_nothing_in_the_queue(slurm: Cluster) -> None:  # noqa: F811
    command = [sys.executable, "-m", "benchmark.speed", "sweep", "--submit", "20000"]
    process = subprocess.Popen(
        [*command, "--array-size", "100"], start_new_session=True, preexec_fn=heed_ctrl_c
    )
    try:
        while process.poll() is None and not queue():
            time.sleep(0.1)
        os.killpg(process.pid, signal.SIGINT)
        assert process.wait(180) == 130
    finally:
        process.kill()
    assert not queue()


def test_the_report_is_measured_step_by_step(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main(["report", "--runs", "24", "48"]) == 0
    lines = capsys.readouterr().out.splitlines()
    first = [line.split()[0] for line in lines[1:9:2]]
    assert first == ["read", "tables", "csv", "page"]
    assert lines[1].split()[1] == "24" and lines[2].split()[0] == "48"
    assert command.main(["report", "--runs", "0"]) == 2
