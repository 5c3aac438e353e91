"""`--kernels fast`: other layouts of the same weights, and kernels chosen by speed."""

import pytest
import torch
from support import DiesAt, Interrupted, Silent, tiny_specs
from torch import nn

from benchmark import backbones
from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training import setup


class Pixels(nn.Module):
    """An image of a vector, convolved."""

    def __init__(self, dims):
        super().__init__()
        conv, norm = (nn.Conv2d, nn.BatchNorm2d) if dims == 2 else (nn.Conv3d, nn.BatchNorm3d)
        self.dims = dims
        self.layers = nn.Sequential(conv(2, 3, 2), norm(3), nn.ReLU())

    def forward(self, x):
        x = x.flatten(1)[:, :8].reshape(len(x), 2, *((2, 2, 1)[: self.dims]))
        if self.dims == 3:
            x = torch.cat([x, -x], dim=-1)
        return self.layers(x).flatten(1)


@pytest.fixture(scope="module")
def encoders():
    for dims in (2, 3):
        if (name := f"pixels{dims}") not in backbones.names():

            @backbones.register(name)
            def build(shape, dims=dims):
                return Encoder(nn.Identity(), Pixels(dims), 3)

    return {"m1": "pixels2", "m2": "pixels3"}


@pytest.fixture
def training(tmp_path, encoders):
    def make(where, kernels, **settings):
        (spec,) = tiny_specs(
            tmp_path / where, "swad+mbcd", modalities=("m1+m2",), backbones=encoders
        )
        how = RunSettings(tmp_path / where, threads=1, kernels=kernels, **settings)
        dataset = how.open_dataset(spec.dataset, spec.options)
        return TinyRun(spec, dataset, Store(tmp_path / where).folder(spec), how)

    return make


def layouts(model):
    return {
        (p.ndim, p.is_contiguous(memory_format=layout))
        for p in model.parameters()
        for ndim, layout in ((4, torch.channels_last), (5, torch.channels_last_3d))
        if p.ndim == ndim
    }


def test_the_weights_are_laid_out_anew_and_learn_the_same(training):
    plain = training("plain", "repeatable")
    first = plain.run(Silent())
    fast = training("fast", "fast")
    assert fast.spec.id == plain.spec.id
    assert layouts(fast.model) == {(4, True), (5, True)}
    assert (5, False) in layouts(plain.model)
    second = fast.run(Silent())
    assert layouts(fast.model) == {(4, True), (5, True)}
    for x, y in zip(first.records, second.records, strict=True):
        assert y["train"]["loss/fused"] == pytest.approx(x["train"]["loss/fused"], rel=1e-4)


def test_a_run_goes_on_in_the_same_layout(training):
    whole = training("whole", "fast").run(Silent())
    with pytest.raises(Interrupted):
        training("cut", "fast", checkpoint_every=0).run(DiesAt(5))
    rest = training("cut", "fast", checkpoint_every=0)
    resumed = rest.run(Silent())
    assert layouts(rest.model) == {(4, True), (5, True)}
    assert resumed.records == whole.records


@pytest.mark.parametrize("kernels", ["fast", "repeatable"])
def test_only_fast_kernels_are_tried_out(tmp_path, monkeypatch, kernels):
    monkeypatch.setattr(torch.backends.cudnn, "benchmark", kernels != "fast")
    monkeypatch.setattr(torch.backends.cudnn, "deterministic", kernels == "fast")
    setup.configure(RunSettings(tmp_path, kernels=kernels))
    assert torch.backends.cudnn.benchmark == (kernels == "fast")
    assert torch.backends.cudnn.deterministic == (kernels == "repeatable")
