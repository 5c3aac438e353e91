"""HAC: clips and the sound that belongs to them."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_hac import ALL, opened, replace

from datasets import hac
from datasets.media import audio, clips, fabricate, substream, video


def test_load_gives_the_declared_shapes(stand_in: Path) -> None:
    dataset = opened(stand_in)
    for sample in dataset.samples("animal", "target")[::6]:
        for seed in (None, 3):
            tensors = dataset.load(sample, ALL, seed)
            for modality in dataset.card.modalities:
                tensor = tensors[modality.name]
                dtype = torch.uint8 if modality.scale else torch.float32
                assert (tensor.shape, tensor.dtype) == (modality.shape, dtype)
                assert tensor.is_contiguous()
                assert torch.isfinite(tensor).all()


def test_same_seed_same_tensors_in_any_subset_with_or_without_index(
    stand_in: Path, tmp_path: Path
) -> None:
    dataset, fresh = opened(stand_in, tmp_path), opened(stand_in)
    dataset.prepare(ALL)
    sample = dataset.samples("cartoon", "train")[4]
    for seed in (None, 0, 1):
        together = dataset.load(sample, ALL, seed)
        for subset in (["video"], ["flow"], ["audio"], ["audio", "flow"]):
            apart = fresh.load(sample, subset, seed)
            assert all(torch.equal(together[m], apart[m]) for m in subset)
    first, second = (dataset.load(sample, ALL, seed) for seed in (0, 1))
    assert not any(torch.equal(first[m], second[m]) for m in ALL)


def test_each_modality_is_the_pipeline_on_its_own_file(stand_in: Path) -> None:
    """The evaluation clip, put together by hand from a whole decoding."""
    dataset = opened(stand_in)
    sample = dataset.samples("human", "train")[2]
    clip = stand_in / "human" / "videos" / "eating_1.mp4"
    info = video.probe(clip)
    start = int((info.frames - 63) / 2)
    frames = video.decode(clip, info, range(info.frames))[start : start + 64 : 2]
    tensors = dataset.load(sample, ALL, None)
    assert torch.equal(tensors["video"], clips.rgb_clip(frames, None))
    halves = []
    for half in ("x", "y"):
        path = stand_in / "human" / "flow" / f"eating_1_flow_{half}.mp4"
        info = video.probe(path)
        assert info.frames == len(range(info.frames))
        start = int((info.frames - 31) / 2)
        whole = video.decode(path, info, range(info.frames), gray=True)
        halves.append(whole[start : start + 32 : 4])
    assert torch.equal(tensors["flow"], clips.flow_clip(*halves, None))


def ramp(root: Path, seconds: float, fps: int, rate: int = 16000) -> Path:
    """Replace a clip: a video of so many frames, and a sound whose values tell their second."""
    folder = root / "human"
    clip = folder / "videos" / "eating_1.mp4"
    images = np.zeros((round(seconds * fps), 32, 32, 3), np.uint8)
    images += np.arange(len(images), dtype=np.uint8)[:, None, None, None] * 2
    replace(clip, None)
    fabricate.write_mp4(clip, images, fps=fps)
    replace(folder / "audio" / "eating_1.wav", None)
    sound = np.arange(round(seconds * rate)) / rate / 16  # sixteen seconds make 1
    fabricate.write_wav(folder / "audio" / "eating_1.wav", sound, rate)
    return clip


def heard(
    dataset: hac.Hac, monkeypatch: pytest.MonkeyPatch, use: list[str], seed: Any, inner: int = 0
) -> Any:
    """First and last second of the sound that becomes a spectrogram, leaving out its ends."""
    got: list[np.ndarray] = []

    def keep(samples: np.ndarray, seed: int | None) -> torch.Tensor:
        got.append(samples)
        return torch.zeros(1, 257, 1004)

    with monkeypatch.context() as patch:
        patch.setattr(audio, "spectrogram", keep)
        dataset.load(dataset.samples("human", "train")[2], use, seed)
    (samples,) = got
    return (samples[inner] * 16, samples[-1 - inner] * 16) if len(samples) else None


SUBSETS = (["audio"], ["video", "audio"], ["flow", "audio"], ALL)


def test_sound_is_that_of_the_64_frames_whichever_modalities_are_used(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=8, fps=16)  # 128 frames, the central 64 are from frame 32 on
    dataset = opened(tree)
    for use in SUBSETS:
        assert heard(dataset, monkeypatch, use, None) == pytest.approx((2, 6), abs=0.01)
        start = clips.sample_indices(128, 32, 2, substream(5, "video", "start"))[0]
        span = (start / 16, (start + 64) / 16)
        assert heard(dataset, monkeypatch, use, 5) == pytest.approx(span, abs=0.01)


def test_short_clip_is_heard_whole(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ramp(tree, seconds=2, fps=24)
    for use in SUBSETS:
        assert heard(opened(tree), monkeypatch, use, None) == pytest.approx((0, 2), abs=0.01)


def test_reference_sound_follows_the_clip_in_use_at_24_frames_a_second(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=8, fps=16)
    dataset = opened(tree, audio_crop="reference")
    by_video = (32 / 24, (32 + 62) / 24)
    flow = video.probe(tree / "human" / "flow" / "eating_1_flow_x.mp4").frames
    first = (flow - 31) // 2
    by_flow = (first / 24, (first + 28) / 24)
    for use, span in zip(SUBSETS, (by_video, by_video, by_flow, by_video), strict=True):
        assert heard(dataset, monkeypatch, use, None) == pytest.approx(span, abs=0.01)


def test_reference_sound_of_a_looped_clip_is_silent_when_it_ends_before_it_starts(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=62 / 24, fps=24)  # frame 62 of 62 is frame 0 again
    dataset = opened(tree, audio_crop="reference")
    with pytest.warns(UserWarning, match=r"eating_1\.wav has no sound"):
        assert heard(dataset, monkeypatch, ["video", "audio"], None) is None
    spectrogram = dataset.load(dataset.samples("human", "train")[2], ["audio"], None)["audio"]
    assert spectrogram.abs().max() < 1e-3


@pytest.mark.parametrize("audio_crop", ["clip", "reference"])
def test_the_waveform_is_what_the_spectrogram_is_made_of(tree: Path, audio_crop: str) -> None:
    """Whichever modalities are used with it: of `reference`, flow alone moves the seconds."""
    ramp(tree, seconds=8, fps=16)
    dataset = opened(tree, audio_crop=audio_crop)
    sample = dataset.samples("human", "train")[2]
    for use in SUBSETS:
        samples = dataset.waveform(sample, "audio", use)
        loaded = dataset.load(sample, use, None)["audio"]
        assert torch.equal(audio.spectrogram(samples, None), loaded)


def test_sound_at_another_rate_is_cut_at_the_same_seconds(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=8, fps=16, rate=44100)
    # The filter that resamples blurs the ends, so a sixteenth of a second is left out.
    span = heard(opened(tree), monkeypatch, ["audio"], None, inner=1000)
    assert span == pytest.approx((2 + 1 / 16, 6 - 1 / 16), abs=0.01)


def test_frame_index_is_exact_or_one_off_and_without_the_last(
    tree: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ramp(tree, seconds=4, fps=16)  # exactly 64 frames
    seen: dict[str, list[list[int]]] = {}
    real = video.decode
    for choice in ("exact", "off-by-one"):
        got: list[list[int]] = []

        def spy(
            path: Path, info: Any, indices: Any, gray: bool, got: list[list[int]] = got
        ) -> torch.Tensor:
            got.append(list(indices))
            return real(path, info, indices, gray)

        monkeypatch.setattr(video, "decode", spy)
        dataset = opened(tree, frame_index=choice)
        dataset.load(dataset.samples("human", "train")[2], ["video"], None)
        seen[choice] = got
    assert seen["exact"] == [list(range(0, 64, 2))]
    # Of 63 countable frames the clip loops: 0, 2, ..., 62, each one less, and never below 0.
    assert seen["off-by-one"] == [[0, *range(1, 62, 2)]]


def test_flow_in_evaluation_is_as_large_as_asked_for(stand_in: Path) -> None:
    dataset = opened(stand_in, flow_test_crop="256")
    sample = dataset.samples("human", "train")[0]
    assert dataset.load(sample, ["flow"], None)["flow"].shape == (2, 8, 256, 256)
    assert dataset.load(sample, ["flow"], 1)["flow"].shape == (2, 8, 224, 224)


def test_flow_of_another_rate_is_sampled_by_its_own_count(tree: Path) -> None:
    for half in ("x", "y"):
        path = tree / "human" / "flow" / f"eating_1_flow_{half}.mp4"
        replace(path, None)
        fabricate.write_mp4(path, np.full((20 + (half == "x"), 32, 32), 128, np.uint8), fps=12)
    dataset = opened(tree)
    flow = dataset.load(dataset.samples("human", "train")[2], ["flow"], None)["flow"]
    assert flow.shape == (2, 8, 224, 224)
    assert (flow.float() - 128).abs().max() < 3
