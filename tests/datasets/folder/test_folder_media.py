"""The `folder` dataset: real media files of every kind."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_folder import one_of_each, opened

from datasets.base import Sample
from datasets.folder import Folder
from datasets.media import MediaError, arrays, audio, clips, fabricate, video


def first(dataset: Folder) -> Sample:
    return dataset.samples("d0", "target")[0]


def subject(i: int) -> fabricate.Subject:
    return fabricate.Subject(i % 2, 2, 0, 2)


def scene(i: int) -> fabricate.Scene:
    return fabricate.scene(subject(i), np.random.default_rng(i), 40)


def test_video_goes_through_the_pipeline_of_hac(tmp_path: Path) -> None:
    root = tmp_path / "d"
    dataset = one_of_each(root, cam=lambda i: (f"{i}.mkv", scene(i).rgb))
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((3, 32, 224, 224), "tiny_video")
    loaded = dataset.load(first(dataset), ["cam"], None)["cam"]
    path = root / "cam/0.mkv"
    wanted = [i % 40 for i in range(0, 64, 2)]  # too short for 64 frames: looped from the start
    frames = video.decode(path, video.probe(path), wanted)
    assert torch.equal(loaded, clips.rgb_clip(frames, None))
    assert dataset.load(first(dataset), ["cam"], 5)["cam"].shape == (3, 32, 224, 224)


def test_two_videos_in_a_cell_are_flow(tmp_path: Path) -> None:
    root = tmp_path / "d"
    dataset = one_of_each(root, flow=lambda i: (f"{i}_x.mp4;{i}_y.mp4", (scene(i).x, scene(i).y)))
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((2, 8, 224, 224), "tiny_flow")
    sample = first(dataset)
    assert sample.id == "flow/0_x.mp4;flow/0_y.mp4"
    paths = [root / f"flow/0_{half}.mp4" for half in "xy"]
    start = (39 - 32 + 1) // 2
    x, y = (video.decode(p, video.probe(p), range(start, start + 32, 4), gray=True) for p in paths)
    assert torch.equal(dataset.load(sample, ["flow"], None)["flow"], clips.flow_clip(x, y, None))
    assert dataset.size(sample, "flow") == sum(path.stat().st_size for path in paths)


def test_flow_whose_halves_differ_in_size_is_an_error(tmp_path: Path) -> None:
    def halves(i: int) -> tuple[str, Any]:
        return f"{i}_x.mp4;{i}_y.mp4", (scene(i).x, scene(i).y[:, :32, :32])

    dataset = one_of_each(tmp_path / "d", flow=halves)
    with pytest.raises(MediaError, match=r"0_x\.mp4 and .*0_y\.mp4 differ in size"):
        dataset.load(first(dataset), ["flow"], None)


@pytest.mark.parametrize("suffix", ["wav", "flac"])
def test_sound_becomes_a_spectrogram(tmp_path: Path, suffix: str) -> None:
    root = tmp_path / "d"

    def tone(i: int) -> tuple[str, Any]:
        return f"{i}.{suffix}", fabricate.sound(subject(i), np.random.default_rng(i), 2)

    dataset = one_of_each(root, mic=tone)
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((1, 257, 1004), "tiny_audio")
    loaded = dataset.load(first(dataset), ["mic"], None)["mic"]
    whole = audio.read_wav(root / f"mic/0.{suffix}", 0, 10)
    assert torch.equal(loaded, audio.spectrogram(whole, None))


def test_of_a_long_sound_the_middle_is_tested_and_random_seconds_train(tmp_path: Path) -> None:
    root = tmp_path / "d"
    ramp = np.linspace(-0.9, 0.9, 14 * fabricate.RATE)
    noisy = ramp * np.random.default_rng(0).uniform(0.5, 1, len(ramp))
    dataset = one_of_each(root, mic=lambda i: (f"{i}.wav", noisy))
    sample = first(dataset)
    middle = audio.spectrogram(audio.read_wav(root / "mic/0.wav", 2, 12), None)
    assert torch.equal(dataset.load(sample, ["mic"], None)["mic"], middle)
    one, other = (dataset.load(sample, ["mic"], seed)["mic"] for seed in (1, 2))
    assert not torch.allclose(one, other, atol=0.2)


def test_vectors_are_read_as_they_are(tmp_path: Path) -> None:
    dataset = one_of_each(tmp_path / "d", x=lambda i: (f"{i}.npy", np.arange(5) + 100 * i))
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((5,), "mlp")
    loaded = dataset.load(dataset.samples("d0", "target")[1], ["x"], 3)["x"]
    assert loaded.dtype == torch.float32
    assert loaded.tolist() == [100, 101, 102, 103, 104]


def test_time_series_get_one_length_and_their_own_scale(tmp_path: Path) -> None:
    root = tmp_path / "d"

    def series(i: int) -> tuple[str, Any]:
        time = np.linspace(0, 1, 31 + i)  # every recording of another length
        return f"{i}.npy", np.stack([7 + 3 * time, np.full(len(time), 0.1)])

    dataset = one_of_each(root, imu=series)
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((2, 128), "signal_cnn")
    ramp = np.linspace(0, 1, 128)
    ramp = (ramp - ramp.mean()) / ramp.std()
    for sample in dataset.samples("d0", "target"):
        loaded = dataset.load(sample, ["imu"], None)["imu"].numpy()
        np.testing.assert_allclose(loaded[0], ramp, atol=1e-5)
        np.testing.assert_allclose(loaded[1], 0, atol=1e-5)
    kept = opened(root, length="16", standardise="none")
    np.testing.assert_allclose(
        kept.load(first(kept), ["imu"], None)["imu"],
        [np.linspace(7, 10, 16), np.full(16, 0.1)],
        rtol=1e-6,
    )


@pytest.mark.parametrize(
    "text",
    ["{0},{1}", "{0};{1}", "{0} {1}", "\t{0}\t{1}"],
    ids=["comma", "semicolon", "blank", "tab"],
)
@pytest.mark.parametrize("header", [False, True])
def test_time_series_may_be_text(tmp_path: Path, text: str, header: bool) -> None:
    lines = [text.format("east", "north")] if header else []
    lines += [text.format(t, -2.5 * t) for t in range(20)]
    path = tmp_path / "a.csv"
    path.write_text("\r\n".join(lines) + "\r\n", encoding="utf-8-sig")
    assert arrays.shape(path) == (2, 20)
    np.testing.assert_array_equal(arrays.read(path), [np.arange(20), -2.5 * np.arange(20)])


def test_clips_are_read_by_a_small_encoder(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    dataset = one_of_each(
        tmp_path / "d", depth=lambda i: (f"{i}.npy", rng.integers(0, 255, (1, 8, 24, 24), np.uint8))
    )
    (modality,) = dataset.card.modalities
    assert (modality.shape, modality.encoder) == ((1, 8, 24, 24), "depth_cnn")
    loaded = dataset.load(first(dataset), ["depth"], None)["depth"]
    assert loaded.mean().abs() < 1e-6
    assert loaded.std() == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (np.zeros((2, 3, 4)), r"has the shape \[2, 3, 4\]; arrays may be vectors \[D\], time"),
        (np.array(["a", "b"]), "does not hold an array of real numbers"),
        (np.array([{}]), "cannot be read as numbers"),
        (np.zeros(0), "cannot be read as numbers"),
    ],
)
def test_arrays_that_no_encoder_reads_are_refused(
    tmp_path: Path, content: Any, message: str
) -> None:
    with pytest.raises(MediaError, match=message):
        one_of_each(tmp_path / "d", x=lambda i: (f"{i}.npy", content))


def test_the_target_cannot_reach_the_tensors_of_the_sources(tmp_path: Path) -> None:
    """The sources' tensors stay the same bit for bit when all of the target is replaced."""
    rng = np.random.default_rng(0)

    def series(scale: float) -> Callable[[int], tuple[str, Any]]:
        def make(i: int) -> tuple[str, Any]:
            values = np.random.default_rng(i).normal(size=(3, 40 + i))
            if i >= 6:
                values = scale * rng.normal(size=(3, int(40 * scale)))
            return f"{i}.npy", values

        return make

    one, other = (one_of_each(tmp_path / str(scale), imu=series(scale)) for scale in (1, 50))
    assert one.card == other.card
    for sample in one.samples("d0", "train"):
        a, b = (data.load(sample, ["imu"], 1)["imu"] for data in (one, other))
        assert torch.equal(a, b)


def test_loading_depends_on_the_seed_alone(example: Path) -> None:
    names = ["video", "audio", "features"]
    dataset, again = opened(example), opened(example)
    sample = dataset.samples("lab", "train")[0]
    for seed in (None, 0, 1):
        one, other = dataset.load(sample, names, seed), again.load(sample, names, seed)
        assert all(torch.equal(one[m], other[m]) for m in names)
    alone = again.load(sample, ["audio"], 1)["audio"]
    assert torch.equal(alone, dataset.load(sample, names, 1)["audio"])
    drawn = dataset.load(sample, names, 0)
    assert not torch.equal(drawn["video"], one["video"])
    assert not torch.equal(drawn["audio"], one["audio"])
