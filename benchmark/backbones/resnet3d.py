"""Parts of 3-D bottleneck ResNets: SlowFast and SlowOnly are put together from these.

Paper: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019; the variant of
the public code of MMAction2 (`ResNet3d`, `Bottleneck3d`), whose checkpoints are in use. Submodules
carry the names of that code, so that its checkpoints map by prefix alone. No difference in
architecture. Shapes are [batch, channels, time, height, width].
"""

from collections import OrderedDict
from collections.abc import Sequence

import torch
from torch import Tensor, nn

EXPANSION = 4

Triple = tuple[int, int, int]


def conv_norm(
    inputs: int, outputs: int, kernel: Triple, stride: Triple = (1, 1, 1), relu: bool = False
) -> nn.Sequential:
    """Return `conv` and `bn`, then ReLU if asked: [B, inputs, ...] to [B, outputs, ...]."""
    parts = OrderedDict[str, nn.Module](
        conv=convolution(inputs, outputs, kernel, stride), bn=nn.BatchNorm3d(outputs)
    )
    if relu:
        parts["relu"] = nn.ReLU(inplace=True)
    return nn.Sequential(parts)


def convolution(inputs: int, outputs: int, kernel: Triple, stride: Triple) -> nn.Conv3d:
    """Return a 3-D convolution without bias whose padding keeps the size at stride 1."""
    depth, height, width = kernel
    padding = (depth // 2, height // 2, width // 2)
    layer = nn.Conv3d(inputs, outputs, kernel, stride, padding, bias=False)
    nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
    return layer


class Bottleneck(nn.Module):
    """Three convolutions beside a shortcut; the stride is on the spatial one in the middle.

    An inflated block also looks one step back and ahead in time.
    """

    def __init__(self, inputs: int, width: int, stride: int, inflated: bool) -> None:
        super().__init__()
        outputs = EXPANSION * width
        strides = (1, stride, stride)
        kernel = (3, 1, 1) if inflated else (1, 1, 1)
        self.conv1 = conv_norm(inputs, width, kernel, relu=True)
        self.conv2 = conv_norm(width, width, (1, 3, 3), strides, relu=True)
        self.conv3 = conv_norm(width, outputs, (1, 1, 1))
        self.downsample: nn.Module = nn.Identity()
        if inputs != outputs or stride != 1:
            self.downsample = conv_norm(inputs, outputs, (1, 1, 1), strides)

    def forward(self, x: Tensor) -> Tensor:
        """Turn [B, inputs, T, H, W] into [B, 4 * width, T, H / stride, W / stride]."""
        y = self.conv3(self.conv2(self.conv1(x)))
        return torch.relu(y + self.downsample(x))


def layer(number: int, inputs: int, width: int, blocks: int, inflated: bool) -> nn.Sequential:
    """Return stage 1 to 4 of a network of base `width`: `blocks` blocks, halving from stage 2."""
    width *= 2 ** (number - 1)
    first = Bottleneck(inputs, width, 1 if number == 1 else 2, inflated)
    others = (Bottleneck(EXPANSION * width, width, 1, inflated) for _ in range(blocks - 1))
    return nn.Sequential(first, *others)


def trunk(
    channels: int,
    width: int,
    kernel: Triple,
    blocks: Sequence[int],
    inflated: Sequence[bool],
    fused: int = 0,
) -> "OrderedDict[str, nn.Module]":
    """Return `conv1` (with its pooling) and `layer1` to `layer3` of a network or pathway.

    Args:
        channels: of the input.
        width: output channels of `conv1`, the base of all others.
        kernel: of `conv1`.
        blocks: how many, for each layer.
        inflated: whether convolutions look through time, for each layer.
        fused: channels that another pathway adds to the output of `conv1`; it adds to every
            later output in the same proportion.
    """
    conv1 = conv_norm(channels, width, kernel, stride=(1, 2, 2), relu=True)
    conv1.add_module("pool", nn.MaxPool3d((1, 3, 3), stride=(1, 2, 2), padding=(0, 1, 1)))
    parts = OrderedDict[str, nn.Module](conv1=conv1)
    for number in (1, 2, 3):
        inputs = (width + fused) * growth(number - 1)
        parts[f"layer{number}"] = layer(
            number, inputs, width, blocks[number - 1], inflated[number - 1]
        )
    return parts


def growth(number: int) -> int:
    """Return how many times wider than `conv1` the output of layer `number` is (0: itself)."""
    return EXPANSION * 2 ** (number - 1) if number else 1


def global_mean(x: Tensor) -> Tensor:
    """Average over time and space: [B, C, T, H, W] to [B, C]."""
    return x.mean(dim=(2, 3, 4))
