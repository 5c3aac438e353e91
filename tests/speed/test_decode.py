"""`python -m benchmark.speed decode`: what it measures, what it prints, and wrong use of it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import av.video.reformatter
import numpy as np
import pytest

from benchmark.speed import __main__ as command
from benchmark.speed import decode
from datasets.media import fabricate, video

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
