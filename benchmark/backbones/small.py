"""Small encoders, trained from scratch in seconds on a CPU.

None has frozen stages, so the stem passes its input through.
"""

from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from benchmark.backbones import check_shape, register
from benchmark.backbones.base import Encoder, Maps

EMBEDDING = 128
PHASES = 4


@register("mlp")
def mlp(shape: tuple[int, ...]) -> Encoder:
    """Two layers for vectors (D,).

    Layer norm, because batch norm has no variance to work with in a batch of one vector.
    """
    check_shape("mlp", shape, "(D,)")
    (size,) = shape
    dim = 64
    tail = nn.Sequential(
        nn.Linear(size, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, dim), nn.ReLU()
    )
    return Encoder(nn.Identity(), tail, dim)


@register("signal_cnn")
def signal_cnn(shape: tuple[int, ...]) -> Encoder:
    """1-D convolutions over time for sequences (channels, T), T >= 16."""
    check_shape("signal_cnn", shape, "(channels, T)")
    channels, _ = shape
    return Encoder(nn.Identity(), _temporal(channels, (32, 64, 128), kernel=9), EMBEDDING)


@register("window_cnn")
def window_cnn(shape: tuple[int, ...]) -> Encoder:
    """1-D convolutions over windows of sensors (channels, T), T >= 16, in their own units.

    Channels are standardised by statistics of the training batches, so of the sources alone. Mean
    and deviation over time are taken of the channels, too: much of what sets activities apart is
    a posture and how much one moves.
    """
    check_shape("window_cnn", shape, "(channels, T)")
    channels, _ = shape
    convolutions = nn.Sequential(*_strided(channels, (32, 64, 64), kernel=5))
    # Movements repeat within a window, from any phase on, so no order in time is kept.
    tail = nn.Sequential(
        nn.BatchNorm1d(channels, affine=False),
        WithInput(convolutions),
        Maps(),
        MeanAndDeviation(),
        VectorNorm(2 * (channels + 64)),
        nn.Linear(2 * (channels + 64), EMBEDDING),
    )
    return Encoder(nn.Identity(), tail, EMBEDDING)


@register("frames_cnn")
def frames_cnn(shape: tuple[int, ...]) -> Encoder:
    """Convolutions over each of a few small frames (channels, T, height, width), then over time.

    Channels are standardised by statistics of the training batches, so of the sources alone.
    """
    check_shape("frames_cnn", shape, "(channels, T, height, width)")
    channels, *_ = shape
    layers: list[nn.Module] = [nn.BatchNorm3d(channels, affine=False)]
    for inputs, outputs in pairwise((channels, 16, 32)):
        layers += [_block3d(inputs, outputs, kernel=(1, 3, 3), stride=(1, 1, 1))]
        layers += [nn.MaxPool3d((1, 2, 2), ceil_mode=True)]
    layers += [_block3d(32, 64, kernel=(3, 3, 3), stride=(1, 1, 1))]
    tail = nn.Sequential(*layers, Maps(), MeanAndMax(), nn.Linear(2 * 64, 64))
    return Encoder(nn.Identity(), tail, 64)


@register("skeleton_cnn")
def skeleton_cnn(shape: tuple[int, ...]) -> Encoder:
    """1-D convolutions over the positions and velocities of skeletons (axes, T, joints)."""
    check_shape("skeleton_cnn", shape, "(axes, T, joints)")
    axes, _, joints = shape
    layers = _temporal(2 * axes * joints, (64, 96, 128), kernel=5)
    tail = nn.Sequential(JointsToChannels(), WithChange(scale=5.0), layers)
    return Encoder(nn.Identity(), tail, EMBEDDING)


@register("depth_cnn")
def depth_cnn(shape: tuple[int, ...]) -> Encoder:
    """3-D convolutions over the values and changes of clips (channels, T, height, width)."""
    check_shape("depth_cnn", shape, "(channels, T, height, width)")
    channels, *_ = shape
    # Most of the cost is in the first, large layers, so they are narrow and stride at once.
    layers = [
        _block3d(2 * channels, 8, kernel=(3, 5, 5), stride=(1, 2, 2)),
        _block3d(8, 16, kernel=(3, 3, 3), stride=(2, 2, 2)),
        _block3d(16, 32, kernel=(3, 3, 3), stride=(2, 2, 2)),
        _block3d(32, 64, kernel=(3, 3, 3), stride=(2, 2, 2)),
    ]
    summary = [Maps(), nn.AdaptiveAvgPool3d((2, 3, 3)), nn.Flatten(), nn.Linear(64 * 2 * 3 * 3, 64)]
    tail = nn.Sequential(WithChange(scale=2.0), *layers, *summary)
    return Encoder(nn.Identity(), tail, 64)


@register("hust_cnn")
def hust_cnn(shape: tuple[int, ...]) -> Encoder:
    """The 1-D convolutional net that MMDG_Benchmark trains on HUST motor, (channels, T), T >= 64.

    Four convolutions of widths 8, 16, 32, 32 and kernels 32, 8, 3, 3, pooled to 128 values.
    """
    check_shape("hust_cnn", shape, "(channels, T)")
    channels, _ = shape
    layers: list[nn.Module] = []
    for inputs, outputs, kernel in ((channels, 8, 32), (8, 16, 8), (16, 32, 3), (32, 32, 3)):
        layers += [nn.Conv1d(inputs, outputs, kernel), nn.BatchNorm1d(outputs), nn.ReLU()]
        layers += [nn.MaxPool1d(2, stride=1)]
    layers[-1:] = [Maps(), nn.AdaptiveMaxPool1d(4)]
    return Encoder(nn.Identity(), nn.Sequential(*layers, nn.Flatten()), EMBEDDING)


class JointsToChannels(nn.Module):
    """Turn [B, axes, T, joints] into [B, axes * joints, T]."""

    def forward(self, x: Tensor) -> Tensor:
        """Flatten axes and joints before time."""
        return x.transpose(2, 3).flatten(1, 2)


class MeanAndMax(nn.Module):
    """Pool [B, C, ...] over all but batch and channels into means and maxima, [B, 2C]."""

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the mean and the maximum of each channel."""
        x = x.flatten(2)
        return torch.cat([x.mean(2), x.amax(2)], dim=1)


class WithInput(nn.Module):
    """Keep the input beside what layers make of it, as a tuple of maps."""

    def __init__(self, layers: nn.Module) -> None:
        super().__init__()
        self.layers = layers

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Return the input and the output of the layers."""
        return x, self.layers(x)


class MeanAndDeviation(nn.Module):
    """Pool maps [B, C_i, T_i] over time into means and standard deviations, [B, 2 Σ C_i]."""

    def forward(self, maps: tuple[Tensor, ...]) -> Tensor:
        """Concatenate the means of all maps, then their deviations."""
        means = [x.mean(2, keepdim=True) for x in maps]
        # Several times as fast as torch.std, and its root has a gradient where nothing varies.
        variances = [(x - mean).square().mean(2) for x, mean in zip(maps, means, strict=True)]
        deviations = [(variance + 1e-5).sqrt() for variance in variances]
        return torch.cat([*(mean.squeeze(2) for mean in means), *deviations], dim=1)


class VectorNorm(nn.BatchNorm1d):
    """Batch norm of vectors [B, D]; one alone is normalised by the running statistics."""

    def forward(self, x: Tensor) -> Tensor:
        """Normalise each of the D values."""
        if self.training and len(x) == 1:
            mean, var = self.running_mean, self.running_var
            return functional.batch_norm(x, mean, var, self.weight, self.bias, eps=self.eps)
        return super().forward(x)


class WithChange(nn.Module):
    """Append the change since the last step: [B, C, T, ...] to [B, 2C, T, ...].

    Who moves differs in stature, posture and place; how they move differs less.
    """

    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale = scale

    def forward(self, x: Tensor) -> Tensor:
        """Concatenate the input and its scaled change, which is 0 at the first step."""
        return torch.cat([x, self.scale * torch.diff(x, dim=2, prepend=x[:, :, :1])], dim=1)


def _temporal(channels: int, widths: tuple[int, ...], kernel: int) -> nn.Sequential:
    """Return strided blocks and a summary of four phases: [B, channels, T] to [B, EMBEDDING]."""
    # One mean over all time would forget the order of what happens.
    summary = [
        Maps(),
        nn.AdaptiveAvgPool1d(PHASES),
        nn.Flatten(),
        nn.Linear(PHASES * widths[-1], EMBEDDING),
    ]
    return nn.Sequential(*_strided(channels, widths, kernel), *summary)


def _strided(channels: int, widths: tuple[int, ...], kernel: int) -> list[nn.Module]:
    """Return convolutions over time that halve it, [B, channels, T] to [B, widths[-1], T / 8]."""
    layers: list[nn.Module] = []
    for inputs, outputs in pairwise((channels, *widths)):
        layers += [
            nn.Conv1d(inputs, outputs, kernel, stride=2, padding=kernel // 2, bias=False),
            nn.BatchNorm1d(outputs),
            nn.ReLU(),
        ]
    return layers


def _block3d(
    inputs: int, outputs: int, kernel: tuple[int, int, int], stride: tuple[int, int, int]
) -> nn.Sequential:
    depth, height, width = kernel
    padding = (depth // 2, height // 2, width // 2)
    convolution = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU())
