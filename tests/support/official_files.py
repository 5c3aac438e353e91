"""Made-up checkpoint files of the large encoders, as their authors name the entries.

Written from the description of the architectures alone: every name and shape.
"""

from collections.abc import Callable
from functools import cache
from pathlib import Path

import torch
from torch import Tensor

from benchmark import backbones
from benchmark.backbones.base import Encoder

State = dict[str, Tensor]

SHAPES = {
    "slowfast_r101": (3, 8, 32, 48),
    "slowonly_r50_flow": (2, 4, 48, 32),
    "vggsound_resnet18": (1, 65, 100),
    "r3d_18": (3, 8, 32, 32),
    "s3d": (3, 8, 64, 64),
    "mvit_v2_s": (3, 16, 224, 224),
    "tiny_video": (3, 32, 64, 64),
    "tiny_flow": (2, 8, 64, 64),
    "tiny_audio": (1, 257, 200),
}
OFFICIAL = ("slowfast_r101", "slowonly_r50_flow", "vggsound_resnet18")
TINY = ("tiny_video", "tiny_flow", "tiny_audio")


def build(name: str, weights: Path | None = None) -> Encoder:
    """Return an encoder for its shape of `SHAPES`, the same at every call."""
    torch.manual_seed(0)
    return backbones.create(name, SHAPES[name], None if weights is None else str(weights)).eval()


class Official:
    """Random tensors under official names."""

    def __init__(self) -> None:
        self.state: State = {}
        self.generator = torch.Generator().manual_seed(2)

    def conv(self, name: str, outputs: int, inputs: int, *kernel: int) -> None:
        weight = torch.randn(outputs, inputs, *kernel, generator=self.generator)
        self.state[f"{name}.weight"] = weight * (2 / weight[0].numel()) ** 0.5

    def norm(self, name: str, size: int) -> None:
        draw = torch.rand(4, size, generator=self.generator)
        self.state |= {
            f"{name}.weight": 0.3 + 0.4 * draw[0],
            f"{name}.bias": 0.4 * draw[1] - 0.2,
            f"{name}.running_mean": 0.4 * draw[2] - 0.2,
            f"{name}.running_var": 0.5 + draw[3],
            f"{name}.num_batches_tracked": torch.tensor(7),
        }

    def unit(self, name: str, outputs: int, inputs: int, *kernel: int) -> None:
        self.conv(f"{name}.conv", outputs, inputs, *kernel)
        self.norm(f"{name}.bn", outputs)

    def linear(self, name: str, outputs: int, inputs: int) -> None:
        self.state[f"{name}.weight"] = torch.randn(outputs, inputs, generator=self.generator)
        self.state[f"{name}.bias"] = torch.zeros(outputs)

    def pathway(
        self, at: str, blocks: list[int], stages: list[tuple[int, int, bool]], *conv1: int
    ) -> None:
        """`stages` are (input channels, width, inflated); `conv1` is (outputs, inputs, kernel)."""
        self.unit(f"{at}.conv1", *conv1)
        for n, ((inputs, width, inflated), count) in enumerate(zip(stages, blocks, strict=True), 1):
            for i in range(count):
                block = f"{at}.layer{n}.{i}"
                first = inputs if i == 0 else 4 * width
                self.unit(f"{block}.conv1", width, first, 3 if inflated else 1, 1, 1)
                self.unit(f"{block}.conv2", width, width, 1, 3, 3)
                self.unit(f"{block}.conv3", 4 * width, width, 1, 1, 1)
            self.unit(f"{at}.layer{n}.0.downsample", 4 * width, inputs, 1, 1, 1)


def slowfast_file() -> State:
    made = Official()
    slow = [(80, 64, False), (320, 128, False), (640, 256, True), (1280, 512, True)]
    fast = [(8, 8, True), (32, 16, True), (64, 32, True), (128, 64, True)]
    made.pathway("backbone.slow_path", [3, 4, 23, 3], slow, 64, 3, 1, 7, 7)
    made.pathway("backbone.fast_path", [3, 4, 23, 3], fast, 8, 3, 5, 7, 7)
    for stage, channels in {"conv1": 8, "layer1": 32, "layer2": 64, "layer3": 128}.items():
        lateral = f"backbone.slow_path.{stage}_lateral.conv"
        made.conv(lateral, 2 * channels, channels, 7, 1, 1)
    made.linear("cls_head.fc_cls", 400, 2304)
    return made.state


def slowonly_file() -> State:
    made = Official()
    stages = [(64, 64, False), (256, 128, False), (512, 256, True), (1024, 512, True)]
    made.pathway("backbone", [3, 4, 6, 3], stages, 64, 2, 1, 7, 7)
    made.linear("cls_head.fc_cls", 400, 2048)
    return made.state


def vggsound_file() -> State:
    made = Official()
    made.conv("audnet.conv1", 64, 1, 7, 7)
    made.norm("audnet.bn1", 64)
    inputs = 64
    for n, width in enumerate((64, 128, 256, 512), 1):
        for i in range(2):
            block = f"audnet.layer{n}.{i}"
            made.conv(f"{block}.conv1", width, inputs, 3, 3)
            made.norm(f"{block}.bn1", width)
            made.conv(f"{block}.conv2", width, width, 3, 3)
            made.norm(f"{block}.bn2", width)
            if inputs != width:
                made.conv(f"{block}.downsample.0", width, inputs, 1, 1)
                made.norm(f"{block}.downsample.1", width)
            inputs = width
    made.linear("audnet.fc", 309, 512)
    return made.state


@cache
def official(name: str) -> State:
    makers: dict[str, Callable[[], State]] = {
        "slowfast_r101": slowfast_file,
        "slowonly_r50_flow": slowonly_file,
        "vggsound_resnet18": vggsound_file,
    }
    return makers[name]()


def wrapped(name: str, state: State) -> dict[str, object]:
    """Return the content of a file as its authors distribute it."""
    if name == "vggsound_resnet18":
        return {"epoch": 10, "model_state_dict": state}
    return {"meta": {"epoch": 256, "env_info": "text"}, "state_dict": state}


def write(name: str, folder: Path) -> Path:
    """Write the file of one encoder into a folder, and return it."""
    path = folder / f"{name}.pth"
    torch.save(wrapped(name, official(name)), path)
    return path
