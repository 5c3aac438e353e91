"""Corruptions of RGB frames, as bytes [B, 3, T, H, W] before they are standardised.

They are those of ImageNet-C (Hendrycks and Dietterich, ICLR 2019) with the levels that public code
for corrupted HAC videos shares (AEO, ICLR 2025), but for dropped frames, which are ours. That code
corrupts whole frames and encodes them as a video again; here the crop that the encoder reads is
corrupted, after it was resized.
"""

from collections.abc import Callable, Mapping

import torch
from torch import Tensor
from torch.nn import functional

from benchmark.analysis.corruptions.base import Corruption, normal, sampled_in_time, uniform

LEAST_REACH = 8
"""Pixels from the middle of the kernel of a small disk to its edge, as in ImageNet-C."""


def noisy(x: Tensor, deviation: float, drawn: Tensor) -> Tensor:
    """Add Gaussian noise: `deviation`, of intensities from 0 to 1, times standard normal draws."""
    return _of_intensities(x, lambda y: y + deviation * drawn)


def defocused(x: Tensor, radius: int, alias: float) -> Tensor:
    """Blur with a disk of a radius in pixels, itself blurred by `alias` against jagged edges."""
    return _of_intensities(x, lambda y: _filtered(y, disk(radius, alias).to(y)))


def brightened(x: Tensor, factor: float) -> Tensor:
    """Multiply all intensities, as AEO's code does; ImageNet-C adds to the value of HSV instead."""
    return _of_intensities(x, lambda y: y * factor)


def pixelated(y: Tensor, share: float) -> Tensor:
    """Show images [..., H, W] at a share of their resolution: means of boxes, repeated."""
    images = y.flatten(0, -3)[None]
    height, width = y.shape[-2:]
    size = max(int(height * share), 1), max(int(width * share), 1)
    small = functional.interpolate(images, size, mode="area")
    return functional.interpolate(small, (height, width), mode="nearest").view_as(y)


def compressed(x: Tensor, quality: int) -> Tensor:
    """Encode every frame as a JPEG picture of a quality from 1 to 100, and decode it."""
    from torchvision.transforms.v2 import functional as pictures  # type: ignore[import-untyped]

    frames = x.transpose(1, 2).cpu().contiguous()
    decoded: Tensor = pictures.jpeg(frames, quality)
    return decoded.transpose(1, 2).contiguous().to(x.device)


def stuttering(x: Tensor, share: float, drawn: Tensor) -> Tensor:
    """Drop a share of the frames but the first; the frame before stands in their place.

    Args:
        x: [B, C, T, ...].
        share: of the T frames.
        drawn: [B, T], uniform; the frames with the smallest draws are dropped.
    """
    length = x.shape[2]
    order = torch.cat([torch.full_like(drawn[:, :1], 2), drawn[:, 1:]], dim=1).argsort(dim=1)
    dropped = torch.zeros_like(drawn, dtype=torch.bool)
    dropped.scatter_(1, order[:, : min(round(share * length), length - 1)], True)
    moments = torch.arange(length, device=x.device).expand_as(dropped)
    return sampled_in_time(x, moments.masked_fill(dropped, 0).cummax(dim=1).values)


def disk(radius: int, alias: float) -> Tensor:
    """Return the kernel [K, K] of a camera out of focus, of sum 1 (ImageNet-C's `disk`).

    Args:
        radius: in pixels.
        alias: the deviation of the Gaussian that smooths the disk, cut at one pixel for small
            disks and at two for large ones.
    """
    reach = max(radius, LEAST_REACH)
    places = torch.arange(-reach, reach + 1)
    inside = (places[:, None] ** 2 + places**2 <= radius**2).float()
    around = 1 if radius <= LEAST_REACH else 2
    weights = torch.exp(-(torch.arange(-around, around + 1) ** 2) / (2 * alias**2))
    smooth = torch.outer(weights, weights)[None, None]
    padded = functional.pad(inside[None, None], [around] * 4, mode="reflect")
    kernel = functional.conv2d(padded, smooth)[0, 0]
    normalised: Tensor = kernel / kernel.sum()
    return normalised


def _filtered(images: Tensor, kernel: Tensor) -> Tensor:
    """Return images [..., H, W] under a symmetric kernel [K, K], mirrored at their edges."""
    height, width = images.shape[-2:]
    reach = len(kernel) // 2
    padded = functional.pad(images.flatten(0, -3), [reach] * 4, mode="reflect")
    size = padded.shape[-2:]
    # By Fourier transforms: on a CPU, a kernel of 17 pixels takes ten times as long without.
    product = torch.fft.rfft2(padded) * torch.fft.rfft2(kernel, size)
    around = 2 * reach
    whole: Tensor = torch.fft.irfft2(product, size)
    return whole[..., around : around + height, around : around + width].reshape(images.shape)


def _of_intensities(x: Tensor, change: Callable[[Tensor], Tensor]) -> Tensor:
    """Change bytes as intensities from 0 to 1, and return bytes again."""
    return change(x / 255).clamp_(0, 1).mul_(255).round_().to(torch.uint8)


VIDEO: Mapping[str, Corruption] = {
    "gaussian_noise": Corruption(
        (0.08, 0.12, 0.18, 0.26, 0.38), lambda x, level, drawn, _: noisy(x, level, drawn), normal
    ),
    "defocus_blur": Corruption(
        ((3, 0.1), (4, 0.5), (6, 0.5), (8, 0.5), (10, 0.5)),
        lambda x, level, *_: defocused(x, *level),
    ),
    "brightness": Corruption((1.1, 1.2, 1.3, 1.4, 1.5), lambda x, level, *_: brightened(x, level)),
    "pixelate": Corruption(
        (0.6, 0.5, 0.4, 0.3, 0.25),
        lambda x, level, *_: _of_intensities(x, lambda y: pixelated(y, level)),
    ),
    "jpeg": Corruption((25, 18, 15, 10, 7), lambda x, level, *_: compressed(x, level)),
    "frame_drop": Corruption(
        (0.1, 0.2, 0.3, 0.4, 0.5),
        lambda x, level, drawn, _: stuttering(x, level, drawn),
        lambda shape, generator: uniform(shape[1:2], generator),
    ),
}
