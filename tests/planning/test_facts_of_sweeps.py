"""The facts that the comments in sweeps/ state: what MBCD is with parts off, and the warm-up."""

from pathlib import Path

import pytest
from support import numbers, tiny_run
from torch import nn

import datasets
from methods.shared.averaging import ExponentialAverage

UTD = ("s1s2", "s3s4", "s5s6", "s7s8")
OFF = {"dropout": "none", "consistency": "none", "distill_fused": 0.0, "distill_unimodal": 0.0}


def record(results: Path, method: str, **changes):
    spec, folder = tiny_run(results, method, **changes)
    return numbers(folder), (folder.path / "predictions.npz").read_bytes(), spec.id


def assert_same(one, other):
    assert one[2] != other[2]
    assert one[:2] == other[:2]


def test_mbcd_with_every_part_off_is_joint_and_its_average(tmp_path):
    off = [f"{key}={value}" for key, value in OFF.items()]
    joint = record(tmp_path, "joint")
    averaged = record(tmp_path, "ema+joint")
    assert_same(record(tmp_path, "mbcd", set=[*off, "beta=0"]), joint)
    assert_same(record(tmp_path, "mbcd", set=off), averaged)
    assert averaged[:2] != joint[:2]
    # ... and a part that is on alone does something.
    for part in ("dropout", "consistency"):
        rest = [text for text in off if not text.startswith(part)]
        assert record(tmp_path, "mbcd", set=[*rest, "beta=0"])[1] != joint[1]


def test_with_the_warm_up_slow_averages_are_equal_in_short_runs_and_only_with_it(tmp_path):
    slow = [record(tmp_path, "mbcd", set=[f"beta={beta}"]) for beta in (0.99, 0.9999)]
    assert_same(*slow)
    constant = {"switches": {"ema_warmup": False}}
    slow = [record(tmp_path, "mbcd", set=[f"beta={beta}"], **constant) for beta in (0.99, 0.9999)]
    assert slow[0][1] != slow[1][1]


def test_the_warm_up_reaches_099_at_step_890(monkeypatch):
    def weights(beta):
        moved = []
        monkeypatch.setattr(ExponentialAverage, "move_towards", lambda self, s, w: moved.append(w))
        average = ExponentialAverage(nn.Linear(1, 1), beta, warmup=True)
        for _ in range(900):
            average.update(average.model)
        return moved

    assert weights(0.99)[:890] == weights(0.9999)[:890]
    assert weights(0.99)[890] != weights(0.9999)[890]


@pytest.mark.data
def test_a_run_on_utd_mhad_is_shorter_than_that(utd_root):
    dataset = datasets.create("utd_mhad", utd_root, None)
    recipe = dataset.card.recipe
    sizes = [len(dataset.samples(domain, "train")) for domain in UTD]
    assert recipe.epochs * (sum(sizes) - min(sizes)) / recipe.batch_size < 890
