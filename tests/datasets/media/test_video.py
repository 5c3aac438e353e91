"""Decoding videos."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from datasets.media import MediaError, fabricate, video
from mmdg_common import UsageError


def moving(frames: int = 90, height: int = 48, width: int = 64) -> np.ndarray:
    """[T, H, W, 3] bytes, no two frames alike."""
    images = np.full((frames, height, width, 3), 60, np.uint8)
    for i in range(frames):
        images[i, i % height] = 255
        images[i, :, (2 * i) % width, 0] = 200
        images[i, ..., 2] = (3 * i) % 256
    return images


def whole(path: Path) -> tuple[list[int], np.ndarray]:
    """Time stamps and RGB of every frame, decoded from the start to the end."""
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
        return [f.pts for f in frames], np.stack([f.to_ndarray(format="rgb24") for f in frames])


def trimmed(source: Path, target: Path, first: int, key: int) -> None:
    """Cut a video without decoding it: packets from a keyframe on, an edit list hides the rest."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        stream = old.streams.video[0]
        copy = new.add_stream_from_template(stream)
        pts = video.probe(source).pts
        for packet in old.demux(stream):
            if packet.size and packet.pts >= pts[key]:
                packet.pts -= pts[first]
                packet.dts -= pts[first]
                packet.stream = copy
                new.mux(packet)


SHAPES: dict[str, dict[str, Any]] = {
    "plain.mp4": {"b_frames": 0},
    "b_frames.mp4": {"b_frames": 3},
    "late.mp4": {"first_pts": 7},
    "no_edit_list.mp4": {"container": {"use_editlist": "0"}, "b_frames": 3},
    "short_groups.mp4": {"keyframe_every": 2, "b_frames": 1},
    "one_group.mp4": {"keyframe_every": 300},
    "stream.ts": {},
    "late.mkv": {"first_pts": 30},
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_frame_decodes_as_in_the_whole_video(tmp_path: Path, name: str) -> None:
    path = tmp_path / name
    fabricate.write_mp4(path, moving(), **SHAPES[name])
    stamps, expected = whole(path)
    info = video.probe(path)
    assert list(info.pts) == stamps
    assert (info.frames, info.fps, info.width, info.height) == (90, 24, 64, 48)
    assert (len(info.keyframes) > 3) == (name != "one_group.mp4")
    for i in range(info.frames):
        np.testing.assert_array_equal(video.decode(path, info, [i])[0], expected[i])
    wrapped = [80, 82, 84, 88, 0, 3, 3, 45, 44]
    np.testing.assert_array_equal(video.decode(path, info, wrapped), expected[wrapped])


def test_frames_hidden_by_an_edit_list_do_not_count(tmp_path: Path) -> None:
    fabricate.write_mp4(tmp_path / "source.mp4", moving())
    path = tmp_path / "cut.mp4"
    trimmed(tmp_path / "source.mp4", path, first=27, key=24)
    stamps, expected = whole(path)
    assert len(expected) == 90 - 27
    info = video.probe(path)
    assert list(info.pts) == stamps
    for i in range(info.frames):
        np.testing.assert_array_equal(video.decode(path, info, [i])[0], expected[i])


def test_info_survives_json(tmp_path: Path) -> None:
    import json

    fabricate.write_mp4(tmp_path / "a.mp4", moving(30))
    info = video.probe(tmp_path / "a.mp4")
    assert video.VideoInfo.from_json(json.loads(json.dumps(asdict(info)))) == info


class Counting:
    """A container that counts the frames decoded from its packets."""

    def __init__(self, container: Any, counts: list[int]) -> None:
        self.container, self.counts = container, counts

    def seek(self, *args: Any, **named: Any) -> None:
        self.container.seek(*args, **named)

    def demux(self, stream: Any) -> Iterator["Counting.Packet"]:
        return (Counting.Packet(packet, self.counts) for packet in self.container.demux(stream))

    class Packet:
        def __init__(self, packet: Any, counts: list[int]) -> None:
            self.packet, self.counts = packet, counts

        def __getattr__(self, name: str) -> Any:
            return getattr(self.packet, name)

        def decode(self) -> list[Any]:
            frames = self.packet.decode()
            self.counts[0] += len(frames)
            return list(frames)


def test_only_frames_between_keyframe_and_last_needed_are_decoded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "a.mp4"
    fabricate.write_mp4(path, moving(200), keyframe_every=12, b_frames=0)
    info = video.probe(path)
    assert info.keyframes[:4] == (0, 12, 24, 36)
    counts, real = [0], video._opened

    @contextmanager
    def counted(file: Path) -> Iterator[Any]:
        with real(file) as (container, stream):
            yield Counting(container, counts), stream

    monkeypatch.setattr(video, "_opened", counted)
    video.probe(path)
    assert counts == [0]
    # From keyframe 96 to frame 132.
    np.testing.assert_array_equal(
        video.decode(path, info, [100, 110, 132]), whole(path)[1][[100, 110, 132]]
    )
    assert counts == [37]
    counts[0] = 0
    video.decode(path, info, [20, 5])
    assert counts == [21]


def test_gray_is_bt601_luma_of_rgb(tmp_path: Path) -> None:
    rgb = np.random.default_rng(0).integers(0, 256, (50, 60, 3), np.uint8)
    expected = rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(video.rgb_to_gray(rgb), expected, atol=0.51)
    path = tmp_path / "a.mp4"
    fabricate.write_mp4(path, moving(10))
    info = video.probe(path)
    gray = video.decode(path, info, [4, 4, 9], gray=True)
    assert (gray.shape, gray.dtype) == ((3, 48, 64), torch.uint8)
    np.testing.assert_array_equal(gray, video.rgb_to_gray(whole(path)[1][[4, 4, 9]]))


def test_a_frame_that_is_not_there_is_an_error_that_names_the_file(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    fabricate.write_mp4(path, moving(10))
    info = video.probe(path)
    for wrong in (10, -1):
        with pytest.raises(MediaError, match=rf"a\.mp4 has 10 frames.* {wrong}"):
            video.decode(path, info, [0, wrong])
    fabricate.write_mp4(path, moving(6))  # another file since the index was made
    with pytest.raises(MediaError, match=r"a\.mp4: 1 of 2 frames cannot be decoded"):
        video.decode(path, info, [0, 9])


def broken_files(folder: Path) -> dict[str, tuple[Path, str]]:
    """One video for each way to be broken, with a part of what is to be said of it."""
    fabricate.write_mp4(folder / "whole.mp4", moving())
    fabricate.write_mp4(folder / "front.mp4", moving(), container={"movflags": "faststart"})
    content = (folder / "whole.mp4").read_bytes()
    front = (folder / "front.mp4").read_bytes()
    fabricate.write_wav(folder / "sound.wav", np.zeros(1000))
    contents = {
        "empty": (b"", "it is empty"),
        "noise": (os.urandom(5000), "cannot be read as a video"),
        "cut": (content[: len(content) // 2], "cannot be read as a video"),
        "cut_behind_its_table": (front[: 2 * len(front) // 3], "it is cut off"),
        "sound": ((folder / "sound.wav").read_bytes(), "holds no picture"),
    }
    found = {}
    for name, (data, message) in contents.items():
        (folder / f"{name}.mp4").write_bytes(data)
        found[name] = (folder / f"{name}.mp4", message)
    return found | {"missing": (folder / "missing.mp4", "No such file")}


@pytest.mark.parametrize(
    "kind", ["empty", "noise", "cut", "cut_behind_its_table", "sound", "missing"]
)
def test_broken_videos_are_named_with_what_is_wrong(tmp_path: Path, kind: str) -> None:
    path, message = broken_files(tmp_path)[kind]
    with pytest.raises(MediaError, match=message) as caught:
        video.probe(path)
    assert str(path) in str(caught.value)
    assert isinstance(caught.value, UsageError)


def test_a_frame_that_its_decoder_made_up_is_an_error(tmp_path: Path) -> None:
    """Decoders fill in for what they cannot read, and mark the frame."""
    path = tmp_path / "a.mp4"
    fabricate.write_mp4(path, moving(), keyframe_every=12)
    content, (_, expected) = path.read_bytes(), whole(path)
    made_up = 0
    for place in range(content.index(b"mdat") + 100, len(content) // 2, 300):
        path.write_bytes(content[:place] + bytes(8) + content[place + 8 :])
        info = video.probe(path)  # which decodes nothing
        try:
            with av.open(str(path)) as container:
                marks = [frame.is_corrupt for frame in container.decode(video=0)]
        except av.FFmpegError:
            marks = [True]
        made_up += len(marks) == info.frames and any(marks)
        for use in (video.check, lambda p, i: video.decode(p, i, range(i.frames))):
            if any(marks):
                with pytest.raises(MediaError, match=r"a\.mp4"):
                    use(path, info)
            else:
                use(path, info)
    assert made_up > 2
    # The damage is in the first half: the second one starts at a keyframe of its own.
    np.testing.assert_array_equal(video.decode(path, info, [80, 85]), expected[[80, 85]])


def test_checking_a_video_counts_its_frames(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    fabricate.write_mp4(path, moving(30))
    info = video.probe(path)
    video.check(path, info)
    fabricate.write_mp4(path, moving(20))
    with pytest.raises(MediaError, match=r"a\.mp4: 10 of 30 frames cannot be decoded"):
        video.check(path, info)


def test_bytes_that_break_after_indexing_are_an_error_too(tmp_path: Path) -> None:
    path = tmp_path / "a.mp4"
    fabricate.write_mp4(path, moving())
    info = video.probe(path)
    path.write_bytes(b"x" * path.stat().st_size)
    with pytest.raises(MediaError, match=r"a\.mp4"):
        video.decode(path, info, [3])
