"""The two layouts in which the media of EPIC-Kitchens are passed on.

Frames, as the EPIC-Kitchens downloads and SimMMDG have them (SPLIT is `train` or `test`):

    rgb/SPLIT/DOMAIN/VIDEO/frame_0000000001.jpg
    flow/SPLIT/DOMAIN/VIDEO/{u,v}/frame_0000000001.jpg      every second RGB frame has one
    rgb/SPLIT/DOMAIN/VIDEO.wav

Clips, cut beforehand, as MMDG_Benchmark has them, in the root or in the folder of the tables:

    video/SPLIT/DOMAIN/DOMAIN_VIDEO_START_STOP_LABEL.mp4
    flow/SPLIT/DOMAIN/DOMAIN_VIDEO_START_STOP_LABEL_{u,v}.mp4    numbers of flow frames
    audio/SPLIT/DOMAIN/VIDEO.wav                                 whole videos here, too

The sound may also lie in `EPIC-KITCHENS-audio`, where `datasets.prepare` unpacks it.
"""

import os
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from datasets.epic_files import SPLITS, Segment
from datasets.media import MediaError, audio, frames, index, video
from datasets.media.published import EPIC_SOUND

HALVES = ("u", "v")
"""Horizontal and vertical flow."""
CLIP_BASES = ("", f"{SPLITS}/")
UNPACKED = Path(EPIC_SOUND).stem
SOUND_FOLDERS = (
    "rgb",
    *(f"{base}audio" for base in CLIP_BASES),
    *(UNPACKED, f"{UNPACKED}/rgb", f"{UNPACKED}/audio"),
)


class Pictures(ABC):
    """Where the video or the flow of segments is, and how it is read."""

    def __init__(self, root: Path, modality: str) -> None:
        self._root = root
        self._modality = modality

    @abstractmethod
    def size(self, segment: Segment) -> int:
        """Return how much of a segment is there: frames or bytes."""

    @abstractmethod
    def files(self, segment: Segment) -> list[str]:
        """Return the files, below the root, that tell a segment from others."""

    @abstractmethod
    def problems(self, segments: Sequence[Segment], cache: Path | None) -> dict[str, str]:
        """Return what is wrong, by sample id, with the segments that are not there as a whole.

        Says what can be said without decoding everything, and keeps in `cache` what pays once.
        """

    @abstractmethod
    def check(self, segment: Segment) -> None:
        """Decode every frame of a segment; raise MediaError if one is missing or broken."""

    @abstractmethod
    def total(self, segment: Segment) -> int:
        """Return how many frames a segment has."""

    @abstractmethod
    def read(self, segment: Segment, indices: NDArray[Any]) -> list[Tensor]:
        """Decode frames, counted from the segment's first: [T, H, W, 3], or [T, H, W] twice."""


class FrameFolders(Pictures):
    """One folder of JPEG files for each video, or for each half of its flow."""

    def __init__(self, root: Path, modality: str) -> None:
        super().__init__(root, modality)
        self._listed: dict[Path, NDArray[Any]] = {}
        self._broken: dict[Path, list[int]] = {}

    def size(self, segment: Segment) -> int:
        """Return how many of the segment's frames are there."""
        return sum(len(self._there(segment, folder)) for folder in self._folders(segment))

    def files(self, segment: Segment) -> list[str]:
        """Return the first frame, in each half of the flow."""
        first = frames.file_name(segment.span(self._modality)[0])
        return [self._below_root(folder / first) for folder in self._folders(segment)]

    def folders(self, segment: Segment) -> list[str]:
        """Return the folders of the segment's frames, below the root."""
        return [self._below_root(folder) for folder in self._folders(segment)]

    def problems(self, segments: Sequence[Segment], cache: Path | None) -> dict[str, str]:
        """Return the first frame of each segment that is missing or, else, visibly broken.

        The files of a folder are looked into again when one has come, gone or been replaced, and
        those found broken each time; one that breaks in its place shows when it is decoded.
        """
        folders = {folder for segment in segments for folder in self._folders(segment)}
        paths = [self._below_root(folder) for folder in folders if folder.is_dir()]
        name = f"epic_kitchens {self._modality} frames"
        found = index.build(name, self._root, paths, self._broken_in, list[int], cache)
        self._broken = {self._root / path: numbers for path, numbers in found.known.items()}
        return {
            segment.sample.id: problem
            for segment in segments
            if (problem := self._gap(segment) or self._breach(segment))
        }

    def check(self, segment: Segment) -> None:
        """Decode the segment's files."""
        first, total = segment.span(self._modality)
        for folder in self._folders(segment):
            frames.check(folder, range(first, first + total))

    def total(self, segment: Segment) -> int:
        """Return how many frames the split table gives the segment."""
        return segment.span(self._modality)[1]

    def read(self, segment: Segment, indices: NDArray[Any]) -> list[Tensor]:
        """Decode frames from their files."""
        wanted = (segment.span(self._modality)[0] + indices).tolist()
        gray = self._modality == "flow"
        return [frames.read(folder, wanted, gray) for folder in self._folders(segment)]

    def _folders(self, segment: Segment) -> list[Path]:
        if self._modality == "flow":
            folder = self._root / "flow" / segment.folder / segment.video
            return [folder / half for half in HALVES]
        return [self._root / "rgb" / segment.folder / segment.video]

    def _below_root(self, path: Path) -> str:
        return path.relative_to(self._root).as_posix()

    def _there(self, segment: Segment, folder: Path) -> NDArray[Any]:
        """Return the numbers of a segment's frames in a folder."""
        numbers = self._numbers(folder)
        first, total = segment.span(self._modality)
        low, high = np.searchsorted(numbers, (first, first + total))
        return numbers[low:high]

    def _numbers(self, folder: Path) -> NDArray[Any]:
        """Return the numbers of all frames in a folder, which is listed only once."""
        if folder not in self._listed:
            self._listed[folder] = frames.numbers(folder)
        return self._listed[folder]

    def _broken_in(self, folder: Path) -> list[int]:
        return frames.broken(folder, self._numbers(folder).tolist())

    def _gap(self, segment: Segment) -> str | None:
        first, total = segment.span(self._modality)
        for folder in self._folders(segment):
            there = self._there(segment, folder)
            if len(there) < total:
                absent = np.setdiff1d(np.arange(first, first + total), there)
                return f"{folder / frames.file_name(int(absent[0]))} is missing"
        return None

    def _breach(self, segment: Segment) -> str | None:
        first, total = segment.span(self._modality)
        for folder in self._folders(segment):
            inside = [n for n in self._broken.get(folder, ()) if first <= n < first + total]
            try:
                frames.check(folder, inside)
            except MediaError as error:
                return str(error)
        return None


class ClipFiles(Pictures):
    """One video file for each segment, or for each half of its flow."""

    def __init__(self, root: Path, modality: str, base: str) -> None:
        super().__init__(root, modality)
        self._base = base
        self._sizes = Sizes(root)
        self._infos: dict[str, video.VideoInfo] = {}

    def size(self, segment: Segment) -> int:
        """Return the bytes of the segment's files, 0 if one is missing."""
        sizes = [self._sizes[file] for file in self.files(segment)]
        return sum(sizes) if all(sizes) else 0

    def problems(self, segments: Sequence[Segment], cache: Path | None) -> dict[str, str]:
        """Index all files; return what is wrong with the first broken file of a segment."""
        files = {segment.sample.id: self.files(segment) for segment in segments}
        every = [file for several in files.values() for file in several]
        name, restore = f"epic_kitchens {self._modality}", video.VideoInfo.from_json
        found = index.build(name, self._root, every, video.probe, restore, cache)
        self._infos |= found.known
        return _first_broken(files, found.broken)

    def check(self, segment: Segment) -> None:
        """Decode the segment's files to their ends."""
        for file in self.files(segment):
            video.check(self._root / file, self._info(file))

    def total(self, segment: Segment) -> int:
        """Return how many frames the segment's shortest file has."""
        return min(self._info(file).frames for file in self.files(segment))

    def read(self, segment: Segment, indices: NDArray[Any]) -> list[Tensor]:
        """Decode frames of the segment's files."""
        wanted, gray = indices.tolist(), self._modality == "flow"
        return [
            video.decode(self._root / file, self._info(file), wanted, gray)
            for file in self.files(segment)
        ]

    def files(self, segment: Segment) -> list[str]:
        """Return the segment's file, or the two of its flow."""
        first, total = segment.span(self._modality)
        domain, label = segment.sample.domain, segment.sample.label
        name = f"{domain}_{segment.video}_{first}_{first + total}_{label}"
        suffixes = [f"_{half}.mp4" for half in HALVES] if self._modality == "flow" else [".mp4"]
        folder = f"{self._base}{self._modality}/{segment.folder}"
        return [f"{folder}/{name}{suffix}" for suffix in suffixes]

    def _info(self, file: str) -> video.VideoInfo:
        if file not in self._infos:
            self._infos[file] = video.probe(self._root / file)
        return self._infos[file]


class Sounds:
    """One sound file for each video."""

    def __init__(self, root: Path, folder: str) -> None:
        self._root = root
        self._folder = folder
        self._sizes = Sizes(root)

    def size(self, segment: Segment) -> int:
        """Return the bytes of the file that holds the segment, 0 if there is none."""
        return self._sizes[self._file(segment)]

    def problems(self, segments: Sequence[Segment], cache: Path | None) -> dict[str, str]:
        """Return what is wrong, by sample id, with the segments whose file cannot be read."""
        files = {segment.sample.id: self.files(segment) for segment in segments}
        every = [file for (file,) in files.values()]
        name = "epic_kitchens audio"
        found = index.build(name, self._root, every, audio.duration, float, cache)
        return _first_broken(files, found.broken)

    def read(self, segment: Segment) -> audio.Samples:
        """Return the sound of the whole segment [N] at 16 kHz."""
        return audio.read_wav(self._root / self._file(segment), segment.begin, segment.end)

    def files(self, segment: Segment) -> list[str]:
        """Return the file of the segment's whole video."""
        return [self._file(segment)]

    def _file(self, segment: Segment) -> str:
        return f"{self._folder}/{segment.folder}/{segment.video}.wav"


class Sizes(dict[str, int]):
    """The bytes of files by their path below the root, 0 where there is none.

    A folder is listed when the first of its files is asked for.
    """

    def __init__(self, root: Path) -> None:
        super().__init__()
        self._root = root
        self._listed: set[str] = set()

    def __missing__(self, file: str) -> int:
        folder = file.rpartition("/")[0]
        if folder not in self._listed:
            self._listed.add(folder)
            if (self._root / folder).is_dir():
                with os.scandir(self._root / folder) as entries:
                    there = {f"{folder}/{e.name}": e.stat().st_size for e in entries if e.is_file()}
                self.update(there)
        return self.get(file, 0)


def pictures(root: Path, modality: str) -> Pictures:
    """Return the layout that the video or the flow has here; frames, where there is neither."""
    folder = "flow" if modality == "flow" else "rgb"
    if not any(root.glob(f"{folder}/*/*/*/")):
        for base in CLIP_BASES:
            if any(root.glob(f"{base}{modality}/*/*/*.mp4")):
                return ClipFiles(root, modality, base)
    return FrameFolders(root, modality)


def sounds(root: Path) -> Sounds:
    """Return the layout that the sound has here; the one beside the frames, where there is none."""
    return Sounds(root, next(_with_sound(root), SOUND_FOLDERS[0]))


def has_sound(root: Path) -> bool:
    """Return whether there is sound in any layout."""
    return any(_with_sound(root))


def _with_sound(root: Path) -> Iterator[str]:
    return (folder for folder in SOUND_FOLDERS if any(root.glob(f"{folder}/*/*/*.wav")))


def _first_broken(files: dict[str, list[str]], broken: dict[str, str]) -> dict[str, str]:
    """Return the reason of the first broken file of every sample that has one."""
    bad = {name: [f for f in several if f in broken] for name, several in files.items()}
    return {name: broken[several[0]] for name, several in bad.items() if several}
