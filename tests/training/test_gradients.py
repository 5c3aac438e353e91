"""The gradients that a run logs: their values by hand, and that logging them changes nothing."""

import math
import pickle

import numpy as np
import pytest
import torch
from support import DiesAt, Interrupted, Silent, numbers, tiny_specs
from support_methods import (
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    make_batch,
    make_batches,
    make_method,
    tensors,
    tiny_model,
    train,
)
from torch import nn

import benchmark.run
import benchmark.sweep
import methods
from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun
from benchmark.launch import cluster, slurm
from benchmark.launch.execute import execute
from benchmark.launch.profile import Profile
from benchmark.launch.slurm import Slurm
from benchmark.records.spec import Protocol
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training import gradients
from benchmark.training.model import MultimodalModel
from methods.base import FUSED, Batch

FAMILIES = ("gradient_norm", "unimodal_gradient_norm", "gradient_cosine")
LN3 = math.log(3)


def linear_model(frozen=()):
    """Return a model of z_k = w_k · x_k with w = 0, and logits of class 1 less those of class 0.

    Fused they are z_a + 2 z_b, of a alone z_a + ln 3, and of b alone -z_b.
    """
    encoders = {}
    for k in ("a", "b"):
        tail = nn.Linear(2, 1, bias=False).requires_grad_(k not in frozen)
        nn.init.zeros_(tail.weight)
        encoders[k] = Encoder(nn.Identity(), tail, 1)
    model = MultimodalModel(encoders, 2, Protocol(neck="none"), seed=0).double()
    own = {"a": head([[1.0]], LN3), "b": head([[-1.0]])}
    model.replace_heads(head([[1.0, 2.0]]), own)
    return model


def head(weight, bias=0.0):
    layer = nn.Linear(len(weight[0]), 2).double()
    with torch.no_grad():
        layer.weight.copy_(torch.tensor([[0.0] * len(weight[0]), *weight]))
        layer.bias.copy_(torch.tensor([0.0, bias], dtype=torch.float64))
    return layer


def two_samples():
    """One sample of each class; those of a are orthogonal, those of b are equal."""
    a = torch.tensor([[1.0, 0.0], [0.0, 1.0]], dtype=torch.float64)
    b = torch.tensor([[3.0, 4.0], [3.0, 4.0]], dtype=torch.float64)
    return Batch({"a": a, "b": b}, torch.tensor([0, 1]), torch.zeros(2), ("0", "1"))


# With w = 0 the fused probability of class 1 is 1/2, so the gradient by w_a is the mean of
# (1/2 - y) x = (1/4, -1/4); that of a alone is 3/4, which makes (3/8, -1/8). Those by w_b are
# 0, as the two samples pull in opposite directions.
A_FUSED = [0.25, -0.25]
A_ALONE = [0.375, -0.125]


def test_gradients_by_hand():
    method = make_method("joint", linear_model())
    found = gradients.of_tails(method, method.model, [two_samples()])
    for k, fused, alone in (("a", A_FUSED, A_ALONE), ("b", [0, 0], [0, 0])):
        assert found.fused[k].tolist() == pytest.approx(fused, abs=1e-12)
        assert found.unimodal[k].tolist() == pytest.approx(alone, abs=1e-12)


def test_norms_and_cosine_by_hand():
    method = make_method("joint", linear_model())
    found = gradients.measures(gradients.of_tails(method, method.model, [two_samples()]))
    assert found["gradient_norm"]["a"] == pytest.approx(math.sqrt(2) / 4)
    assert found["unimodal_gradient_norm"]["a"] == pytest.approx(math.sqrt(10) / 8)
    assert found["gradient_cosine"]["a"] == pytest.approx(2 / math.sqrt(5))
    assert found["gradient_cosine"]["b"] is None  # nothing points nowhere


def test_a_head_that_reads_an_embedding_backwards_has_a_cosine_of_minus_one():
    """Of one sample: b's own loss falls where z_b falls, the fused one where it rises."""
    batch = two_samples()
    one = Batch({k: x[1:] for k, x in batch.features.items()}, batch.labels[1:], torch.zeros(1), ())
    method = make_method("joint", linear_model())
    found = gradients.measures(gradients.of_tails(method, method.model, [one]))
    assert found["gradient_cosine"]["b"] == pytest.approx(-1)
    assert found["gradient_norm"]["b"] == pytest.approx(2 * 5 / 2)
    assert found["unimodal_gradient_norm"]["b"] == pytest.approx(5 / 2)


def test_what_is_frozen_or_not_trained_has_no_measure():
    method = make_method("erm", linear_model(frozen=("b",)))
    logged = gradients.logged(method, [two_samples()])
    assert logged == {"gradient_norm/a": pytest.approx(math.sqrt(2) / 4)}
    assert gradients.logged(make_method("joint", linear_model(frozen=("a", "b"))), []) == {}


def test_the_fused_prediction_is_the_methods_own():
    """Late fusion averages probabilities: of class 1, 3/4 and 1/2 to 5/8."""
    method = make_method("late_fusion", linear_model())
    found = gradients.of_tails(method, method.model, [two_samples()])
    # dp/dw = 3/4 · 1/4 · 1/2 x, over the 3/8 of class 0 and over the 5/8 of class 1.
    assert found.fused["a"].tolist() == pytest.approx([1 / 8, -3 / 40], abs=1e-12)


@pytest.mark.parametrize("composition", ["sam+late_fusion", "swad+mbcd", "unimodal", "mla"])
def test_any_composition_has_the_gradient_of_what_it_predicts(composition):
    """By finite differences of the loss of `predict`, along a random direction of one encoder."""
    torch.manual_seed(0)  # at a kink of a ReLU, differences are no gradient
    model, batch = tiny_model(WITH_BATCH_NORM), make_batch(WITH_BATCH_NORM)
    method = make_method(composition, model)
    train(method, make_batches(WITH_BATCH_NORM, 2), adam(method))
    method.eval()
    found = gradients.of_tails(method, method.model, [batch])
    for k in WITH_BATCH_NORM:
        tail = list(method.model.tail_parameters(k).values())
        generator = torch.Generator().manual_seed(3)
        along = [torch.randn(p.shape, generator=generator, dtype=p.dtype) for p in tail]
        losses = []
        for sign in (1, -1):
            moved(tail, along, sign * 1e-6)
            logits = method.predict(batch.features, model=method.model)[FUSED]
            losses.append(nn.functional.cross_entropy(logits, batch.labels).item())
            moved(tail, along, -sign * 1e-6)
        slope = (losses[0] - losses[1]) / 2e-6
        flat = torch.cat([a.flatten() for a in along])
        assert float(found.fused[k] @ flat) == pytest.approx(slope, rel=1e-5, abs=1e-8)


def moved(tensors_, along, by):
    with torch.no_grad():
        for p, step in zip(tensors_, along, strict=True):
            p.add_(step, alpha=by)


def test_every_sample_counts_the_same_however_they_are_batched():
    batches = make_batches(count=3, size=8)
    parts = [part(b, start, start + 3) for b in batches for start in (0, 3, 6)]
    assert {len(b.labels) for b in parts} == {2, 3}
    method = make_method("joint", tiny_model()).eval()
    for whole, cut in zip(
        gradients.of_tails(method, method.model, batches),
        gradients.of_tails(method, method.model, parts),
        strict=True,
    ):
        assert_close(cut, whole)


def part(batch, start, end):
    features = {k: x[start:end] for k, x in batch.features.items()}
    return Batch(features, batch.labels[start:end], batch.domains[start:end], batch.ids[start:end])


@pytest.mark.parametrize("composition", ["erm", "mbcd", "swad+mbcd", "reconboost"])
def test_measuring_leaves_no_trace_in_a_method(composition):
    batches = make_batches(WITH_BATCH_NORM, 2)
    method = make_method(composition, tiny_model(WITH_BATCH_NORM), batches=batches)
    train(method, batches, adam(method))
    method.model.encoder("a").tail.eval()  # a method may keep a part in another mode
    before = tensors(method), [m.training for m in method.modules()], torch.get_rng_state()
    left = {name: p.grad.clone() for name, p in method.named_parameters() if p.grad is not None}
    assert gradients.logged(method, batches)
    assert_same(tensors(method), before[0])
    assert [m.training for m in method.modules()] == before[1]
    assert torch.equal(torch.get_rng_state(), before[2])
    now = {name: p.grad for name, p in method.named_parameters() if p.grad is not None}
    assert_same(now, left)


# Through the engine


def carried_out(results, composition, log, dies_at=()):
    """Return everything of a run that logging must not touch, and what it logged of gradients."""
    (spec,) = tiny_specs(results, composition, recipe={"validate_every": 4})
    settings = RunSettings(
        results, threads=1, keep_checkpoints="last", log_gradients=log,
        checkpoint_every=0 if dies_at else 30,
    )  # fmt: skip
    dataset = settings.open_dataset(spec.dataset, spec.options)
    folder = Store(results).folder(spec)
    for step in dies_at:
        with pytest.raises(Interrupted):
            TinyRun(spec, dataset, folder, settings).run(DiesAt(step))
        torch.manual_seed(step)
    assert execute(spec, settings, Silent()).state == "done"
    lines = folder.metrics()
    logged = [
        {name: line["train"].pop(name) for name in list(line["train"]) if is_gradient(name)}
        for line in lines
    ]
    arrays = np.load(folder.path / "predictions.npz")
    return logged, {
        "id": spec.id,
        "numbers": numbers(folder),
        "lines": lines,
        "predictions": {name: arrays[name].tolist() for name in arrays.files},
        "weights": [
            (name, x.tolist())
            for name, x in torch.load(folder.path / "weights-last.pt", weights_only=True).items()
            if name != "method"
        ],
    }


def is_gradient(name):
    return name.startswith(FAMILIES)


@pytest.mark.parametrize(
    "composition", ["erm", pytest.param("mbcd", marks=pytest.mark.slow), "swad+mbcd"]
)
def test_a_run_that_logs_gradients_gives_the_same_bits(tmp_path, composition):
    none, plain = carried_out(tmp_path / "plain", composition, log=False)
    logged, same = carried_out(tmp_path / "logged", composition, log=True)
    # 5 is just after a validation, 6 the last step of an epoch.
    again, resumed = carried_out(tmp_path / "cut", composition, log=True, dies_at=(5, 6))
    assert same == plain
    assert resumed == plain
    assert again == logged
    assert not any(none)
    families = FAMILIES if methods.create(composition, {}).trains_unimodal else FAMILIES[:1]
    names = {f"{family}/{k}" for family in families for k in ("m1", "m2", "m3")}
    assert all(set(line) == names for line in logged)


def test_the_samples_are_the_same_for_all_methods_and_seeds(tmp_path, monkeypatch):
    monkeypatch.setattr(gradients, "SAMPLES", 10)
    asked, off = (RunSettings(tmp_path, threads=1, log_gradients=log) for log in (True, False))
    found = []
    for composition, seed in (("erm", 0), ("erm", 1), ("mbcd", 2)):
        (spec,) = tiny_specs(tmp_path, composition, seeds=[seed])
        dataset = asked.open_dataset(spec.dataset, spec.options)
        training = TinyRun(spec, dataset, Store(tmp_path).folder(spec), asked)
        found.append([s.id for s in training.gradient_part.samples])
        sizes = [len(b.ids) for b in training.evaluation(training.gradient_part, batch_size=8)]
        assert sizes == [8, 2]  # of the recipe's size, for which there is memory
    ids = [s.id for s in training.train_part.samples]
    assert found[0] == found[1] == found[2] == [i for i in ids if i in found[0]]
    assert len(found[0]) == 10 < len(ids) and found[0] != ids[:10]
    assert TinyRun(spec, dataset, Store(tmp_path).folder(spec), off).gradient_part is None


def logging_runs(results):
    """Return for every run whether each of its validations logged gradients."""
    lines = [folder.metrics() for _, folder in Store(results).all()]
    return [[any(map(is_gradient, line["train"])) for line in of] for of in lines]


WHAT = ["--dataset", "synthetic", "--dataset-option", "domains=2", "samples_per_class=6"]


def test_the_option_of_the_command(tmp_path):
    what = [*WHAT, "--method", "erm", "--epochs", "2", "--threads", "1", "--all-splits"]
    what += ["--modalities", "m1", "--results", str(tmp_path)]
    assert benchmark.run.main([*what, "--log-gradients"]) == 0
    assert logging_runs(tmp_path) == [[True, True]] * 2
    assert benchmark.run.main(what) == 0  # the same runs: nothing to do
    assert logging_runs(tmp_path) == [[True, True]] * 2


def test_a_grid_sets_it_and_the_command_line_wins(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "grid.yaml").write_text(
        "dataset: synthetic\ndataset-option: {domains: 2, samples_per_class: 6}\n"
        "sources: d1\ntarget: d2\nmodalities: m1\nepochs: 1\nmethod: erm\nlog-gradients: true\n"
    )
    assert benchmark.sweep.main(["grid.yaml", "--results", "set"]) == 0
    assert logging_runs(tmp_path / "set") == [[True]]
    given = ["grid.yaml", "--results", "unset", "--no-log-gradients"]
    assert benchmark.sweep.main(given) == 0
    assert logging_runs(tmp_path / "unset") == [[False]]


def test_a_job_of_a_cluster_gets_it(tmp_path, monkeypatch):
    monkeypatch.setattr(cluster, "machines", lambda partition, on: 1)
    settings = slurm._absolute(RunSettings(tmp_path, log_gradients=True))
    work = Slurm(Profile())._work([], "", settings)
    assert pickle.loads(pickle.dumps(work)).settings.log_gradients
