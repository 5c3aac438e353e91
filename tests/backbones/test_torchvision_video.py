"""The encoders of torchvision, and their files."""

from functools import cache
from pathlib import Path

import pytest
import torch
from official_files import SHAPES, build
from torch import nn

from benchmark import backbones
from mmdg_common import UsageError


@cache
def torchvision_network(name: str) -> nn.Module:
    from torchvision.models import get_model

    torch.manual_seed(4)
    network: nn.Module = get_model(name, weights=None).eval()
    for m in network.modules():
        if isinstance(m, nn.BatchNorm3d):
            nn.init.uniform_(m.running_mean, -0.2, 0.2)  # type: ignore[arg-type]
            nn.init.uniform_(m.running_var, 0.5, 1.5)  # type: ignore[arg-type]
    return network


@pytest.mark.parametrize(
    ("name", "shape", "classifier"),
    [
        ("r3d_18", (3, 8, 40, 33), "fc"),
        ("s3d", (3, 16, 224, 224), "classifier"),
        pytest.param("s3d", (3, 32, 224, 256), "classifier", marks=pytest.mark.slow),
        pytest.param("mvit_v2_s", (3, 32, 224, 224), "head", marks=pytest.mark.slow),
    ],
)
def test_a_torchvision_file_gives_torchvisions_features(
    name: str, shape: tuple[int, ...], classifier: str, tmp_path: Path
) -> None:
    network, path = torchvision_network(name), tmp_path / "file.pth"
    torch.save(network.state_dict(), path)
    encoder = backbones.create(name, shape, str(path)).eval()
    x = torch.randn(1, *shape, generator=torch.Generator().manual_seed(5))
    head = network.get_submodule(classifier)
    setattr(network, classifier, nn.Identity())
    try:
        with torch.no_grad():
            expected = network(x[:, :, 1::2] if name == "mvit_v2_s" else x)
            embedding = encoder.tail(encoder.stem(x))
    finally:
        setattr(network, classifier, head)
    assert expected.std() > 1e-3
    torch.testing.assert_close(embedding, expected, atol=1e-5, rtol=1e-5)


def test_a_member_of_torchvisions_weights_is_taken_from_its_cache(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    cached = tmp_path / "hub" / "checkpoints" / "s3d-d76dad2f.pth"
    cached.parent.mkdir(parents=True)
    state = torchvision_network("s3d").state_dict()
    torch.save(state, cached)
    encoder = backbones.create("s3d", SHAPES["s3d"], "KINETICS400_V1")
    assert torch.equal(encoder.stem.state_dict()["0.0.0.weight"], state["features.0.0.0.weight"])


def test_a_failed_download_names_the_address(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path))
    for variable in ("http_proxy", "https_proxy"):
        monkeypatch.setenv(variable, "http://127.0.0.1:9")
    with pytest.raises(UsageError, match=r"download\.pytorch\.org/models/s3d-d76dad2f\.pth"):
        backbones.create("s3d", SHAPES["s3d"], "KINETICS400_V1")


def test_neither_a_file_nor_a_member_lists_the_members() -> None:
    with pytest.raises(UsageError, match=r"no file KINETICS.*R3D_18_Weights.*KINETICS400_V1"):
        backbones.create("r3d_18", SHAPES["r3d_18"], "KINETICS")


def test_a_missing_entry_of_a_torchvision_file_is_named(tmp_path: Path) -> None:
    state = dict(torchvision_network("s3d").state_dict())
    state.pop("features.15.branch0.0.weight")
    torch.save(state, tmp_path / "s3d.pth")
    with pytest.raises(UsageError, match=r"s3d\.pth .*missing features\.15\.branch0\.0\.weight"):
        build("s3d", tmp_path / "s3d.pth")
