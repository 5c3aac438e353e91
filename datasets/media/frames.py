"""Videos kept as folders of JPEG files, one `frame_0000000001.jpg` for each frame."""

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.media import MediaError

NAME = re.compile(r"frame_(\d{10})\.jpg")


def file_name(number: int) -> str:
    """Return the name of the file that holds one frame."""
    return f"frame_{number:010d}.jpg"


def numbers(folder: Path) -> NDArray[Any]:
    """Return the numbers of the frames in a folder, ascending; none if there is no folder."""
    names = os.listdir(folder) if folder.is_dir() else []
    return np.sort(np.array([int(m[1]) for name in names if (m := NAME.fullmatch(name))], np.int64))


def read(folder: Path, wanted: Sequence[int], gray: bool = False) -> Tensor:
    """Return frames of one folder by their numbers, each file decoded once.

    Returns:
        [T, H, W, 3] or, gray, [T, H, W] bytes.

    Raises:
        MediaError: a frame is missing, broken, or not of the others' size.
    """
    images = {number: _read_jpeg(folder / file_name(number), gray) for number in set(wanted)}
    if len({image.shape for image in images.values()}) > 1:
        raise MediaError(f"{folder}: frames {min(wanted)} to {max(wanted)} differ in size")
    clip = torch.stack([images[number] for number in wanted])
    return clip[:, 0] if gray else clip.permute(0, 2, 3, 1)


def write(folder: Path, first: int, images: NDArray[np.uint8]) -> None:
    """Write images [T, H, W, 3] or [T, H, W] as the frames from number `first` on."""
    from torchvision.io import encode_jpeg  # type: ignore[import-untyped]

    folder.mkdir(parents=True, exist_ok=True)
    for number, image in enumerate(torch.from_numpy(np.ascontiguousarray(images)), first):
        channels = image[None] if image.ndim == 2 else image.permute(2, 0, 1)
        (folder / file_name(number)).write_bytes(encode_jpeg(channels.contiguous()).numpy())


def _read_jpeg(path: Path, gray: bool) -> Tensor:
    from torchvision.io import ImageReadMode, decode_jpeg

    try:
        data = torch.from_numpy(np.fromfile(path, np.uint8))
        image: Tensor = decode_jpeg(data, ImageReadMode.GRAY if gray else ImageReadMode.RGB)
    except (OSError, RuntimeError) as error:
        reason = str(error).partition("\n")[0] if path.exists() else "there is no such file"
        raise MediaError(f"{path} cannot be read as a picture: {reason}") from error
    return image
