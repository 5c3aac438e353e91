"""Samples that are loaded as bytes train like the same samples as floats, to the last bit."""

import math
from dataclasses import replace

import pytest
import torch
from support import TINY, Silent, tiny_specs
from torch import Tensor

from benchmark.contract.case import TinyRun
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.speed.bare import train as train_bare
from benchmark.training.loader import Inputs
from datasets.base import ByteScale
from datasets.synthetic import Synthetic
from methods.erm import ERM

SCALE = ByteScale(mean=(100.0, 110.0), std=(60.0, 7.0))


class Bytes(Synthetic):
    """The synthetic dataset with m1 as two channels of bytes, which the augmentation shifts."""

    as_floats = False

    def __init__(self, *arguments):
        super().__init__(*arguments)
        first, *others = self.card.modalities
        scale = None if self.as_floats else SCALE
        first = replace(first, shape=(2, math.prod(first.shape)), scale=scale)
        self.card = replace(self.card, modalities=(first, *others))

    def load(self, sample, modalities, seed):
        tensors = super().load(sample, modalities, seed)
        m1 = tensors["m1"].flatten()
        grey = (torch.stack([m1, -m1]) * 40 + 128).clamp(0, 200).byte() + (seed or 0) % 50
        tensors["m1"] = (
            (grey.float() - torch.tensor([[100.0], [110.0]])) / torch.tensor([[60.0], [7.0]])
            if self.as_floats
            else grey
        )
        return tensors


class Floats(Bytes):
    as_floats = True


@pytest.fixture
def training(tmp_path):
    def make(dataset):
        (spec,) = tiny_specs(
            tmp_path / dataset.__name__, modalities=("m1+m2",), backbones={"m1": "signal_cnn"}
        )
        folder = Store(tmp_path / dataset.__name__).folder(spec)
        settings = RunSettings(tmp_path / dataset.__name__, threads=1)
        return TinyRun(spec, dataset(None, None, TINY), folder, settings)

    return make


@pytest.mark.parametrize("two_views", [False, True])
def test_bytes_and_floats_train_alike(training, monkeypatch, two_views):
    monkeypatch.setattr(ERM, "two_views", two_views)
    runs = []
    for dataset, dtype in ((Bytes, torch.uint8), (Floats, torch.float32)):
        run = training(dataset)
        inputs = next(run.train_part.training_epoch(0))
        assert inputs.tensors["m1"].dtype == dtype
        assert len(inputs.second) == two_views
        run.run(Silent())
        runs.append(run)
    one, other = (run.model.state_dict() for run in runs)
    assert all(torch.equal(one[name], other[name]) for name in other)
    assert runs[0].records == runs[1].records


def test_the_bare_loop_reads_bytes_too(training):
    engine = training(Bytes)
    engine.run(Silent())
    bare = training(Bytes)
    train_bare(bare, epochs=engine.spec.recipe.epochs, evaluates=False)
    one, other = engine.model.state_dict(), bare.model.state_dict()
    assert all(torch.equal(one[name], other[name]) for name in other)


def test_features_out_of_a_cache_are_not_scaled_again():
    x = {"m1": torch.ones(3, 2, 4)}
    inputs = Inputs(x, torch.zeros(3), torch.zeros(3), ("a", "b", "c"), past_stem=True)
    assert inputs.scaled({"m1": SCALE}) is inputs
    assert replace(inputs, past_stem=False).scaled({"m2": SCALE}).tensors["m1"] is x["m1"]


def test_both_views_labels_and_maps_are_pinned(monkeypatch):
    pinned = []
    monkeypatch.setattr(Tensor, "pin_memory", lambda x: pinned.append(x) or x + 1)
    view = {"m1": torch.zeros(2, 3), "m2": (torch.zeros(2, 1), torch.zeros(2, 2))}
    inputs = Inputs(view, torch.zeros(2), torch.zeros(2), ("a", "b"), (view,)).pin_memory()
    assert len(pinned) == 8
    for tensors in (inputs.tensors, *inputs.second):
        assert all(x.eq(1).all() for x in (tensors["m1"], *tensors["m2"]))
    assert inputs.labels.eq(1).all()
    assert inputs.domains.eq(1).all()
