"""SlowFast-R101 8x8 for RGB clips.

Paper: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019. Architecture and
checkpoint of MMAction2 (`ResNet3dSlowFast`), the RGB backbone of the published multi-modal domain
generalization code. A slow pathway sees every 4th frame; a fast one sees all with an eighth of the
channels and feeds the slow one after every stage. No difference in architecture; dropout before
the classifier belongs to the model here, not to the encoder.

Clips are normalised with the mean (123.675, 116.28, 103.53) and standard deviation (58.395, 57.12,
57.375) of pixel values 0 to 255.
"""

import torch
from torch import Tensor, nn

from benchmark.backbones import check_shape, register
from benchmark.backbones.base import Encoder, Maps
from benchmark.backbones.checkpoints import Layout, load_official
from benchmark.backbones.official import Checkpoint
from benchmark.backbones.resnet3d import convolution, global_mean, growth, layer, trunk
from mmdg_common import UsageError

BLOCKS = (3, 4, 23, 3)
SPEED_RATIO = 4
SLOW_WIDTH = 64
FAST_WIDTH = 8
LATERAL_WIDTH = 2 * FAST_WIDTH
STAGES = ("conv1", "layer1", "layer2", "layer3")
DIM = 2304

CHECKPOINT = Checkpoint(
    "https://download.openmmlab.com/mmaction/recognition/slowfast/"
    "slowfast_r101_8x8x1_256e_kinetics400_rgb/"
    "slowfast_r101_8x8x1_256e_kinetics400_rgb_20210218-0dd54025.pth"
)
LAYOUT = Layout(
    encoder="slowfast_r101",
    checkpoint=CHECKPOINT,
    prefix="backbone.",
    ignored=("cls_head.",),
)


@register("slowfast_r101", CHECKPOINT)
def slowfast_r101(shape: tuple[int, ...], weights: str | None = None) -> Encoder:
    """Both pathways of SlowFast-R101 for clips (3, T, height, width); T is a multiple of 4."""
    check_shape("slowfast_r101", shape, "(3, T, height, width)")
    if shape[1] % SPEED_RATIO:
        raise UsageError(
            f"encoder slowfast_r101 needs a number of frames that {SPEED_RATIO} divides, not "
            f"{shape[1]}; it was trained on 32. Change the clip length, or choose r3d_18."
        )
    encoder = Encoder(Stem(), Tail(), DIM)
    if weights is not None:
        load_official(encoder, weights, LAYOUT)
    return encoder


class Stem(nn.Module):
    """Both pathways up to layer 3, and the lateral connections between them."""

    def __init__(self) -> None:
        super().__init__()
        slow = trunk(3, SLOW_WIDTH, (1, 7, 7), BLOCKS, (False, False, True), fused=LATERAL_WIDTH)
        fast = trunk(3, FAST_WIDTH, (5, 7, 7), BLOCKS, (True, True, True))
        for number, name in enumerate(STAGES):
            slow[f"{name}_lateral"] = _lateral(FAST_WIDTH * growth(number))
        self.slow_path = nn.ModuleDict(slow)
        self.fast_path = nn.ModuleDict(fast)

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Turn [B, 3, T, H, W] into slow [B, 1280, T/4, H/16, W/16], fast [B, 128, T, ...]."""
        slow, fast = x[:, :, ::SPEED_RATIO], x
        for name in STAGES:
            slow = self.slow_path[name](slow)
            fast = self.fast_path[name](fast)
            lateral = self.slow_path[f"{name}_lateral"](fast)
            slow = torch.cat([slow, lateral], dim=1)
        return slow, fast


class Tail(nn.Module):
    """Layer 4 of both pathways and global average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.slow_path = nn.ModuleDict({"layer4": _layer4(SLOW_WIDTH, LATERAL_WIDTH)})
        self.fast_path = nn.ModuleDict({"layer4": _layer4(FAST_WIDTH, 0)})
        self.maps = Maps()

    def forward(self, features: tuple[Tensor, Tensor]) -> Tensor:
        """Turn (slow, fast) features into [B, 2304]: 256 of the fast, then 2048 of the slow."""
        slow, fast = features
        slow, fast = self.maps((self.slow_path["layer4"](slow), self.fast_path["layer4"](fast)))
        return torch.cat([global_mean(fast), global_mean(slow)], dim=1)


def _layer4(width: int, fused: int) -> nn.Sequential:
    return layer(4, (width + fused) * growth(3), width, BLOCKS[3], inflated=True)


def _lateral(channels: int) -> nn.Sequential:
    """Return a bare convolution over time: [B, channels, T, H, W] to [B, 2 channels, T/4, H, W]."""
    parts = nn.Sequential()
    conv = convolution(channels, 2 * channels, (7, 1, 1), stride=(SPEED_RATIO, 1, 1))
    parts.add_module("conv", conv)
    return parts
