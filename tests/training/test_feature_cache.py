"""Runs with a feature cache: the same numbers, and nothing that is computed twice."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import TINY, Silent, numbers, tiny_specs
from torch import nn

from benchmark import backbones
from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun
from benchmark.launch.execute import execute
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training import feature_store
from benchmark.training.feature_cache import FeatureCache
from datasets.synthetic import Synthetic
from mmdg_common import UsageError


class Stem(nn.Module):
    """Frozen stages that count the samples they see."""

    seen = 0
    scale = 1.0

    def __init__(self, size):
        super().__init__()
        with torch.random.fork_rng():
            torch.manual_seed(0)  # as a checkpoint has it: the same for every seed of a run
            first = nn.Linear(size, 8)
        self.layers = nn.Sequential(nn.Flatten(), first, nn.BatchNorm1d(8), nn.ReLU())

    def forward(self, x):
        Stem.seen += len(x)
        z = self.scale * self.layers(x)
        return z, 1000 * z[:, :3]


class Tail(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(11, 6)

    def forward(self, features):
        return self.layer(torch.cat([features[0], features[1] / 1000], dim=1))


class Augmented(Synthetic):
    """The synthetic dataset, with noise as augmentation; counts what it loads."""

    loaded = 0

    def load(self, sample, modalities, seed):
        Augmented.loaded += 1
        tensors = super().load(sample, modalities, seed)
        if seed is None:
            return tensors
        noise = torch.Generator().manual_seed(seed)
        return {k: x + torch.randn(x.shape, generator=noise) for k, x in tensors.items()}


@pytest.fixture
def stemmed():
    if "stemmed" not in backbones.names():

        @backbones.register("stemmed")
        def build(shape):
            return Encoder(Stem(torch.Size(shape).numel()), Tail(), 6)

    Stem.seen = Augmented.loaded = 0
    return "stemmed"


@pytest.fixture
def trained(tmp_path, stemmed):
    """Return a function that carries out a run and returns its training and its record."""

    def train(where, composition="erm", cache=None, workers=0, watcher=None, **changes):
        switches = changes.pop("switches", {})
        (spec,) = tiny_specs(
            tmp_path / where,
            composition,
            backbones={"m1": stemmed},
            modalities=("m1+m2",),
            switches=switches,
            **changes,
        )
        folder = Store(tmp_path / where).folder(spec)
        settings = RunSettings(tmp_path / where, threads=1, feature_cache=cache, workers=workers)
        training = TinyRun(spec, Augmented(None, None, TINY), folder, settings)
        training.run(watcher or Silent())
        return training, folder

    return train


def files(folder):
    return sorted(p for p in folder.rglob("*") if p.is_file())


def close(a, b, tolerance):
    """Compare logits of two records' predictions, and the losses of all validations."""
    for x, y in zip(a.metrics(), b.metrics(), strict=True):
        assert x["val"]["fused"]["loss"] == pytest.approx(y["val"]["fused"]["loss"], abs=tolerance)
        for name, value in x["train"].items():
            assert y["train"][name] == pytest.approx(value, abs=tolerance), name


@pytest.mark.parametrize("composition", ["erm", "swad+mbcd"])
@pytest.mark.parametrize("views", [0, 3])
def test_a_run_with_a_cache_has_the_numbers_of_one_without(trained, tmp_path, composition, views):
    switches = {"views": views} if views else {}
    plain, without = trained("without", composition, switches=switches)
    kept, record = trained("with", composition, tmp_path / "kept", switches=switches)
    assert kept.spec.id == plain.spec.id
    close(without, record, 1e-5)
    state = plain.model.state_dict()
    assert all(torch.allclose(x, state[n], atol=1e-5) for n, x in kept.model.state_dict().items())


@pytest.mark.parametrize("views", [0, 2])
def test_another_method_seed_and_split_compute_nothing_that_is_kept(trained, tmp_path, views):
    switches, cache = {"views": views}, tmp_path / "kept"
    train = {"recipe": {"epochs": 3}, "switches": switches}
    training, _ = trained("first", "erm", cache, **train)
    of_training = 0 if views else 3 * training.train_part.steps * 8
    per_split = Stem.seen - of_training
    parts = (training.train_part, training.val_part, training.target_part)
    everything = sum(len(part.samples) for part in parts)
    assert per_split == everything + views * len(training.train_part.samples)
    assert Stem.seen == Augmented.loaded
    for composition, seed in (("erm", 1), ("mbcd", 0), ("swad+joint", 2)):
        before = Stem.seen, Augmented.loaded
        trained(f"{composition}{seed}", composition, cache, seeds=(seed,), **train)
        assert Stem.seen - before[0] == Augmented.loaded - before[1] == of_training
    before = len(files(cache))
    trained("other split", "erm", cache, sources=("d1", "d3"), target="d2", **train)
    # d3 trains now: its views, and its samples of the other role.
    assert len(files(cache)) - before < before


def test_every_k_epochs_show_each_of_k_views_once_and_seeds_start_elsewhere(trained):
    training, _ = trained("run", switches={"views": 4})
    part = training.train_part
    shown = {s.id: [part._draws(s, epoch)[0][0] for epoch in range(8)] for s in part.samples}
    assert all(sorted(views[:4]) == sorted(views[4:]) == [0, 1, 2, 3] for views in shown.values())
    assert len({views[0] for views in shown.values()}) == 4
    seed_1, _ = trained("other", switches={"views": 4}, seeds=(1,))
    first = {s.id: seed_1.train_part._draws(s, 0)[0] for s in part.samples}
    assert any(first[name][0] != views[0] for name, views in shown.items())
    again = {s.id: part._draws(s, e)[0] for s in part.samples for e in range(4)}
    seeds = {(name, view): seed for name, (view, seed) in first.items()}
    assert all(seeds.get((name, view), seed) == seed for name, (view, seed) in again.items())


@pytest.mark.parametrize(("dtype", "error"), [("fp16", 2**-10), ("bf16", 2**-7)])
def test_sixteen_bits_round_features_with_a_cache_or_without(trained, tmp_path, dtype, error):
    switches = {"feature_dtype": dtype, "views": 2}
    plain, without = trained("without", switches=switches)
    exact, _ = trained("exact", switches={"views": 2})
    kept, record = trained("with", cache=tmp_path / "kept", switches=switches)
    assert exact.spec.id != plain.spec.id == kept.spec.id
    # Both round; at the border of two values they may round apart.
    close(without, record, 10 * error)
    batch = next(plain.evaluation(plain.val_part)).features["m1"]
    true = next(exact.evaluation(exact.val_part)).features["m1"]
    for x, y in zip(batch, true, strict=True):
        assert not torch.equal(x, y)
        assert torch.allclose(x, y, rtol=error, atol=1e-6)
        assert torch.equal(x, x.to(feature_store.DTYPES[dtype]).float())


@pytest.mark.parametrize("cached", [False, True])
def test_features_too_large_for_fp16_are_refused_with_a_cache_or_without(
    trained, tmp_path, monkeypatch, cached
):
    monkeypatch.setattr(Stem, "scale", 1e9)
    cache = tmp_path / "kept" if cached else None
    with pytest.raises(UsageError, match=r"m1 have values beyond 65504.*bf16 or fp32"):
        trained("run", cache=cache, switches={"feature_dtype": "fp16"})
    trained("wider", cache=cache, switches={"feature_dtype": "bf16"})


def test_loading_processes_read_the_cache(trained, tmp_path):
    _, one = trained("one", cache=tmp_path / "kept", switches={"views": 2})
    _, two = trained("two", cache=tmp_path / "kept", workers=2, switches={"views": 2})
    assert numbers(one) == numbers(two)


class Harm(Silent):
    """Damages files of the cache when the run is at some step."""

    def __init__(self, cache, at, harm):
        self.cache, self.at, self.harm = cache, at, harm

    def step(self, step, total):
        if step == self.at:
            for i, path in enumerate(files(self.cache)):
                if i % 3 == 0:
                    self.harm(path)


def flip(path):
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
@pytest.mark.parametrize("harm", [flip, Path.unlink, lambda p: p.write_bytes(b"")])
def test_damaged_files_are_computed_again_in_the_middle_of_a_run(trained, tmp_path, harm, workers):
    switches, recipe = {"views": 2}, {"epochs": 3, "validate_every": 4}
    _, whole = trained("whole", "swad+mbcd", tmp_path / "a", switches=switches, recipe=recipe)
    cache = tmp_path / "b"
    _, hurt = trained(
        "hurt",
        "swad+mbcd",
        cache,
        workers,
        Harm(cache, 7, harm),
        switches=switches,
        recipe=recipe,
    )
    assert numbers(hurt) == numbers(whole)


def test_frozen_stages_that_follow_the_batches_are_refused(trained, tmp_path):
    with pytest.raises(UsageError, match="batch norm in the frozen stages of m1 follows"):
        trained("run", cache=tmp_path / "kept", switches={"frozen_bn": "train"})
    (spec,) = tiny_specs(tmp_path, backbones={"m1": "stemmed"}, switches={"frozen_bn": "train"})
    with pytest.raises(UsageError, match="leave --feature-cache or the switch out"):
        RunSettings(tmp_path, feature_cache=tmp_path / "kept").prepare([spec])


def test_a_method_of_two_views_needs_two(trained, monkeypatch):
    from methods.erm import ERM

    monkeypatch.setattr(ERM, "two_views", True)
    with pytest.raises(UsageError, match="--views 2 or more"):
        trained("one", switches={"views": 1})
    training, _ = trained("two", switches={"views": 2})
    batch = next(training.train_part.training_epoch(0))
    assert not torch.equal(batch.tensors["m1"], batch.second[0]["m1"])


def test_encoders_without_frozen_stages_keep_nothing(tmp_path):
    (spec,) = tiny_specs(tmp_path)
    settings = RunSettings(tmp_path, threads=1, feature_cache=tmp_path / "kept")
    assert execute(spec, settings, Silent()).state == "done"
    assert not files(tmp_path / "kept")


def test_a_disk_without_room_stops_the_run_before_anything_is_written(
    trained, tmp_path, monkeypatch
):
    monkeypatch.setattr(feature_store, "RESERVE", 10**18)
    with pytest.raises(UsageError, match="--feature-cache a folder on a larger disk"):
        trained("run", cache=tmp_path / "kept")
    assert not files(tmp_path / "kept")


def test_the_disk_is_looked_at_although_another_run_was_first(trained, tmp_path, monkeypatch):
    absent, asked = FeatureCache.absent, []

    def first_batch_is_there(self, pairs):
        asked.append(pairs)
        return [] if len(asked) == 2 else absent(self, pairs)

    monkeypatch.setattr(FeatureCache, "absent", first_batch_is_there)
    monkeypatch.setattr(feature_store, "RESERVE", 10**18)
    with pytest.raises(UsageError, match="larger disk"):
        trained("run", cache=tmp_path / "kept")


SCRIPT = """
import sys, torch
sys.path[:0] = {paths!r}
from pathlib import Path
from test_feature_cache import Augmented, Stem, Tail
from benchmark import backbones
from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun, TINY, tiny_specs
from benchmark.training.watcher import Silent
from benchmark.records.store import Store
from benchmark.settings import RunSettings

@backbones.register("stemmed")
def build(shape):
    return Encoder(Stem(torch.Size(shape).numel()), Tail(), 6)

results, cache = Path(sys.argv[1]), Path(sys.argv[2])
(spec,) = tiny_specs(results, backbones={{"m1": "stemmed"}}, modalities=("m1+m2",),
                     switches={{"views": 4}})
settings = RunSettings(results, threads=1, feature_cache=cache)
training = TinyRun(spec, Augmented(None, None, TINY), Store(results).folder(spec), settings)
print("ready", flush=True)
training.run(Silent())
print(Stem.seen, flush=True)
"""


def start(results, cache):
    here = Path(__file__).parent
    script = SCRIPT.format(paths=[str(here), str(here.parent / "support"), str(here.parents[1])])
    command = [sys.executable, "-c", script, str(results), str(cache)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_runs_that_fill_one_cache_together_or_are_killed_leave_right_features(trained, tmp_path):
    _, alone = trained("alone", cache=tmp_path / "a", switches={"views": 4})
    cache = tmp_path / "b"
    for pause in (0.0, 0.02, 0.05):
        victim = start(tmp_path / f"victim{pause}", cache)
        victim.stdout.readline()
        time.sleep(pause)
        os.kill(victim.pid, signal.SIGKILL)
        victim.wait()
    several = [start(tmp_path / f"run{i}", cache) for i in range(2)]
    assert [one.wait(100) for one in several] == [0, 0]
    _, after = trained("after", cache=cache, switches={"views": 4})
    assert numbers(after) == numbers(alone)
    assert {p.name for p in files(cache) if not p.name.startswith(".")} == {
        p.name for p in files(tmp_path / "a")
    }


def test_filling_the_cache_is_no_cost_of_the_run_that_does_it(trained, tmp_path, monkeypatch):
    fill = FeatureCache.fill

    def slow(self, *given):
        time.sleep(2)
        fill(self, *given)

    monkeypatch.setattr(FeatureCache, "fill", slow)
    began = time.monotonic()
    _, folder = trained("run", cache=tmp_path / "kept")
    assert folder.result()["provenance"]["wall_s"] < time.monotonic() - began - 2
