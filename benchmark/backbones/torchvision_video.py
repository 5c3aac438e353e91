"""Video encoders of torchvision, with its Kinetics-400 weights or from scratch.

Tran et al., "A Closer Look at Spatiotemporal Convolutions for Action Recognition", CVPR 2018
(`r3d_18`); Xie et al., "Rethinking Spatiotemporal Feature Learning", ECCV 2018 (`s3d`); Li et al.,
"MViTv2", CVPR 2022 (`mvit_v2_s`). The networks are torchvision's own, cut before their last stage.

The official checkpoints are those of torchvision's enums. `weights` is the path of a torchvision
state dict, or the name of a member of an enum, such as KINETICS400_V1, which torchvision downloads.

Kinetics models differ in normalisation. On pixel values 0 to 1, r3d_18 and s3d were trained with
mean (0.43216, 0.394666, 0.37645) and standard deviation (0.22803, 0.22145, 0.216989), mvit_v2_s
with 0.45 and 0.225; the encoders take clips as the dataset normalises them and change nothing.

Differences: no dropout before the classifier (the model has its own) and no stochastic depth in
mvit_v2_s, so that regularisation is the same for every encoder.
"""

from collections import OrderedDict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn
from torch.nn import functional as F

from benchmark.backbones import check_shape, register
from benchmark.backbones.base import Encoder, Maps
from benchmark.backbones.checkpoints import fill, read
from benchmark.backbones.official import Checkpoint
from mmdg_common import UsageError

if TYPE_CHECKING:
    from torchvision.models import WeightsEnum  # type: ignore[import-untyped]
    from torchvision.models.video import MViT  # type: ignore[import-untyped]

MVIT_FRAMES = 16
MVIT_SIZE = 224
MVIT_LAST_STAGE = 14
MVIT_LAST_GRID = (8, 14, 14)
S3D_LAST_STAGE = 14
S3D_SMALLEST = 32
S3D_WINDOW = (2, 7, 7)
URL = "https://download.pytorch.org/models/"


@register("r3d_18", Checkpoint(f"{URL}r3d_18-b3b3357e.pth"))
def r3d_18(shape: tuple[int, ...], weights: str | None = None) -> Encoder:
    """3-D ResNet-18 for clips (3, T, height, width) of any size; pre-trained on 16 x 112 x 112.

    The stem turns [B, 3, T, H, W] into [B, 256, T/4, H/8, W/8], the tail that into [B, 512].
    """
    check_shape("r3d_18", shape, "(3, T, height, width)")
    network = _network("r3d_18", weights, classifier="fc.")
    parts = ("stem", "layer1", "layer2", "layer3")
    stem = nn.Sequential(OrderedDict((name, network.get_submodule(name)) for name in parts))
    tail = OrderedDict(
        layer4=network.layer4, maps=Maps(), pool=network.avgpool, flatten=nn.Flatten()
    )
    return Encoder(stem, nn.Sequential(tail), 512)


@register("s3d", Checkpoint(f"{URL}s3d-d76dad2f.pth"))
def s3d(shape: tuple[int, ...], weights: str | None = None) -> Encoder:
    """Separable 3-D Inception for clips (3, T, height, width), T >= 8, height and width >= 32.

    Pre-trained on 128 x 224 x 224. The stem turns [B, 3, T, H, W] into [B, 832, T/8, H/32, W/32],
    the tail that into [B, 1024].
    """
    check_shape("s3d", shape, "(3, T, height, width)")
    if shape[1] < 8 or min(shape[2:]) < S3D_SMALLEST:
        raise UsageError(
            f"encoder s3d reads clips of at least (3, 8, {S3D_SMALLEST}, {S3D_SMALLEST}), not "
            f"{shape}. Give it larger clips, or choose r3d_18, which has no smallest size."
        )
    network = _network("s3d", weights, classifier="classifier.")
    tail = nn.Sequential(network.features[S3D_LAST_STAGE:], Maps(), S3DPool())
    return Encoder(network.features[:S3D_LAST_STAGE], tail, 1024)


@register("mvit_v2_s", Checkpoint(f"{URL}mvit_v2_s-ae3be167.pth"))
def mvit_v2_s(shape: tuple[int, ...], weights: str | None = None) -> Encoder:
    """Multiscale vision transformer v2, small, for clips (3, T, 224, 224), T >= 16.

    It reads 16 frames, so the stem takes 16 evenly spaced ones. The stem turns [B, 3, T, 224, 224]
    into [B, 1 + 8 * 14 * 14, 384] (class token first), the tail that into [B, 768].
    """
    check_shape("mvit_v2_s", shape, f"(3, T, {MVIT_SIZE}, {MVIT_SIZE})")
    if shape[1] < MVIT_FRAMES:
        raise UsageError(
            f"encoder mvit_v2_s reads clips of at least {MVIT_FRAMES} frames, not {shape[1]}. "
            "Give it longer clips, or choose r3d_18."
        )
    network = _network("mvit_v2_s", weights, classifier="head.", stochastic_depth_prob=0.0)
    return Encoder(MViTStem(network), MViTTail(network), 768)


class S3DPool(nn.Module):
    """The mean of sliding means, as in torchvision; the window shrinks to fit small clips."""

    def forward(self, x: Tensor) -> Tensor:
        """Turn [B, C, T, H, W] into [B, C]."""
        window = tuple(min(w, size) for w, size in zip(S3D_WINDOW, x.shape[2:], strict=True))
        return F.avg_pool3d(x, window, stride=1).mean(dim=(2, 3, 4))


class MViTStem(nn.Module):
    """Patches, position encoding and all blocks before the last stage."""

    def __init__(self, network: "MViT") -> None:
        super().__init__()
        self.conv_proj = network.conv_proj
        self.pos_encoding = network.pos_encoding
        self.blocks = network.blocks[:MVIT_LAST_STAGE]
        self.grid = (network.pos_encoding.temporal_size, *network.pos_encoding.spatial_size)

    def forward(self, x: Tensor) -> Tensor:
        """Turn [B, 3, T, 224, 224] into tokens [B, 1569, 384]."""
        x = self.conv_proj(x[:, :, evenly_spaced(x.shape[2], MVIT_FRAMES)])
        x = self.pos_encoding(x.flatten(2).transpose(1, 2))
        grid = self.grid
        for block in self.blocks:
            x, grid = block(x, grid)
        return x


class MViTTail(nn.Module):
    """The last stage; its class token is the embedding."""

    def __init__(self, network: "MViT") -> None:
        super().__init__()
        self.blocks = network.blocks[MVIT_LAST_STAGE:]
        self.norm = network.norm

    def forward(self, tokens: Tensor) -> Tensor:
        """Turn tokens [B, 1569, 384] into [B, 768]."""
        grid = MVIT_LAST_GRID
        for block in self.blocks:
            tokens, grid = block(tokens, grid)
        embedding: Tensor = self.norm(tokens)[:, 0]
        return embedding


def evenly_spaced(total: int, count: int) -> list[int]:
    """Return `count` of the indices below `total`: the middles of as many equal intervals."""
    return [(2 * i + 1) * total // (2 * count) for i in range(count)]


def _network(name: str, weights: str | None, classifier: str, **options: float) -> Any:
    """Return a torchvision network, all but its classifier filled from a file or a download."""
    # Here, because it takes over a second, which commands without this encoder need not wait.
    from torchvision.models import get_model, get_model_weights

    network = get_model(name, weights=None, **options)
    if weights is not None:
        known = get_model_weights(name)
        members = ", ".join(known.__members__)
        hint = (
            f"encoder {name} takes the file of torchvision's {known.__name__} or one of {members}"
        )
        state = _downloaded(known, weights) or read(weights, hint)
        names = {key: key for key in network.state_dict() if not key.startswith(classifier)}
        fill(network, state, names, (classifier,), weights, hint)
    return network


def _downloaded(known: "type[WeightsEnum]", member: str) -> dict[str, Tensor] | None:
    """Return the weights that torchvision knows by this name, or none if it knows no such."""
    if member not in known.__members__ or Path(member).exists():
        return None
    chosen = known[member]
    try:
        state: dict[str, Tensor] = chosen.get_state_dict(progress=False, check_hash=True)
    except (OSError, RuntimeError) as error:  # no network, or a file that broke on the way
        raise UsageError(
            f"{member} could not be downloaded ({error}). Fetch {chosen.url} on a machine "
            "that can, and give the path of the file instead."
        ) from None
    return state
