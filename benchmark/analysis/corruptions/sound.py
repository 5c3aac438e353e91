"""Corruptions of sound [B, N] at 16 kHz, -1 to 1, before its spectrogram is computed.

The levels of noise, and the gains of what is mixed in, are those that public code for corrupted HAC
shares (AEO, ICLR 2025). There a gain is that of the noise file, whatever its loudness; here it is
relative to the sound that it is mixed with, so that the level says the same of every noise.
"""

import hashlib
from collections.abc import Mapping
from functools import partial
from pathlib import Path

import torch
from torch import Tensor

from benchmark.analysis.corruptions.base import Corruption, normal
from datasets.media import audio
from mmdg_common import UsageError

GAINS = (-16, -14, -12, -10, -8)
"""Decibels from the sound to the noise that is mixed with it."""
SUFFIXES = (".wav", ".flac")
WIND_HZ, GUST_HZ = 200.0, 1.0
"""From the first on, wind is 6 dB softer with each octave; gusts come as often as the second."""


def noisy(x: Tensor, deviation: float, drawn: Tensor) -> Tensor:
    """Add Gaussian noise: the deviation times standard normal draws."""
    return x + deviation * drawn


def clipped(x: Tensor, share: float) -> Tensor:
    """Cut what is louder than a share of the loudest sample, as an overdriven microphone does."""
    most = share * x.abs().amax(dim=1, keepdim=True)
    return x.clamp(-most, most)


def mixed(x: Tensor, gain: float, noise: Tensor) -> Tensor:
    """Add noise [B, N] whose root mean square is `gain` decibels over that of the sound."""
    wanted = 10 ** (gain / 20) * _rms(x)
    return x + noise * wanted / _rms(noise).clamp(min=torch.finfo(x.dtype).tiny)


def wind(shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Draw wind [N]: low-pass noise whose loudness comes and goes; synthetic, and ours."""
    (length,) = shape
    rumble = _low_passed(torch.randn(length, generator=generator), WIND_HZ)
    gusts = _low_passed(torch.randn(length, generator=generator), GUST_HZ)
    return rumble * (gusts / _rms(gusts).clamp(min=1e-12) / 2).exp()


def recordings(folder: Path) -> dict[str, Corruption]:
    """Return a corruption for each sound file of a folder, by the file's name.

    Raises:
        UsageError: there is no sound in the folder, or a file cannot be read.
    """
    return {path.name: _recorded(path) for path in files(folder)}


def files(folder: Path) -> list[Path]:
    """Return the sound files of a folder, sorted.

    Raises:
        UsageError: there is none.
    """
    found = sorted(folder.glob("*")) if folder.is_dir() else []
    sounds = [path for path in found if path.suffix.lower() in SUFFIXES]
    if not sounds:
        raise UsageError(f"noise_dir: there is no {' or '.join(SUFFIXES)} file in {folder}")
    return sounds


def checksum(folder: Path) -> str:
    """Return what changes with the names and the contents of a folder's sound files."""
    digest = hashlib.sha256()
    for path in files(folder):
        digest.update(f"{path.name} {hashlib.sha256(path.read_bytes()).hexdigest()}\n".encode())
    return digest.hexdigest()[:12]


def _recorded(path: Path) -> Corruption:
    noise = torch.from_numpy(audio.read_wav(path, 0, audio.duration(path)))
    return Corruption(GAINS, _mix, partial(_excerpt, noise=noise))


def _excerpt(shape: torch.Size, generator: torch.Generator, noise: Tensor) -> Tensor:
    """Draw a stretch [N] of noise from any moment on, which begins again where it ends."""
    start = int(torch.randint(len(noise), (), generator=generator))
    return noise[(start + torch.arange(shape[0])) % len(noise)]


def _low_passed(white: Tensor, corner: float) -> Tensor:
    """Return noise [N] through a filter of the first order with a corner at so many hertz."""
    spectrum = torch.fft.rfft(white)
    hertz = torch.fft.rfftfreq(len(white), 1 / audio.RATE)
    response = (1 + (hertz / corner) ** 2).rsqrt()
    filtered: Tensor = torch.fft.irfft(spectrum * response, len(white))
    return filtered


def _rms(x: Tensor) -> Tensor:
    mean: Tensor = x.square().mean(dim=-1, keepdim=True)
    return mean.sqrt()


def _mix(x: Tensor, gain: float, noise: Tensor, _: Tensor) -> Tensor:
    return mixed(x, gain, noise)


AUDIO: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(
        (0.08, 0.12, 0.18, 0.26, 0.38), lambda x, level, drawn, _: noisy(x, level, drawn), normal
    ),
    "clipping": Corruption((0.5, 0.3, 0.2, 0.1, 0.05), lambda x, level, *_: clipped(x, level)),
    "wind": Corruption(GAINS, _mix, wind),
}
