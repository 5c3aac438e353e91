"""Video files: what they hold, and the frames that are needed out of them."""

from bisect import bisect_right
from collections.abc import Collection, Generator, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.media import MediaError

if TYPE_CHECKING:  # opening a dataset must not wait for the decoder
    from av import VideoFrame
    from av.container import InputContainer
    from av.video.stream import VideoStream

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class VideoInfo:
    """What is known of a video without decoding it."""

    frames: int
    fps: float
    """Frames per second, on average."""
    width: int
    height: int
    pts: tuple[int, ...]
    """The time stamp of every frame in presentation order, in the stream's own unit."""
    keyframes: tuple[int, ...]
    """Indices into `pts` of the frames at which decoding can start."""

    @classmethod
    def from_json(cls, values: Mapping[str, Any]) -> "VideoInfo":
        """Return the info whose `dataclasses.asdict` went through JSON."""
        lists = {name: tuple(values[name]) for name in ("pts", "keyframes")}
        return cls(**{**values, **lists})


def probe(path: Path) -> VideoInfo:
    """Read through a video's packets without decoding any.

    Raises:
        MediaError: the file is missing, broken, cut off, or holds no frame.
    """
    with _opened(path) as (container, stream):
        # The last packet is empty and tells a decoder to hand out what it holds back; packets to
        # discard lie outside the file's edit list, and no decoder shows them.
        packets = [
            (p.pts, p.is_keyframe, p.is_corrupt)
            for p in container.demux(stream)
            if p.size and not p.is_discard
        ]
        key = {stamp: is_key for stamp, is_key, _ in packets if stamp is not None}
        fps = float(stream.average_rate or stream.guessed_rate or 0)
        for wrong, what in (
            (not packets, "it has no frames"),
            (any(corrupt for *_, corrupt in packets), "it is cut off"),
            (len(key) < len(packets), "some frames have no time stamp of their own"),
            (not fps, "it has no frame rate"),
        ):
            if wrong:
                raise MediaError(f"{path} cannot be used as a video: {what}")
        pts = sorted(key)
        return VideoInfo(
            frames=len(pts),
            fps=fps,
            width=stream.codec_context.width,
            height=stream.codec_context.height,
            pts=tuple(pts),
            keyframes=tuple(i for i, stamp in enumerate(pts) if key[stamp]),
        )


def check(path: Path, info: VideoInfo) -> None:
    """Decode every frame of a video.

    Raises:
        MediaError: the file is missing or broken, or does not have the frames that `info` names.
    """
    with closing(_decoded(path, None)) as frames:
        missing = info.frames - len({pts for pts, _ in frames} & set(info.pts))
    if missing:
        raise MediaError(f"{path}: {missing} of {info.frames} frames cannot be decoded")


def decode(path: Path, info: VideoInfo, indices: Sequence[int], gray: bool = False) -> Tensor:
    """Return some frames of a video, decoding as few of the others as possible.

    Args:
        path: the video.
        info: what `probe` says of it.
        indices: the T frames wanted, counted from 0, in any order and as often as liked.
        gray: return luma computed from RGB instead of RGB; for flow stored as video.

    Returns:
        [T, H, W, 3] or, gray, [T, H, W] bytes.

    Raises:
        MediaError: the file is missing or broken, or does not have these frames.
    """
    first, last = min(indices), max(indices)
    if first < 0 or last >= info.frames:
        wrong = first if first < 0 else last
        raise MediaError(f"{path} has {info.frames} frames, there is no frame {wrong}")
    wanted = {info.pts[i] for i in indices}
    before = bisect_right(info.keyframes, first) - 1
    images: dict[int, Image] = {}
    if before > 0:
        images = _decode(path, info, wanted, gray, start=info.pts[info.keyframes[before]])
    if len(images) < len(wanted):
        images = _decode(path, info, wanted, gray, start=None)
    if len(images) < len(wanted):
        missing = len(wanted) - len(images)
        raise MediaError(f"{path}: {missing} of {len(wanted)} frames cannot be decoded")
    return torch.from_numpy(np.stack([images[info.pts[i]] for i in indices]))


def _decode(
    path: Path, info: VideoInfo, wanted: Collection[int], gray: bool, start: int | None
) -> dict[int, Image]:
    """Return the wanted frames by time stamp, decoding from a keyframe or the file's start."""
    from av.video.reformatter import VideoReformatter

    images: dict[int, Image] = {}
    last = max(wanted)
    convert = VideoReformatter()  # one for all frames: setting one up takes longer than a frame
    with closing(_decoded(path, start)) as frames:
        for pts, frame in frames:
            if pts in wanted:
                # Width and height, because a stream may change its own on the way.
                size = {"width": info.width, "height": info.height}
                rgb = convert.reformat(frame, format="rgb24", threads=1, **size).to_ndarray()
                images[pts] = rgb_to_gray(rgb) if gray else np.asarray(rgb, np.uint8)
            if pts >= last:
                break
    return images


def _decoded(path: Path, start: int | None) -> "Generator[tuple[int, VideoFrame]]":
    """Yield frames with their time stamps, from a keyframe or from the file's start.

    Ends early after a keyframe that does not serve: seeking went behind it (containers seek by
    decoding time, which in very short groups of pictures puts the next one within reach), or what
    follows is damaged, which from the file's start is an error.
    """
    with _opened(path) as (container, stream):
        if start is not None:
            container.seek(start, stream=stream)
        for number, packet in enumerate(container.demux(stream)):
            ahead = start is not None and (packet.pts is None or packet.pts > start)
            if number == 0 and ahead:
                return
            for frame in packet.decode():
                # Before the keyframe come those that refer to frames before it.
                if frame.pts is None or (start is not None and frame.pts < start):
                    continue
                if frame.is_corrupt:  # the decoder made up what it could not read
                    if start is not None:
                        return
                    raise MediaError(
                        f"{path} is damaged: the frame at time stamp {frame.pts} is not whole"
                    )
                yield frame.pts, frame


def rgb_to_gray(rgb: NDArray[Any]) -> Image:
    """Return luma (ITU-R BT.601) [..., H, W] of bytes [..., H, W, 3], as OpenCV rounds it."""
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    return np.asarray((red * 9798 + green * 19235 + blue * 3735 + (1 << 14)) >> 15, np.uint8)


@contextmanager
def _opened(path: Path) -> "Iterator[tuple[InputContainer, VideoStream]]":
    """Open the first video stream of a file, and say which file it was if that goes wrong."""
    import av

    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise MediaError(f"{path} cannot be used as a video: it holds no picture stream")
            stream = container.streams.video[0]
            # Loading processes each take a clip; threads within one would only compete.
            stream.codec_context.thread_count = 1
            yield container, stream
    except av.FFmpegError as error:
        empty = path.is_file() and not path.stat().st_size
        reason = "it is empty" if empty else error.strerror or type(error).__name__
        raise MediaError(f"{path} cannot be read as a video: {reason}") from error
