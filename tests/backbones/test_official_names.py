"""Which checkpoints are official, and where they are looked for."""

from pathlib import Path

import pytest

from benchmark import backbones
from benchmark.backbones import official

OPENMMLAB = "https://download.openmmlab.com/mmaction/recognition"


def test_the_encoders_of_the_public_code_name_its_files() -> None:
    found = {n: backbones.checkpoint(n) for n in ("slowfast_r101", "slowonly_r50_flow")}
    rgb, flow = found.values()
    assert rgb and flow
    stem = "slowfast_r101_8x8x1_256e_kinetics400_rgb"
    assert rgb.url == f"{OPENMMLAB}/slowfast/{stem}/{stem}_20210218-0dd54025.pth"
    assert (rgb.file, rgb.digest) == (f"{stem}_20210218-0dd54025.pth", "0dd54025")
    stem = "slowonly_r50_8x8x1_256e_kinetics400_flow"
    assert flow.url == f"{OPENMMLAB}/slowonly/{stem}/{stem}_20200704-6b384243.pth"
    assert (flow.file, flow.digest) == (f"{stem}_20200704-6b384243.pth", "6b384243")
    audio = backbones.checkpoint("vggsound_resnet18")
    assert audio and audio.url.endswith("robots.ox.ac.uk/~vgg/data/vggsound/models/H.pth.tar")
    assert (audio.names, audio.digest) == (("vggsound_avgpool.pth.tar", "H.pth.tar"), "")


@pytest.mark.parametrize("name", ["r3d_18", "s3d", "mvit_v2_s"])
def test_torchvisions_encoders_name_torchvisions_files(name: str) -> None:
    from torchvision.models import get_model_weights

    checkpoint = backbones.checkpoint(name)
    assert checkpoint and len(checkpoint.digest) == 8
    assert checkpoint.url == get_model_weights(name).DEFAULT.url


def test_an_encoder_has_a_checkpoint_exactly_where_it_has_frozen_stages() -> None:
    shapes = {"slowonly_r50_flow": (2, 4, 32, 32), "vggsound_resnet18": (1, 65, 100)}
    small = {"mlp", "signal_cnn", "skeleton_cnn", "depth_cnn", "hust_cnn"}
    small |= {"tiny_video", "tiny_flow", "tiny_audio"}
    for name in small:
        assert backbones.checkpoint(name) is None
    for name, shape in shapes.items():
        assert backbones.checkpoint(name) is not None
        assert list(backbones.create(name, shape).stem.parameters())


def test_the_first_folder_that_has_the_file_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    homes = (tmp_path / "mine", tmp_path / "data")
    checkpoint = official.Checkpoint("https://somewhere/H.pth", used_as="audio.pth")
    places = [*(home / "checkpoints" for home in homes), tmp_path / "torch" / "hub" / "checkpoints"]
    assert list(official.folders(homes)) == places
    assert official.find(checkpoint, homes) is None
    for place, name in zip(reversed(places), ("H.pth", "audio.pth", "H.pth"), strict=True):
        place.mkdir(parents=True)
        (place / name).touch()
        assert official.find(checkpoint, homes) == place / name
