"""ReconBoost: the stages, what each part of one trains, and the losses."""

import pytest
import torch
from support_balancing import HARD, accuracy, imbalanced, train_on_imbalance
from support_methods import (
    CLASSES,
    WITH_BATCH_NORM,
    assert_close,
    assert_same,
    gradients_of,
    make_batch,
    make_batches,
    make_method,
    tensors,
    tiny_model,
    train,
    without_dropout,
)
from torch.nn import functional as F

from methods.base import FUSED

THREE = ("a", "b", "d")
MIXED = (*WITH_BATCH_NORM, "b")


def at_epoch(method, epoch):
    """Begin an epoch as the engine does."""
    method.run.epoch = epoch
    method.epoch_start()
    return method


def reconboost(modalities=THREE, epoch=0, **hyperparameters):
    """Return the method without dropout, in an epoch."""
    model = without_dropout(tiny_model(modalities))
    return at_epoch(make_method("reconboost", model, **hyperparameters), epoch)


def logits(method, batch):
    return method.model.unimodal(method.model.embed(batch.features))


# The stages


def test_modalities_take_turns_each_alone_first_and_then_all_together():
    method = reconboost()
    stages = []
    for epoch in range(8):
        at_epoch(method, epoch)
        stages.append((method.alone, method.before))
    assert stages == [
        *(("a", None), (None, None), ("b", "a"), (None, "a")),
        *(("d", "b"), (None, "b"), ("a", "d"), (None, "d")),
    ]


def test_the_parts_of_a_stage_last_as_long_as_they_are_told():
    method = reconboost(alone_epochs=3, joint_epochs=2)
    alone = [at_epoch(method, epoch).alone for epoch in range(11)]
    assert alone == [*"aaa", None, None, *"bbb", None, None, "d"]
    method = reconboost(joint_epochs=0)
    assert [at_epoch(method, epoch).alone for epoch in range(4)] == [*"abda"]


def test_only_the_branch_whose_turn_it_is_changes_whatever_adam_remembers():
    method = make_method("reconboost", tiny_model(MIXED))
    optimizer = torch.optim.Adam(method.param_groups(), lr=1e-2, weight_decay=1e-2)
    batches = make_batches(MIXED, 3)
    train(method, batches, optimizer)
    for epoch, k in ((0, "a"), (2, "c"), (4, "b")):
        at_epoch(method, epoch)
        before = tensors(method.model)
        train(method, batches, optimizer)
        after = tensors(method.model)
        changed = {name for name in after if not torch.equal(after[name], before[name])}
        assert changed == {name for name in after if name.split(".")[1] == k}
        assert all(module.training for module in method.modules())


def test_in_a_joint_epoch_every_branch_changes():
    method = at_epoch(make_method("reconboost", tiny_model(MIXED)), 1)
    gradient = gradients_of(method, make_batch(MIXED))
    assert {name for name, g in gradient.items() if not g.any()} == {
        name for name in gradient if name.startswith("fusion")
    }


# The losses


def test_a_joint_epoch_minimises_the_cross_entropy_of_the_summed_logits():
    method, batch = reconboost(epoch=1), make_batch(THREE)
    total = sum(logits(method, batch).values())
    assert_close(method.loss(batch), {FUSED: F.cross_entropy(total, batch.labels)}, 1e-12)


def test_the_boosting_loss_is_that_of_the_paper_class_by_class():
    w1, w2 = 4.0, 3.0
    method, batch = reconboost(fit=w1, residual=w2 / w1), make_batch(THREE)
    u = logits(method, batch)
    log_p = torch.log_softmax(u["a"], dim=1)
    one_hot = torch.eye(CLASSES, dtype=torch.float64)[batch.labels]
    q = torch.softmax(u["b"] + u["d"], dim=1)
    per_sample = -w1 * (one_hot * log_p).mean(1) + w2 * (one_hot * q * log_p).mean(1)
    assert_close(method.loss(batch), {"a": per_sample.mean()}, 1e-12)


def test_without_the_residual_term_it_is_a_share_of_the_cross_entropy():
    method, batch = reconboost(residual=0.0, fit=3.0), make_batch(THREE)
    expected = 3.0 / CLASSES * F.cross_entropy(logits(method, batch)["a"], batch.labels)
    assert_close(method.loss(batch), {"a": expected}, 1e-12)


def test_one_modality_alone_has_a_share_of_its_cross_entropy_in_both_parts():
    batch = make_batch(("a",))
    for epoch, share in ((0, 5 / CLASSES * (1 - 0.2 / CLASSES)), (1, 1.0), (2, 1.1875)):
        method = reconboost(("a",), epoch)
        (term,) = method.loss(batch).values()
        cross_entropy = F.cross_entropy(logits(method, batch)["a"], batch.labels)
        assert float(term / cross_entropy) == pytest.approx(share)


def test_a_sample_that_the_others_predict_counts_less_and_none_is_dropped():
    method, batch = reconboost(("a", "b")), make_batch(("a", "b"))
    with torch.no_grad():
        method.model.heads["b"][3].weight.zero_()
        method.model.heads["b"][3].bias.copy_(torch.tensor([50.0, 0, 0, 0]))
    per_sample = F.cross_entropy(logits(method, batch)["a"], batch.labels, reduction="none")
    weights = torch.where(batch.labels == 0, 4.0, 5.0) / CLASSES
    assert_close(method.loss(batch)["a"], (weights * per_sample).mean(), 1e-9)


def agreement_by_hand(method, batch, alpha):
    u = logits(method, batch)
    current, previous = (torch.softmax(u[k], dim=1) for k in ("b", "a"))
    return alpha * ((current - previous.detach()) ** 2).mean()


def test_agreement_is_with_the_modality_of_the_stage_before():
    method, batch = reconboost(epoch=2, agreement=0.7), make_batch(THREE)
    terms = method.loss(batch)
    assert set(terms) == {"b", "agreement"}
    assert_close(terms["agreement"], agreement_by_hand(method, batch, 0.7), 1e-12)


def test_agreement_has_a_gradient_in_the_modality_that_learns_only():
    batch = make_batch(THREE)
    without, with_it = (
        gradients_of(reconboost(epoch=2, agreement=alpha), batch) for alpha in (0.0, 0.7)
    )
    method = reconboost(epoch=2)
    method.zero_grad()
    agreement_by_hand(method, batch, 0.7).backward()
    for name, p in method.model.named_parameters():
        own = name.split(".")[1] == "b"
        assert (p.grad is not None and bool(p.grad.any())) == own
        expected = without[name] + (p.grad if own else 0)
        assert_close(with_it[name], expected, 1e-12)


def test_the_others_are_scored_in_eval_mode():
    losses = []
    for seed in (1, 2):
        method = at_epoch(make_method("reconboost", tiny_model(MIXED), agreement=0.5), 2)
        without_dropout(method.model.heads["c"])
        torch.manual_seed(seed)
        losses.append(method.loss(make_batch(MIXED)))
    assert_same(losses[1], losses[0])


# Prediction


def test_the_prediction_is_the_sum_of_the_logits_that_a_sample_has():
    method, batch = reconboost().eval(), make_batch(THREE)
    missing = torch.arange(8) % 2 == 0
    predicted = method.predict(batch.features, {"b": ~missing})
    u = {k: x.detach() for k, x in logits(method, batch).items()}
    assert_close({k: predicted[k] for k in THREE}, u, 1e-12)
    everything = u["a"] + u["b"] + u["d"]
    expected = torch.where(missing.unsqueeze(1), u["a"] + u["d"], everything)
    assert_close(predicted[FUSED], expected, 1e-12)
    assert_close(method.predict(batch.features)[FUSED], everything, 1e-12)


# Balance


def test_the_slow_modality_learns_more_than_without_its_turns():
    test, scores = imbalanced(400, seed=5), {}
    for turns in (True, False):
        method = make_method("reconboost", tiny_model())
        if not turns:
            method.epoch_start = lambda: None
        train_on_imbalance(method, steps=20)
        scores[turns] = accuracy(method.predict(test.features)[HARD], test)
    assert scores[True] > scores[False] + 0.05
