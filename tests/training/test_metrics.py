import math

import numpy as np
import pytest
import torch

from benchmark.training import metrics

# Five samples, three classes; predictions are 0, 0, 1, 1, 0; class 2 is never predicted.
LOGITS = torch.tensor([[3.0, 0, 0], [2, 1, 0], [0, 2, 1], [0, 5, 0], [1, 0, 0]])
LABELS = torch.tensor([0, 0, 1, 2, 1])


def test_scores_of_a_hand_worked_case():
    scores = metrics.scores(LOGITS, LABELS)
    assert scores.accuracy == pytest.approx(3 / 5)
    # F1: class 0: 2·2/(2+3) = 0.8; class 1: 2·1/(2+2) = 0.5; class 2: 0.
    assert scores.macro_f1 == pytest.approx((0.8 + 0.5 + 0) / 3)
    assert scores.per_class == pytest.approx((1.0, 0.5, 0.0))


def test_a_class_that_never_occurs_has_no_recall_and_does_not_count_in_f1():
    scores = metrics.scores(LOGITS[:2], LABELS[:2])
    assert scores.per_class == (1.0, None, None)
    assert scores.macro_f1 == 1.0


def test_cross_entropy_is_the_mean_negative_log_probability():
    expected = np.mean(
        [
            math.log(sum(math.exp(float(v)) for v in row)) - float(row[label])
            for row, label in zip(LOGITS, LABELS, strict=True)
        ]
    )
    assert metrics.cross_entropy(LOGITS, LABELS) == pytest.approx(expected)


def test_the_probe_separates_what_is_linearly_separable_and_nothing_else():
    generator = torch.Generator().manual_seed(0)
    y = torch.arange(300) % 3
    informative = torch.eye(3)[y] * 4 + torch.randn(300, 3, generator=generator)
    noise = torch.randn(300, 3, generator=generator)
    train, test = slice(0, 150), slice(150, 300)
    good = metrics.linear_probe(informative[train], y[train], informative[test], y[test], 3)
    bad = metrics.linear_probe(noise[train], y[train], noise[test], y[test], 3)
    assert good > 0.95
    assert bad < 0.5


def test_the_probe_does_not_depend_on_shift_and_scale_of_a_feature():
    generator = torch.Generator().manual_seed(1)
    y = torch.arange(90) % 3
    x = torch.randn(90, 5, generator=generator, dtype=torch.float64) + y.unsqueeze(1)
    moved = x * torch.tensor([1, 10, 0.1, 5, 1]) + 7
    a = metrics.linear_probe(x[:60], y[:60], x[60:], y[60:], 3)
    b = metrics.linear_probe(moved[:60], y[:60], moved[60:], y[60:], 3)
    assert a == b


def test_the_probe_survives_a_constant_feature():
    y = torch.arange(30) % 3
    x = torch.cat([torch.eye(3)[y], torch.ones(30, 2)], dim=1)
    assert metrics.linear_probe(x, y, x, y, 3) == 1.0
