"""Video, flow and sound: decoding, clips, spectrograms, and what surrounds them."""

import math
import os
import subprocess
import sys
import warnings
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import soundfile
import torch

from datasets.media import MediaError, audio, clips, fabricate, hub, index, substream, video
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


# --- decoding ----------------------------------------------------------------------------------

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


# --- which frames ------------------------------------------------------------------------------


@pytest.mark.parametrize(("length", "interval"), [(32, 2), (8, 4), (4, 1)])
def test_evaluation_clips_are_central_and_loop(length: int, interval: int) -> None:
    span = length * interval
    for total in range(1, 3 * span + 3):
        start = 0
        if total > span - 1:
            start = int((total - span + 1) / 2)
        expected = []
        for i in range(length):
            place = start + i * interval
            while place >= total:
                place -= total
            expected.append(place)
        got = clips.sample_indices(total, length, interval, None)
        assert got.tolist() == expected, total


@pytest.mark.parametrize(("length", "interval"), [(32, 2), (8, 4)])
def test_training_clips_start_anywhere_they_fit(length: int, interval: int) -> None:
    span = length * interval
    for total in (1, span - 1, span, span + 1, span + 5):
        starts = set()
        for seed in range(120):
            got = clips.sample_indices(total, length, interval, seed)
            np.testing.assert_array_equal(got, (got[0] + interval * np.arange(length)) % total)
            starts.add(int(got[0]))
        assert starts == set(range(max(1, total - span + 1)))


def test_no_frames_no_clip() -> None:
    with pytest.raises(MediaError):
        clips.sample_indices(0, 8, 4, None)


def test_substreams_are_apart_and_absent_in_evaluation() -> None:
    seeds = {substream(s, *n) for s in (0, 1) for n in (("video",), ("flow",), ("video", "crop"))}
    assert len(seeds) == 6
    assert substream(3, "video") == substream(3, "video")
    assert substream(None, "video") is None


# --- which pixels ------------------------------------------------------------------------------


def bilinear(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """Resize [H, W] in float64 with pixel centres at halves, edges repeated, no antialiasing."""
    rows = np.clip((np.arange(height) + 0.5) * image.shape[0] / height - 0.5, 0, None)
    columns = np.clip((np.arange(width) + 0.5) * image.shape[1] / width - 0.5, 0, None)

    def along(values: np.ndarray, places: np.ndarray) -> np.ndarray:
        low = np.minimum(np.floor(places).astype(int), len(values) - 1)
        high = np.minimum(low + 1, len(values) - 1)
        share = (places - low)[:, None]
        return values[low] * (1 - share) + values[high] * share

    return along(along(image.astype(float), rows).T, columns).T


@pytest.mark.parametrize("size", [(72, 96), (240, 320), (360, 300), (256, 340), (480, 854)])
def test_resizing_is_bilinear_without_antialiasing(size: tuple[int, int]) -> None:
    image = np.random.default_rng(1).integers(0, 256, size, np.uint8)
    got = clips.resize_short_edge(torch.from_numpy(image)[None, None].repeat(2, 3, 1, 1))
    scale = 256 / min(size)
    height, width = (int(edge * scale + 0.5) for edge in size)
    assert (got.shape, got.dtype) == ((2, 3, height, width), torch.uint8)
    np.testing.assert_allclose(got[1, 2], bilinear(image, height, width), atol=1)


def test_evaluation_takes_the_centre_and_normalises() -> None:
    frames = torch.zeros(4, 256, 300, 3, dtype=torch.uint8)
    frames[:] = torch.tensor([10, 20, 30], dtype=torch.uint8)
    frames[2, 16, 38] = 255  # the crop's first pixel: (256 - 224) / 2, (300 - 224) / 2
    frames[2, 15, 37] = 99  # just outside
    clip = clips.rgb_clip(frames, None)
    assert (clip.shape, clip.dtype, clip.is_contiguous()) == ((3, 4, 224, 224), torch.float32, True)
    ground = [(10 - 123.675) / 58.395, (20 - 116.28) / 57.12, (30 - 103.53) / 57.375]
    torch.testing.assert_close(clip[:, 0, 5, 5], torch.tensor(ground))
    corner = [(255 - 123.675) / 58.395, (255 - 116.28) / 57.12, (255 - 103.53) / 57.375]
    torch.testing.assert_close(clip[:, 2, 0, 0], torch.tensor(corner))
    assert (clip != clip[:, :1, 5:6, 5:6]).sum() == 3


@pytest.mark.parametrize(("crop", "margin"), [(224, 16), (256, 0)])
def test_flow_is_centred_at_128(crop: int, margin: int) -> None:
    x = torch.full((8, 256, 256), 192, dtype=torch.uint8)
    y = torch.full((8, 256, 256), 0, dtype=torch.uint8)
    y[:, margin, margin] = 128
    clip = clips.flow_clip(x, y, None, test_crop=crop)
    assert (clip.shape, clip.dtype) == ((2, 8, crop, crop), torch.float32)
    assert (clip[0] == 0.5).all()
    assert (clip[1, :, 0, 0] == 0).all()
    assert (clip[1] == -1).sum() == 8 * (crop * crop - 1)


def test_mirrored_flow_turns_the_sign_of_x_alone() -> None:
    x = torch.full((8, 60, 80), 200, dtype=torch.uint8)
    values = {
        tuple(clips.flow_clip(x, x, seed)[:, 0, 0, 0].mul(128).add(128).tolist())
        for seed in range(16)
    }
    assert values == {(200.0, 200.0), (55.0, 200.0)}


def test_half_of_the_training_clips_are_mirrored() -> None:
    ramp = torch.arange(256, dtype=torch.uint8).repeat(2, 256, 1)[..., None].repeat(1, 1, 1, 3)
    rises = [(r := clips.rgb_clip(ramp, seed)[0, 0, 0])[-1] > r[0] for seed in range(60)]
    assert 18 <= sum(map(bool, rises)) <= 42


def test_one_draw_decides_for_all_frames_of_a_clip() -> None:
    image = torch.from_numpy(np.random.default_rng(2).integers(0, 256, (60, 80, 3), np.uint8))
    for seed in range(4):
        clip = clips.rgb_clip(image.repeat(5, 1, 1, 1), seed)
        assert clip.shape == (3, 5, 224, 224)
        assert torch.equal(clip, clip[:, :1].expand_as(clip))


def test_same_seed_same_clip_whatever_else_is_drawn() -> None:
    image = torch.from_numpy(np.random.default_rng(3).integers(0, 256, (2, 60, 80, 3), np.uint8))
    first = clips.rgb_clip(image, 5)
    torch.manual_seed(9)
    state = torch.get_rng_state()
    assert torch.equal(clips.rgb_clip(image, 5), first)
    assert torch.equal(torch.get_rng_state(), state)
    assert not torch.equal(clips.rgb_clip(image, 6), first)


def test_random_parts_fit_and_have_the_area_and_aspect_asked_for() -> None:
    rng = np.random.default_rng(4)
    boxes = [clips.random_box(256, 340, rng) for _ in range(500)]
    # Draws that do not fit are drawn again, which on a square changes breadth and height alike.
    square = [clips.random_box(1000, 1000, rng) for _ in range(2000)]
    for box in boxes:
        assert 0 <= box.top <= 256 - box.height
        assert 0 <= box.left <= 340 - box.width
    areas = [box.height * box.width / 1e6 for box in square]
    aspects = [math.log(box.width / box.height) for box in square]
    assert 0.079 < min(areas) < 0.1
    assert 0.9 < max(areas) <= 1
    assert max(map(abs, aspects)) < math.log(4 / 3) + 0.01
    assert abs(np.mean(aspects)) < 0.015
    assert np.std(aspects) == pytest.approx(math.log(16 / 9) / 12**0.5, abs=0.015)


def test_a_frame_that_no_part_fits_gives_its_central_square(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(clips, "CROP_AREA", (0.9, 1.0))
    assert clips.random_box(100, 400, np.random.default_rng(0)) == clips.Box(0, 150, 100, 100)


# --- sound -------------------------------------------------------------------------------------


def tone(hertz: float, seconds: float, rate: int = 16000, level: float = 0.5) -> np.ndarray:
    return level * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)


def pitch(samples: np.ndarray, rate: int = 16000) -> float:
    """The strongest frequency in Hz."""
    return float(np.abs(np.fft.rfft(samples)).argmax() * rate / len(samples))


def slow_spectrogram(samples: np.ndarray) -> np.ndarray:
    """Window by window, after the definition of a power spectral density."""
    size, taper = 512, 64
    ramp = 0.5 * (1 - np.cos(np.pi * np.arange(taper) / taper))
    window = np.concatenate([ramp, np.ones(size - 2 * taper), 1 - ramp])  # periodic Tukey, 0.25
    whole = np.array([samples[i % len(samples)] for i in range(160000)]).clip(-1, 1)
    columns = []
    for start in range(0, 160000 - size + 1, 512 - 353):
        part = whole[start : start + size]
        power = np.abs(np.fft.rfft((part - part.mean()) * window)) ** 2
        power /= 16000 * (window**2).sum()
        power[1:-1] *= 2
        columns.append(np.log(power + 1e-7))
    values = np.stack(columns, axis=1)
    return (values - values.mean()) / (values.std() + 1e-9)


@pytest.mark.parametrize("seconds", [2.58, 10.0, 11.0])
def test_spectrogram_equals_its_definition(seconds: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.4, round(seconds * 16000))
    samples = tone(2000, seconds, level=0.9) + noise  # partly beyond 1
    got = audio.spectrogram(samples.astype(np.float32), None)
    assert (got.shape, got.dtype) == ((1, 257, 1004), torch.float32)
    np.testing.assert_allclose(got[0], slow_spectrogram(samples.astype(np.float32)), atol=1e-4)
    assert got.mean().item() == pytest.approx(0, abs=1e-4)
    assert got.std().item() == pytest.approx(1, abs=1e-3)


def test_a_tone_is_the_brightest_row_of_its_frequency() -> None:
    rows = audio.spectrogram(tone(3000, 3).astype(np.float32), None)[0].mean(dim=1)
    assert rows.argmax().item() == 3000 / (16000 / 512)


def test_noise_and_mask_belong_to_training_and_follow_the_seed() -> None:
    samples = np.random.default_rng(0).normal(0, 0.1, 40000).astype(np.float32)
    plain = audio.spectrogram(samples, None)[0]
    assert torch.equal(audio.spectrogram(samples, None)[0], plain)
    starts = set()
    for seed in range(25):
        drawn = audio.spectrogram(samples, seed)[0]
        masked = (drawn == 0).all(dim=1).nonzero().flatten().tolist()
        assert masked == list(range(masked[0], masked[0] + 9))
        starts.add(masked[0])
        kept = [row for row in range(257) if row not in masked]
        difference = (drawn - plain)[kept]
        assert 0.0499 < difference.abs().max() <= 0.05 + 1e-6
        assert abs(difference.mean().item()) < 1e-3
    assert len(starts) > 15
    assert torch.equal(audio.spectrogram(samples, 7), audio.spectrogram(samples, 7))


def test_the_band_never_starts_beyond_row_246(monkeypatch: pytest.MonkeyPatch) -> None:
    class Last:
        def uniform(self, low: float, high: float, size: Any) -> float:
            return 0.0

        def integers(self, end: int) -> int:
            return end - 1

    monkeypatch.setattr(audio.np.random, "default_rng", lambda seed: Last())
    drawn = audio.spectrogram(tone(500, 1), 0)[0]
    assert (drawn == 0).all(dim=1).nonzero().flatten().tolist() == list(range(246, 255))


def test_only_the_part_asked_for_is_read(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    ramp = np.arange(48000) / 48000
    fabricate.write_wav(path, ramp)
    got = audio.read_wav(path, 1.0, 1.5)
    assert (got.shape, got.dtype) == ((8000,), np.float32)
    np.testing.assert_allclose(got, ramp[16000:24000], atol=1e-4)
    assert len(audio.read_wav(path, 2.5, 9.0)) == 8000  # the file ends after three seconds
    assert len(audio.read_wav(path, -1.0, 0.25)) == 4000
    assert audio.duration(path) == 3


@pytest.mark.parametrize(("rate", "channels"), [(44100, 2), (48000, 1), (8000, 2), (16000, 2)])
def test_other_rates_and_channels_keep_their_pitch(
    tmp_path: Path, rate: int, channels: int
) -> None:
    path = tmp_path / "a.wav"
    samples = np.stack([tone(1000, 2, rate)] * channels, axis=1)
    fabricate.write_wav(path, samples, rate)
    got = audio.read_wav(path, 0.5, 1.5)
    assert got.shape == (16000,)
    assert pitch(got) == pytest.approx(1000, abs=2)
    assert np.abs(got[500:-500]).max() == pytest.approx(0.5, abs=0.02)


def test_channels_are_averaged(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    fabricate.write_wav(path, np.stack([np.full(100, 0.5), np.full(100, -0.25)], axis=1))
    np.testing.assert_allclose(audio.read_wav(path, 0, 1), 0.125, atol=1e-4)


def test_an_assumed_rate_takes_samples_as_they_are_from_the_first_channel(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    left, right = tone(1000, 2, 44100), np.zeros(88200)
    fabricate.write_wav(path, np.stack([left, right], axis=1), 44100)
    got = audio.read_wav(path, 0.5, 1.5, assume_rate=16000)
    np.testing.assert_allclose(got, left[8000:24000], atol=1e-4)


def test_an_empty_part_is_silence_with_one_warning_per_file(tmp_path: Path) -> None:
    for name in ("a", "b"):
        fabricate.write_wav(tmp_path / f"{name}.wav", tone(500, 1))
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for start, stop in ((2.0, 3.0), (0.6, 0.2), (5.0, 6.0)):
            assert audio.read_wav(tmp_path / "a.wav", start, stop).shape == (0,)
        assert audio.read_wav(tmp_path / "b.wav", 2.0, 3.0).shape == (0,)
    assert [str(w.message).split(" ")[0] for w in caught] == [
        str(tmp_path / "a.wav"),
        str(tmp_path / "b.wav"),
    ]
    silent = audio.spectrogram(np.zeros(0, np.float32), None)
    assert silent.shape == (1, 257, 1004)
    assert silent.abs().max() < 1e-3
    assert torch.isfinite(audio.spectrogram(np.zeros(0, np.float32), 3)).all()


def test_a_cut_off_wav_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    fabricate.write_wav(path, tone(500, 4))
    whole = path.read_bytes()
    path.write_bytes(whole[: 44 + 32000])  # one of four seconds
    with pytest.raises(MediaError, match=r"a\.wav .* cut off, 96000 bytes short"):
        audio.duration(path)
    for length in (b"\0\0\0\0", b"\xff\xff\xff\xff"):  # a recorder that never knew
        path.write_bytes(whole[:4] + length + whole[8:])
        assert audio.duration(path) == pytest.approx(4)


@pytest.mark.parametrize("content", [None, b"", b"RIFF", b"x" * 1000])
def test_broken_sound_is_named(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "a.wav"
    if content is not None:
        path.write_bytes(content)
    reads: list[Callable[[], Any]] = [
        lambda: audio.duration(path),
        lambda: audio.read_wav(path, 0, 1),
    ]
    for read in reads:
        with pytest.raises(MediaError, match=r"a\.wav cannot be read as sound"):
            read()


def test_sound_without_a_sample_has_no_duration(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "a.wav", np.zeros(0), 16000)
    with pytest.raises(MediaError, match="holds no sample"):
        audio.duration(tmp_path / "a.wav")


# --- the index ---------------------------------------------------------------------------------


def build(root: Path, cache: Path | None) -> tuple[index.Index[int], list[str]]:
    """Index every file of a folder by the number in it; return also which files were read."""
    read = []

    def probe(path: Path) -> int:
        read.append(path.name)
        if not path.read_text().isdecimal():
            raise MediaError(f"{path} is broken")
        return int(path.read_text())

    sizes = {path.name: path.stat().st_size for path in sorted(root.iterdir())}
    return index.build("some kind", root, sizes, probe, int, cache), read


@pytest.fixture
def numbers(tmp_path: Path) -> Path:
    folder = tmp_path / "numbers"
    folder.mkdir()
    for i in range(4):
        (folder / str(i)).write_text(str(i))
    return folder


def test_index_is_kept_and_broken_files_are_read_again(numbers: Path, tmp_path: Path) -> None:
    (numbers / "2").write_text("x")
    found, read = build(numbers, tmp_path / "cache")
    assert found.known == {"0": 0, "1": 1, "3": 3}
    assert found.broken == {"2": f"{numbers / '2'} is broken"}
    assert read == ["0", "1", "2", "3"]
    (numbers / "2").write_text("7")  # as large as the broken one
    found, read = build(numbers, tmp_path / "cache")
    assert (read, found.known["2"], found.broken) == (["2"], 7, {})
    found, read = build(numbers, tmp_path / "cache")
    assert (read, len(found.known)) == ([], 4)


def test_index_is_built_anew_when_a_size_changed_or_the_file_is_broken(
    numbers: Path, tmp_path: Path
) -> None:
    cache = tmp_path / "cache"
    build(numbers, cache)
    (numbers / "0").write_text("100")
    found, read = build(numbers, cache)
    assert (found.known["0"], len(read)) == (100, 4)
    for path in cache.iterdir():
        path.write_bytes(path.read_bytes()[:10])
    assert len(build(numbers, cache)[1]) == 4
    assert len(build(numbers, None)[1]) == 4


def test_index_that_cannot_be_written_is_an_error_in_words(numbers: Path, tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(UsageError, match="cannot write the cache"):
        build(numbers, tmp_path / "cache")


def test_index_of_folders_follows_their_stamps_alone(tmp_path: Path) -> None:
    looked_into = []

    def probe(folder: Path) -> list[int]:
        looked_into.append(folder.name)
        return [3]

    for stamp in (5, 5, 6):
        found = index.build("x", tmp_path, {"a": stamp, "b": 1}, probe, list, tmp_path / "cache")
        assert found.known == {"a": [3], "b": [3]}
    assert looked_into == ["a", "b", "a", "b"]


# --- made-up recordings ------------------------------------------------------------------------


def test_fabricated_classes_differ_in_motion_and_pitch() -> None:
    subjects = [fabricate.Subject(label, 7, 0, 3) for label in range(7)]
    velocities = [subject.velocity.round(6) for subject in subjects]
    assert len({(abs(x), y) for x, y in velocities}) == 7  # mirrored or not
    pitches = []
    for subject in subjects:
        rng = np.random.default_rng(subject.label)
        pitches.append(pitch(fabricate.sound(subject, rng, 2)))
        scene = fabricate.scene(subject, rng, 20, (48, 64))
        assert scene.rgb.shape == (20, 48, 64, 3)
        for half, speed in zip((scene.x, scene.y), subject.velocity, strict=True):
            assert half.shape == (19, 48, 64)
            fastest = half.max() if speed > 0 else half.min()
            assert fastest == pytest.approx(128 + fabricate.FLOW_GAIN * speed, abs=15)
    assert pitches == sorted(pitches)
    assert pitches[0] == pytest.approx(300, rel=0.05)
    assert pitches[-1] == pytest.approx(5000, rel=0.05)


def test_a_folder_with_other_files_is_never_fabricated_into(tmp_path: Path) -> None:
    fabricate.claim(tmp_path / "new")
    assert fabricate.is_fabricated(tmp_path / "new")
    fabricate.claim(tmp_path / "new")
    (tmp_path / "real").mkdir()
    (tmp_path / "real" / "clip.mp4").write_bytes(b"")
    with pytest.raises(UsageError, match="other files"):
        fabricate.claim(tmp_path / "real")
    assert not fabricate.is_fabricated(tmp_path / "real")


# --- fetching ----------------------------------------------------------------------------------


def archive(path: Path, names: list[str]) -> None:
    with zipfile.ZipFile(path, "w") as file:
        for name in names:
            file.writestr(name, name)


@pytest.mark.parametrize("prefix", ["", "human/"])
def test_archives_unpack_into_the_folder_of_their_name(tmp_path: Path, prefix: str) -> None:
    archive(tmp_path / "human.zip", [f"{prefix}videos/a.mp4", f"{prefix}audio/a.wav"])
    hub.unpack(tmp_path / "human.zip")
    assert (tmp_path / "human" / "videos" / "a.mp4").is_file()
    assert (tmp_path / "human" / "audio" / "a.wav").is_file()
    assert {p.name for p in tmp_path.iterdir()} == {"human", "human.zip"}


def test_unpacking_goes_on_where_it_stopped(tmp_path: Path) -> None:
    archive(tmp_path / "a.zip", ["a/one", "a/two"])
    hub.unpack(tmp_path / "a.zip")
    kept = tmp_path / "a" / "one"
    os.utime(kept, (1, 1))
    (tmp_path / "a" / "two").write_text("hal")
    hub.unpack(tmp_path / "a.zip")
    assert kept.stat().st_mtime == 1
    assert (tmp_path / "a" / "two").read_text() == "a/two"


def test_a_broken_archive_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.zip").write_bytes(b"PK half")
    with pytest.raises(UsageError, match=r"a\.zip cannot be unpacked"):
        hub.unpack(tmp_path / "a.zip")


def test_without_network_the_download_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub

    def unreachable(*args: Any, **named: Any) -> None:
        raise ConnectionError("Name or service not known")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", unreachable)
    with pytest.raises(UsageError, match=r"some/thing .*Name or service.* run the same command"):
        hub.fetch("some/thing", tmp_path)


def test_what_is_downloaded_is_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub

    asked = []

    def local(repository: str, *, repo_type: str, local_dir: Path, **patterns: str | None) -> None:
        assert (repository, repo_type) == ("some/thing", "dataset")
        asked.append(patterns)
        local_dir.mkdir()
        archive(local_dir / "a.zip", ["a/one"])
        archive(local_dir / "b.zip", ["b/one"])

    monkeypatch.setattr(huggingface_hub, "snapshot_download", local)
    hub.fetch("some/thing", tmp_path / "all", without="b.zip")
    hub.fetch("some/thing", tmp_path / "one", only="b.zip")
    assert {p.name for p in tmp_path.glob("all/*/")} == {"a"}
    assert {p.name for p in tmp_path.glob("one/*/")} == {"b"}
    assert asked == [
        {"allow_patterns": None, "ignore_patterns": "b.zip"},
        {"allow_patterns": "b.zip", "ignore_patterns": None},
    ]


def test_importing_the_dataset_waits_for_no_media_library() -> None:
    code = (
        "import sys, datasets.hac\n"
        "slow = {'av', 'soundfile', 'huggingface_hub', 'torchvision', 'scipy.signal'}\n"
        "assert not slow & set(sys.modules), slow & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
