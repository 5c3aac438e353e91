"""Gradient blending: the weights, how losses are measured, and whom the weights favour."""

import pytest
import torch
from support_methods import (
    CLASSES,
    SHAPES,
    VECTORS,
    WITH_BATCH_NORM,
    adam,
    assert_close,
    assert_same,
    make_batch,
    make_method,
    tensors,
    tiny_model,
    train,
    validate,
    without_dropout,
)
from torch.nn import functional as F

from methods.base import FUSED, Batch, HeadStats, Validation
from methods.gradient_blending import Losses, blend

FLOOR = 0.01


def blended(*changes):
    """Blend heads given as (train before, val before, train now, val now)."""
    before = {str(i): Losses(c[0], c[1]) for i, c in enumerate(changes)}
    now = {str(i): Losses(c[2], c[3]) for i, c in enumerate(changes)}
    return list(blend(before, now, FLOOR).values())


# The weights


def test_a_weight_is_generalisation_over_the_square_of_overfitting():
    # G = 0.5, O = 0.1 and G = 0.2, O = 0.2: the ratios are 50 and 5.
    weights = blended((1.0, 1.1, 0.4, 0.6), (1.0, 1.2, 0.6, 1.0))
    assert weights == pytest.approx([10 / 11, 1 / 11])


def test_overfitting_counts_with_its_square_whichever_sign_it_has():
    # O = -0.1 and O = 0.2 at G = 0.3.
    weights = blended((1.0, 1.5, 0.8, 1.2), (1.0, 1.2, 0.5, 0.9))
    assert weights == pytest.approx([0.8, 0.2])


def test_weights_are_shares_for_any_losses():
    generator = torch.Generator().manual_seed(0)
    for _ in range(100):
        weights = blended(*torch.rand(4, 4, generator=generator).tolist())
        assert sum(weights) == pytest.approx(1.0)
        assert min(weights) >= 0


def test_equal_heads_weigh_the_same():
    assert blended(*[(1.0, 1.2, 0.5, 0.9)] * 3) == pytest.approx([1 / 3] * 3)


def test_a_head_that_generalises_worse_has_no_weight():
    weights = blended((1.0, 1.0, 0.5, 1.9), (1.0, 1.0, 0.9, 0.95))
    assert weights == [0.0, 1.0]


def test_where_no_head_generalises_better_all_weigh_the_same():
    assert blended((1.0, 1.0, 0.5, 1.5), (1.0, 1.0, 0.1, 1.0)) == [0.5, 0.5]
    assert blended((1.0, 1.0, 1.0, 1.0), (0.0, 0.0, 0.0, 0.0)) == [0.5, 0.5]


def test_no_overfitting_at_all_is_as_good_as_the_floor_and_no_better():
    # G = 0.1 with O = 0 and with O = floor.
    weights = blended((1.0, 1.0, 0.9, 0.9), (1.0, 1.0, 0.89, 0.9))
    assert weights == pytest.approx([0.5, 0.5])
    assert blended((1.0, 1.0, 0.9, 0.9), (1.0, 1.0, 0.88, 0.9)) == pytest.approx([0.8, 0.2])


# The loss


def test_the_loss_weighs_the_cross_entropy_of_every_head():
    model, batch = without_dropout(tiny_model()), make_batch()
    method = make_method("gradient_blending", model)
    z = model.embed(batch.features)
    plain = {FUSED: F.cross_entropy(model.fuse(z), batch.labels)}
    plain |= {k: F.cross_entropy(u, batch.labels) for k, u in model.unimodal(z).items()}
    assert_close(method.loss(batch), {j: x / 3 for j, x in plain.items()}, 1e-12)
    method.weights = {FUSED: 0.5, "a": 0.125, "b": 0.375}
    assert_close(method.loss(batch), {j: method.weights[j] * x for j, x in plain.items()}, 1e-12)


# The measurements


def stats(**val):
    """Return a validation with these losses of the student and others of what is evaluated."""
    return Validation(
        {head: HeadStats(loss, 0.5) for head, loss in val.items()},
        {head: HeadStats(9.0, 0.5) for head in val},
    )


def measured(method, sequence):
    """Validate with given (train, val) losses by head; return the weights after each."""
    weights = []
    for losses in sequence:
        method._train_losses = lambda losses=losses: {j: x[0] for j, x in losses.items()}
        assert method.validated(stats(**{j: x[1] for j, x in losses.items()})) is False
        weights.append(dict(method.weights))
    return weights


def test_weights_follow_consecutive_validations_of_the_student_with_momentum():
    method = make_method("gradient_blending", tiny_model(("a",)), momentum=0.25)
    sequence = (
        {FUSED: (1.0, 1.1), "a": (1.0, 1.2)},
        {FUSED: (0.4, 0.6), "a": (0.6, 1.0)},  # as above: 10/11 and 1/11
        {FUSED: (0.3, 0.6), "a": (0.5, 0.9)},  # only "a" still generalises
    )
    first, second, third = measured(method, sequence)
    assert first == {FUSED: 0.5, "a": 0.5}
    assert second[FUSED] == pytest.approx(0.25 * 0.5 + 0.75 * 10 / 11)
    assert third == pytest.approx({FUSED: 0.25 * second[FUSED], "a": 0.25 * second["a"] + 0.75})


def test_the_train_loss_is_the_mean_per_sample_in_eval_mode_and_changes_nothing():
    batches = [make_batch(WITH_BATCH_NORM, size, seed) for seed, size in enumerate((8, 8, 3))]
    model = tiny_model(WITH_BATCH_NORM)
    method = make_method("gradient_blending", model, batches=batches)
    held, stream = tensors(model), torch.get_rng_state()
    losses = method._train_losses()
    assert_same(tensors(model), held)
    assert torch.equal(torch.get_rng_state(), stream)
    assert all(module.training for module in method.modules())
    model.eval()
    rows = {head: [] for head in losses}
    for batch in batches:
        z = model.embed(batch.features)
        for head, u in {FUSED: model.fuse(z), **model.unimodal(z)}.items():
            rows[head].append(F.cross_entropy(u, batch.labels, reduction="none"))
    expected = {head: float(torch.cat(x).mean()) for head, x in rows.items()}
    assert losses == pytest.approx(expected, abs=1e-12)


# Balance


def corrupted(seed):
    """Return samples whose modality "b" is noise alone, so that it can only be memorised."""
    batch = make_batch(size=24, seed=seed)
    columns = torch.eye(CLASSES, *SHAPES["a"], dtype=torch.float64)
    features = {**batch.features, "a": batch.features["a"] + 2 * columns[batch.labels]}
    return Batch(features, batch.labels, batch.domains, batch.ids)


def test_the_weight_moves_from_the_head_that_memorises_to_those_that_generalise():
    training, held_out = [corrupted(0)], [corrupted(1), corrupted(2)]
    method = make_method("gradient_blending", tiny_model(VECTORS), batches=training)
    optimizer = adam(method)
    torch.manual_seed(0)
    weights = []
    for _ in range(7):
        train(method, training * 2, optimizer)
        validate(method, held_out)
        weights.append(method.weights)
    assert weights[0] == pytest.approx(dict.fromkeys((FUSED, "a", "b"), 1 / 3))
    assert weights[-1]["b"] < 0.1 < 0.8 < weights[-1]["a"]
