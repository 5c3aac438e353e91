"""What drives each modality: the variance of gradients, dropout in the records, and whole runs."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from support import SPEC
from support_analysis import finished
from torch import Tensor

from benchmark import analyze, report
from benchmark.analysis.dropping import keeping_one, logged
from benchmark.analysis.dynamics import Dynamics, Settings
from benchmark.analysis.noise import Scatter
from benchmark.training import gradients, seeds
from methods.shared import masks


def one(*values: float) -> dict[str, Tensor]:
    return {"x": torch.tensor(values)}


def test_identical_batches_have_no_variance():
    scatter = Scatter([one(0.1, 0.7, -3.3)] * 7)
    assert scatter.variance() == 0
    assert scatter.relative(7) == 0


def test_the_variance_of_two_gradients_by_hand():
    """(1, 0) and (0, 1): each is √½ off their mean, whose square is ½."""
    scatter = Scatter([one(1, 0), one(0, 1)])
    assert scatter.variance() == 1
    assert scatter.relative(2) == pytest.approx(1 / 0.5)
    # Two of four: the mean is too long by ½ · ½.
    assert scatter.relative(4) == pytest.approx(1 / 0.25)
    assert scatter.relative(10**12) is None or scatter.relative(10**12) > 1e11
    assert Scatter([one(1, -1), one(-1, 1)]).relative(2) is None  # no gradient at all
    assert Scatter([one(1, 0)]).relative(5) is None


def test_tensors_add_up_and_can_be_looked_at_alone():
    found = [{"a": torch.tensor([2.0]), "b": torch.tensor([[0.0, 3.0]])},
             {"a": torch.tensor([4.0]), "b": torch.tensor([[0.0, 3.0]])}]  # fmt: skip
    scatter = Scatter(found)
    assert scatter.relative(2, {"a"}) == pytest.approx(2 / 9)
    assert scatter.relative(2, {"b"}) == 0
    assert scatter.relative(2) == scatter.relative(2, {"a", "b"}) == pytest.approx(2 / 18)


def test_estimates_from_some_batches_are_those_of_all_on_average():
    rng = np.random.default_rng(0)
    every = [one(*rng.normal(0.3, 1, 5).tolist()) for _ in range(6)]
    whole = torch.stack([g["x"] for g in every]).double()
    drawn = [Scatter(some) for some in itertools.combinations(every, 3)]
    variance = np.mean([scatter.variance() for scatter in drawn])
    assert variance == pytest.approx(float(whole.var(dim=0).sum()), rel=1e-6)
    square = np.mean([scatter.square(6) for scatter in drawn])
    assert square == pytest.approx(float((whole.mean(dim=0) ** 2).sum()), rel=1e-6)


# Samples that keep exactly one modality


def enumerated(rates, redrawn):
    """Return the share by adding up the probability of every mask."""
    one, none = 0.0, 0.0
    for mask in itertools.product([0, 1], repeat=len(rates)):
        p = np.prod([1 - r if kept else r for kept, r in zip(mask, rates, strict=True)])
        one += p * (sum(mask) == 1)
        none += p * (sum(mask) == 0)
    return one / (1 - none) if redrawn else one


@pytest.mark.parametrize("redrawn", [True, False])
@pytest.mark.parametrize("count", [1, 2, 3, 4])
def test_the_share_that_keeps_one_is_that_of_all_masks(count, redrawn):
    rng = np.random.default_rng(count)
    cases = [rng.uniform(0, 1, count).tolist() for _ in range(20)]
    cases += [[0.0] * count, [0.5] * count, [0.0] + [1.0] * (count - 1)]
    for rates in cases:
        assert masks.keeping_one(rates, redrawn) == pytest.approx(enumerated(rates, redrawn))


def test_known_shares():
    assert masks.keeping_one([0.5, 0.5]) == pytest.approx(2 / 3)
    assert masks.keeping_one([0.5, 0.5], redrawn=False) == pytest.approx(1 / 2)
    assert masks.keeping_one([0.5] * 15) == pytest.approx(15 / (2**15 - 1))
    assert masks.keeping_one([0.3, 0.0]) == pytest.approx(0.3)


@pytest.mark.parametrize("rule", ["draw", "draw_literally"])
def test_the_share_is_that_of_the_masks_that_are_drawn(rule):
    size, rates = 20_000, {"a": 0.6, "b": 0.5, "c": 0.7}
    like, generator = torch.zeros(size, 1), torch.Generator().manual_seed(0)
    drawn = torch.stack(list(getattr(masks, rule)(rates, like, generator).values()))
    share = float((drawn.sum(dim=0) == 1).double().mean())
    expected = masks.keeping_one(rates.values(), redrawn=rule == "draw")
    assert share == pytest.approx(expected, abs=4 * 0.5 / size**0.5)


def lines(**values):
    """Return three validations that log these values."""
    return [{"step": i, "train": {k: v[i] for k, v in values.items() if v[i] is not None}}
            for i in range(3)]  # fmt: skip


def test_logged_values_are_summed_up_by_modality():
    found = logged(lines(**{"speed/a": [1.0, 2.0, 6.0], "drop_rate/b": [0.5, None, None]}), "ab")
    assert found["speed"] == {"a": {"mean": 3.0, "final": 6.0}, "b": None}
    assert found["drop_rate"] == {"a": None, "b": {"mean": 0.5, "final": 0.5}}
    assert found["effective_drop_rate"] == {"a": None, "b": None}


RATES = {"drop_rate/a": [0.0, 0.5, 0.5], "drop_rate/b": [0.2, 0.5, 0.0]}


@pytest.mark.parametrize(
    ("dropout", "course"),
    [
        ("adaptive", [0.2, 2 / 3, 0.5]),
        ("fixed", [0.2, 2 / 3, 0.5]),
        ("fixed-literal", [0.2, 0.5, 0.5]),
        (None, [None] * 3),
    ],
)
def test_the_share_over_training_follows_the_rule_of_the_masks(dropout, course):
    spec = spec_with({"mbcd": {"dropout": dropout}} if dropout else {"opm": {}})
    found = keeping_one(lines(**RATES), spec, "ab", kept=1)
    assert found["course"] == (course if dropout is None else pytest.approx(course))
    assert found["kept"] == found["course"][1]
    assert found["final"] == found["course"][2]
    if dropout:
        assert found["mean"] == pytest.approx(sum(course) / 3)
    assert keeping_one([], spec, "ab", None) == {
        "kept": None, "mean": None, "final": None, "course": []
    }  # fmt: skip


def spec_with(hyperparameters):
    return replace(SPEC, hyperparameters=hyperparameters)


# Whole runs


NORMS = ("gradient_norm", "unimodal_gradient_norm", "gradient_cosine")


@pytest.mark.parametrize("method", ["erm", "joint"])
def test_gradients_are_those_that_the_run_logged(tmp_path, monkeypatch, method):
    monkeypatch.setattr(gradients, "SAMPLES", 20)
    run = finished(tmp_path, method)
    before = {name: x.clone() for name, x in run.model.state_dict().items()}
    found = Dynamics(Settings(samples=20)).measure(run)
    assert found == Dynamics(Settings(samples=20)).measure(run)
    assert found["train"] != Dynamics(Settings(samples=21)).measure(run)["train"]
    epoch = run.record.result["rules"]["best-val"]["epoch"]
    line = run.record.metrics()[epoch]["train"]
    for name in NORMS:
        for k in run.modalities:
            expected = line.get(f"{name}/{k}")
            assert found["train"][name][k] == (expected and pytest.approx(expected, rel=1e-5))
    assert (found["train"]["gradient_cosine"]["m1"] is None) == (method == "erm")
    for name, x in run.model.state_dict().items():
        assert torch.equal(x, before[name]), name
    assert all(p.grad is None for p in run.model.parameters())
    assert found["keeping_one"]["course"] == [None, None]


def test_the_variance_is_that_of_the_fused_loss_over_batches(tmp_path):
    """Against a loop over the same batches: of all, the estimate is exact."""
    run = finished(tmp_path, "erm")
    found = Dynamics(Settings(batches=0)).measure(run)["variance"]
    total = len(run.samples("train")) // 8
    assert found["batches"] == total == 6
    some = Dynamics(Settings(batches=3)).measure(run)["variance"]
    assert some["batches"] == 3 and some["total"] != found["total"]
    assert Dynamics(Settings(batches=1)).measure(run)["variance"]["total"] is None
    samples = run.samples("train")
    generator = seeds.generator(0, "analysis", "dynamics", "synthetic", "d3")
    order = torch.randperm(len(samples), generator=generator).tolist()
    vectors = []
    for i in range(total):
        chosen = [samples[j] for j in order[8 * i : 8 * i + 8]]
        (batch,) = run.batches(chosen)
        logits = run.model.fuse(run.model.embed(batch.features))
        torch.nn.functional.cross_entropy(logits, batch.labels).backward()
        named = [(name, p) for name, p in run.model.named_parameters() if p.requires_grad]
        vectors.append({name: grad(p) for name, p in named})
        run.model.zero_grad(set_to_none=True)
    for k, value in [("", found["total"]), *found["modalities"].items()]:
        names = [n for n in vectors[0] if n.startswith(f"encoders.{k}.tail." if k else "")]
        rows = torch.stack([torch.cat([v[n].flatten() for n in names]) for v in vectors]).double()
        expected = rows.var(dim=0).sum() / rows.mean(dim=0).square().sum()
        assert value == pytest.approx(float(expected), rel=1e-4)


def grad(p: Tensor) -> Tensor:
    return torch.zeros_like(p) if p.grad is None else p.grad.clone()


def test_confidence_is_that_of_the_stored_predictions(tmp_path):
    run = finished(tmp_path, "joint", modalities=["m1+m2"])
    arrays = np.load(run.record.folder / "predictions.npz")
    found = Dynamics().measure(run)["target"]["confidence"]  # all 30 samples of it
    for k in ("m1", "m2"):
        logits = torch.tensor(arrays[f"best-val/target/{k}"].astype(float))
        assert found[k] == pytest.approx(logits.softmax(1).max(1).values.mean().item(), abs=1e-3)


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("swad+mbcd", {}),
        ("unimodal", {}),
        ("mla", {"modalities": ["m1+m2"]}),
        ("mbcd", {"modalities": ["m1"]}),
        ("mbcd", {"set": ["dropout=fixed-literal"], "modalities": ["m1+m2"]}),
    ],
)
def test_every_method_can_be_measured(tmp_path, method, changes):
    run = finished(tmp_path, method, recipe={"epochs": 2}, **changes)
    found = Dynamics(Settings(batches=2)).measure(run)
    json.dumps(found, allow_nan=False)
    for part in ("train", "target"):
        assert set(found[part]) == {*NORMS, "confidence"}
        assert all(set(values) == set(run.modalities) for values in found[part].values())
    if "mbcd" in method and len(run.modalities) > 1:
        assert len(found["keeping_one"]["course"]) == 2
        assert found["keeping_one"]["kept"] in found["keeping_one"]["course"]
    if changes.get("set"):  # two modalities at p = 1/2, without redrawing
        assert found["keeping_one"]["mean"] == pytest.approx(0.5)


def test_the_command_and_its_table(tmp_path, capsys):
    finished(tmp_path, "mbcd")
    assert analyze.main(["dynamics", "--results", str(tmp_path), "--set", "batches=2"]) == 0
    capsys.readouterr()
    given = ["--results", str(tmp_path), "--table", "dynamics", "--format", "csv"]
    assert report.main(given) == 0
    out = capsys.readouterr().out
    for column in ("‖g‖ m1", "‖g own‖ m2", "cos m3", "variance", "s m1", "drop m2", "one left"):
        assert column in out
