"""From decoded frames to clips: which frames, which crop, which scale.

The pipelines are those of mmaction2's SlowFast (RGB) and SlowOnly (flow) recipes, which the
public code of the field trains with. One draw decides for all frames of a clip.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from datasets.media import MediaError

SHORT_EDGE = 256
CROP_AREA = (0.08, 1.0)
CROP_ASPECT = (3 / 4, 4 / 3)
CROP_TRIES = 10


def sample_indices(total: int, length: int, interval: int, seed: int | None) -> NDArray[Any]:
    """Return `length` frame indices, `interval` apart; a video too short is looped.

    Args:
        total: the frames there are.
        length: the frames wanted.
        interval: the step between two of them.
        seed: draws the first frame; None takes the clip in the middle.

    Raises:
        MediaError: there is no frame at all.
    """
    if total < 1:
        raise MediaError("a clip cannot be taken from a video without frames")
    starts = total - length * interval + 1
    if starts <= 0:
        start = 0
    else:
        start = starts // 2 if seed is None else int(np.random.default_rng(seed).integers(starts))
    return (start + interval * np.arange(length)) % total


def rgb_clip(frames: Tensor, seed: int | None, crop: int = 224) -> Tensor:
    """Resize, crop and flip the frames of an RGB clip.

    Args:
        frames: [T, H, W, 3] bytes.
        seed: draws crop and flip; None crops the centre and does not flip.
        crop: the side of the result in pixels.

    Returns:
        [3, T, crop, crop] bytes, which `published.RGB` standardises.
    """
    images, _ = _cropped(frames.permute(0, 3, 1, 2), seed, crop, crop)
    return images.transpose(0, 1).contiguous()


def flow_clip(
    x: Tensor, y: Tensor, seed: int | None, train_crop: int = 224, test_crop: int = 224
) -> Tensor:
    """Resize, crop and flip the frames of a flow clip.

    Args:
        x: [T, H, W] bytes, the horizontal component; mirrored clips turn its sign.
        y: [T, H, W] bytes, the vertical component.
        seed: draws crop and flip; None crops the centre and does not flip.
        train_crop: the side of the result in pixels with a seed.
        test_crop: the side of the result in pixels without.

    Returns:
        [2, T, crop, crop] bytes, which `published.FLOW` scales.
    """
    images, flipped = _cropped(torch.stack([x, y], dim=1), seed, train_crop, test_crop)
    if flipped:
        images[:, 0] = 255 - images[:, 0]
    return images.transpose(0, 1).contiguous()


@dataclass(frozen=True)
class Box:
    """A region of an image, in pixels."""

    top: int
    left: int
    height: int
    width: int

    def of(self, images: Tensor) -> Tensor:
        """Return this region of images [..., H, W]."""
        rows = slice(self.top, self.top + self.height)
        return images[..., rows, self.left : self.left + self.width]


def random_box(height: int, width: int, rng: np.random.Generator) -> Box:
    """Draw a region of random area and aspect; the central square if ten draws do not fit."""
    low, high = np.log(CROP_ASPECT)
    for _ in range(CROP_TRIES):
        area = height * width * rng.uniform(*CROP_AREA)
        aspect = math.exp(rng.uniform(low, high))
        h, w = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if h <= height and w <= width:
            top, left = rng.integers(height - h + 1), rng.integers(width - w + 1)
            return Box(int(top), int(left), h, w)
    side = min(height, width)
    return centre_box(height, width, side)


def centre_box(height: int, width: int, side: int) -> Box:
    """Return the square of `side` in the middle."""
    return Box((height - side) // 2, (width - side) // 2, side, side)


def _cropped(images: Tensor, seed: int | None, train: int, test: int) -> tuple[Tensor, bool]:
    """Return the crop of images [T, C, H, W] as bytes, and whether it is mirrored."""
    images = resize_short_edge(images)
    height, width = images.shape[-2:]
    if seed is None:
        return centre_box(height, width, test).of(images), False
    rng = np.random.default_rng(seed)
    box = random_box(height, width, rng)
    flipped = bool(rng.random() < 0.5)
    images = _resize(box.of(images), train, train)
    return (images.flip(-1) if flipped else images), flipped


def resize_short_edge(images: Tensor) -> Tensor:
    """Bring the shorter edge of images [T, C, H, W] to 256 pixels, keeping the aspect."""
    height, width = images.shape[-2:]
    scale = SHORT_EDGE / min(height, width)
    return _resize(images, int(height * scale + 0.5), int(width * scale + 0.5))


def _resize(images: Tensor, height: int, width: int) -> Tensor:
    from torchvision.transforms.v2 import functional  # type: ignore[import-untyped]

    # Without antialiasing, as OpenCV, which the pretrained encoders saw their clips through.
    resized: Tensor = functional.resize(images, [height, width], antialias=False)
    return resized
