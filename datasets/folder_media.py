"""How the `folder` dataset reads a column of files: video, flow, sound, and arrays of numbers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.base import ByteScale
from datasets.media import MediaError, arrays, audio, clips, published, substream, video
from datasets.sensors.signals import resample

RGB_FRAMES, RGB_STEP = published.SAMPLING["video"]
FLOW_FRAMES, FLOW_STEP = published.SAMPLING["flow"]
SIDE = 224

VIDEO, FLOW, SOUND, NUMBERS = "video", "flow", "sound", "numbers"
SUFFIXES = {
    **dict.fromkeys((".mp4", ".avi", ".mkv", ".webm"), VIDEO),
    **dict.fromkeys((".wav", ".flac"), SOUND),
    **dict.fromkeys((".npy", *arrays.TEXT), NUMBERS),
}
KNOWN = (
    "video (.mp4 .avi .mkv .webm), optical flow (two such videos, x;y), sound (.wav .flac), "
    "arrays (.npy) and time series as text (.csv .txt)"
)


def kind_of(files: Sequence[str]) -> str | None:
    """Return the medium of one cell's files by their suffixes, or None."""
    kinds = {SUFFIXES.get(Path(file).suffix.lower()) for file in files}
    if len(files) == 2:
        return FLOW if kinds == {VIDEO} else None
    return kinds.pop() if len(files) == 1 else None


class Medium(ABC):
    """What the files of one column are: the tensor they become, and how."""

    encoder: ClassVar[str]
    """The default encoder: small enough for a CPU."""
    description: ClassVar[str]

    shape: tuple[int, ...]
    """Of one sample's tensor."""
    scale: ClassVar[ByteScale | None] = None
    """Of bytes; None: the tensor is float32."""
    kind: ClassVar[str] = ""
    """As in `ModalitySpec`."""

    @abstractmethod
    def probe(self, path: Path) -> Any:
        """Return what `read` needs to know of a file, in values that JSON can hold.

        Raises:
            MediaError: the file is missing, broken or cut off, or unlike the others.
        """

    def restore(self, value: Any) -> Any:
        """Return what `probe` returned, from its JSON."""
        return value

    @abstractmethod
    def read(self, paths: Sequence[Path], known: Sequence[Any], seed: int | None) -> Tensor:
        """Return the tensor of one sample from its files and what `probe` says of them."""

    def check(self, paths: Sequence[Path], known: Sequence[Any]) -> None:
        """Read everything in one sample's files.

        Raises:
            MediaError: something cannot be read.
        """
        self.read(paths, known, None)


class Video(Medium):
    """An RGB clip of 32 frames, every second one: the pipeline of `hac`."""

    encoder = "tiny_video"
    description = "RGB, standardised"
    shape = (3, RGB_FRAMES, SIDE, SIDE)
    scale = published.RGB
    kind = "video"
    frames, step, gray = RGB_FRAMES, RGB_STEP, False

    def probe(self, path: Path) -> video.VideoInfo:
        """Read through the packets."""
        return video.probe(path)

    def restore(self, value: Any) -> video.VideoInfo:
        """Return the info."""
        return video.VideoInfo.from_json(value)

    def read(self, paths: Sequence[Path], known: Sequence[Any], seed: int | None) -> Tensor:
        """Return [3, 32, 224, 224]: random start, crop and flip with a seed, else the middle."""
        (frames,) = self._decode(paths, known, seed)
        return clips.rgb_clip(frames, substream(seed, "crop"), SIDE)

    def check(self, paths: Sequence[Path], known: Sequence[Any]) -> None:
        """Decode every frame."""
        for path, info in zip(paths, known, strict=True):
            video.check(path, info)
        self.read(paths, known, None)

    def _decode(
        self, paths: Sequence[Path], known: Sequence[Any], seed: int | None
    ) -> list[Tensor]:
        total = min(info.frames for info in known)
        start = substream(seed, "start")
        wanted = clips.sample_indices(total, self.frames, self.step, start).tolist()
        files = zip(paths, known, strict=True)
        return [video.decode(path, info, wanted, self.gray) for path, info in files]


class Flow(Video):
    """A flow clip of 8 frames, every fourth one, from a video of x and one of y."""

    encoder = "tiny_flow"
    description = "x and y, 0 at rest"
    shape = (2, FLOW_FRAMES, SIDE, SIDE)
    scale = published.FLOW
    kind = "flow"
    frames, step, gray = FLOW_FRAMES, FLOW_STEP, True

    def read(self, paths: Sequence[Path], known: Sequence[Any], seed: int | None) -> Tensor:
        """Return [2, 8, 224, 224]."""
        x, y = self._decode(paths, known, seed)
        if x.shape != y.shape:
            raise MediaError(f"{paths[0]} and {paths[1]} differ in size")
        return clips.flow_clip(x, y, substream(seed, "crop"), SIDE, SIDE)


class Sound(Medium):
    """The log spectrogram of ten seconds: the pipeline of `hac`."""

    encoder = "tiny_audio"
    description = "log power, standardised"
    shape = (1, 257, 1004)
    kind = "audio"

    def probe(self, path: Path) -> float:
        """Return the seconds."""
        return audio.duration(path)

    def read(self, paths: Sequence[Path], known: Sequence[Any], seed: int | None) -> Tensor:
        """Return [1, 257, 1004]."""
        return audio.spectrogram(self.samples(paths, known, seed), substream(seed, "noise"))

    def samples(
        self, paths: Sequence[Path], known: Sequence[Any], seed: int | None
    ) -> audio.Samples:
        """Return [N] at 16 kHz: of a longer sound random seconds with a seed, else the middle."""
        (path,), (seconds,) = paths, known
        spare = max(0.0, seconds - audio.SECONDS)
        draw = substream(seed, "start")
        start = spare * (0.5 if draw is None else np.random.default_rng(draw).random())
        return audio.read_wav(path, start, start + audio.SECONDS)

    def check(self, paths: Sequence[Path], known: Sequence[Any]) -> None:
        """Read the whole sound."""
        audio.read_wav(paths[0], 0, known[0])


class Numbers(Medium):
    """Arrays that are alike in all but their number of time steps."""

    form: ClassVar[str]

    def __init__(self, first: Path, found: tuple[int, ...]) -> None:
        self._first = first
        self._found = found

    def probe(self, path: Path) -> tuple[int, ...]:
        """Return the shape of a file, whose numbers are finite and arranged as in the first."""
        # All of them are read, once: a NaN met in training would be too late to leave a row out.
        found = arrays.read(path).shape
        if not self._alike(found):
            raise MediaError(
                f"{path} has the shape {list(found)}, but {self._first} has {list(self._found)}, "
                f"and a column holds arrays of one shape ({self.form})"
            )
        return found

    def _alike(self, found: tuple[int, ...]) -> bool:
        return found == self._found


class Vector(Numbers):
    """A vector as it is: features that another program computed, for example."""

    encoder = "mlp"
    description = "a vector"
    form = "vectors [D]"

    def __init__(self, first: Path, found: tuple[int, ...]) -> None:
        super().__init__(first, found)
        self.shape = found

    def read(self, paths: Sequence[Path], known: Sequence[Any], seed: int | None) -> Tensor:
        """Return [D]."""
        return torch.from_numpy(arrays.read(paths[0]))


class Series(Numbers):
    """A time series brought to one length, each channel standardised by its own values."""

    encoder = "signal_cnn"
    description = "a time series"
    kind = "signal"
    form = "time series [channels, T] of any length T; in text one line per time step"

    def __init__(self, first: Path, found: tuple[int, ...], length: int, standardise: bool) -> None:
        super().__init__(first, found)
        self.shape = (found[0], length)
        self._standardise = standardise

    def read(self, paths: Sequence[Path], known: Sequence[Any], seed: int | None) -> Tensor:
        """Return [C, length], interpolated linearly."""
        values = resample(arrays.read(paths[0]).T.astype(np.float64), self.shape[1]).T
        return _tensor(_standardised(values, axis=1) if self._standardise else values)

    def _alike(self, found: tuple[int, ...]) -> bool:
        return len(found) == 2 and found[0] == self._found[0]


class Volume(Numbers):
    """A clip, standardised by its own values: depth, radar, a video at low resolution."""

    encoder = "depth_cnn"
    description = "a clip"
    form = "clips [channels, T, height, width]"

    def __init__(self, first: Path, found: tuple[int, ...], standardise: bool) -> None:
        super().__init__(first, found)
        self.shape = found
        self._standardise = standardise

    def read(self, paths: Sequence[Path], known: Sequence[Any], seed: int | None) -> Tensor:
        """Return [C, T, H, W]."""
        values = arrays.read(paths[0]).astype(np.float64)
        return _tensor(_standardised(values, axis=None) if self._standardise else values)


def numbers(first: Path, length: int, standardise: bool) -> Numbers:
    """Return the medium of a column of arrays by its first file.

    Raises:
        MediaError: the file cannot be read, or no encoder reads arrays of its shape.
    """
    found = arrays.shape(first)
    if len(found) == 1:
        return Vector(first, found)
    if len(found) == 2:
        return Series(first, found, length, standardise)
    if len(found) == 4:
        return Volume(first, found, standardise)
    forms = ", ".join(cls.form for cls in (Vector, Series, Volume))
    raise MediaError(f"{first} has the shape {list(found)}; arrays may be {forms}")


def _standardised(values: NDArray[Any], axis: int | None) -> NDArray[Any]:
    """Subtract the mean and divide by the deviation; what never changes becomes 0."""
    centred = values - values.mean(axis=axis, keepdims=True)
    deviation = centred.std(axis=axis, keepdims=True)
    # The mean of equal numbers may miss them by a rounding error, which must not be blown up.
    rounding = 1e-6 * np.abs(values).max(axis=axis, keepdims=True)
    return np.asarray(centred / np.where(deviation > rounding, deviation, 1))


def _tensor(values: NDArray[Any]) -> Tensor:
    return torch.from_numpy(np.ascontiguousarray(values, np.float32))
