"""EPIC-Kitchens: the sound of a segment."""

import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_epic import numbered, opened, replace

from datasets import epic_files
from datasets.media import MediaError, audio, fabricate


def heard(root: Path, sound: np.ndarray | None, rate: int = 16000, **changes: Any) -> torch.Tensor:
    dataset = numbered(root, **changes)
    if sound is not None:
        fabricate.write_wav(root / "rgb" / "test" / "D1" / "P08_01.wav", sound, rate)
    return dataset.load(dataset.samples("D1", "target")[0], ["audio"], None)["audio"]


def two_tones(rate: int, seconds: float = 4.0) -> np.ndarray:
    """440 Hz, and in the third second 1760 Hz."""
    time = np.arange(round(rate * seconds)) / rate
    pitch = np.where((time >= 2) & (time < 3), 1760, 440)
    return 0.5 * np.sin(2 * np.pi * pitch * time)


TIMES = {"start_timestamp": "00:00:02.00", "stop_timestamp": "00:00:03.00"}


def test_sound_is_that_of_the_whole_segment_by_its_time_stamps(tmp_path: Path) -> None:
    sound = two_tones(16000)
    fabricate.write_wav(tmp_path / "copy.wav", sound[32000:48000])
    part = audio.read_wav(tmp_path / "copy.wav", 0, 1)
    assert torch.equal(heard(tmp_path / "epic", sound, **TIMES), audio.spectrogram(part, None))


def test_the_waveform_is_what_the_spectrogram_is_made_of(tmp_path: Path) -> None:
    spectrogram = heard(tmp_path, two_tones(16000), **TIMES)
    dataset = opened(tmp_path)
    samples = dataset.waveform(dataset.samples("D1", "target")[0], "audio", ["audio"])
    assert len(samples) == 16000
    assert torch.equal(audio.spectrogram(samples, None), spectrogram)


@pytest.mark.parametrize("rate, channels", [(16000, 2), (44100, 1), (44100, 2), (8000, 1)])
def test_sound_of_another_kind_is_brought_to_one_channel_of_16_khz(
    tmp_path: Path, rate: int, channels: int
) -> None:
    sound = np.repeat(two_tones(rate)[:, None], channels, axis=1)
    values = heard(tmp_path, sound, rate, **TIMES)
    assert values.shape == (1, 257, 1004)
    loudest = values[0].mean(1).argmax().item()
    assert loudest == pytest.approx(1760 / 16000 * 512, abs=1)


@pytest.mark.parametrize("start, stop", [("01:00:00.00", "01:00:05.00"), ("00:00:03.00",) * 2])
def test_a_segment_beyond_the_sound_is_silence_with_a_warning(
    tmp_path: Path, start: str, stop: str
) -> None:
    begun = time.monotonic()
    with pytest.warns(UserWarning, match=r"P08_01\.wav has no sound where its clip is"):
        values = heard(tmp_path, two_tones(16000), start_timestamp=start, stop_timestamp=stop)
    assert torch.equal(values, audio.spectrogram(np.zeros(0), None))
    assert time.monotonic() - begun < 5


def test_a_segment_half_beyond_the_sound_is_what_there_is(tmp_path: Path) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        got = heard(tmp_path / "a", two_tones(16000)[:40000], **TIMES)
    assert torch.equal(got, heard(tmp_path / "b", two_tones(16000)[:40000], **TIMES))
    assert got[0].mean(1).argmax().item() == pytest.approx(56, abs=1)


def test_hours_and_minutes_of_a_time_stamp_count() -> None:
    assert epic_files._seconds("01:02:03.45") == pytest.approx(3723.45)
    assert epic_files._seconds("00:00:59") == 59
    assert epic_files._seconds("1:2") is None


def test_cut_off_sound_and_a_broken_header_are_named(tree: Path) -> None:
    path = tree / "rgb" / "train" / "D1" / "P08_01.wav"
    content = path.read_bytes()
    for kept in (len(content) // 2, 30):
        replace(path, content[:kept])
        with pytest.raises(MediaError, match=r"8 of 48 segments.*audio.*train/D1/P08_01\.wav"):
            opened(tree).prepare(["audio"])
        skipping = opened(tree, on_bad_sample="skip")
        skipping.prepare(["audio"])
        assert len(skipping.skipped) == 8 and not skipping.samples("D1", "train")
    with pytest.raises(MediaError, match=r"P08_01\.wav cannot be read as sound"):
        opened(tree).load(opened(tree).listed("D1", "train")[0], ["audio"], None)
