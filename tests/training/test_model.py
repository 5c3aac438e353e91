import pytest
import torch
from torch import nn

from benchmark.backbones.base import Encoder, Maps
from benchmark.records.spec import Protocol
from benchmark.training.model import HEAD_WIDTH, build

DIMS = {"a": 4, "b": 6}


def encoder(k):
    tail = nn.Sequential(nn.Linear(3, DIMS[k]), nn.BatchNorm1d(DIMS[k]))
    stem = nn.Sequential(nn.Linear(3, 3), nn.BatchNorm1d(3))
    return Encoder(stem, tail, DIMS[k])


def make(modalities=("a", "b"), seed=0, **switches):
    makers = {k: (lambda k=k: encoder(k)) for k in modalities}
    return build(makers, 5, Protocol(**switches), seed)


def features(modalities=("a", "b"), size=7):
    generator = torch.Generator().manual_seed(3)
    return {k: torch.randn(size, 3, generator=generator) for k in modalities}


def test_one_seed_gives_the_same_weights_and_another_seed_others():
    first, again, other = make().state_dict(), make().state_dict(), make(seed=1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert not torch.equal(first["fusion.0.weight"], other["fusion.0.weight"])


def test_a_modality_starts_from_the_same_weights_in_every_subset():
    both, alone = make().state_dict(), make(("b",)).state_dict()
    for name, value in alone.items():
        if "fusion" not in name:
            assert torch.equal(value, both[name]), name


def test_building_leaves_the_global_random_stream_alone():
    torch.manual_seed(0)
    expected = torch.rand(3)
    torch.manual_seed(0)
    make()
    assert torch.equal(torch.rand(3), expected)


def test_stem_parameters_are_frozen_and_tail_parameters_are_trained():
    model = make()
    assert not any(p.requires_grad for p in model.encoder("a").stem.parameters())
    assert set(model.tail_parameters("a")) == {"0.weight", "0.bias", "1.weight", "1.bias"}


@pytest.mark.parametrize(("frozen_bn", "moves"), [("eval", False), ("train", True)])
def test_batch_norm_in_the_stem_follows_the_batches_only_when_told(frozen_bn, moves):
    model = make(frozen_bn=frozen_bn).train()
    before = model.encoder("a").stem[1].running_mean.clone()
    model.stem(features(), training=False)
    assert torch.equal(before, model.encoder("a").stem[1].running_mean)
    model.stem(features(), training=True)
    assert torch.equal(before, model.encoder("a").stem[1].running_mean) is not moves


def test_the_fusion_head_reads_the_concatenated_normalised_embeddings():
    model = make().eval()
    z = model.embed(features())
    expected = torch.cat([nn.functional.layer_norm(z[k], (DIMS[k],)) for k in DIMS], dim=1)
    assert torch.allclose(model.fuse(z), model.fusion(expected), atol=1e-6)
    assert model.fusion[0].in_features == sum(DIMS.values())
    assert model.fusion[0].out_features == HEAD_WIDTH


def test_without_neck_the_heads_read_the_embeddings_themselves():
    model = make(neck="none").eval()
    z = model.embed(features())
    assert torch.equal(model.fuse(z), model.fusion(torch.cat([z["a"], z["b"]], dim=1)))
    assert torch.equal(model.unimodal(z)["a"], model.heads["a"](z["a"]))


def test_embeddings_come_before_the_neck():
    model = make().eval()
    z = model.embed(features())
    assert torch.equal(z["a"], model.encoder("a").tail(features()["a"]))


def test_a_mask_zeroes_a_modality_after_the_neck_and_rescales_nothing():
    model = make().eval()
    with torch.no_grad():
        model.necks["a"].bias.fill_(2.0)  # zero before the neck would leave this behind
    z = model.embed(features())
    keep = torch.tensor([True, False] * 3 + [True])
    fused = model.fuse(z, {"a": keep})
    a, b = (model.necks[k](z[k]) for k in ("a", "b"))
    expected = model.fusion(torch.cat([a * keep.unsqueeze(1), b], dim=1))
    assert torch.equal(fused, expected)


def test_stand_in_parameters_are_used_and_batch_norm_runs_on_copies():
    model = make().train()
    shifted = {k: {n: p + 0.5 for n, p in model.tail_parameters(k).items()} for k in DIMS}
    before = {n: b.clone() for n, b in model.named_buffers()}
    z = model.embed(features(), shifted)
    assert all(torch.equal(before[n], b) for n, b in model.named_buffers())
    with torch.no_grad():
        for k in DIMS:
            for p in model.tail_parameters(k).values():
                p += 0.5
    assert torch.allclose(model.embed(features())["b"], z["b"])
    assert not torch.equal(
        before["encoders.a.tail.1.running_mean"], model.encoder("a").tail[1].running_mean
    )


def test_gradients_flow_through_stand_in_parameters():
    model = make().train()
    ahead = {k: {n: p * 1.0 for n, p in model.tail_parameters(k).items()} for k in DIMS}
    model.fuse(model.embed(features(), ahead)).sum().backward()
    assert model.encoder("a").tail[0].weight.grad is not None


def test_embedding_dropout_acts_in_training_only():
    model = make(embedding_dropout=0.5)
    assert (model.train().embed(features())["a"] == 0).any()
    assert not (model.eval().embed(features())["a"] == 0).any()


def test_a_branch_is_what_only_one_modality_uses():
    model = make()
    model.eval()
    mine = {id(p) for part in model.branch("a") for p in part.parameters()}
    model.unimodal(model.embed(features()))["a"].sum().backward()
    with_gradient = {id(p) for p in model.parameters() if p.grad is not None}
    assert with_gradient == {i for i in mine if i in with_gradient}
    assert len(with_gradient) == sum(
        p.requires_grad for m in model.branch("a") for p in m.parameters()
    )


def test_switches_can_differ_between_modalities():
    model = make(
        frozen_bn={"a": "train", "b": "eval"}, embedding_dropout={"a": 0.0, "b": 0.9}
    ).train()
    before = {k: model.encoder(k).stem[1].running_mean.clone() for k in DIMS}
    made = model.stem(features(), training=True)
    moved = {k: not torch.equal(before[k], model.encoder(k).stem[1].running_mean) for k in DIMS}
    assert moved == {"a": True, "b": False}
    z = model.embed(made)
    assert not (z["a"] == 0).any() and (z["b"] == 0).any()


def test_a_fixed_neck_normalises_and_is_never_trained():
    fixed, trained = make(neck="fixed-layernorm").eval(), make().eval()
    z = fixed.embed(features())
    assert torch.equal(fixed.fuse(z), trained.fuse(z))
    assert not any(p.requires_grad for p in fixed.necks.parameters())
    assert all(p.requires_grad for p in trained.necks.parameters())


class Pathways(nn.Module):
    """A tail of two pathways, pooled together."""

    def __init__(self):
        super().__init__()
        self.maps = Maps()

    def forward(self, x):
        first, second = self.maps((x[:, :2], x[:, 2:]))
        return torch.cat([first.mean(2), second.mean(2)], dim=1)


def test_feature_maps_are_edited_where_they_enter_and_where_they_are_pooled():
    makers = {
        "frozen": lambda: Encoder(nn.Conv1d(4, 4, 1), Pathways(), 4),
        "small": lambda: Encoder(nn.Identity(), nn.Linear(3, 3), 3),
    }
    model = build(makers, 5, Protocol(), 0).eval()
    x = {"frozen": torch.randn(6, 4, 9), "small": torch.randn(6, 3)}
    made = model.stem(x, training=False)
    plain, seen = model.embed(made), []

    def double(features):
        seen.append(features)
        return tuple(2 * f for f in features) if isinstance(features, tuple) else 2 * features

    with model.features_edited(double):
        edited = model.embed(made)
    assert [type(s) for s in seen] == [torch.Tensor, tuple, torch.Tensor]
    assert torch.equal(seen[0], made["frozen"])
    assert torch.allclose(edited["frozen"], 4 * plain["frozen"])
    assert torch.allclose(edited["small"], 2 * plain["small"])
    assert torch.equal(model.embed(made)["frozen"], plain["frozen"])
