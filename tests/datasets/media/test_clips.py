"""From frames to clips: which frames, which pixels."""

import math

import numpy as np
import pytest
import torch

from datasets.media import MediaError, clips, published, substream


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
    assert (clip.shape, clip.dtype, clip.is_contiguous()) == ((3, 4, 224, 224), torch.uint8, True)
    (clip,) = published.RGB.of(clip[None])
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
    (clip,) = published.FLOW.of(clips.flow_clip(x, y, None, test_crop=crop)[None])
    assert (clip.shape, clip.dtype) == ((2, 8, crop, crop), torch.float32)
    assert (clip[0] == 0.5).all()
    assert (clip[1, :, 0, 0] == 0).all()
    assert (clip[1] == -1).sum() == 8 * (crop * crop - 1)


def test_mirrored_flow_turns_the_sign_of_x_alone() -> None:
    x = torch.full((8, 60, 80), 200, dtype=torch.uint8)
    values = {tuple(clips.flow_clip(x, x, seed)[:, 0, 0, 0].tolist()) for seed in range(16)}
    assert values == {(200, 200), (55, 200)}


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
