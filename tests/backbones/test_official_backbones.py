"""The encoders of the public code against independent implementations."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from official_files import OFFICIAL, State, build, official, write
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark import backbones


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("official")
    return {name: write(name, folder) for name in OFFICIAL}


# The same architectures as plain functions of official names.


def norm(w: State, at: str, x: Tensor) -> Tensor:
    statistics = w[f"{at}.running_mean"], w[f"{at}.running_var"]
    return F.batch_norm(x, *statistics, w[f"{at}.weight"], w[f"{at}.bias"], False, 0.1, 1e-5)


def unit(w: State, at: str, x: Tensor, stride: int = 1, pad: tuple[int, ...] = (0, 0, 0)) -> Tensor:
    x = F.conv3d(x, w[f"{at}.conv.weight"], None, (1, stride, stride), pad)
    return norm(w, f"{at}.bn", x)


def enter(w: State, at: str, x: Tensor, pad_time: int) -> Tensor:
    x = F.relu(unit(w, f"{at}.conv1", x, 2, (pad_time, 3, 3)))
    return F.max_pool3d(x, (1, 3, 3), (1, 2, 2), (0, 1, 1))


def stage(w: State, at: str, x: Tensor, blocks: int) -> Tensor:
    inflated = "fast_path" in at or at[-1] in "34"
    for i in range(blocks):
        stride = 2 if i == 0 and at[-1] != "1" else 1
        y = F.relu(unit(w, f"{at}.{i}.conv1", x, 1, (1, 0, 0) if inflated else (0, 0, 0)))
        y = F.relu(unit(w, f"{at}.{i}.conv2", y, stride, (0, 1, 1)))
        y = unit(w, f"{at}.{i}.conv3", y)
        x = F.relu(y + (unit(w, f"{at}.{i}.downsample", x, stride) if i == 0 else x))
    return x


def slowfast_reference(w: State, x: Tensor) -> Tensor:
    slow_at, fast_at = "backbone.slow_path", "backbone.fast_path"

    def fuse(slow: Tensor, fast: Tensor, name: str) -> Tensor:
        weight = w[f"{slow_at}.{name}_lateral.conv.weight"]
        return torch.cat([slow, F.conv3d(fast, weight, None, (4, 1, 1), (3, 0, 0))], dim=1)

    slow = F.interpolate(x, scale_factor=(0.25, 1.0, 1.0), mode="nearest")
    slow, fast = enter(w, slow_at, slow, 0), enter(w, fast_at, x, 2)
    slow = fuse(slow, fast, "conv1")
    for n, blocks in ((1, 3), (2, 4), (3, 23), (4, 3)):
        slow = stage(w, f"{slow_at}.layer{n}", slow, blocks)
        fast = stage(w, f"{fast_at}.layer{n}", fast, blocks)
        if n < 4:
            slow = fuse(slow, fast, f"layer{n}")
    pooled = [F.adaptive_avg_pool3d(z, 1).flatten(1) for z in (fast, slow)]
    return torch.cat(pooled, dim=1)


def slowonly_reference(w: State, x: Tensor) -> Tensor:
    x = enter(w, "backbone", x, 0)
    for n, blocks in ((1, 3), (2, 4), (3, 6), (4, 3)):
        x = stage(w, f"backbone.layer{n}", x, blocks)
    return F.adaptive_avg_pool3d(x, 1).flatten(1)


def vggsound_reference(w: State, x: Tensor) -> Tensor:
    from torchvision.models import resnet18

    network = resnet18(num_classes=309)
    network.conv1 = nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    network.load_state_dict({k.removeprefix("audnet."): v for k, v in w.items()}, strict=True)
    network.fc = nn.Identity()
    return network.eval()(x)


# What must hold.


@pytest.mark.parametrize(
    ("name", "shape", "parameters", "entries", "head"),
    [
        ("slowfast_r101", (3, 32, 224, 224), 61_990_312, 1252, 0),
        ("slowonly_r50_flow", (2, 8, 224, 224), 31_631_360, 318, 0),
        ("vggsound_resnet18", (1, 257, 1004), 11_328_757, 122, 309),
    ],
)
def test_has_exactly_the_official_number_of_parameters_and_entries(
    name: str, shape: tuple[int, ...], parameters: int, entries: int, head: int
) -> None:
    with torch.device("meta"):
        encoder = backbones.create(name, shape)
    count = sum(p.numel() for p in encoder.parameters()) + head * (encoder.dim + 1)
    assert (count, len(encoder.state_dict()) + (2 if head else 0)) == (parameters, entries)


@pytest.mark.parametrize(
    ("name", "shape", "reference"),
    [
        ("slowfast_r101", (3, 8, 32, 48), slowfast_reference),
        ("slowfast_r101", (3, 12, 45, 39), slowfast_reference),
        pytest.param("slowfast_r101", (3, 32, 64, 64), slowfast_reference, marks=pytest.mark.slow),
        ("slowonly_r50_flow", (2, 8, 64, 48), slowonly_reference),
        ("slowonly_r50_flow", (2, 5, 47, 61), slowonly_reference),
        ("vggsound_resnet18", (1, 257, 200), vggsound_reference),
        ("vggsound_resnet18", (1, 101, 83), vggsound_reference),
    ],
)
def test_an_official_file_gives_the_embeddings_of_the_reference_architecture(
    name: str,
    shape: tuple[int, ...],
    reference: Callable[[State, Tensor], Tensor],
    files: dict[str, Path],
    record_property: Callable[[str, object], None],
) -> None:
    encoder = build(name, files[name])
    x = torch.randn(2, *shape, generator=torch.Generator().manual_seed(3))
    with torch.no_grad():
        expected = reference(official(name), x)
        embedding = encoder.tail(encoder.stem(x))
    error = (embedding - expected).abs().max().item()
    record_property("error", error)
    assert embedding.shape == (2, encoder.dim)
    assert expected.std() > 0.01 and not torch.allclose(expected[0], expected[1], atol=0.01)
    assert error < 1e-4
    counters = [b for k, b in encoder.named_buffers() if k.endswith("num_batches_tracked")]
    assert {int(b) for b in counters} == {7}


def test_slowfast_and_slowonly_features_have_the_documented_sizes() -> None:
    with torch.device("meta"):
        rgb = backbones.create("slowfast_r101", (3, 32, 224, 224))
        flow = backbones.create("slowonly_r50_flow", (2, 8, 256, 256))
        audio = backbones.create("vggsound_resnet18", (1, 257, 1004))
        slow, fast = rgb.stem(torch.empty(1, 3, 32, 224, 224))
        assert slow.shape == (1, 1280, 8, 14, 14) and fast.shape == (1, 128, 32, 14, 14)
        assert flow.stem(torch.empty(1, 2, 8, 256, 256)).shape == (1, 1024, 8, 16, 16)
        assert audio.stem(torch.empty(1, 1, 257, 1004)).shape == (1, 256, 17, 63)
