"""Decoding of training clips: only the frames that are needed, against whole videos."""

import argparse
import re
import statistics
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmark.speed import check_counts, option
from datasets.media.published import SAMPLING
from mmdg_common import UsageError

if TYPE_CHECKING:  # `--help` must not wait for torch
    from torch import Tensor

HELP = "decoding the frames that training needs, against decoding whole clips"
DESCRIPTION = (
    "Decode training clips from videos, taking only the frames that are needed and taking them out "
    "of all frames, in turns and in one thread."
)
MADE_UP: Mapping[str, Any] = {"frames": 240, "size": "320x240", "keyframe_every": 250}
"""Of made-up videos; 250 is the distance of keyframes that x264 keeps unless told otherwise."""
LENGTH, INTERVAL = SAMPLING["video"]
"""Frames of a training clip and the step between two of them, as of HAC and EPIC-Kitchens."""


@dataclass(frozen=True)
class Round:
    """Seconds that one clip out of every video took."""

    probing: float
    needed: float
    whole: float


def add_options(p: argparse.ArgumentParser) -> None:
    """Declare the options."""
    add = p.add_argument
    add("--videos", type=Path, metavar="DIR", help="your own mp4 files; default: made-up ones")
    add("--clips", type=int, default=8, metavar="N", help="videos; of DIR the first N (default 8)")
    add("--rounds", type=int, default=5, metavar="N", help="clips out of each video (default 5)")
    add = p.add_argument_group("made-up videos").add_argument
    default = {name: f"(default {value})" for name, value in MADE_UP.items()}
    add("--frames", type=int, metavar="N", help=f"frames of each {default['frames']}")
    add("--size", metavar="WxH", help=f"in pixels {default['size']}")
    add(
        "--keyframe-every",
        type=int,
        metavar="N",
        help=f"frames between two at which decoding can start {default['keyframe_every']}",
    )


def run(options: argparse.Namespace) -> None:
    """Measure decoding, and print the table.

    Raises:
        UsageError: an option makes no sense, or a video cannot be decoded.
    """
    check_counts(options, "clips", "rounds", "frames", "keyframe_every")
    if options.videos is not None:
        paths = _own_videos(options)
        rounds = measure(paths, options.rounds)
        described = "videos of your own"
    else:
        made_up = {name: getattr(options, name) or value for name, value in MADE_UP.items()}
        described = "made-up videos of {frames} frames, {size}, keyframes {keyframe_every} apart"
        described = described.format_map(made_up)
        with tempfile.TemporaryDirectory() as folder:
            paths = _made_up_videos(Path(folder), options.clips, **made_up)
            rounds = measure(paths, options.rounds)
    print(f"{len(paths)} {described}; a clip is {LENGTH} frames, {INTERVAL} apart")
    print(_table(rounds, len(paths)), end="")


def measure(paths: Sequence[Path], rounds: int) -> list[Round]:
    """Decode clips both ways in turns, so that whatever else the machine does slows both.

    Raises:
        MediaError: a file cannot be decoded, or the two ways do not give the same frames.
    """
    from datasets.base import announced

    measured = []
    for number in announced(range(rounds), f"decoding, {rounds} rounds"):
        probing = needed = whole = 0.0
        for place, path in enumerate(paths):
            one = _measure_clip(path, seed=number * len(paths) + place)
            probing += one.probing
            needed += one.needed
            whole += one.whole
        measured.append(Round(probing, needed, whole))
    return measured


def _measure_clip(path: Path, seed: int) -> Round:
    import torch

    from datasets.media import MediaError, clips, video

    seconds: dict[str, float] = {}
    clip: dict[str, Tensor] = {}
    begun = time.perf_counter()
    info = video.probe(path)
    seconds["probing"] = time.perf_counter() - begun
    wanted = clips.sample_indices(info.frames, LENGTH, INTERVAL, seed).tolist()
    ways = {
        "needed": lambda: video.decode(path, info, wanted),
        "whole": lambda: _out_of_all(path, wanted),
    }
    # The first to read a file may wait for the disk.
    for name in sorted(ways, reverse=bool(seed % 2)):
        begun = time.perf_counter()
        clip[name] = ways[name]()
        seconds[name] = time.perf_counter() - begun
    if not torch.equal(clip["needed"], clip["whole"]):
        raise MediaError(f"{path}: frames decoded on their own differ from those of the whole")
    return Round(**seconds)


def _out_of_all(path: Path, wanted: Sequence[int]) -> "Tensor":
    """Return frames [T, H, W, 3] out of all, decoded and turned into RGB, as public code does."""
    import av
    import numpy as np
    import torch
    from av.video.reformatter import VideoReformatter

    convert = VideoReformatter()
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        images = [
            convert.reformat(frame, format="rgb24", threads=1).to_ndarray()
            for frame in container.decode(stream)
        ]
    return torch.from_numpy(np.stack([images[i] for i in wanted]))


def _own_videos(options: argparse.Namespace) -> list[Path]:
    for name in MADE_UP:
        if getattr(options, name) is not None:
            raise UsageError(f"{option(name)} is for made-up videos: leave it or --videos out")
    found = sorted(options.videos.rglob("*.mp4"))
    if not found:
        raise UsageError(f"there are no mp4 files in {options.videos}")
    return found[: options.clips]


def _made_up_videos(
    folder: Path, clips: int, frames: int, size: str, keyframe_every: int
) -> list[Path]:
    """Write videos of coarse noise that moves two pixels a frame."""
    import numpy as np

    from datasets.base import announced
    from datasets.media import fabricate

    match = re.fullmatch(r"(\d+)x(\d+)", size)
    width, height = map(int, match.groups()) if match else (0, 0)
    if not width or not height or width % 2 or height % 2:
        raise UsageError(f"--size must be WxH, two even numbers of pixels, not {size}")
    paths = [folder / f"{number}.mp4" for number in range(clips)]
    for number, path in announced(list(enumerate(paths)), f"writing {clips} videos"):
        shape = (height // 8 + 1, width // 8 + 1, 3)
        noise = np.random.default_rng(number).integers(0, 256, shape, np.uint8)
        image = noise.repeat(8, axis=0).repeat(8, axis=1)[:height, :width]
        moving = np.stack([np.roll(image, 2 * i, axis=1) for i in range(frames)])
        fabricate.write_mp4(path, moving, keyframe_every=keyframe_every)
    return paths


def _table(rounds: Sequence[Round], clips: int) -> str:
    columns = {
        "needed frames": [clips / r.needed for r in rounds],
        "whole videos": [clips / r.whole for r in rounds],
        "times": [r.whole / r.needed for r in rounds],
    }
    cells = [f"{statistics.median(c):.1f} ({min(c):.1f} to {max(c):.1f})" for c in columns.values()]
    width = max(map(len, (*cells, *columns)))
    probing = statistics.median(1000 * r.probing / clips for r in rounds)
    return (
        f"clips a second in one thread, median of {len(rounds)} rounds (lowest to highest):\n"
        f"{'  '.join(name.rjust(width) for name in columns)}\n"
        f"{'  '.join(cell.rjust(width) for cell in cells)}\n"
        f"Indexing, once for all epochs and not counted, takes {probing:.1f} ms a video.\n"
    )
