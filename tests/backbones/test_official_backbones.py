"""The large encoders against independent implementations, and their checkpoint files."""

import hashlib
import pickle
from collections.abc import Callable
from functools import cache
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from benchmark import backbones
from benchmark.backbones.base import Encoder
from benchmark.backbones.checkpoints import sha256
from mmdg_common import UsageError

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


def cases(*names: str) -> pytest.MarkDecorator:
    """Parametrise over encoders; one of them takes seconds."""
    marked = [pytest.param(n, marks=pytest.mark.slow) if n == "mvit_v2_s" else n for n in names]
    return pytest.mark.parametrize("name", marked)


every_encoder = cases(*SHAPES)


def build(name: str, weights: Path | None = None) -> Encoder:
    torch.manual_seed(0)
    return backbones.create(name, SHAPES[name], None if weights is None else str(weights)).eval()


@cache
def untrained(name: str) -> Encoder:
    """Return an encoder that tests share, so they leave it as it is."""
    return build(name)


def batch(name: str, size: int = 2) -> Tensor:
    return torch.randn(size, *SHAPES[name], generator=torch.Generator().manual_seed(1))


def tensors(features: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return features if isinstance(features, tuple) else (features,)


# Official files, written from the description of the architectures alone: every name and shape.


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


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("official")
    for name in OFFICIAL:
        torch.save(wrapped(name, official(name)), folder / f"{name}.pth")
    return {name: folder / f"{name}.pth" for name in OFFICIAL}


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


@every_encoder
def test_the_stem_is_frozen_and_the_tail_trained(name: str) -> None:
    encoder = untrained(name)
    assert not any(p.requires_grad for p in encoder.stem.parameters())
    assert all(p.requires_grad for p in encoder.tail.parameters())
    assert bool(list(encoder.stem.parameters())) == (name not in TINY)


@every_encoder
def test_stem_and_tail_in_two_steps_are_one_pass(name: str) -> None:
    encoder, x = untrained(name), batch(name)
    with torch.no_grad():
        whole = encoder.tail(encoder.stem(x))
        features = encoder.stem(x)
        kept = [f.clone() for f in tensors(features)]
        assert torch.equal(encoder.tail(features), whole)
        assert torch.equal(encoder.tail(features), whole)
        one = encoder.tail(encoder.stem(x[:1]))
    assert all(torch.equal(f, k) for f, k in zip(tensors(features), kept, strict=True))
    assert whole.shape == (2, encoder.dim) and whole.isfinite().all()
    assert (one - whole[:1]).abs().max() < 1e-5 * whole.abs().max()


@every_encoder
def test_the_tail_runs_on_replaced_parameters(name: str) -> None:
    encoder = untrained(name)
    with torch.no_grad():
        features = encoder.stem(batch(name))
        before = encoder.tail(features)
        own = {k: p.clone() for k, p in encoder.tail.named_parameters()}
        other = {k: p * 1.5 for k, p in own.items()}
        call = torch.func.functional_call
        assert torch.equal(call(encoder.tail, own, (features,)), before)
        assert not torch.allclose(call(encoder.tail, other, (features,)), before)
        assert torch.equal(encoder.tail(features), before)


@every_encoder
def test_every_tail_parameter_gets_a_gradient_from_a_batch_of_one(name: str) -> None:
    encoder = build(name)
    encoder.tail.train()
    with torch.no_grad():
        features = encoder.stem(batch(name, 1))
    encoder.tail(features).square().sum().backward()
    without = [k for k, p in encoder.tail.named_parameters() if p.grad is None]
    assert not without


# Files.


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


# Use.


@pytest.mark.parametrize("name", [*TINY, "mlp"])
def test_weights_for_an_encoder_without_any_are_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=f"{name} takes no checkpoint.*vggsound_resnet18"):
        backbones.create(name, SHAPES.get(name, (16,)), str(tmp_path / "x.pth"))


@pytest.mark.parametrize("name", SHAPES)
def test_other_channels_or_another_rank_are_refused(name: str) -> None:
    channels, *rest = SHAPES[name]
    for shape in ((channels + 1, *rest), (channels, *rest, 8), (channels,), ()):
        with pytest.raises(UsageError, match=f"{name} reads samples of shape"):
            backbones.create(name, shape)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("slowfast_r101", (3, 30, 64, 64)),
        ("s3d", (3, 4, 64, 64)),
        ("s3d", (3, 32, 64, 31)),
        ("mvit_v2_s", (3, 32, 112, 112)),
        ("mvit_v2_s", (3, 15, 224, 224)),
        ("tiny_video", (3, 8, 32, 32)),
        ("tiny_flow", (2, 8, 7, 64)),
        ("tiny_audio", (1, 32, 32)),
    ],
)
def test_sizes_that_an_encoder_cannot_read_are_refused(name: str, shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=rf"{name} .*\b{shape[1]}\b.*[cC]hoose"):
        backbones.create(name, shape)


# torchvision.


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


# Tiny encoders.


def moving_square(direction: int, channels: int, frames: int) -> Tensor:
    """Return a clip (channels, frames, 32, 32) in which a square goes right, left, down or up."""
    clip = 0.1 * torch.randn(channels, frames, 32, 32)
    start, across = torch.randint(0, 5, (2,)).tolist()
    for t in range(frames):
        along = start + 20 * t // (frames - 1)
        along = along if direction % 2 == 0 else 24 - along
        y, x = (along, 3 * across) if direction >= 2 else (3 * across, along)
        clip[:, t, y : y + 8, x : x + 8] += 1
    return clip


def tone(pitch: int) -> Tensor:
    """Return a spectrogram (1, 65, 80) of one of four pitches, starting at any time."""
    sound = 0.1 * torch.randn(1, 65, 80)
    start = int(torch.randint(0, 60, ()))
    sound[:, 10 + 12 * pitch : 14 + 12 * pitch, start : start + 20] += 1
    return sound


@pytest.mark.parametrize(
    ("name", "sample"),
    [
        ("tiny_video", lambda c: moving_square(c, 3, 32)),
        ("tiny_flow", lambda c: moving_square(c, 2, 8)),
        ("tiny_audio", tone),
    ],
)
def test_tiny_encoders_learn_what_moves_where_or_sounds_how(
    name: str, sample: Callable[[int], Tensor]
) -> None:
    torch.manual_seed(6)
    labels = torch.arange(48) % 4
    train, test = (torch.stack([sample(int(c)) for c in labels]) for _ in range(2))
    encoder = backbones.create(name, tuple(train.shape[1:]))
    network = nn.Sequential(encoder.stem, encoder.tail, nn.Linear(encoder.dim, 4))
    optimizer = torch.optim.Adam(network.parameters(), 2e-3)
    for _ in range(15):
        for rows in torch.randperm(48).split(16):
            optimizer.zero_grad()
            F.cross_entropy(network(train[rows]), labels[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        correct = (network.eval()(test).argmax(1) == labels).float().mean()
    assert correct > 0.9
    assert sum(p.numel() for p in encoder.parameters()) < 300_000
