"""ERM, joint, unimodal, late fusion and modality dropout."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
import torch
from support import tiny_run
from support_methods import (
    VECTORS,
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tensors,
    through_a_file,
    tiny_model,
    train,
    trajectory,
    without_dropout,
)

from methods.base import FUSED, HeadStats, Validation
from methods.shared import masks

THREE = ("a", "b", "d")


def negative_log_likelihood(logits, labels):
    """Return the mean of -log softmax(logits)[label], row by row."""
    rows = [-torch.log_softmax(u, dim=0)[y] for u, y in zip(logits, labels, strict=True)]
    return torch.stack(rows).mean()


# ERM and joint


def test_erm_minimises_the_cross_entropy_of_the_fused_logits_alone():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE)
    terms = make_method("erm", model).loss(batch)
    parts = [model.necks[k](z) for k, z in model.embed(batch.features).items()]
    expected = negative_log_likelihood(model.fusion(torch.cat(parts, dim=1)), batch.labels)
    assert set(terms) == {FUSED}
    assert_close(terms[FUSED], expected, 1e-12)


def test_joint_adds_the_cross_entropy_of_every_unimodal_head():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE)
    terms = make_method("joint", model).loss(batch)
    z = {k: model.necks[k](x) for k, x in model.embed(batch.features).items()}
    expected = {k: negative_log_likelihood(model.heads[k](z[k]), batch.labels) for k in THREE}
    fused = model.fusion(torch.cat([z[k] for k in THREE], dim=1))
    assert_close(terms, {FUSED: negative_log_likelihood(fused, batch.labels), **expected}, 1e-12)


def test_the_unimodal_terms_of_joint_leave_the_fusion_head_to_the_fused_one():
    batch = make_batch(THREE)
    erm, joint = (
        gradients_of(make_method(name, without_dropout(tiny_model(THREE))), batch)
        for name in ("erm", "joint")
    )
    for name, gradient in joint.items():
        if name.startswith("fusion"):
            assert torch.equal(gradient, erm[name])
        else:
            assert not torch.equal(gradient, erm[name]), name


# Modality dropout


@pytest.mark.parametrize("modalities", [("a",), VECTORS, THREE])
def test_modality_dropout_with_rate_zero_is_erm_bitwise(modalities):
    batches = make_batches(modalities)
    erm = trajectory("erm", tiny_model(modalities), batches)
    assert_same(trajectory("modality_dropout", tiny_model(modalities), batches, rate=0.0), erm)


def test_modality_dropout_of_a_single_modality_is_erm_bitwise():
    batches = make_batches(("a",))
    erm = trajectory("erm", tiny_model(("a",)), batches)
    assert_same(trajectory("modality_dropout", tiny_model(("a",)), batches, rate=0.9), erm)


def test_a_modality_that_is_always_dropped_has_no_part_in_the_loss(monkeypatch):
    draw = masks.draw
    rates = {"a": 0.0, "b": 1.0, "d": 0.5}
    monkeypatch.setattr(masks, "draw", lambda _, like, generator: draw(rates, like, generator))
    model = without_dropout(tiny_model(THREE))
    losses = []
    for scale in (1.0, -30.0):
        batch = make_batch(THREE)
        batch.features["b"].mul_(scale)
        method = make_method("modality_dropout", model)
        gradient = gradients_of(method, batch)
        losses.append(float(method.run.logs.flush()["loss/fused"]))
        assert not any(g.any() for name, g in gradient.items() if name.startswith("encoders.b"))
    assert losses[0] == losses[1]


def test_modality_dropout_drops_per_sample_with_its_rate_and_never_everything():
    rate, size = 0.4, 6000
    rates = dict.fromkeys(("a", "b"), rate)
    kept = masks.draw(rates, torch.zeros(size, 3), torch.Generator().manual_seed(0))
    stacked = torch.stack([kept["a"], kept["b"]])
    assert stacked.dtype == torch.bool
    assert stacked.any(dim=0).all()
    expected = (rate - rate**2) / (1 - rate**2)
    for row in stacked:
        assert float((~row).double().mean()) == pytest.approx(expected, abs=4 * 0.5 / size**0.5)


def test_drawn_masks_follow_each_modalitys_own_rate():
    rates, size = {"a": 0.1, "b": 0.0, "c": 0.6}, 6000
    kept = masks.draw(rates, torch.zeros(size), torch.Generator().manual_seed(0))
    for k, rate in rates.items():
        assert float((~kept[k]).double().mean()) == pytest.approx(rate, abs=4 * 0.5 / size**0.5)


@pytest.mark.parametrize(
    "rates",
    [{"a": 0.3, "b": 0.8, "c": 0.5}, {"a": 1.0, "b": 0.7, "c": 0.9}, {"a": 0.9, "b": 1.0, "c": 0}],
)
def test_masks_are_independent_draws_given_that_something_is_kept(rates):
    size = 40_000
    kept = masks.draw(rates, torch.zeros(size), torch.Generator().manual_seed(0))
    drawn = Counter(zip(*(kept[k].tolist() for k in rates), strict=True))
    all_lost = math.prod(rates.values())
    assert drawn[False, False, False] == 0
    for outcome in itertools.product((True, False), repeat=3):
        if any(outcome):
            each = (1 - p if k else p for k, p in zip(outcome, rates.values(), strict=True))
            expected = math.prod(each) / (1 - all_lost)
            assert drawn[outcome] / size == pytest.approx(expected, abs=4 * 0.5 / size**0.5)


def test_modality_dropout_masks_after_the_neck_and_rescales_nothing():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE, size=32)
    with torch.no_grad():
        for neck in model.necks.values():
            neck.bias.fill_(0.5)  # a mask before the neck would leave this
    method = make_method("modality_dropout", model, rate=0.5)
    own_stream = torch.Generator().set_state(method.run.generator.get_state())
    kept = masks.draw(dict.fromkeys(THREE, 0.5), batch.labels, own_stream)
    z = model.embed(batch.features)
    parts = [model.necks[k](z[k]) * kept[k].double().unsqueeze(1) for k in THREE]
    expected = negative_log_likelihood(model.fusion(torch.cat(parts, dim=1)), batch.labels)
    assert_close(method.loss(batch), {FUSED: expected}, 1e-12)


def test_dropping_every_modality_for_certain_is_an_error_and_not_an_endless_loop():
    with pytest.raises(ValueError, match="always"):
        masks.draw({"a": 1.0, "b": 1.0}, torch.zeros(4), torch.Generator())


def test_modality_dropout_predicts_with_every_modality():
    model, batch = tiny_model(THREE), make_batch(THREE)
    dropping = make_method("modality_dropout", model, rate=0.9).eval()
    plain = make_method("erm", model).eval()
    assert_same(dropping.predict(batch.features), plain.predict(batch.features))


# Late fusion


def heads_by_hand(model, batch):
    """Return every branch's probabilities."""
    z = model.embed(batch.features)
    return {k: model.heads[k](model.necks[k](z[k])).softmax(dim=1).detach() for k in z}


def some_present():
    """Return which of 8 samples have which modality; every sample has at least one."""
    return {
        "a": torch.tensor([1, 1, 0, 0, 1, 1, 0, 1], dtype=torch.bool),
        "b": torch.tensor([1, 0, 1, 0, 1, 0, 1, 1], dtype=torch.bool),
        "d": torch.tensor([1, 0, 0, 1, 0, 1, 1, 1], dtype=torch.bool),
    }


def test_late_fusion_trains_the_branches_and_not_the_fusion_head():
    model, batch = without_dropout(tiny_model(THREE)), make_batch(THREE)
    method = make_method("late_fusion", model)
    terms = method.loss(batch)
    z = model.embed(batch.features)
    expected = {
        k: negative_log_likelihood(model.heads[k](model.necks[k](z[k])), batch.labels)
        for k in THREE
    }
    assert_close(terms, expected, 1e-12)
    gradient = gradients_of(method, batch)
    assert not any(g.any() for name, g in gradient.items() if name.startswith("fusion"))


def test_late_fusion_predicts_the_log_of_the_mean_probability():
    model, batch = tiny_model(THREE).eval(), make_batch(THREE)
    logits = make_method("late_fusion", model).eval().predict(batch.features)
    own = heads_by_hand(model, batch)
    assert_close(logits[FUSED], (sum(own.values()) / 3).log(), 1e-9)
    assert_close({k: logits[k].softmax(dim=1) for k in THREE}, own, 1e-9)


def test_late_fusion_averages_over_the_modalities_that_a_sample_has():
    model, batch, present = tiny_model(THREE).eval(), make_batch(THREE), some_present()
    fused = make_method("late_fusion", model).eval().predict(batch.features, present)[FUSED]
    own = heads_by_hand(model, batch)
    for i in range(8):
        mine = torch.stack([own[k][i] for k in THREE if present[k][i]])
        assert_close(fused[i], mine.mean(0).log(), 1e-9)


def test_late_fusion_stays_finite_where_no_branch_believes_in_a_class():
    model, batch = tiny_model().eval(), make_batch()
    with torch.no_grad():
        for head in model.heads.values():
            head[-1].bias[0] = -1e5
    fused = make_method("late_fusion", model).eval().predict(batch.features)[FUSED]
    assert torch.isfinite(fused).all()
    assert (fused[:, 0] < fused[:, 1:].min(dim=1).values).all()


# Unimodal


def branches(values, modality):
    """Return the tensors of one modality's encoder, neck and head."""
    parts = tuple(f"{part}.{modality}." for part in ("encoders", "necks", "heads"))
    return {name: x for name, x in values.items() if name.startswith(parts)}


def test_training_all_branches_at_once_is_training_each_alone():
    modalities = ("a", "c", "d")
    batches = make_batches(modalities, 5)
    together = trajectory("unimodal", without_dropout(tiny_model(modalities)), batches)[-1]
    for k in modalities:
        alone = trajectory("unimodal", without_dropout(tiny_model((k,))), batches)[-1]
        assert len(branches(together, k)) > 4
        assert_close(branches(together, k), branches(alone, k), 1e-12)


def accuracies(losses=None, **by_modality):
    """Return a validation with these accuracies of the branches."""
    stats = {
        k: HeadStats((losses or {}).get(k, 1.0), accuracy) for k, accuracy in by_modality.items()
    }
    stats[FUSED] = HeadStats(1.0, 0.0)
    return Validation(stats, stats)


def test_every_branch_goes_back_to_its_own_best_validation():
    model = tiny_model(("a", "b", "c"))
    method = make_method("unimodal", model)
    optimizer = adam(method)
    seen = []
    for stats in (
        accuracies(a=0.5, b=0.2, c=0.4),
        accuracies(a=0.4, b=0.6, c=0.4, losses={"c": 0.9}),  # c ties and has the lower loss
        accuracies(a=0.5, b=0.5, c=0.4, losses={"a": 1.1, "c": 0.95}),  # a ties, a higher loss
        accuracies(a=0.3, b=0.5, c=0.3, losses={"a": 0.1, "b": 0.1, "c": 0.1}),
    ):
        train(method, make_batches(("a", "b", "c"), 2), optimizer)
        seen.append(tensors(model))
        assert method.validated(stats) is False
    method.finalize()
    for k, best in {"a": 0, "b": 1, "c": 1}.items():
        assert_same(branches(tensors(method.eval_model()), k), branches(seen[best], k))


def test_the_fused_prediction_is_the_best_branch_that_a_sample_has():
    model, batch, present = tiny_model(THREE), make_batch(THREE), some_present()
    method = make_method("unimodal", model)
    method.validated(accuracies(a=0.4, b=0.7, d=0.4, losses={"a": 0.8, "d": 0.9}))
    method.finalize()
    method.eval()
    logits = method.predict(batch.features)
    assert torch.equal(logits[FUSED], logits["b"])
    partial = method.predict(batch.features, present)
    for i in range(8):
        best = next(k for k in ("b", "a", "d") if present[k][i])
        assert torch.equal(partial[FUSED][i], logits[best][i])


def test_the_choice_of_branches_survives_a_checkpoint():
    first = make_method("unimodal", tiny_model())
    optimizer = adam(first)
    for a, b in ((0.5, 0.1), (0.4, 0.9), (0.3, 0.3)):
        train(first, make_batches(count=1), optimizer)
        first.validated(accuracies(a=a, b=b))
    second = make_method("unimodal", tiny_model(seed=5))
    second.load_state_dict(through_a_file(first.state_dict()))
    batch = make_batch()
    for method in (first, second):
        method.finalize()
        method.eval()
    assert_same(tensors(second.model), tensors(first.model))
    assert_same(second.predict(batch.features), first.predict(batch.features))


def test_an_engine_run_tests_every_branch_at_its_best_epoch(tmp_path):
    changes = {"modalities": ("m1+m2",), "recipe": {"epochs": 4, "batch_size": 8}}
    _, folder = tiny_run(tmp_path, "unimodal", **changes)
    arrays = np.load(folder.path / "predictions.npz")
    labels = arrays["own/val/labels"]
    best = {}
    for k in ("m1", "m2"):
        accuracy = float((arrays[f"own/val/{k}"].argmax(1) == labels).mean())
        records = [r["val"][k] for r in folder.metrics()]
        best[k] = max((r["accuracy"], -r["loss"]) for r in records)
        assert accuracy == pytest.approx(best[k][0], abs=1e-9)
    winner = max(best, key=best.get)
    for part in ("val", "target"):
        fused = arrays[f"own/{part}/fused"]
        np.testing.assert_array_equal(fused, arrays[f"own/{part}/{winner}"])


# A modality that is missing


@pytest.mark.parametrize("composition", ["erm", "joint", "late_fusion", "unimodal", "mbcd"])
def test_what_a_missing_modality_holds_makes_no_difference(composition):
    model, batch, present = tiny_model(THREE), make_batch(THREE), some_present()
    method = make_method(composition, model)
    method.validated(accuracies(a=0.4, b=0.7, d=0.3))
    method.eval()
    before = method.predict(batch.features, present)[FUSED]
    for k, has in present.items():
        batch.features[k][~has] = 1e3
    assert_same(method.predict(batch.features, present)[FUSED], before)
    assert not torch.equal(method.predict(batch.features)[FUSED], before)


@pytest.mark.parametrize("composition", ["erm", "joint", "late_fusion", "unimodal", "mbcd"])
def test_a_modality_that_the_mask_does_not_name_is_kept(composition):
    method = make_method(composition, tiny_model(THREE))
    method.validated(accuracies(a=0.4, b=0.7, d=0.3))
    method.eval()
    batch, present = make_batch(THREE), some_present()
    named = method.predict(batch.features, {**present, "a": torch.ones(8, dtype=torch.bool)})
    unnamed = method.predict(batch.features, {k: x for k, x in present.items() if k != "a"})
    assert_same(unnamed, named)


def test_everything_present_is_the_same_as_no_mask():
    batch = make_batch(WITH_BATCH_NORM)
    everything = {k: torch.ones(8, dtype=torch.bool) for k in WITH_BATCH_NORM}
    for composition in ("erm", "joint", "late_fusion", "unimodal"):
        method = make_method(composition, tiny_model(WITH_BATCH_NORM)).eval()
        with_mask = method.predict(batch.features, everything)
        assert_close(with_mask, method.predict(batch.features), 1e-12)
