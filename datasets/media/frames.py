"""Videos kept as folders of JPEG files, one per frame: `frame_0000000001.jpg` and so on."""

import os
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.media import MediaError

NAME = re.compile(r"frame_(\d{10})\.jpg")
START, END = b"\xff\xd8", b"\xff\xd9"
"""The first and the last two bytes of a JPEG file."""


def file_name(number: int) -> str:
    """Return the name of the file that holds one frame."""
    return f"frame_{number:010d}.jpg"


def numbers(folder: Path) -> NDArray[Any]:
    """Return the numbers of the frames in a folder, ascending; none if there is no folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    return np.sort(np.array([int(m[1]) for name in names if (m := NAME.fullmatch(name))], np.int64))


def broken(folder: Path, numbers: Iterable[int]) -> list[int]:
    """Return which frames of a folder are broken, reading four bytes of most files.

    A picture with both its ends is taken to be whole; any other is decoded, as bytes may follow
    the end. No empty, cut-off or foreign file passes, but damage between the ends does.
    """
    return [number for number in numbers if _is_broken(folder / file_name(number))]


def check(folder: Path, wanted: Iterable[int]) -> None:
    """Decode frames one by one.

    Raises:
        MediaError: a frame is missing, broken, or not of the others' size.
    """
    wanted = list(wanted)
    if len({_read_jpeg(folder / file_name(number), False).shape for number in wanted}) > 1:
        raise _differing(folder, wanted)


def read(folder: Path, wanted: Sequence[int], gray: bool = False) -> Tensor:
    """Return frames of one folder by their numbers, each file decoded once.

    Returns:
        [T, H, W, 3] or, gray, [T, H, W] bytes.

    Raises:
        MediaError: a frame is missing, broken, or not of the others' size.
    """
    images = {number: _read_jpeg(folder / file_name(number), gray) for number in set(wanted)}
    if len({image.shape for image in images.values()}) > 1:
        raise _differing(folder, wanted)
    clip = torch.stack([images[number] for number in wanted])
    return clip[:, 0] if gray else clip.permute(0, 2, 3, 1)


def write(folder: Path, first: int, images: NDArray[np.uint8]) -> None:
    """Write images [T, H, W, 3] or [T, H, W] as the frames from number `first` on."""
    from torchvision.io import encode_jpeg  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(torch.from_numpy(np.ascontiguousarray(images)), first):
        channels = image[None] if image.ndim == 2 else image.permute(2, 0, 1)
        (folder / file_name(number)).write_bytes(encode_jpeg(channels.contiguous()).numpy())


def _is_broken(path: Path) -> bool:
    try:
        with path.open("rb", buffering=0) as file:
            start = file.read(2)
            file.seek(-2, os.SEEK_END)
            whole = (start, file.read(2)) == (START, END)
    except OSError:  # also of a file too short for an end
        whole = False
    if not whole:
        try:
            _read_jpeg(path, False)
        except MediaError:
            return True
    return False


def _differing(folder: Path, wanted: Sequence[int]) -> MediaError:
    return MediaError(f"{folder}: frames {min(wanted)} to {max(wanted)} differ in size")


def _read_jpeg(path: Path, gray: bool) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        data = torch.from_numpy(np.fromfile(path, np.uint8))
        image: Tensor = decode_jpeg(data, ImageReadMode.GRAY if gray else ImageReadMode.RGB)
    except (OSError, RuntimeError) as error:
        if not path.exists():
            reason = "there is no such file"
        else:
            reason = str(error).partition("\n")[0] if path.stat().st_size else "it is empty"
        raise MediaError(f"{path} cannot be read as a picture: {reason}") from error
    return image
