"""The small encoders."""

import pytest
import torch
from torch import nn

from benchmark import backbones
from benchmark.backbones.base import Encoder
from benchmark.backbones.small import MeanAndDeviation, MeanAndMax
from mmdg_common import UsageError

CASES = [
    ("mlp", (16,)),
    ("signal_cnn", (3, 128)),
    ("signal_cnn", (4, 16)),
    ("signal_cnn", (4, 24)),
    ("skeleton_cnn", (3, 48, 20)),
    ("depth_cnn", (1, 16, 48, 48)),
    ("window_cnn", (6, 50)),
    ("window_cnn", (3, 16)),
    ("frames_cnn", (1, 5, 12, 16)),
]
each_case = pytest.mark.parametrize(("name", "shape"), CASES)


def build(name: str, shape: tuple[int, ...]) -> Encoder:
    torch.manual_seed(0)
    return backbones.create(name, shape)


@each_case
def test_embeds_a_batch_in_the_declared_dimension(name: str, shape: tuple[int, ...]) -> None:
    encoder = build(name, shape)
    embedding = encoder.tail(encoder.stem(torch.randn(5, *shape)))
    assert embedding.shape == (5, encoder.dim)
    assert embedding.isfinite().all()


@each_case
def test_is_small_and_the_stem_has_nothing_to_train(name: str, shape: tuple[int, ...]) -> None:
    encoder = build(name, shape)
    assert sum(p.numel() for p in encoder.parameters()) < 1_000_000
    assert 64 <= encoder.dim <= 128
    assert not list(encoder.stem.parameters())
    assert not [m for m in encoder.modules() if isinstance(m, nn.modules.dropout._DropoutNd)]


@each_case
def test_trains_on_a_batch_of_one(name: str, shape: tuple[int, ...]) -> None:
    encoder = build(name, shape).train()
    x = torch.randn(1, *shape)
    embedding = encoder.tail(encoder.stem(x))
    embedding.square().sum().backward()
    gradients = [p.grad for p in encoder.tail.parameters()]
    assert embedding.shape == (1, encoder.dim)
    assert all(g is not None and g.isfinite().all() for g in gradients)


@each_case
def test_every_parameter_learns(name: str, shape: tuple[int, ...]) -> None:
    encoder = build(name, shape).train()
    encoder.tail(torch.randn(8, *shape)).square().sum().backward()
    for parameter_name, p in encoder.tail.named_parameters():
        assert p.grad is not None and p.grad.abs().sum() > 0, parameter_name


@each_case
def test_functional_call_gives_the_same_and_leaves_the_encoder_alone(
    name: str, shape: tuple[int, ...]
) -> None:
    encoder = build(name, shape).eval()
    x = torch.randn(4, *shape)
    weights = {k: p.detach().clone() for k, p in encoder.tail.named_parameters()}
    other = torch.func.functional_call(encoder.tail, weights, (x,))
    assert torch.equal(other, encoder.tail(x))
    before = encoder.tail(x)
    torch.func.functional_call(encoder.tail, {k: p * 2 for k, p in weights.items()}, (x,))
    assert torch.equal(encoder.tail(x), before)


@each_case
def test_evaluation_of_a_sample_ignores_the_rest_of_the_batch(
    name: str, shape: tuple[int, ...]
) -> None:
    encoder = build(name, shape).eval()
    x = torch.randn(3, *shape)
    torch.testing.assert_close(encoder.tail(x)[:1], encoder.tail(x[:1]), atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("name", ["signal_cnn", "skeleton_cnn", "depth_cnn"])
def test_order_in_time_changes_the_embedding(name: str) -> None:
    shape = dict(CASES)[name]
    encoder = build(name, shape).eval()
    x = torch.randn(2, *shape)
    assert not torch.allclose(encoder.tail(x), encoder.tail(x.flip(-1 if len(shape) == 2 else 2)))


@pytest.mark.parametrize(("name", "shape"), CASES[-3:])
def test_inputs_are_standardised_by_what_was_trained_on_alone(
    name: str, shape: tuple[int, ...]
) -> None:
    units = torch.rand(shape[0]).reshape(-1, *[1] * (len(shape) - 1)) * 10 + 1
    x = torch.randn(16, *shape)
    plain, scaled = build(name, shape).train(), build(name, shape).train()
    torch.testing.assert_close(plain.tail(x), scaled.tail(x * units + 5 * units), rtol=0, atol=1e-2)
    # An evaluation, such as that of the target, leaves no trace.
    before = {k: v.clone() for k, v in plain.state_dict().items()}
    plain.eval().tail(x * 100)
    assert all(torch.equal(v, before[k]) for k, v in plain.state_dict().items())


def test_pooling_forgets_where_in_the_window() -> None:
    maps = torch.randn(4, 8, 5, 12, 16)
    pooled = MeanAndMax()(maps)
    assert pooled.shape == (4, 16)
    torch.testing.assert_close(pooled, MeanAndMax()(maps.roll(2, dims=2)))
    torch.testing.assert_close(pooled[1, 3], maps[1, 3].mean())
    torch.testing.assert_close(pooled[1, 11], maps[1, 3].max())
    several = torch.randn(4, 3, 50), torch.randn(4, 8, 7)
    pooled = MeanAndDeviation()(several)
    assert pooled.shape == (4, 22)
    torch.testing.assert_close(pooled[2, 5], several[1][2, 2].mean())
    torch.testing.assert_close(pooled[2, 16], several[1][2, 2].std(correction=0), atol=1e-4, rtol=0)


def test_the_deviation_of_what_is_constant_has_a_gradient() -> None:
    x = torch.zeros(2, 3, 8, requires_grad=True)
    MeanAndDeviation()((x,)).sum().backward()
    assert x.grad is not None and x.grad.isfinite().all()


def test_change_is_the_scaled_step_since_the_sample_before() -> None:
    from benchmark.backbones.small import WithChange

    x = torch.tensor([[[1.0, 3.0, 2.0]]])
    expected = torch.tensor([[[1.0, 3.0, 2.0], [0.0, 4.0, -2.0]]])
    assert torch.equal(WithChange(scale=2.0)(x), expected)


def test_joints_become_channels_without_mixing_time() -> None:
    from benchmark.backbones.small import JointsToChannels

    x = torch.randn(2, 3, 7, 20)
    flat = JointsToChannels()(x)
    assert flat.shape == (2, 60, 7)
    assert torch.equal(flat[1, 1 * 20 + 4], x[1, 1, :, 4])


@pytest.mark.parametrize(
    "name", ["mlp", "signal_cnn", "skeleton_cnn", "depth_cnn", "window_cnn", "frames_cnn"]
)
@pytest.mark.parametrize("rank", range(6))
def test_wrong_rank_names_the_shape_it_wants(name: str, rank: int) -> None:
    shape = (16,) * rank
    if rank == len(dict(CASES)[name]):
        assert backbones.create(name, shape).dim
        return
    with pytest.raises(UsageError, match=name) as caught:
        backbones.create(name, shape)
    assert str(shape) in str(caught.value)
