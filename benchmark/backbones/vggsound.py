"""ResNet-18 for log spectrograms, as pre-trained on VGGSound.

Papers: Chen et al., "VGGSound: A Large-scale Audio-Visual Dataset", ICASSP 2020; He et al., "Deep
Residual Learning for Image Recognition", CVPR 2016. Architecture and checkpoint of the public
VGGSound code (`AVENet`, pooling "avgpool"): torchvision's ResNet-18, except that the first
convolution reads one channel. No difference in architecture.

The published code trains layer 4 from random weights by accident: names do not match and are
skipped silently. Here the checkpoint fills layer 4 as well.
"""

from collections import OrderedDict

from torch import nn

from benchmark.backbones import check_shape, register
from benchmark.backbones.base import Encoder, Maps
from benchmark.backbones.checkpoints import Layout, load_official
from benchmark.backbones.official import Checkpoint

DIM = 512
FROZEN = ("conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3")

CHECKPOINT = Checkpoint(
    "https://www.robots.ox.ac.uk/~vgg/data/vggsound/models/H.pth.tar",
    used_as="vggsound_avgpool.pth.tar",
)
LAYOUT = Layout(
    encoder="vggsound_resnet18",
    checkpoint=CHECKPOINT,
    prefix="audnet.",
    ignored=("audnet.fc.",),
)


@register("vggsound_resnet18", CHECKPOINT)
def vggsound_resnet18(shape: tuple[int, ...], weights: str | None = None) -> Encoder:
    """ResNet-18 for spectrograms (1, frequencies, times); pre-trained on 257 x 1004.

    The stem turns [B, 1, F, T] into [B, 256, F/16, T/16], the tail that into [B, 512].
    """
    check_shape("vggsound_resnet18", shape, "(1, frequencies, times)")
    # Here, because it takes over a second, which commands without this encoder need not wait.
    from torchvision.models import resnet18  # type: ignore[import-untyped]

    network = resnet18()
    network.conv1 = nn.Conv2d(1, 64, kernel_size=7, stride=2, padding=3, bias=False)
    nn.init.kaiming_normal_(network.conv1.weight, mode="fan_out", nonlinearity="relu")
    stem = nn.Sequential(OrderedDict((name, network.get_submodule(name)) for name in FROZEN))
    tail = OrderedDict(
        layer4=network.layer4, maps=Maps(), pool=network.avgpool, flatten=nn.Flatten()
    )
    encoder = Encoder(stem, nn.Sequential(tail), DIM)
    if weights is not None:
        load_official(encoder, weights, LAYOUT)
    return encoder
