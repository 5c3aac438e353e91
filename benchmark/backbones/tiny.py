"""Tiny encoders for clips, flow and spectrograms: full-size inputs on a CPU, and tests.

No paper; a few strided convolutions, trained from scratch, for the inputs of the large encoders.
The first one reads patches that do not overlap, which keeps a 32 x 224 x 224 clip cheap. None has
frozen stages, so the stem passes its input through.
"""

from collections.abc import Callable
from math import prod

from torch import nn

from benchmark.backbones import check_shape, register
from benchmark.backbones.base import Encoder
from mmdg_common import UsageError

DIM = 128
WIDTHS = (16, 32, 64)
STRIDES = (2, 2)
MOMENTUM = 0.3
"""Of batch norm: what it evaluates with keeps up with the first, fast steps of a short training."""
PATCH = 8


@register("tiny_video")
def tiny_video(shape: tuple[int, ...]) -> Encoder:
    """3-D convolutions for clips (3, T, height, width): [B, 3, T, H, W] to [B, 128]."""
    check_shape("tiny_video", shape, "(3, T, height, width)")
    return _clips("tiny_video", shape, frames=2)


@register("tiny_flow")
def tiny_flow(shape: tuple[int, ...]) -> Encoder:
    """3-D convolutions for flow (2, T, height, width): [B, 2, T, H, W] to [B, 128]."""
    check_shape("tiny_flow", shape, "(2, T, height, width)")
    return _clips("tiny_flow", shape, frames=1)


@register("tiny_audio")
def tiny_audio(shape: tuple[int, ...]) -> Encoder:
    """2-D convolutions for spectrograms (1, frequencies, times): [B, 1, F, T] to [B, 128]."""
    check_shape("tiny_audio", shape, "(1, frequencies, times)")
    patch = (PATCH, PATCH)
    _check_size("tiny_audio", shape, patch)
    layers = _convolutions(nn.Conv2d, nn.BatchNorm2d, 1, patch)
    # Which frequencies sound matters more than when they do.
    return _encoder([*layers, nn.AdaptiveAvgPool2d((8, 2))], bins=16)


def _clips(encoder: str, shape: tuple[int, ...], frames: int) -> Encoder:
    patch = (frames, PATCH, PATCH)
    _check_size(encoder, shape, patch)
    layers = _convolutions(nn.Conv3d, nn.BatchNorm3d, shape[0], patch)
    return _encoder([*layers, nn.AdaptiveAvgPool3d((2, 2, 2))], bins=8)


def _encoder(layers: list[nn.Module], bins: int) -> Encoder:
    tail = nn.Sequential(*layers, nn.Flatten(), nn.Linear(WIDTHS[-1] * bins, DIM))
    return Encoder(nn.Identity(), tail, DIM)


def _convolutions(
    conv: Callable[..., nn.Module],
    norm: Callable[..., nn.Module],
    channels: int,
    patch: tuple[int, ...],
) -> list[nn.Module]:
    """Return the layers up to [B, 64, ...]: patches, then 3 x 3 (x 3) with `STRIDES`."""
    layers: list[nn.Module] = [conv(channels, WIDTHS[0], patch, patch, bias=False)]
    for inputs, outputs, stride in zip(WIDTHS[:-1], WIDTHS[1:], STRIDES, strict=True):
        layers += [norm(inputs, momentum=MOMENTUM), nn.ReLU()]
        layers.append(conv(inputs, outputs, 3, stride, 1, bias=False))
    layers += [norm(WIDTHS[-1], momentum=MOMENTUM), nn.ReLU()]
    return layers


def _check_size(encoder: str, shape: tuple[int, ...], patch: tuple[int, ...]) -> None:
    """Raise UsageError if an input leaves batch norm one value a channel in a batch of one."""
    patches = [size // p for size, p in zip(shape[1:], patch, strict=True)]
    if min(patches) < 1 or max(patches) <= prod(STRIDES):
        raise UsageError(
            f"encoder {encoder} reads patches of {patch} and needs more than {prod(STRIDES)} of "
            f"them along some axis; {shape} is too small. Choose an encoder for small inputs, "
            "such as depth_cnn."
        )
