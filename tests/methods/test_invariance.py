"""IRM and VREx: their penalties, and when these set in."""

import itertools
import math

import numpy as np
import pytest
import torch
from support import Silent, tiny_run, tiny_specs
from support_domains import PENALISING, THREE, clouds, in_domains, prepared
from support_methods import (
    CLASSES,
    VECTORS,
    LinearModel,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    smooth,
    tiny_model,
    train,
)
from torch.nn import functional as F

from benchmark.contract.case import TinyRun
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.train import Training
from methods import irm
from methods.base import FUSED, Batch


def test_the_scale_gradient_is_the_derivative_by_a_factor_on_the_logits():
    for seed in range(5):
        (logits,) = clouds(seed, 7, dim=CLASSES)
        labels = torch.arange(7) % CLASSES
        w = torch.ones((), dtype=torch.float64, requires_grad=True)
        (expected,) = torch.autograd.grad(F.cross_entropy(w * logits, labels), w)
        assert_close(irm.scale_gradient(logits, labels), expected, 1e-12)


def halves(margins, labels):
    """Return a block of two-class logits [m, 0]."""
    logits = torch.tensor([[m, 0.0] for m in margins], dtype=torch.float64)
    return logits, torch.tensor(labels)


@pytest.mark.parametrize("split", [False, True])
def test_irms_penalty_is_zero_where_the_logits_have_their_best_scale_and_not_elsewhere(split):
    # Three of four samples of either half have class 0, as logits of log 3 say.
    labels = [0, 0, 0, 0, 0, 0, 1, 1]
    penalty = irm.IRM(irm.Hyperparameters(split=split)).penalty
    best, other = halves([math.log(3)] * 8, labels), halves([2.0] * 8, labels)
    assert float(penalty([best, best])) == pytest.approx(0, abs=1e-15)
    assert float(penalty([other, other])) > 1e-3
    # Its definition, as a number: g = 2 (σ(2) - 3/4) in both halves of the second domain only.
    g = 2 * (1 / (1 + math.exp(-2)) - 0.75)
    assert float(penalty([best, other])) == pytest.approx(g**2 / 2, abs=1e-12)


def test_irms_split_penalty_is_the_product_of_two_independent_halves_and_may_be_negative():
    # Every second sample is right and the others are wrong, with a margin of 2.
    block = halves([2.0, 2.0, 2.0, 2.0], [0, 1, 0, 1])
    right = 2 / (1 + math.exp(-2)) - 2
    wrong = 2 / (1 + math.exp(-2))
    product, square = (
        float(irm.IRM(irm.Hyperparameters(split=split)).penalty([block, block]))
        for split in (True, False)
    )
    assert product == pytest.approx(right * wrong, abs=1e-12)
    assert product < 0
    assert square == pytest.approx(((right + wrong) / 2) ** 2, abs=1e-12)


def test_irm_does_not_let_the_logits_grow_without_end_on_samples_that_come_again():
    largest = {}
    for split in (False, True):
        batch = make_batch(VECTORS, size=16, seed=3)
        settings = {"weight": 30.0, "anneal": 0.1, "split": split}
        method = prepared("irm", tiny_model(), **settings)
        train(method, [batch] * 100, adam(method))
        method.eval()
        largest[split] = float(method.predict(batch.features)[FUSED].abs().max())
    assert largest[True] > 10 * largest[False]


def domain_losses(method, batch):
    """Return the mean negative log-likelihood of every domain, sample by sample."""
    log_p = torch.log_softmax(method.model.fuse(method.model.embed(batch.features)), dim=1)
    of = {}
    for row, label, domain in zip(log_p, batch.labels, batch.domains.tolist(), strict=True):
        of.setdefault(domain, []).append(-row[label])
    return {domain: torch.stack(losses).mean() for domain, losses in of.items()}


@pytest.mark.parametrize("composition", PENALISING)
def test_every_domain_counts_the_same_in_the_loss_whatever_its_share_of_the_batch(composition):
    method = prepared(composition, domains=3)
    batch = in_domains(make_batch(THREE, size=10), [0] * 6 + [1] * 3 + [2])
    losses = domain_losses(method, batch)
    assert_close(method.loss(batch)[FUSED], sum(losses.values()) / 3, 1e-12)
    plain = prepared("erm").loss(batch)[FUSED]
    assert abs(float((method.loss(batch)[FUSED] - plain).detach())) > 1e-3


def test_vrexs_penalty_is_the_population_variance_of_the_losses_of_domains_with_two_samples():
    method = prepared("vrex", domains=4, anneal=0.0, weight=7.0)
    method.run.step = 1
    batch = in_domains(make_batch(THREE, size=10), [0, 1, 3, 1, 0, 2, 0, 3, 3, 1])
    losses = domain_losses(method, batch)
    values = [float(losses[d].detach()) for d in (0, 1, 3)]
    assert float(method.loss(batch)["vrex"].detach()) == pytest.approx(
        7 * np.var(values), abs=1e-12
    )


def test_vrexs_penalty_is_zero_for_equal_losses_and_counts_a_known_difference():
    penalty = make_method("vrex", tiny_model()).penalty
    even, sure = halves([0.0] * 2, [0, 1]), halves([math.log(3)] * 2, [0, 0])
    assert float(penalty([even, even])) == 0
    gap = math.log(2) - math.log(4 / 3)
    assert float(penalty([even, sure])) == pytest.approx(gap**2 / 4, abs=1e-12)


@pytest.mark.parametrize("composition", PENALISING)
def test_the_gradient_is_that_of_the_penalised_loss_by_finite_differences(composition):
    batch, step = make_batch(VECTORS, size=9), 1e-6
    method = prepared(composition, smooth(tiny_model()), anneal=0.0, weight=20.0)
    method.run.step = 1
    gradient = gradients_of(method, batch)
    for name in ("encoders.a.tail.0.weight", "fusion.0.weight"):
        p = dict(method.model.named_parameters())[name]
        with torch.no_grad():
            values = []
            for sign in (1, -1):
                p[1, 2] += sign * step
                values.append(float(sum(method.loss(batch).values())))
                p[1, 2] -= sign * step
        slope = (values[0] - values[1]) / (2 * step)
        assert float(gradient[name][1, 2]) == pytest.approx(slope, abs=1e-7)


@pytest.mark.parametrize("composition", PENALISING)
@pytest.mark.parametrize(("anneal", "light"), [(0.03, 3), (0.0, 0), (0.1, 10)])
def test_the_weight_jumps_after_its_share_of_the_run_with_a_new_optimizer(
    composition, anneal, light
):
    method = prepared(composition, tiny_model(), anneal=anneal, weight=40.0)
    optimizer, batch, weights = adam(method), make_batch(VECTORS), []
    for _ in range(12):
        train(method, [batch], optimizer)
        logged = method.run.logs.flush()
        weights.append(logged[f"loss/{composition}"] / logged["penalty"])
    assert weights == pytest.approx([1.0] * light + [40.0] * (12 - light), rel=1e-9)
    assert method.run.resets == ([light] if light else [])


@pytest.mark.parametrize("composition", PENALISING)
def test_the_optimizer_is_kept_where_the_weight_does_not_jump(composition):
    method = prepared(composition, tiny_model(), weight=1.0)
    train(method, make_batches(count=12), adam(method))
    assert method.run.resets == []


@pytest.mark.parametrize("composition", PENALISING)
def test_a_second_gradient_of_the_same_step_has_the_same_weight(composition):
    method = prepared(composition, tiny_model(), anneal=0.02, weight=40.0)
    batch = make_batch()
    for step in range(1, 5):
        method.run.step = step
        assert_same(gradients_of(method, batch), gradients_of(method, batch))
        assert method.run.resets == []


class Interrupted(Silent):
    """Presses Ctrl-C once a step is done."""

    def __init__(self, after):
        self.after = after

    def step(self, step, total):
        if step == self.after:
            raise KeyboardInterrupt


SWITCH = {"set": ("anneal=0.5",), "recipe": {"epochs": 2, "batch_size": 8}, "modalities": ("m1",)}


@pytest.mark.parametrize("interrupted_after", [None, 5, 6, 7])
def test_a_run_resets_its_optimizer_once_also_when_interrupted_around_the_jump(
    tmp_path, monkeypatch, interrupted_after
):
    created, make = [], Training._new_optimizer

    def noted(self):
        created.append(self.run_info.step)
        make(self)

    _, whole = tiny_run(tmp_path / "whole", "vrex", **SWITCH)
    monkeypatch.setattr(Training, "_new_optimizer", noted)
    (spec,) = tiny_specs(tmp_path, "vrex", **SWITCH)
    watchers = (
        [Silent()] if interrupted_after is None else [Interrupted(interrupted_after), Silent()]
    )
    for watcher in watchers:
        how = RunSettings(tmp_path, threads=1, checkpoint_every=0)
        folder = Store(tmp_path).folder(spec)
        dataset = how.open_dataset(spec.dataset, spec.options)
        training = TinyRun(spec, dataset, folder, how)
        if watcher is watchers[-1]:
            training.run(watcher)
        else:
            with pytest.raises(KeyboardInterrupt):
                training.run(watcher)
    switch = training.run_info.total_steps // 2
    assert switch == 6
    assert created.count(switch) == 1 + (interrupted_after == switch)
    assert folder.metrics() == whole.metrics()


def two_cues(rates=(0.95, 0.65), each=80):
    """Return the coloured digits of the IRM paper as two numbers a sample, without chance.

    Feature a is right for 75 % of the labels in every domain, feature b at the domain's own rate.
    """
    rows = []
    for domain, rate in enumerate(rates):
        for right_a, right_b, label in itertools.product((True, False), (True, False), (0, 1)):
            share = (0.75 if right_a else 0.25) * (rate if right_b else 1 - rate)
            signs = [1.0 if right == bool(label) else -1.0 for right in (right_a, right_b)]
            rows += [(*signs, label, domain)] * round(share * each)
    a, b, labels, domains = (torch.tensor(column) for column in zip(*rows, strict=True))
    features = {"a": a.double().unsqueeze(1), "b": b.double().unsqueeze(1)}
    return Batch(features, labels, domains, tuple(str(i) for i in range(len(rows))))


@pytest.mark.parametrize("composition", PENALISING)
def test_the_cue_that_is_as_good_in_every_domain_is_trusted_as_it_should_be_and_no_other(
    composition,
):
    batch, penalties, slopes = two_cues(), {}, {}
    for weight in (0.0, 100.0):
        model = LinearModel({"a": 1, "b": 1}, 2)
        with torch.no_grad():
            model.fusion.weight.zero_()
        method = prepared(composition, model, anneal=0.5, weight=weight)
        train(method, [batch] * 150, adam(method, lr=0.05))
        assert method.run.resets == [50]
        method.run.logs.flush()
        method.compute_grads(batch)
        penalties[weight] = method.run.logs.flush()["penalty"]
        slopes[weight] = (model.fusion.weight[1] - model.fusion.weight[0]).tolist()
    assert penalties[100.0] < 0.05 * penalties[0.0]
    (stable, unstable), (stable_plain, unstable_plain) = slopes[100.0], slopes[0.0]
    assert unstable_plain > stable_plain
    assert stable == pytest.approx(math.log(0.75 / 0.25), abs=0.2)
    assert abs(unstable) < 0.25 * unstable_plain
