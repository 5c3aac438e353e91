"""Sound files and the log spectrograms that the audio encoder reads."""

import struct
import warnings
from fractions import Fraction
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.media import MediaError

RATE = 16000
"""Samples per second of everything returned."""
SECONDS = 10
WINDOW, OVERLAP = 512, 353
HIGHEST_RATE = 1_000_000
"""Samples per second that a file may hold; a header that names more is broken."""
FILTER_WIDTH = 64
"""Zero crossings on each side of the resampling filter, as in the usual "best" Kaiser setting."""
FLOOR = 1e-7
"""Added to the power before the logarithm."""
NOISE = 0.05
MASKED_ROWS, MASK_STARTS = 9, 247

Samples = NDArray[np.float32]


def duration(path: Path) -> float:
    """Return the seconds a sound file lasts.

    Raises:
        MediaError: the file is missing, broken, cut off, or holds no sample.
    """
    import soundfile  # type: ignore[import-untyped]

    try:
        info = soundfile.info(str(path))
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error
    if not info.frames:
        raise MediaError(f"{path} cannot be used as sound: it holds no sample")
    if info.samplerate > HIGHEST_RATE:
        what = f"its header claims {info.samplerate} samples per second"
        raise MediaError(f"{path} cannot be used as sound: {what}")
    if (missing := _missing_bytes(path)) > 0:
        raise MediaError(f"{path} cannot be used as sound: it is cut off, {missing} bytes short")
    return float(info.frames / info.samplerate)


def read_wav(path: Path, start: float, stop: float, assume_rate: int | None = None) -> Samples:
    """Read a stretch of a sound file.

    Args:
        path: the sound file.
        start: where the stretch begins, in seconds; what lies outside the file is not there.
        stop: where it ends, in seconds; at or before `start`, nothing is read.
        assume_rate: take the samples as if recorded at this rate, whatever the file says, and
            the first channel alone; by default the file's rate and the mean of its channels.

    Returns:
        [N] samples at 16 kHz in one channel. None at all, with one warning per file, if the
        stretch is empty.

    Raises:
        MediaError: the file is missing or broken.
    """
    import soundfile

    try:
        with soundfile.SoundFile(str(path)) as file:
            rate = assume_rate or file.samplerate
            first, end = (min(max(round(t * rate), 0), file.frames) for t in (start, stop))
            file.seek(first)
            channels = file.read(max(end - first, 0), dtype="float32", always_2d=True)
    except (soundfile.SoundFileError, OSError) as error:
        raise _unreadable(path, error) from error
    if not len(channels):
        _warn_of_silence(path)
    if not np.isfinite(channels).all():
        raise MediaError(f"{path} cannot be used as sound: it holds samples that are not finite")
    return _at_16_khz(channels[:, 0] if assume_rate else channels.mean(axis=1), rate)


def spectrogram(samples: NDArray[Any], seed: int | None) -> Tensor:
    """Return the standardised log spectrogram of ten seconds.

    Args:
        samples: [N] at 16 kHz. Shorter sounds are repeated, longer ones cut; of none at all
            becomes silence.
        seed: draws noise and the band of frequencies that is masked; None does neither.

    Returns:
        [1, 257, 1004] float32: frequency, time.
    """
    from scipy import signal  # torchaudio's spectrogram does not remove each window's mean

    length = SECONDS * RATE
    # In float64: the deviation of silence is divided by a billionth.
    whole = np.resize(samples.astype(np.float64), length) if len(samples) else np.zeros(length)
    power = signal.spectrogram(np.clip(whole, -1, 1), RATE, nperseg=WINDOW, noverlap=OVERLAP)[2]
    values = np.log(power + FLOOR)
    values = (values - values.mean()) / (values.std() + 1e-9)
    if seed is not None:
        rng = np.random.default_rng(seed)
        values += rng.uniform(-NOISE, NOISE, values.shape)
        low = rng.integers(MASK_STARTS)
        values[low : low + MASKED_ROWS] = 0
    return torch.from_numpy(values[None].astype(np.float32, order="C"))


def _at_16_khz(samples: Samples, rate: int) -> Samples:
    if rate == RATE or not len(samples):
        return samples
    from torchaudio.functional import resample  # type: ignore[import-untyped]

    # Exact for every usual rate. One such as 44101 Hz is rounded by a few millionths: its exact
    # filter would take gigabytes.
    ratio = Fraction(RATE, rate).limit_denominator(500)
    resampled = resample(
        torch.from_numpy(samples),
        ratio.denominator,
        ratio.numerator,
        lowpass_filter_width=FILTER_WIDTH,
        resampling_method="sinc_interp_kaiser",
    )
    return np.asarray(resampled.numpy(), np.float32)


def _missing_bytes(path: Path) -> int:
    """Return how many bytes a wav file says it has and has not; readers play what is there."""
    with path.open("rb") as file:
        form, announced = struct.unpack("<4sI", file.read(8))
    streamed = announced in (0, 0xFFFFFFFF)  # written by a program that did not know the length
    return 0 if form != b"RIFF" or streamed else announced + 8 - path.stat().st_size


def _unreadable(path: Path, error: Exception) -> MediaError:
    reason = "there is no such file" if not path.exists() else str(error)
    return MediaError(f"{path} cannot be read as sound: {reason}")


@cache
def _warn_of_silence(path: Path) -> None:
    warnings.warn(f"{path} has no sound where its clip is; silence is used instead", stacklevel=3)
