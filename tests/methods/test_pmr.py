"""PMR: prototypes, who counts as weak, and which gradients the prototypes give."""

import pytest
import torch
from support_balancing import EASY, HARD, imbalanced, separation, train_on_imbalance
from support_methods import (
    CLASSES,
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
from torch.nn import functional as F

from methods.base import FUSED
from methods.pmr import weights

THREE = ("a", "b", "d")


def started(modalities=VECTORS, batches=None, model=None, **hyperparameters):
    """Return a method whose first epoch has begun."""
    model = without_dropout(tiny_model(modalities)) if model is None else model
    batches = make_batches(modalities) if batches is None else batches
    method = make_method("pmr", model, batches=batches, **hyperparameters)
    method.epoch_start()
    return method


def class_means(model, batches, k):
    """Return the mean embedding of each class by a plain loop, in eval mode."""
    model.eval()
    rows = {}
    with torch.no_grad():
        for batch in batches:
            for z, label in zip(model.embed(batch.features)[k], batch.labels.tolist(), strict=True):
                rows.setdefault(label, []).append(z)
    model.train()
    return {label: torch.stack(zs).mean(0) for label, zs in rows.items()}


def prototype_loss(z, labels, means):
    """Return the cross-entropy of minus the distances, and the probabilities of the labels."""
    classes = sorted(means)
    rows = []
    for x, label in zip(z, labels.tolist(), strict=True):
        scores = torch.stack([-((x - means[c]) ** 2).sum().sqrt() for c in classes])
        rows.append(torch.softmax(scores, dim=0)[classes.index(label)])
    probabilities = torch.stack(rows)
    return -probabilities.log().mean(), float(probabilities.detach().mean())


# The prototypes


@pytest.mark.parametrize("modalities", [VECTORS, WITH_BATCH_NORM])
def test_a_prototype_is_the_mean_embedding_of_its_class_over_the_train_part(modalities):
    batches = make_batches(modalities, 3, size=7)
    method = started(modalities, batches)
    assert method.known.all()
    for k in modalities:
        means = class_means(method.model, batches, k)
        expected = torch.stack([means[c] for c in range(CLASSES)])
        assert_close(method.prototypes(k), expected, 1e-12)


def test_the_prototype_of_a_class_with_one_sample_is_its_embedding():
    batch = make_batch(labels=[0, 0, 1, 1, 2, 2, 2, 3])
    method = started(batches=[batch])
    z = method.model.embed(batch.features)
    for k in VECTORS:
        assert_close(method.prototypes(k)[3], z[k][7].detach(), 1e-12)


def test_old_prototypes_keep_their_share_and_classes_join_when_they_are_first_seen():
    first, second = make_batch(labels=[0, 1] * 4), make_batch(seed=1, labels=[1, 2] * 4)
    batches = [first]
    method = started(batches=batches, momentum=0.3)
    assert method.known.tolist() == [True, True, False, False]
    old = class_means(method.model, [first], "a")
    with torch.no_grad():
        for p in method.model.parameters():
            p.mul_(1.5)
    new = class_means(method.model, [second], "a")
    batches[:] = [second]
    method.epoch_start()
    assert method.known.tolist() == [True, True, True, False]
    expected = torch.stack([old[0], 0.7 * new[1] + 0.3 * old[1], new[2]])
    assert_close(method.prototypes("a")[:3], expected, 1e-12)


def test_the_pass_over_the_train_part_changes_neither_batch_norm_nor_mode_and_draws_nothing():
    method = make_method("pmr", tiny_model(WITH_BATCH_NORM), batches=make_batches(WITH_BATCH_NORM))
    before, stream = tensors(method.model), torch.get_rng_state()
    method.epoch_start()
    assert_same(tensors(method.model), before)
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(module.training for module in method.modules())
    assert not method.prototypes("a").requires_grad


def test_prototypes_survive_a_checkpoint():
    method = started()
    twin = make_method("pmr", without_dropout(tiny_model(seed=3)))
    twin.load_state_dict(through_a_file(method.state_dict()))
    batch = make_batch(seed=9)
    assert_same(twin.prototypes("a"), method.prototypes("a"))
    assert_same(gradients_of(twin, batch), gradients_of(method, batch))


# The weights


def test_weaker_modalities_count_by_how_weak_they_are_up_to_one():
    found = weights({"a": 0.6, "b": 0.5, "c": 0.2}, graded=True)
    assert found == {"a": 0.0, "b": pytest.approx(0.2, abs=1e-12), "c": 1.0}


def test_the_codes_weights_are_one_for_all_but_the_strongest():
    assert weights({"a": 0.6, "b": 0.59, "c": 0.2}, graded=False) == {"a": 0.0, "b": 1.0, "c": 1.0}


@pytest.mark.parametrize("graded", [True, False])
def test_equal_scores_and_no_score_at_all_weigh_nothing(graded):
    assert weights({"a": 0.5, "b": 0.5}, graded) == {"a": 0.0, "b": 0.0}
    assert weights({"a": 0.0, "b": 0.0}, graded) == {"a": 0.0, "b": 0.0}
    assert weights({"a": 0.5}, graded) == {"a": 0.0}


# The loss


@pytest.mark.parametrize("modalities", [VECTORS, THREE])
@pytest.mark.parametrize("graded", [True, False])
def test_the_weaker_modalities_get_the_cross_entropy_of_their_distances(modalities, graded):
    method = started(modalities, alpha=0.7, weights="graded" if graded else "constant")
    batch = make_batch(modalities, seed=8)
    z = method.model.embed(batch.features)
    found = {}
    for k in modalities:
        means = class_means(method.model, make_batches(modalities), k)
        found[k] = prototype_loss(z[k], batch.labels, means)
    best = max(score for _, score in found.values())
    expected = {FUSED: F.cross_entropy(method.model.fuse(z), batch.labels)}
    for k, (loss, score) in found.items():
        if score < best:
            weight = min(best / score - 1, 1.0) if graded else 1.0
            expected[f"prototypes/{k}"] = 0.7 * weight * loss
    assert len(expected) == len(modalities)
    assert_close(method.loss(batch), expected, 1e-9)


@pytest.mark.parametrize("modalities", [VECTORS, THREE])
def test_the_strongest_modality_gets_no_gradient_from_prototypes(modalities):
    batch = make_batch(modalities, seed=8)
    method = started(modalities, alpha=5.0)
    names = set(method.loss(batch))
    strongest = {k for k in modalities if f"prototypes/{k}" not in names}
    assert len(strongest) == 1
    erm = gradients_of(make_method("erm", method.model), batch)
    pmr = gradients_of(method, batch)
    for name, gradient in pmr.items():
        k = name.split(".")[1]
        if name.startswith("encoders") and k not in strongest:
            assert not torch.equal(gradient, erm[name]), name
        else:
            assert_close(gradient, erm[name], 1e-12)


def test_an_unknown_class_is_left_out_of_the_softmax_and_its_samples_out_of_the_loss():
    seen = make_batch(labels=[0, 1, 3, 3] * 2)
    method = started(batches=[seen], weights="constant")
    batch = make_batch(seed=4, labels=[0, 1, 2, 3, 2, 0, 1, 2])
    terms = method.loss(batch)
    (name,) = set(terms) - {FUSED}
    k = name.split("/")[1]
    rows = torch.tensor([0, 1, 3, 5, 6])
    z = method.model.embed(batch.features)[k][rows]
    expected, _ = prototype_loss(z, batch.labels[rows], class_means(method.model, [seen], k))
    assert_close(terms[name], expected, 1e-9)
    gradient = gradients_of(method, batch)
    assert all(torch.isfinite(g).all() for g in gradient.values())
    assert set(method.loss(make_batch(labels=[2] * 8))) == {FUSED}


def test_a_sample_on_its_prototype_gives_finite_gradients():
    batch = make_batch(size=4)
    method = started(batches=[batch], alpha=3.0, weights="constant")
    assert len(method.loss(batch)) == 2
    assert all(torch.isfinite(g).all() for g in gradients_of(method, batch).values())


@pytest.mark.parametrize(("modalities", "alpha"), [(WITH_BATCH_NORM, 0.0), (("a",), 5.0)])
def test_without_weight_or_with_one_modality_it_is_erm_bitwise(modalities, alpha):
    batches = make_batches(modalities)
    erm = trajectory("erm", tiny_model(modalities), batches)
    method = started(modalities, model=tiny_model(modalities), alpha=alpha)
    optimizer = adam(method)
    torch.manual_seed(11)
    states = []
    for batch in batches:
        train(method, [batch], optimizer)
        states.append(tensors(method.model))
    assert_same(states, erm)


def test_the_modality_that_is_learned_late_is_drawn_apart_by_class():
    methods = {
        name: make_method(name, tiny_model(), batches=[imbalanced()]) for name in ("erm", "pmr")
    }
    for method in methods.values():
        train_on_imbalance(method, steps=25)
    logs = methods["pmr"].run.logs.flush()
    assert logs[f"weight/{EASY}"] == 0.0
    assert logs[f"weight/{HARD}"] > 0.3
    assert separation(methods["pmr"], HARD) > separation(methods["erm"], HARD) + 0.02
