"""MBCD's modality dropout: speeds, rates and masks."""

import math

import pytest
import torch
from support_mbcd import THREE, confident_model, cross_entropy, drawn_masks, mbcd
from support_methods import (
    assert_same,
    make_batch,
    make_batches,
    tiny_model,
    trajectory,
    without_dropout,
)

from methods.mbcd import drop_rates, relative_speeds


def logits_with_confidence(confidences, samples=5):
    """Return logits of three classes whose highest probability is the given one."""
    found = {}
    for k, top in confidences.items():
        row = torch.tensor([top, (1 - top) / 2, (1 - top) / 2], dtype=torch.float64).log()
        found[k] = row.roll(1).repeat(samples, 1)
    return found


def test_relative_speed_is_the_mean_of_the_ratios_to_the_others():
    speeds = relative_speeds(logits_with_confidence({"a": 0.9, "b": 0.6, "c": 0.4}))
    assert speeds["a"] == pytest.approx((0.9 / 0.6 + 0.9 / 0.4) / 2)
    assert speeds["b"] == pytest.approx((0.6 / 0.9 + 0.6 / 0.4) / 2)
    assert speeds["c"] == pytest.approx((0.4 / 0.9 + 0.4 / 0.6) / 2)
    assert speeds["a"] != pytest.approx(0.9 / 0.5)  # not the ratio to the mean of the others


def test_speed_sums_the_highest_probability_and_not_that_of_the_true_class():
    uneven = {
        "a": torch.tensor([[0.7, 0.3], [0.2, 0.8]], dtype=torch.float64).log(),
        "b": torch.tensor([[0.5, 0.5], [0.4, 0.6]], dtype=torch.float64).log(),
    }
    speeds = relative_speeds(uneven)
    assert speeds == {"a": pytest.approx(1.5 / 1.1), "b": pytest.approx(1.1 / 1.5)}


def test_the_drop_rate_is_tanh_of_the_lead_and_zero_for_who_does_not_lead():
    speeds = {"a": 2.0, "b": 1.0, "c": 0.3, "d": 1.0001}
    rates = drop_rates({k: torch.tensor(r, dtype=torch.float64) for k, r in speeds.items()})
    assert rates["a"] == pytest.approx(math.tanh(1.0), abs=1e-9)
    assert rates["b"] == 0.0
    assert rates["c"] == 0.0
    assert rates["d"] == pytest.approx(math.tanh(0.0001), abs=1e-9)


def test_scale_and_threshold_shape_the_drop_rate():
    speeds = {"a": torch.tensor(2.0), "b": torch.tensor(1.2), "c": torch.tensor(0.5)}
    rates = drop_rates(speeds, scale=3.0, threshold=1.5)
    assert rates["a"] == pytest.approx(math.tanh(3 * 0.5))
    assert rates["b"] == rates["c"] == 0.0
    assert drop_rates(speeds, scale=0.0) == {k: torch.tensor(0.0) for k in speeds}


def test_the_slowest_modality_is_never_dropped_and_equal_ones_neither():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        size = int(torch.randint(2, 5, (), generator=generator))
        top = 1 / 3 + torch.rand(size, generator=generator, dtype=torch.float64) * 0.66
        confidences = {f"m{i}": float(x) for i, x in enumerate(top)}
        rates = drop_rates(relative_speeds(logits_with_confidence(confidences)))
        assert rates[min(confidences, key=confidences.get)] == 0.0
        assert all(0 <= rate < 1 for rate in rates.values())
    equal = logits_with_confidence({"a": 0.6, "b": 0.6, "c": 0.6})
    assert drop_rates(relative_speeds(equal)) == {"a": 0.0, "b": 0.0, "c": 0.0}


def test_adaptive_masks_have_the_frequencies_of_equation_4():
    model, batch = confident_model(THREE, (20.0, 8.0, 0.1)), make_batch(THREE, size=4000)
    method = mbcd(model, dropout="adaptive")
    with torch.no_grad():
        unimodal = model.unimodal(model.embed(batch.features))
    s = {k: float(u.softmax(1).max(1).values.sum()) for k, u in unimodal.items()}
    rates = {}
    for k in THREE:
        r = sum(s[k] / s[j] for j in THREE if j != k) / 2
        rates[k] = math.tanh(r - 1) if r > 1 else 0.0
    assert sorted(rate > 0.05 for rate in rates.values()) == [False, True, True]
    mask = drawn_masks(method, batch)
    dropped = {k: ~mask[k] for k in THREE}
    for k, rate in rates.items():
        assert float(dropped[k].double().mean()) == pytest.approx(rate, abs=4 * 0.5 / 4000**0.5)
        if rate == 0:
            assert not dropped[k].any()
    first, second = (dropped[k].double() for k in THREE if rates[k] > 0)
    both = float((first * second).mean())
    assert both == pytest.approx(float(first.mean() * second.mean()), abs=0.03)


def test_fixed_dropout_drops_every_modality_with_its_rate_and_never_all():
    rate, size = 0.4, 6000
    method = mbcd(without_dropout(tiny_model(THREE)), dropout="fixed", dropout_rate=rate)
    mask = drawn_masks(method, make_batch(THREE, size=size))
    kept = torch.stack([mask[k] for k in THREE])
    assert kept.any(dim=0).all()
    # Given that not all three are dropped.
    expected = (rate - rate**3) / (1 - rate**3)
    for row in kept:
        assert float((~row).double().mean()) == pytest.approx(expected, abs=4 * 0.5 / size**0.5)


@pytest.mark.parametrize("modalities", [("a", "b"), THREE])
@pytest.mark.parametrize("rate", [0.5, 0.3])
def test_literal_dropout_drops_with_the_rate_itself_and_may_drop_all(modalities, rate):
    size = 6000
    model = without_dropout(tiny_model(modalities))
    method = mbcd(model, dropout="fixed-literal", dropout_rate=rate)
    mask = drawn_masks(method, make_batch(modalities, size=size))
    drawn = torch.Generator().manual_seed(7)  # where `make_run` starts
    numbers = torch.rand(len(modalities), size, generator=drawn, dtype=torch.float64)
    for k, row in zip(modalities, numbers, strict=True):
        assert mask[k].tolist() == [u < 1 - rate for u in row.tolist()]
    logged = method.run.logs.flush()
    for k in modalities:
        assert logged[f"drop_rate/{k}"] == rate
        found = logged[f"effective_drop_rate/{k}"]
        assert found == pytest.approx(sum(not kept for kept in mask[k].tolist()) / size)
        assert found == pytest.approx(rate, abs=4 * 0.5 / size**0.5)
    none = (~torch.stack(list(mask.values()))).all(dim=0).double().mean().item()
    assert none == pytest.approx(rate ** len(modalities), abs=4 * 0.5 / size**0.5)


def test_a_sample_that_lost_all_is_classified_from_zeros():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE, size=64)
    mask = drawn_masks(mbcd(model, dropout="fixed-literal", dropout_rate=0.8), batch)
    lost = ~torch.stack(list(mask.values())).any(dim=0)
    assert lost.any()
    fused = model.fuse(model.embed(batch.features), mask)[lost]
    width = model.fusion[0].in_features
    nothing = model.fusion(torch.zeros(1, width, dtype=fused.dtype))
    assert torch.allclose(fused, nothing.expand_as(fused))


@pytest.mark.parametrize(("modalities", "rate"), [(("a", "b"), 1 / 3), (THREE, 3 / 7)])
def test_the_effective_rate_is_logged_which_redrawing_makes_smaller_than_the_asked_one(
    modalities, rate
):
    method = mbcd(without_dropout(tiny_model(modalities)), dropout="fixed", dropout_rate=0.5)
    mask = drawn_masks(method, make_batch(modalities, size=6000))
    logged = method.run.logs.flush()
    for k in modalities:
        assert logged[f"drop_rate/{k}"] == 0.5
        found = logged[f"effective_drop_rate/{k}"]
        assert found == pytest.approx(sum(not kept for kept in mask[k].tolist()) / 6000)
        assert found == pytest.approx(rate, abs=4 * 0.5 / 6000**0.5)


@pytest.mark.parametrize("dropout", ["adaptive", "fixed", "fixed-literal"])
def test_masks_come_from_the_methods_own_generator(dropout):
    batch = make_batch(THREE, size=64)
    drawn = []
    for seed in (1, 2):
        method = mbcd(confident_model(THREE, (20.0, 8.0, 0.1)), dropout=dropout)
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        drawn.append(drawn_masks(method, batch))
        assert torch.equal(torch.get_rng_state(), before)
    assert_same(drawn[1], drawn[0])
    method.run.generator.manual_seed(8)
    other = drawn_masks(method, batch)
    assert any(not torch.equal(other[k], drawn[0][k]) for k in THREE)


def test_the_mask_zeroes_after_the_neck_and_rescales_nothing():
    batch = make_batch(THREE, size=64)
    model = confident_model(THREE, (20.0, 8.0, 0.1))
    with torch.no_grad():
        for neck in model.necks.values():
            neck.bias.fill_(0.5)  # a mask before the neck would leave this
    method = mbcd(model, dropout="fixed", dropout_rate=0.5)
    mask = drawn_masks(method, batch)
    method.run.generator.manual_seed(7)  # where `make_run` starts
    z = model.embed(batch.features)
    parts = [model.necks[k](z[k]) * mask[k].double().unsqueeze(1) for k in THREE]
    expected = cross_entropy(model.fusion(torch.cat(parts, dim=1)), batch.labels)
    assert method.loss(batch)["fused"].item() == pytest.approx(expected.item(), abs=1e-12)


@pytest.mark.parametrize("dropout", ["adaptive", "fixed", "fixed-literal"])
def test_a_single_modality_is_never_dropped(dropout):
    method = mbcd(tiny_model(("a",)), dropout=dropout, dropout_rate=0.9)
    assert drawn_masks(method, make_batch(("a",))) is None
    alone = trajectory("mbcd", tiny_model(("a",)), make_batches(("a",)), dropout=dropout)
    none = trajectory("mbcd", tiny_model(("a",)), make_batches(("a",)), dropout="none")
    assert_same(alone, none)
