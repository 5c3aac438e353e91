"""SlowOnly-R50 8x8 for optical flow.

Paper: Feichtenhofer et al., "SlowFast Networks for Video Recognition", ICCV 2019 (its slow pathway
alone). Architecture and checkpoint of MMAction2 (`ResNet3dSlowOnly`), the flow backbone of the
published multi-modal domain generalization code. No difference in architecture; dropout before the
classifier belongs to the model here, not to the encoder.

The two channels are horizontal and vertical flow, each normalised with mean 128 and standard
deviation 128 of values 0 to 255.
"""

from torch import Tensor, nn

from benchmark.backbones import check_shape, register
from benchmark.backbones.base import Encoder, Maps
from benchmark.backbones.checkpoints import Layout, load_official
from benchmark.backbones.official import Checkpoint
from benchmark.backbones.resnet3d import global_mean, growth, layer, trunk

BLOCKS = (3, 4, 6, 3)
WIDTH = 64
DIM = 2048

CHECKPOINT = Checkpoint(
    "https://download.openmmlab.com/mmaction/recognition/slowonly/"
    "slowonly_r50_8x8x1_256e_kinetics400_flow/"
    "slowonly_r50_8x8x1_256e_kinetics400_flow_20200704-6b384243.pth"
)
LAYOUT = Layout(
    encoder="slowonly_r50_flow",
    checkpoint=CHECKPOINT,
    prefix="backbone.",
    ignored=("cls_head.",),
)


@register("slowonly_r50_flow", CHECKPOINT)
def slowonly_r50_flow(shape: tuple[int, ...], weights: str | None = None) -> Encoder:
    """SlowOnly-R50 for flow clips (2, T, height, width); pre-trained with T = 8."""
    check_shape("slowonly_r50_flow", shape, "(2, T, height, width)")
    stem = nn.Sequential(trunk(2, WIDTH, (1, 7, 7), BLOCKS, (False, False, True)))
    encoder = Encoder(stem, Tail(), DIM)
    if weights is not None:
        load_official(encoder, weights, LAYOUT)
    return encoder


class Tail(nn.Module):
    """Layer 4 and global average pooling."""

    def __init__(self) -> None:
        super().__init__()
        self.layer4 = layer(4, WIDTH * growth(3), WIDTH, BLOCKS[3], inflated=True)
        self.maps = Maps()

    def forward(self, features: Tensor) -> Tensor:
        """Turn [B, 1024, T, H/16, W/16] into [B, 2048]."""
        return global_mean(self.maps(self.layer4(features)))
