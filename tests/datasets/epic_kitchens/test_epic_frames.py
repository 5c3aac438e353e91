"""EPIC-Kitchens: which frames a clip holds, in both layouts, and what is drawn at random."""

import math
from itertools import product
from pathlib import Path

import numpy as np
import pytest
import torch
from support_epic import ALL, DOMAINS, numbered, opened, reference_numbers

from datasets import epic_kitchens, epic_layouts
from datasets.base import Sample
from datasets.epic_files import SPLITS, Segment
from datasets.media import MediaError, audio, clips, fabricate, frames, substream


def gray_frames(first: int, last: int, scale: int, offset: int) -> np.ndarray:
    values = np.arange(first, last + 1) * scale + offset
    assert 0 <= values.min() <= values.max() <= 255
    return np.broadcast_to(values.astype(np.uint8)[:, None, None], (len(values), 32, 32))


def rgb(images: np.ndarray) -> np.ndarray:
    return np.repeat(images[..., None], 3, axis=3)


def used_rgb(tensor: torch.Tensor) -> list[int]:
    """Return the frame numbers of a clip whose frames are twice as bright as their number."""
    return (tensor[0].float().mean((1, 2)) / 2).round().tolist()


def used_flow(tensor: torch.Tensor) -> tuple[list[int], list[int]]:
    """The same of flow whose u is twice as bright as its number, and whose v is 40 more."""
    u, v = tensor.float().mean((2, 3))
    return (u / 2).round().tolist(), ((v - 40) / 2).round().tolist()


@pytest.mark.parametrize("modality", ["video", "flow"])
def test_frames_are_those_of_the_public_code(
    modality: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every length up to 140, from even and odd first frames; training draws every start."""
    asked: list[list[int]] = []
    monkeypatch.setattr(frames, "read", lambda folder, wanted, gray: asked.append(wanted))
    folders = epic_layouts.FrameFolders(tmp_path, modality)
    span = 64 if modality == "video" else 32
    for start, length in product((1, 2, 3, 4), range(2, 141)):
        segment = Segment(Sample("D1/train/1", 0, "D1"), "train", "v", start, start + length, 0, 1)
        total = folders.total(segment)
        starts = max(1, total - span + 1)
        for seed in (None, 0, 1):
            sampling = epic_kitchens.SAMPLING[modality]
            indices = clips.sample_indices(total, *sampling, seed)
            folders.read(segment, indices)
            assert 0 <= indices[0] < starts
            draw = None if seed is None else int(indices[0])
            expected = reference_numbers(start, start + length, modality, draw)
            assert all(numbers == expected for numbers in asked)
            asked.clear()
    drawn = {int(clips.sample_indices(span + 4, *sampling, seed)[0]) for seed in range(100)}
    assert drawn == set(range(5))


@pytest.mark.parametrize("start, stop", [(11, 100), (12, 76), (13, 52), (2, 33)])
def test_single_frames_are_read_by_their_number(tmp_path: Path, start: int, stop: int) -> None:
    dataset = numbered(tmp_path, start_frame=start, stop_frame=stop)
    low, high = math.ceil(start / 2), math.ceil(start / 2) + (stop - start) // 2 - 1
    (train,), (test,) = (dataset.samples("D1", role) for role in ("train", "target"))
    for part in ("train", "test"):
        folder = tmp_path / "rgb" / part / "D1" / "P08_01"
        frames.write(folder, start, rgb(gray_frames(start, stop - 1, 2, 0)))
        flow = tmp_path / "flow" / part / "D1" / "P08_01"
        frames.write(flow / "u", low, gray_frames(low, high, 2, 0))
        frames.write(flow / "v", low, gray_frames(low, high, 2, 40))
    tensors = dataset.load(test, ["video", "flow"], None)
    expected = reference_numbers(start, stop, "flow", None)
    assert used_rgb(tensors["video"]) == reference_numbers(start, stop, "video", None)
    assert used_flow(tensors["flow"]) == (expected, expected)
    for seed in range(3):
        tensors = dataset.load(train, ["video", "flow"], seed)
        draws = {
            kind: int(clips.sample_indices(total, *sampling, substream(seed, kind, "start"))[0])
            for kind, sampling, total in (
                ("video", (32, 2), stop - start),
                ("flow", (8, 4), (stop - start) // 2),
            )
        }
        video = reference_numbers(start, stop, "video", draws["video"])
        assert used_rgb(tensors["video"]) == video
        flow_numbers = reference_numbers(start, stop, "flow", draws["flow"])
        assert used_flow(tensors["flow"])[1] == flow_numbers


@pytest.mark.parametrize("base", ["", f"{SPLITS}/"])
def test_clips_cut_beforehand_are_read_from_their_first_frame(tmp_path: Path, base: str) -> None:
    dataset = numbered(tmp_path, start_frame=1001, stop_frame=1090)  # flow 501 to 544
    (sample,) = dataset.samples("D1", "target")
    folder = tmp_path / base
    name = "test/D1/D1_P08_01_1001_1090_0.mp4"
    fabricate.write_mp4(folder / "video" / name, rgb(gray_frames(0, 88, 2, 20)))
    for half, offset in (("u", 20), ("v", 60)):
        clip = folder / "flow" / "test" / "D1" / f"D1_P08_01_501_545_0_{half}.mp4"
        fabricate.write_mp4(clip, gray_frames(0, 43, 2, offset))
    sound = np.full(16000 * 3, 0.25)
    fabricate.write_wav(folder / "audio" / "test" / "D1" / "P08_01.wav", sound)
    tensors = dataset.load(sample, ALL, None)
    video, flow = reference_numbers(0, 89, "video", None), reference_numbers(0, 88, "flow", None)
    assert np.allclose(np.array(used_rgb(tensors["video"])) - 10, video, atol=1)
    for got in used_flow(tensors["flow"]):
        assert np.allclose(np.array(got) - 10, flow, atol=1)
    part = sound[: round(100 / 60 * 16000) - round(0.18 * 16000)]
    assert torch.allclose(tensors["audio"], audio.spectrogram(part, None), atol=1e-3)
    assert dataset.size(sample, "video") == (folder / "video" / name).stat().st_size
    with pytest.raises(MediaError, match=r"5 of 6 segments.*video/train/D1/D1_P08_01_1001_1090_0"):
        dataset.prepare(["video"])


def test_broken_and_missing_clips_cut_beforehand_are_left_out_when_asked_for(
    tmp_path: Path,
) -> None:
    numbered(tmp_path, start_frame=1, stop_frame=33)
    for domain, part in product(DOMAINS, ("train", "test")):
        folder = tmp_path / "flow" / part / domain
        for half in "uv":
            clip = folder / f"{domain}_P08_01_1_17_0_{half}.mp4"
            fabricate.write_mp4(clip, gray_frames(0, 15, 2, 20))
    (tmp_path / "flow" / "train" / "D2" / "D2_P08_01_1_17_0_v.mp4").unlink()
    broken = tmp_path / "flow" / "test" / "D3" / "D3_P08_01_1_17_0_u.mp4"
    broken.write_bytes(broken.read_bytes()[:400])
    with pytest.raises(MediaError, match=r"2 of 6.*D2_P08_01_1_17_0_v\.mp4"):
        opened(tmp_path).prepare(["flow"])
    dataset = opened(tmp_path, tmp_path / "cache", on_bad_sample="skip")
    dataset.prepare(["flow"])
    assert list(dataset.skipped) == ["D2/train/7", "D3/test/7"]
    assert len(dataset.samples("D2", "train")) == 0
    assert len(dataset.listed("D2", "train")) == 1
    assert "D3_P08_01_1_17_0_u.mp4" in dataset.skipped["D3/test/7"]


def test_two_modalities_can_have_two_layouts(tree: Path) -> None:
    for part, domain in product(("train", "test"), DOMAINS):
        for wav in (tree / "rgb" / part / domain).glob("*.wav"):
            (tree / "audio" / part / domain).mkdir(parents=True)
            wav.rename(tree / "audio" / part / domain / wav.name)
    opened(tree).prepare(ALL)


def test_every_modality_has_the_declared_shape(stand_in: Path) -> None:
    dataset = opened(stand_in)
    dataset.prepare(ALL)
    shapes = {m.name: m.shape for m in dataset.card.modalities}
    for domain, seed in product(DOMAINS, (None, 1)):
        tensors = dataset.load(dataset.samples(domain, "train")[0], ALL, seed)
        assert {m: tuple(t.shape) for m, t in tensors.items()} == shapes
        assert {m for m, t in tensors.items() if t.dtype == torch.uint8} == {"video", "flow"}
        assert tensors["audio"].dtype == torch.float32
        assert all(t.isfinite().all() and t.float().std() > 0 for t in tensors.values())


def test_same_seed_same_tensors_in_any_subset_of_modalities(stand_in: Path) -> None:
    for seed in (None, 0, 77):
        sample = opened(stand_in).samples("D2", "train")[0]
        whole = opened(stand_in).load(sample, ALL, seed)
        np.random.seed(seed or 5)  # noqa: NPY002 - global generators must not matter
        torch.manual_seed(seed or 5)
        for use in (["flow"], ["audio"], ["audio", "video"]):
            some = opened(stand_in).load(sample, use, seed)
            assert list(some) == use
            assert all(torch.equal(some[m], whole[m]) for m in use)


def test_other_seeds_give_other_tensors(stand_in: Path) -> None:
    dataset = opened(stand_in)
    sample = dataset.samples("D2", "train")[0]
    first, second = (dataset.load(sample, ALL, seed) for seed in (1, 2))
    assert not any(torch.equal(first[m], second[m]) for m in ALL)


def test_flow_in_evaluation_is_as_large_as_asked_for(stand_in: Path) -> None:
    dataset = opened(stand_in, flow_test_crop="256")
    sample = dataset.samples("D1", "train")[0]
    large = dataset.load(sample, ["flow"], None)["flow"]
    assert large.shape == (2, 8, 256, 256)
    small = opened(stand_in).load(sample, ["flow"], None)["flow"]
    assert torch.equal(large[..., 16:240, 16:240], small)
    assert dataset.load(sample, ["flow"], 3)["flow"].shape == (2, 8, 224, 224)
