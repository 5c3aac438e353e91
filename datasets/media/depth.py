"""Depth video of one person, 0 where there is none, to a small cube of bytes."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

Array = NDArray[Any]

DEPTH_FRAMES, DEPTH_PIXELS = 16, 48
DEPTH_RANGE_MM = 1000.0
"""Depth this far before or behind the person's median depth saturates."""
DEPTH_CODES = 127.5
"""Depth is kept as bytes: 0 is background, 127.5 the median depth, 255 one range nearer."""


def convert_depth(frames: Array) -> Array:
    """Crop to the person, pick frames evenly, and code depth relative to the person's median.

    Args:
        frames: [240, 320, N] millimetres, 0 where there is no person.

    Returns:
        [1, 16, 48, 48] bytes, see `DEPTH_CODES`; nearer is larger.
    """
    seen = frames.max(axis=2)
    rows, columns = np.flatnonzero(seen.any(axis=1)), np.flatnonzero(seen.any(axis=0))
    if not len(rows):
        raise ValueError("no pixel shows a person")
    top, left = rows[0], columns[0]
    height, width = rows[-1] + 1 - top, columns[-1] + 1 - left
    picked = np.linspace(0, frames.shape[2] - 1, DEPTH_FRAMES).round().astype(int)
    crop = frames[top : top + height, left : left + width][:, :, picked].transpose(2, 0, 1)
    person = crop > 0
    nearness = (np.median(crop[person]) - crop) / DEPTH_RANGE_MM
    values = np.where(person, np.clip(1 + nearness, 1 / DEPTH_CODES, 2), 0)
    side = max(height, width)
    square = np.zeros((1, DEPTH_FRAMES, side, side), np.float32)
    y, x = (side - height) // 2, (side - width) // 2
    square[0, :, y : y + height, x : x + width] = values
    small = F.interpolate(torch.from_numpy(square), (DEPTH_PIXELS, DEPTH_PIXELS), mode="area")
    return (small * DEPTH_CODES).round().to(torch.uint8).numpy()
