"""Mixup: partners, shares, and the loss of blends."""

import pytest
import torch
from support_domains import THREE, clouds, prepared
from support_methods import (
    CLASSES,
    VECTORS,
    adam,
    assert_close,
    gradients_of,
    make_batch,
    tiny_model,
    train,
)

from methods import mixup
from methods.base import FUSED, Batch
from methods.shared import sampling


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
