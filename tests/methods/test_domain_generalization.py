"""Mixup, CORAL, MMD, DANN, IRM and VREx."""

import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch
from support import Silent, tiny_run, tiny_specs
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
    trajectory,
    without_dropout,
)
from torch.nn import functional as F

from benchmark.contract.case import TinyRun
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.train import Training
from methods import coral, irm, mixup, mmd
from methods.base import FUSED, Batch
from methods.shared import sampling

THREE = ("a", "b", "d")
ALIGNING = ("coral", "mmd")
PENALISING = ("irm", "vrex")
COMPARING = (*ALIGNING, "dann", *PENALISING)
DISTANCES = {"coral": coral.CORAL().distance, "mmd": mmd.MMD().distance}

every_distance = pytest.mark.parametrize("distance", DISTANCES.values(), ids=DISTANCES)


def in_domains(batch, domains):
    """Return the same batch with other domains."""
    return dataclasses.replace(batch, domains=torch.tensor(domains))


def prepared(composition, model=None, domains=2, **hyperparameters):
    """Return a method without dropout for this many source domains that may reset its optimizer."""
    model = without_dropout(tiny_model(THREE) if model is None else model)
    method = make_method(composition, model, **hyperparameters)
    method.run.domains = tuple(f"s{i}" for i in range(domains))
    torch.manual_seed(0)
    method.setup(model, method.run)
    method.double()
    method.run.resets = []
    method.run.reset_optimizer = lambda: method.run.resets.append(method.run.step)
    return method


def concatenated(model, batch):
    """Return the raw embeddings side by side."""
    z = model.embed(batch.features)
    return torch.cat([z[k] for k in model.modalities], dim=1)


def clouds(seed, *sizes, dim=3):
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(n, dim, generator=generator, dtype=torch.float64) for n in sizes]


# All that compare domains


@pytest.mark.parametrize("composition", COMPARING)
def test_with_one_source_domain_every_domain_term_is_absent_and_it_is_erm_bitwise(composition):
    batches = [in_domains(batch, [0] * 8) for batch in make_batches(THREE, 5)]
    methods = [prepared(name, domains=1, **at_once(name)) for name in ("erm", composition)]
    for method in methods:
        assert set(method.loss(batches[0])) == {FUSED}
        train(method, batches, adam(method))
        assert method.run.resets == []
    assert_same(dict(methods[1].model.state_dict()), dict(methods[0].model.state_dict()))


def at_once(composition):
    """Return settings that give a penalty its weight after two of 100 steps."""
    return {"weight": 50.0, "anneal": 0.02} if composition in PENALISING else {}


@pytest.mark.parametrize("composition", COMPARING)
def test_without_two_domains_of_two_samples_in_the_batch_the_term_is_absent(composition):
    method = prepared(composition, domains=3)
    batch = make_batch(THREE, size=6)
    assert set(method.loss(in_domains(batch, [0, 0, 0, 0, 1, 2]))) == {FUSED}
    assert len(method.loss(in_domains(batch, [0, 0, 0, 1, 1, 2]))) == 2


@pytest.mark.parametrize("composition", ("mixup", *COMPARING))
def test_the_fused_loss_of_every_method_reaches_all_encoders_and_the_fusion_head(composition):
    gradient = gradients_of(prepared(composition), make_batch(THREE))
    for part in (*(f"encoders.{k}" for k in THREE), "fusion"):
        assert any(g.any() for name, g in gradient.items() if name.startswith(part))


# CORAL and MMD


@every_distance
def test_a_distance_is_zero_for_equal_blocks_symmetric_and_positive_otherwise(distance):
    for seed in range(20):
        a, b = clouds(seed, 5, 8)
        assert float(distance(a, a.clone())) == pytest.approx(0, abs=1e-12)
        assert float(distance(a, a.flip(0))) == pytest.approx(0, abs=1e-12)
        assert float(distance(a, b)) > 1e-3
        assert_close(distance(a, b), distance(b, a), 1e-12)


def test_coral_of_a_hand_worked_pair_has_unbiased_variances():
    a, b = (torch.tensor(x, dtype=torch.float64).unsqueeze(1) for x in ([0, 2], [0, 4, 2, 2]))
    assert float(DISTANCES["coral"](a, b)) == pytest.approx(1 + (2 - 8 / 3) ** 2, abs=1e-12)


def test_coral_of_a_shifted_block_is_the_mean_square_of_the_shift():
    (a,) = clouds(0, 6, dim=4)
    shift = torch.tensor([1.0, -2.0, 0.0, 0.5], dtype=torch.float64)
    assert float(DISTANCES["coral"](a, a + shift)) == pytest.approx(5.25 / 4, abs=1e-12)


@pytest.mark.parametrize("sizes", [(4, 7), (2, 2), (12, 9)])
def test_coral_is_the_mean_squared_difference_of_means_and_covariance_matrices(sizes):
    a, b = clouds(3, *sizes, dim=5)
    covariances = [np.cov(x.numpy(), rowvar=False) for x in (a, b)]
    expected = np.mean((a.numpy().mean(0) - b.numpy().mean(0)) ** 2)
    expected += np.mean((covariances[0] - covariances[1]) ** 2)
    assert float(DISTANCES["coral"](a, b)) == pytest.approx(expected, abs=1e-12)


def kernel(x, y):
    return sum(math.exp(-(10.0**e) * float(((x - y) ** 2).sum())) for e in range(-3, 4))


def test_mmd_is_the_biased_estimate_with_seven_gaussian_kernels():
    a, b = clouds(1, 3, 5)
    means = [
        sum(kernel(x, y) for x in p for y in q) / (len(p) * len(q)) for p in (a, b) for q in (a, b)
    ]
    expected = means[0] + means[3] - means[1] - means[2]
    assert float(DISTANCES["mmd"](a, b)) == pytest.approx(expected, abs=1e-12)


def test_mmd_of_two_points_of_distance_one_is_known_in_closed_form():
    a, b = torch.zeros(2, 1, dtype=torch.float64), torch.ones(2, 1, dtype=torch.float64)
    expected = 2 * 7 - 2 * sum(math.exp(-(10.0**e)) for e in range(-3, 4))
    assert float(DISTANCES["mmd"](a, b)) == pytest.approx(expected, abs=1e-12)
    assert expected > 7, "kernels that are all about 1 would give 0"


@pytest.mark.parametrize("composition", ALIGNING)
def test_alignment_is_the_mean_over_pairs_of_domains_of_concatenated_raw_embeddings(composition):
    method = prepared(composition, domains=4, weight=2.5)
    batch = in_domains(make_batch(THREE, size=10), [3, 0, 1, 1, 0, 2, 0, 3, 3, 1])
    z = concatenated(method.model, batch)
    blocks = [z[[1, 4, 6]], z[[2, 3, 9]], z[[0, 7, 8]]]  # domain 2 has a single sample
    expected = sum(DISTANCES[composition](a, b) for a, b in itertools.combinations(blocks, 2)) / 3
    terms = method.loss(batch)
    assert_close(terms[composition], 2.5 * expected, 1e-12)
    assert_same(terms[FUSED], prepared("erm").loss(batch)[FUSED])


@pytest.mark.parametrize("composition", ALIGNING)
def test_alignment_with_weight_zero_is_erm(composition):
    batches = make_batches(VECTORS)
    erm, other = (
        trajectory(name, tiny_model(), batches, **settings)
        for name, settings in (("erm", {}), (composition, {"weight": 0.0}))
    )
    for mine, theirs in zip(other, erm, strict=True):
        assert_close(mine, theirs, 1e-12)


def shifted_domains(size=32, shift=1.5):
    """Return a batch whose second domain is displaced in every feature."""
    batch = make_batch(VECTORS, size)
    for x in batch.features.values():
        x[batch.domains == 1] += shift
    return batch


@pytest.mark.parametrize("composition", ALIGNING)
def test_the_distance_between_domains_falls_during_training_and_ends_below_that_of_erm(composition):
    batch, ends = shifted_domains(), {}
    for name in ("erm", composition):
        method = prepared(name, tiny_model(), **({} if name == "erm" else {"weight": 10.0}))

        def gap(method=method):
            z = concatenated(method.model, batch).detach()
            return float(DISTANCES[composition](z[batch.domains == 0], z[batch.domains == 1]))

        before = gap()
        train(method, [batch] * 60, adam(method))
        ends[name] = gap() / before
    assert ends[composition] < 0.5
    assert ends[composition] < 0.6 * ends["erm"]


# DANN


def discriminator_loss(method, batch, z):
    return F.cross_entropy(method.discriminator(z), batch.domains)


@pytest.mark.parametrize("weight", [0.0, 0.4, 3.0])
def test_dann_gives_encoders_minus_lambda_and_the_discriminator_plus_one_times_the_gradient(weight):
    batch = make_batch(THREE, size=12)
    erm = gradients_of(prepared("erm"), batch)
    method = prepared("dann", weight=weight)
    dann = gradients_of(method, batch)
    of_discriminator = [p.grad.clone() for p in method.discriminator.parameters()]
    method.zero_grad()
    discriminator_loss(method, batch, concatenated(method.model, batch)).backward()
    for name, p in method.model.named_parameters():
        change = 0 if p.grad is None else -weight * p.grad
        assert_close(dann[name], erm[name] + change, 1e-12)
    encoders = [p.grad for k in THREE for p in method.model.encoders[k].parameters()]
    assert all(g.any() for g in encoders)
    for p, gradient in zip(method.discriminator.parameters(), of_discriminator, strict=True):
        assert_close(gradient, p.grad, 1e-12)
    assert of_discriminator[-1].any()


def test_danns_encoders_climb_the_domain_loss_by_finite_differences():
    batch, weight, step = make_batch(THREE, size=12), 0.7, 1e-6
    method = prepared("dann", smooth(tiny_model(THREE)), weight=weight)
    method.discriminator[2] = torch.nn.Tanh()
    erm = gradients_of(prepared("erm", smooth(tiny_model(THREE))), batch)
    dann = gradients_of(method, batch)
    name = "encoders.b.tail.0.weight"
    p = dict(method.model.named_parameters())[name]
    values = []
    with torch.no_grad():
        for sign in (1, -1):
            p[0, 1] += sign * step
            loss = discriminator_loss(method, batch, concatenated(method.model, batch))
            values.append(float(loss))
            p[0, 1] -= sign * step
    slope = (values[0] - values[1]) / (2 * step)
    assert abs(slope) > 1e-4
    change = float(dann[name][0, 1] - erm[name][0, 1])
    assert change == pytest.approx(-weight * slope, abs=1e-7)


def test_dann_with_weight_zero_trains_the_student_as_erm_does_and_the_discriminator_too():
    batches = [shifted_domains()] * 30
    erm = prepared("erm", tiny_model())
    dann = prepared("dann", tiny_model(), weight=0.0)
    for method in (erm, dann):
        train(method, batches, adam(method))
    for name, x in erm.model.state_dict().items():
        assert_close(dann.model.state_dict()[name], x, 1e-12)
    dann.run.logs.flush()
    dann.compute_grads(batches[0])
    assert dann.run.logs.flush()["loss/domain"] < 0.1 * math.log(2)


def separation(z, domains):
    """Return the distance of two domains' means in units of the spread within them, squared."""
    a, b = z[domains == 0], z[domains == 1]
    gap, within = a.mean(0) - b.mean(0), (a.T.cov() + b.T.cov()) / 2
    return float(gap @ torch.linalg.solve(within, gap))


def test_danns_embeddings_tell_less_of_the_domain_than_before_and_those_of_erm_more():
    batch, change, domain_loss = shifted_domains(96, 0.5), {}, {}
    for weight in (0.0, 3.0):
        method = prepared("dann", tiny_model(), weight=weight)
        before = separation(concatenated(method.model, batch).detach(), batch.domains)
        train(method, [batch] * 80, adam(method))
        after = separation(concatenated(method.model, batch).detach(), batch.domains)
        change[weight] = after / before
        method.run.logs.flush()
        method.compute_grads(batch)
        domain_loss[weight] = method.run.logs.flush()["loss/domain"]
    assert change[0.0] > 1.2
    assert change[3.0] < 0.6
    assert domain_loss[3.0] > 5 * domain_loss[0.0]


# IRM and VREx


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


# Mixup


def mixed_by(monkeypatch, share, partner):
    """Make mixup use this share and this partner, each [B], for the one draw of a batch."""
    shares = iter([torch.tensor(share, dtype=torch.float64)])
    drawn = iter([torch.tensor(partner)])
    monkeypatch.setattr(mixup, "beta", lambda alpha, count, generator: next(shares))
    monkeypatch.setattr(mixup, "partners", lambda domains, generator: next(drawn))


def test_mixup_blends_all_modalities_of_a_sample_alike_and_both_labels(monkeypatch):
    share, partner = [0.9, 0.2, 0.5, 1.0], [1, 3, 0, 1]
    mixed_by(monkeypatch, share, partner)
    method, batch = prepared("mixup"), make_batch(THREE, size=4)
    z, losses = method.model.embed(batch.features), []
    for i, (s, j) in enumerate(zip(share, partner, strict=True)):
        blend = {k: (s * x[i] + (1 - s) * x[j]).unsqueeze(0) for k, x in z.items()}
        log_p = torch.log_softmax(method.model.fuse(blend), dim=1)[0]
        losses.append(-s * log_p[batch.labels[i]] - (1 - s) * log_p[batch.labels[j]])
    terms = method.loss(batch)
    assert set(terms) == {FUSED}
    assert_close(terms[FUSED], torch.stack(losses).mean(), 1e-12)


def test_mixup_with_everything_on_one_side_is_erm_on_that_side(monkeypatch):
    batch, partner = make_batch(THREE, size=6), [1, 0, 3, 2, 5, 5]
    for share, rows in ((1.0, list(range(6))), (0.0, partner)):
        mixed_by(monkeypatch, [share] * 6, partner)
        side = Batch(
            {k: x[rows] for k, x in batch.features.items()},
            batch.labels[rows],
            batch.domains[rows],
            batch.ids,
        )
        assert_close(
            gradients_of(prepared("mixup"), batch), gradients_of(prepared("erm"), side), 1e-12
        )


def test_mixups_loss_is_linear_in_the_share_for_fixed_logits(monkeypatch):
    method, batch = prepared("mixup"), make_batch(THREE, size=4, labels=[0, 1, 2, 0])
    (logits,) = clouds(0, 4, dim=CLASSES)
    monkeypatch.setattr(method.model, "fuse", lambda embeddings, mask=None: logits)
    values = []
    for share in (0.0, 0.3, 1.0):
        mixed_by(monkeypatch, [share] * 4, [1, 2, 3, 2])
        values.append(float(method.loss(batch)[FUSED].detach()))
    assert values[0] != pytest.approx(values[2], abs=1e-3)
    assert values[1] == pytest.approx(0.7 * values[0] + 0.3 * values[2], abs=1e-12)


def test_mixups_gradient_flows_into_both_samples_of_a_blend(monkeypatch):
    mixed_by(monkeypatch, [0.6, 0.6], [1, 1])
    method, batch = prepared("mixup"), make_batch(THREE, size=2)
    for x in batch.features.values():
        x.requires_grad_(True)
    method.loss(batch)[FUSED].backward()
    for x in batch.features.values():
        assert x.grad.abs().sum(1).min() > 0


def test_partners_come_evenly_from_all_other_domains():
    domains = torch.tensor([0, 0, 0, 1, 1, 2])
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([mixup.partners(domains, generator) for _ in range(2000)])
    for i, domain in enumerate(domains):
        counts = torch.bincount(drawn[:, i], minlength=6)
        foreign = domains != domain
        assert not counts[~foreign].any()
        rate = 1 / int(foreign.sum())
        error = (counts[foreign] / 2000 - rate).abs().max()
        assert float(error) < 4 * 0.5 / 2000**0.5


def test_with_one_domain_partners_are_random_pairs():
    generator = torch.Generator().manual_seed(0)
    drawn = torch.stack([mixup.partners(torch.ones(4), generator) for _ in range(400)])
    assert set(drawn.flatten().tolist()) == {0, 1, 2, 3}
    assert mixup.partners(torch.tensor([2]), generator).tolist() == [0]


@pytest.mark.parametrize("alpha", [0.1, 0.2, 1.0, 8.0])
def test_shares_follow_the_beta_distribution(alpha):
    drawn = sampling.beta(alpha, 20000, torch.Generator().manual_seed(0))
    assert drawn.shape == (20000,)
    assert 0 <= float(drawn.min()) < float(drawn.max()) <= 1
    variance = 1 / (4 * (2 * alpha + 1))
    assert float(drawn.mean()) == pytest.approx(0.5, abs=4 * (variance / 20000) ** 0.5)
    assert float(drawn.var()) == pytest.approx(variance, rel=0.05)


def test_mixup_draws_its_shares_with_its_own_alpha(monkeypatch):
    asked = []
    monkeypatch.setattr(mixup, "beta", lambda *given: asked.append(given) or sampling.beta(*given))
    method = prepared("mixup", alpha=0.7)
    method.loss(make_batch(THREE, size=5))
    assert asked == [(0.7, 5, method.run.generator)]


def test_mixup_draws_from_the_runs_own_stream_alone():
    batch, losses = make_batch(THREE, size=8), []
    for global_seed, own_seed in ((0, 1), (5, 1), (0, 2)):
        method = prepared("mixup", alpha=1.0)
        method.run.generator.manual_seed(own_seed)
        torch.manual_seed(global_seed)
        losses.append(float(method.loss(batch)[FUSED].detach()))
    assert losses[0] == losses[1]
    assert losses[0] != losses[2]


def test_mixup_is_less_sure_of_its_training_samples_than_erm():
    batch, confidence = make_batch(VECTORS, size=16), {}
    for name, settings in (("erm", {}), ("mixup", {"alpha": 1.0})):
        method = prepared(name, tiny_model(), **settings)
        train(method, [batch] * 120, adam(method))
        method.eval()
        p = method.predict(batch.features)[FUSED].softmax(1)
        assert (p.argmax(1) == batch.labels).all()
        confidence[name] = float(p.max(1).values.mean())
    assert confidence["erm"] > 0.99
    assert confidence["mixup"] < 0.97
