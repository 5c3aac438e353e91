"""What statistics get of predictions: metrics, the influence of samples, and groups."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support_reports import predicted

from benchmark.records.predictions import Predicted
from benchmark.reporting.answers import INFLUENCES, answers, groups_of
from benchmark.training import metrics


def some(seed: int, n: int = 400, classes: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Labels of classes of unequal size, and predictions that are mostly right."""
    rng = np.random.default_rng(seed)
    labels = rng.choice(classes, n, p=np.arange(1, classes + 1) / sum(range(classes + 1)))
    wrong = rng.integers(classes, size=n)
    return labels, np.where(rng.random(n) < 0.6, labels, wrong)


def value(metric: str, labels: np.ndarray, said: np.ndarray) -> float:
    """The metric as training scores it."""
    scores = metrics.scores(torch.eye(int(max(labels.max(), said.max())) + 1)[said],
                            torch.from_numpy(labels))  # fmt: skip
    recalls = [r for r in scores.per_class if r is not None]
    return {
        "accuracy": scores.accuracy,
        "balanced-accuracy": float(np.mean(recalls)),
        "macro-f1": scores.macro_f1,
    }[metric]


@pytest.mark.parametrize("metric", INFLUENCES)
@pytest.mark.parametrize("seed", range(4))
def test_values_are_those_that_training_scores(metric: str, seed: int) -> None:
    labels, said = some(seed, n=30, classes=6)  # a class may not occur
    found, influence = INFLUENCES[metric](labels, said)
    assert found == pytest.approx(value(metric, labels, said))
    assert influence.sum() == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize("metric", INFLUENCES)
def test_influences_are_what_the_jackknife_finds(metric: str) -> None:
    """Without one of many samples a metric moves by the influence of it, to first order."""
    labels, said = some(1)
    whole, influence = INFLUENCES[metric](labels, said)
    left_out = [np.delete(labels, i) for i in range(len(labels))]
    moved = np.array(
        [value(metric, rest, np.delete(said, i)) - whole for i, rest in enumerate(left_out)]
    )
    assert np.corrcoef(-moved, influence)[0, 1] > 0.999
    assert moved.std() / influence.std() == pytest.approx(1, rel=0.02)


@pytest.mark.parametrize("metric", INFLUENCES)
def test_the_error_is_that_of_other_samples(metric: str) -> None:
    """The spread over fresh test sets is what influences of one say it is."""
    drawn = [INFLUENCES[metric](*some(seed)) for seed in range(600)]
    said = [np.sqrt((influence**2).sum()) for _, influence in drawn]
    assert np.std([found for found, _ in drawn]) == pytest.approx(np.mean(said), rel=0.1)


def of(groups: list[tuple[str, ...]]) -> Predicted:
    n = len(groups)
    return Predicted(
        Path(), np.array([str(i) for i in range(n)]), np.array(groups), np.zeros(n, int),
        np.zeros((n, 2), np.float16), np.zeros(n, int), 2,
    )  # fmt: skip


def test_the_coarsest_level_of_ten_groups_counts() -> None:
    subjects = [(f"s{i % 12}", f"s{i % 12}-{i}") for i in range(60)]
    number, counts = groups_of(of(subjects))
    assert counts == (12,)
    assert number.tolist() == [number[i % 12] for i in range(60)]
    few = [(f"s{i % 3}", f"{i // 3 % 20}", f"{i}") for i in range(240)]
    number, counts = groups_of(of(few))
    # Recordings are counted within their subjects, whose names of them may be the same.
    assert counts == (3, 60)
    assert len(set(number.tolist())) == 60
    assert groups_of(of([("a", str(i // 2)) for i in range(8)]))[1] == (1, 4)
    assert groups_of(of([("a",), ("b",)]))[1] == (2,)


def test_parts_are_added_up_by_group_and_seeds_share_a_test_set(tmp_path: Path) -> None:
    runs = predicted(tmp_path, "erm", {"d1": [0.5, 0.55], "d2": [0.5, 0.5]}, n=200)
    found = answers(runs, "best-val")
    assert sorted(found) == ["d1", "d2"]
    assert found["d1"].values == {0: 0.5, 1: 0.55}
    assert (found["d1"].samples, found["d1"].groups, found["d1"].coarser) == (200, 200, ())
    assert found["d1"].parts[0][:3] == pytest.approx([0.5 / 200] * 3)
    assert found["d1"].test != found["d2"].test
    assert answers(runs, "best-val", "worst-class") == {}
    assert answers([replace(r, folder=None) for r in runs], "best-val") == {}
