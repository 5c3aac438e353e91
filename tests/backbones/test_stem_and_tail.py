"""What holds of every encoder for clips, flow and spectrograms."""

from functools import cache

import pytest
import torch
from official_files import SHAPES, TINY, build
from torch import Tensor

from benchmark import backbones
from benchmark.backbones.base import Encoder
from mmdg_common import UsageError


def cases(*names: str) -> pytest.MarkDecorator:
    """Parametrise over encoders; one of them takes seconds."""
    marked = [pytest.param(n, marks=pytest.mark.slow) if n == "mvit_v2_s" else n for n in names]
    return pytest.mark.parametrize("name", marked)


every_encoder = cases(*SHAPES)


@cache
def untrained(name: str) -> Encoder:
    """Return an encoder that tests share, so they leave it as it is."""
    return build(name)


def batch(name: str, size: int = 2) -> Tensor:
    return torch.randn(size, *SHAPES[name], generator=torch.Generator().manual_seed(1))


def tensors(features: Tensor | tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    return features if isinstance(features, tuple) else (features,)


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
