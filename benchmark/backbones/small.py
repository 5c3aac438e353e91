"""Small encoders, trained from scratch in seconds on a CPU.

None has frozen stages, so the stem passes its input through.
"""

from torch import Tensor, nn

from benchmark.backbones import register
from benchmark.backbones.base import Encoder
from mmdg_registry import UsageError


@register("mlp")
def mlp(shape: tuple[int, ...]) -> Encoder:
    """Two layers for vectors (D,).

    Layer norm, because batch norm has no variance to work with in a batch of one vector.
    """
    (size,) = _expect("mlp", shape, "(D,)")
    dim = 64
    tail = nn.Sequential(
        nn.Linear(size, 128), nn.LayerNorm(128), nn.ReLU(), nn.Linear(128, dim), nn.ReLU()
    )
    return Encoder(nn.Identity(), tail, dim)


@register("signal_cnn")
def signal_cnn(shape: tuple[int, ...]) -> Encoder:
    """1-D convolutions over time for sequences (channels, T), T >= 16."""
    channels, _ = _expect("signal_cnn", shape, "(channels, T)")
    return Encoder(nn.Identity(), _temporal(channels, (32, 64, 128)), 128)


@register("skeleton_cnn")
def skeleton_cnn(shape: tuple[int, ...]) -> Encoder:
    """1-D convolutions over time for skeletons (axes, T, joints), T >= 16."""
    axes, _, joints = _expect("skeleton_cnn", shape, "(axes, T, joints)")
    tail = nn.Sequential(JointsToChannels(), _temporal(axes * joints, (64, 96, 128)))
    return Encoder(nn.Identity(), tail, 128)


@register("depth_cnn")
def depth_cnn(shape: tuple[int, ...]) -> Encoder:
    """3-D convolutions for clips (channels, T, height, width)."""
    channels, *_ = _expect("depth_cnn", shape, "(channels, T, height, width)")
    widths = (16, 32, 64, 128)
    # The first stride is spatial only: most of the cost is here, most of the motion too.
    layers = [_block3d(channels, widths[0], (1, 2, 2))]
    layers += [_block3d(a, b, (2, 2, 2)) for a, b in zip(widths, widths[1:], strict=False)]
    tail = nn.Sequential(*layers, nn.AdaptiveAvgPool3d(1), nn.Flatten())
    return Encoder(nn.Identity(), tail, widths[-1])


class JointsToChannels(nn.Module):
    """Turn [B, axes, T, joints] into [B, axes * joints, T]."""

    def forward(self, x: Tensor) -> Tensor:
        """Flatten axes and joints before time."""
        return x.transpose(2, 3).flatten(1, 2)


def _temporal(channels: int, widths: tuple[int, int, int]) -> nn.Sequential:
    """Return three strided blocks and a mean: [B, channels, T] to [B, widths[-1]]."""
    sizes = (channels, *widths)
    blocks = [
        layer
        for a, b in zip(sizes, widths, strict=False)
        for layer in (
            nn.Conv1d(a, b, kernel_size=5, stride=2, padding=2, bias=False),
            nn.BatchNorm1d(b),
            nn.ReLU(),
        )
    ]
    return nn.Sequential(*blocks, nn.AdaptiveAvgPool1d(1), nn.Flatten())


def _block3d(inputs: int, outputs: int, stride: tuple[int, int, int]) -> nn.Sequential:
    convolution = nn.Conv3d(inputs, outputs, 3, stride=stride, padding=1, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm3d(outputs), nn.ReLU())


def _expect(encoder: str, shape: tuple[int, ...], form: str) -> tuple[int, ...]:
    """Return the shape; raise UsageError if its rank is not the one the encoder reads."""
    if len(shape) != form.count(",") + (form[-2] != ","):
        raise UsageError(
            f"encoder {encoder} reads samples of shape {form}, not {shape}. Choose another "
            "encoder for this modality: mlp (D,), signal_cnn (channels, T), skeleton_cnn "
            "(axes, T, joints), depth_cnn (channels, T, height, width)."
        )
    return shape
