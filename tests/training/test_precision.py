"""`--precision bf16`: encoders compute in bfloat16, all else stays float32."""

import pytest
import torch
from support import DiesAt, Interrupted, Silent, numbers, tiny_run, tiny_specs
from torch import nn

from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun
from benchmark.records.spec import Protocol
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.model import build


class Notes(nn.Module):
    """Notes the dtype of what passes."""

    def __init__(self, layer):
        super().__init__()
        self.layer, self.seen = layer, []

    def forward(self, x):
        y = self.layer(x)
        self.seen.append(y.dtype)
        return y


def model(precision):
    def encoder():
        return Encoder(Notes(nn.Linear(6, 5)), Notes(nn.Linear(5, 4)), 4)

    return build({"a": encoder, "b": encoder}, 3, Protocol(precision=precision), seed=0)


@pytest.mark.parametrize(
    ("precision", "dtype"), [("fp32", torch.float32), ("bf16", torch.bfloat16)]
)
def test_encoders_compute_in_it_and_what_methods_see_is_float32(precision, dtype):
    made = model(precision)
    features = made.stem({k: torch.randn(8, 6) for k in ("a", "b")}, training=True)
    z = made.embed(features)
    assert made.encoder("a").stem.seen == made.encoder("a").tail.seen == [dtype]
    for tensors in (features, z, made.unimodal(z), {"fused": made.fuse(z)}):
        assert {x.dtype for x in tensors.values()} == {torch.float32}
    made.fuse(z).sum().backward()
    assert {p.grad.dtype for p in made.parameters() if p.grad is not None} == {torch.float32}


def test_a_step_ahead_computes_in_it_too():
    made = model("bf16")
    features = made.stem({k: torch.randn(8, 6) for k in ("a", "b")}, training=True)
    ahead = {k: p * 0.5 for k, p in made.tail_parameters("a").items()}
    z = made.embed(features, {"a": ahead})
    assert made.encoder("a").tail.seen == [torch.bfloat16]
    assert z["a"].dtype == torch.float32


@pytest.mark.parametrize("composition", ["erm", "swad+mbcd"])
def test_a_run_is_another_run_whose_losses_are_near(tmp_path, composition):
    exact, exact_folder = tiny_run(tmp_path, composition)
    mixed, mixed_folder = tiny_run(tmp_path, composition, switches={"precision": "bf16"})
    assert exact.id != mixed.id
    for x, y in zip(exact_folder.metrics(), mixed_folder.metrics(), strict=True):
        losses = x["train"]["loss/fused"], y["train"]["loss/fused"]
        assert losses[0] != losses[1]
        assert losses[1] == pytest.approx(losses[0], rel=0.05)


@pytest.mark.slow
def test_it_resumes_to_the_same_numbers(tmp_path):
    switches = {"precision": "bf16"}
    _, whole = tiny_run(tmp_path / "whole", "mbcd", switches=switches)
    (spec,) = tiny_specs(tmp_path / "cut", "mbcd", switches=switches)
    settings = RunSettings(tmp_path / "cut", threads=1, checkpoint_every=0)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    folder = Store(tmp_path / "cut").folder(spec)
    with pytest.raises(Interrupted):
        TinyRun(spec, dataset, folder, settings).run(DiesAt(5))
    TinyRun(spec, dataset, folder, settings).run(Silent())
    assert numbers(folder) == numbers(whole)
