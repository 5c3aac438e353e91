"""Which checkpoint files load, and what is said of those that do not."""

import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from official_files import OFFICIAL, SHAPES, TINY, build, official, write

from benchmark import backbones
from benchmark.backbones.checkpoints import sha256
from mmdg_common import UsageError


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("official")
    return {name: write(name, folder) for name in OFFICIAL}


@pytest.mark.parametrize("prefix", ["", "module."])
@pytest.mark.parametrize("wrapper", ["state_dict", "model_state_dict", None])
def test_files_saved_by_training_scripts_load_too(
    prefix: str, wrapper: str | None, tmp_path: Path, files: dict[str, Path]
) -> None:
    name, path = "vggsound_resnet18", tmp_path / "saved.pth"
    state = {prefix + key: value for key, value in official(name).items()}
    torch.save({wrapper: state} if wrapper else state, path)
    ours, theirs = build(name, path).state_dict(), build(name, files[name]).state_dict()
    assert all(torch.equal(ours[key], theirs[key]) for key in theirs)


@pytest.mark.parametrize(
    ("key", "value", "says"),
    [
        ("audnet.layer4.1.bn2.running_var", None, "missing audnet.layer4.1.bn2.running_var"),
        ("audnet.layer5.0.conv1.weight", torch.zeros(1), "unexpected audnet.layer5.0.conv1.weight"),
        ("audnet.conv1.weight", torch.zeros(64, 3, 7, 7), r"\(64, 3, 7, 7\), not \(64, 1, 7, 7\)"),
        ("audnet.conv1.weight", "text", r"misshaped audnet.conv1.weight \(a str\)"),
    ],
)
def test_an_entry_that_is_missing_unexpected_or_misshaped_is_named(
    key: str, value: object, says: str, tmp_path: Path
) -> None:
    name, path = "vggsound_resnet18", tmp_path / "changed.pth"
    state: dict[str, object] = {**official(name), key: value}
    if value is None:
        del state[key]
    torch.save({"model_state_dict": state}, path)
    with pytest.raises(UsageError, match=says) as caught:
        build(name, path)
    assert str(path) in str(caught.value) and key in str(caught.value)


@pytest.mark.parametrize("name", OFFICIAL)
@pytest.mark.parametrize("given", OFFICIAL)
def test_the_file_of_another_architecture_is_refused(
    name: str, given: str, files: dict[str, Path]
) -> None:
    if name == given:
        return
    refused = pytest.raises(UsageError, match=f"does not fit.*encoder {name} starts from")
    with refused as caught, torch.device("meta"):
        build(name, files[given])
    assert str(files[given]) in str(caught.value) and len(str(caught.value)) < 900


@pytest.mark.parametrize("content", [b"", b"a page that says: not found", None, "dir", "tensor"])
@pytest.mark.parametrize("name", ["vggsound_resnet18", "r3d_18"])
def test_what_is_no_checkpoint_is_refused(name: str, content: object, tmp_path: Path) -> None:
    path = tmp_path / "file.pth"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content == "dir":
        path.mkdir()
    elif content == "tensor":
        torch.save(torch.zeros(3), path)
    with pytest.raises(UsageError) as caught:
        build(name, path)
    assert str(path) in str(caught.value) and name in str(caught.value)


class Evil:
    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.target,)


@pytest.mark.parametrize("write", [torch.save, lambda o, p: p.write_bytes(pickle.dumps(o, 2))])
def test_a_pickle_that_would_run_code_is_refused(
    write: Callable[[object, Path], None], tmp_path: Path
) -> None:
    path, target = tmp_path / "evil.pth", tmp_path / "ran"
    write({"model_state_dict": {"audnet.conv1.weight": Evil(target)}}, path)
    with pytest.raises(UsageError, match="not unpickled") as caught:
        build("vggsound_resnet18", path)
    assert str(path) in str(caught.value)
    assert not target.exists()


def test_sha256_is_that_of_the_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"weights")
    assert sha256(str(path)) == hashlib.sha256(b"weights").hexdigest()


@pytest.mark.parametrize("name", [*TINY, "mlp"])
def test_weights_for_an_encoder_without_any_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{name} takes no checkpoint.*vggsound_resnet18"):
        backbones.create(name, SHAPES.get(name, (16,)), str(tmp_path / "x.pth"))
