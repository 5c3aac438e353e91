"""Reading sound, and its spectrogram."""

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch
from support_sound import pitch, tone

from datasets.media import MediaError, audio, fabricate


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


def melody(rate: int, seconds: float, low: float, high: float) -> np.ndarray:
    """Sixty tones of random phase, the loudest the lowest, of a tenth of full scale in all."""
    rng = np.random.default_rng(1)
    hertz = np.exp(rng.uniform(np.log(low), np.log(high), 60))
    time = np.arange(round(seconds * rate)) / rate
    waves = np.sin(2 * np.pi * hertz[:, None] * time + rng.uniform(0, 2 * np.pi, (60, 1)))
    return 0.1 * (waves / hertz[:, None] ** 0.5).sum(0) / np.sqrt((0.5 / hertz).sum())


def decibels(values: np.ndarray, reference: np.ndarray) -> float:
    return float(10 * np.log10((values**2).mean() / (reference**2).mean()))


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 32000, 44100, 48000, 96000])
def test_resampled_sound_is_the_same_sound_sampled_at_16_khz(tmp_path: Path, rate: int) -> None:
    """All that lies below nine tenths of the lower Nyquist frequency, to 90 dB."""
    highest = 0.9 * min(rate, 16000) / 2
    path, ideal = tmp_path / "a.wav", melody(16000, 2, 40, highest)
    soundfile.write(path, melody(rate, 2, 40, highest), rate, subtype="FLOAT")
    got = audio.read_wav(path, 0, 2)
    assert got.shape == ideal.shape
    inner = slice(500, -500)  # beyond its ends, the sound is taken for silence
    assert decibels((got - ideal)[inner], ideal[inner]) < -90


@pytest.mark.parametrize("rate", [22050, 44100, 48000])
def test_what_16_khz_cannot_hold_does_not_fold_back(tmp_path: Path, rate: int) -> None:
    path, sound = tmp_path / "a.wav", melody(rate, 2, 9000, 0.49 * rate)
    soundfile.write(path, sound, rate, subtype="FLOAT")
    assert decibels(audio.read_wav(path, 0, 2)[500:-500], sound) < -100


@pytest.mark.parametrize("rate", [44101, 22254, 997])
def test_an_odd_rate_keeps_pitch_and_length(tmp_path: Path, rate: int) -> None:
    path = tmp_path / "a.wav"
    fabricate.write_wav(path, tone(300, 2, rate), rate)
    got = audio.read_wav(path, 0, 2)
    assert abs(len(got) - 32000) <= 1
    np.testing.assert_allclose(got[1000:31000], tone(300, 2)[1000:31000], atol=0.01)


def test_an_impossible_rate_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    fabricate.write_wav(path, tone(300, 1), 1_000_000_000)
    with pytest.raises(MediaError, match=r"a\.wav .* claims 1000000000 samples per second"):
        audio.duration(path)


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


def test_samples_that_are_not_finite_are_named(tmp_path: Path) -> None:
    samples = np.zeros(16000, np.float32)
    samples[900] = np.nan
    soundfile.write(tmp_path / "a.wav", samples, 16000, subtype="FLOAT")
    with pytest.raises(MediaError, match=r"a\.wav .* not finite"):
        audio.read_wav(tmp_path / "a.wav", 0, 1)


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
