import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from support import TINY, DiesAt, Interrupted, Silent, numbers, tiny_run, tiny_specs
from torch import nn

import methods
from benchmark import backbones, run
from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun
from benchmark.launch.execute import execute
from benchmark.planning import plan
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from datasets.synthetic import Synthetic
from methods.erm import ERM
from mmdg_common import UsageError

COMPOSITIONS = (
    "erm",
    "joint",
    "unimodal",
    "late_fusion",
    "modality_dropout",
    "ogm_ge",
    "mbcd",
    "ema",
    "swad",
    "swad+mbcd",
)


def test_a_record_holds_what_the_store_promises(tmp_path):
    spec, folder = tiny_run(tmp_path, "mbcd", modalities=["m1+m2"])
    result = folder.result()
    assert set(result["rules"]) == {"best-val", "last", "oracle", "reference"}
    assert result["rules"]["last"]["epoch"] == 1
    target = result["rules"]["best-val"]["target"]
    assert target["n"] == 3 * 10
    assert set(target["modalities"]) == {"m1", "m2"}
    assert all(
        0 <= m[name] <= 1
        for m in target["modalities"].values()
        for name in ("head", "masked", "probe")
    )
    told = result["provenance"]
    assert {"commit", "packages", "threads", "wall_s", "peak_memory_mb"} <= set(told)
    assert told["device"].startswith("cpu (") and told["driver"] is None and told["cpu"]
    assert "segments" not in told  # one process trained it all
    records = folder.metrics()
    assert [r["epoch"] for r in records] == [0, 1]
    assert {
        "speed/m1",
        "drop_rate/m2",
        "loss/fused",
        "loss/m1",
        "loss/distill",
        "look_ahead/relative_change",
    } <= set(records[0]["train"])
    assert not folder.checkpoint.exists()
    assert json.loads((folder.path / "spec.json").read_text()) == spec.to_json()


def test_predictions_hold_every_sample_and_agree_with_the_scores(tmp_path):
    _, folder = tiny_run(tmp_path, "joint")
    arrays = np.load(folder.path / "predictions.npz")
    for rule, at in folder.result()["rules"].items():
        for part, count in (("val", 2 * 3 * 2), ("target", 3 * 10)):
            labels = arrays[f"{rule}/{part}/labels"]
            fused = arrays[f"{rule}/{part}/fused"]
            assert len(set(arrays[f"{rule}/{part}/ids"])) == len(labels) == count
            assert fused.dtype == np.float16
            groups = arrays[f"{rule}/{part}/groups"]  # of synthetic samples, each is its own
            assert groups.tolist() == [[i] for i in arrays[f"{rule}/{part}/ids"]]
            accuracy = (fused.argmax(1) == labels).mean()
            assert accuracy == pytest.approx(at[part]["accuracy"], abs=1 / count)
            assert f"{rule}/{part}/m1" in arrays
        assert set(arrays[f"{rule}/target/domains"]) == {-1}


def test_a_head_that_is_not_trained_has_no_accuracy(tmp_path):
    _, folder = tiny_run(tmp_path, "erm")
    modality = folder.result()["rules"]["best-val"]["target"]["modalities"]["m1"]
    assert modality["head"] is None
    assert modality["masked"] is not None


def test_a_method_with_its_own_rule_keeps_the_others_beside_it(tmp_path):
    _, folder = tiny_run(tmp_path, "swad")
    assert set(folder.result()["rules"]) == {"best-val", "last", "oracle", "own", "reference"}
    assert folder.result()["method"]["converged"] is False


def test_validate_every_counts_steps_and_the_last_step_is_validated(tmp_path):
    _, folder = tiny_run(tmp_path, recipe={"validate_every": 4})
    steps = [r["step"] for r in folder.metrics()]
    total = 2 * (2 * 3 * 8 // 8)
    assert steps == [4, 8, total]


def test_a_recipe_can_count_steps_and_end_in_mid_epoch(tmp_path):
    _, folder = tiny_run(tmp_path, recipe={"steps": 8})
    assert [(r["epoch"], r["step"]) for r in folder.metrics()] == [(0, 6), (1, 8)]


@pytest.mark.parametrize(
    ("decay", "factor"),
    [
        ("inverse", lambda done: 1 / (1 + 10 * done) ** 0.75),
        ("cosine", lambda done: 0.01 + 0.99 * math.cos(math.pi * done / 2) ** 2),
    ],
)
def test_a_decay_follows_its_formula_and_survives_a_resume(tmp_path, decay, factor):
    recipe = {"steps": 10, "decay": decay, "lr": 0.01}
    (spec,) = tiny_specs(tmp_path, recipe=recipe)
    settings = RunSettings(tmp_path, threads=1, checkpoint_every=0)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    seen = []

    class Rates(DiesAt):
        def step(self, step, total):
            seen.append((step, training.optimizer.param_groups[0]["lr"]))
            super().step(step, total)

    for last in (5, 99):
        training = TinyRun(spec, dataset, Store(tmp_path).folder(spec), settings)
        with contextlib.suppress(Interrupted):
            training.run(Rates(last))
    assert [step for step, _ in seen] == [1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 10]
    assert all(rate == pytest.approx(0.01 * factor((step - 1) / 10)) for step, rate in seen)


def test_the_rate_stays_where_it_is_without_decay(tmp_path):
    (spec,) = tiny_specs(tmp_path, recipe={"lr": 0.01})
    settings = RunSettings(tmp_path, threads=1)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    training = TinyRun(spec, dataset, Store(tmp_path).folder(spec), settings)
    training.run(Silent())
    assert training.optimizer.param_groups[0]["lr"] == 0.01


def two_rates(self):
    """Train the encoders at a tenth of the recipe's rate, without weight decay."""
    parts = {True: [], False: []}
    for name, p in self.named_parameters():
        parts["encoders" in name].append(p)
    return [
        {"params": parts[False]},
        {"params": parts[True], "lr_factor": 0.1, "weight_decay": 0.0},
    ]


@pytest.mark.parametrize("decay", ["none", "inverse", "cosine"])
def test_a_group_of_parameters_keeps_its_share_of_the_rate(tmp_path, monkeypatch, decay):
    monkeypatch.setattr(ERM, "param_groups", two_rates)
    recipe = {"steps": 10, "decay": decay, "lr": 0.02, "weight_decay": 0.5}
    (spec,) = tiny_specs(tmp_path, recipe=recipe)
    settings = RunSettings(tmp_path, threads=1)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    training = TinyRun(spec, dataset, Store(tmp_path).folder(spec), settings)
    seen = []

    class Resets(Silent):
        def step(self, step, total):
            seen.append([group["lr"] for group in training.optimizer.param_groups])
            if step == 4:
                training.run_info.reset_optimizer()

    training.run(Resets())
    assert len(seen) == 10
    factors = {
        "none": lambda done: 1.0,
        "inverse": lambda done: (1 + 10 * done) ** -0.75,
        "cosine": lambda done: 0.01 + 0.99 * (1 + math.cos(math.pi * done)) / 2,
    }
    for step, (heads, encoders) in enumerate(seen):
        assert heads == pytest.approx(0.02 * factors[decay](step / 10))
        assert encoders == pytest.approx(heads / 10)
    assert [g["weight_decay"] for g in training.optimizer.param_groups] == [0.5, 0.0]
    assert sum(len(g["params"]) for g in training.optimizer.param_groups) == len(
        list(training.method.parameters())
    )


def test_a_reset_optimizer_has_forgotten_its_moments(tmp_path):
    (spec,) = tiny_specs(tmp_path)
    settings = RunSettings(tmp_path, threads=1)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    training = TinyRun(spec, dataset, Store(tmp_path).folder(spec), settings)
    training.run(Silent())
    assert training.optimizer.state
    training.run_info.reset_optimizer()
    assert not training.optimizer.state


class Augmented(Synthetic):
    """The synthetic dataset, with noise as augmentation."""

    def load(self, sample, modalities, seed):
        tensors = super().load(sample, modalities, seed)
        if seed is None:
            return tensors
        noise = torch.Generator().manual_seed(seed)
        return {k: x + torch.randn(x.shape, generator=noise) for k, x in tensors.items()}


@pytest.mark.parametrize("composition", ["erm", "ema"])
@pytest.mark.parametrize("two_views", [False, True])
def test_a_method_gets_a_second_view_of_the_same_samples_where_it_asks_for_one(
    tmp_path, monkeypatch, two_views, composition
):
    seen, plain = [], ERM.loss
    monkeypatch.setattr(ERM, "two_views", two_views)
    monkeypatch.setattr(ERM, "loss", lambda self, batch: seen.append(batch) or plain(self, batch))
    (spec,) = tiny_specs(tmp_path, composition, recipe={"steps": 2})
    folder, settings = Store(tmp_path).folder(spec), RunSettings(tmp_path, threads=1)
    training = TinyRun(spec, Augmented(None, None, TINY), folder, settings)
    training.run(Silent())
    assert len(seen) == 2
    for batch in seen:
        assert (batch.second is not None) == two_views
        for k, second in (batch.second or {}).items():
            assert second.shape == batch.features[k].shape
            assert not torch.equal(second, batch.features[k])
    assert next(training.evaluation(training.val_part)).second is None


@pytest.mark.parametrize("keep", ["best", "last"])
def test_kept_weights_are_those_that_were_tested(tmp_path, keep):
    (spec,) = tiny_specs(tmp_path, "erm")
    settings = RunSettings(tmp_path, threads=1, keep_checkpoints=keep)
    execute(spec, settings, Silent())
    folder = Store(tmp_path).folder(spec)
    weights = torch.load(folder.path / f"weights-{keep}.pt", weights_only=True)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    training = TinyRun(spec, dataset, folder, settings)
    training.model.load_state_dict(weights, strict=False)
    training.method.eval()
    hits = [
        (training.method.predict(b.features)["fused"].argmax(1) == b.labels).double()
        for b in training.evaluation(training.target_part)
    ]
    rule = {"best": "best-val", "last": "last"}[keep]
    assert float(torch.cat(hits).mean()) == folder.result()["rules"][rule]["target"]["accuracy"]


@pytest.mark.parametrize(
    "composition",
    [
        one if one in ("erm", "swad+mbcd") else pytest.param(one, marks=pytest.mark.slow)
        for one in COMPOSITIONS
    ],
)
def test_a_run_resumed_at_any_step_gives_the_numbers_of_one_that_was_not(tmp_path, composition):
    _, whole = tiny_run(tmp_path / "whole", composition, recipe={"validate_every": 4})
    (spec,) = tiny_specs(tmp_path / "cut", composition, recipe={"validate_every": 4})
    settings = RunSettings(tmp_path / "cut", threads=1, checkpoint_every=0)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    folder = Store(tmp_path / "cut").folder(spec)
    # 3 is mid-epoch, 5 just after a validation, 6 the last step of an epoch, 11 near the end.
    for step in (3, 5, 6, 11):
        with pytest.raises(Interrupted):
            TinyRun(spec, dataset, folder, settings).run(DiesAt(step))
        torch.manual_seed(step)
    execute(spec, settings, Silent())
    assert numbers(folder) == numbers(whole)
    assert folder.metrics() == whole.metrics()


def run_command(*extra: str, cwd: Path) -> list[str]:
    options = [f"{key}={value}" for key, value in (TINY | {"samples_per_class": "40"}).items()]
    return [
        "--method",
        "swad+mbcd",
        "--dataset",
        "synthetic",
        "--dataset-option",
        *options,
        "--sources",
        "d1",
        "d2",
        "--target",
        "d3",
        "--epochs",
        "4",
        "--batch-size",
        "4",
        "--threads",
        "1",
        "--results",
        str(cwd),
        *extra,
    ]


@pytest.mark.slow
def test_a_run_killed_in_mid_epoch_and_run_again_gives_the_same_numbers(tmp_path):
    """The real thing: SIGKILL to the command, twice, then the same command to its end."""
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert run.main(run_command(cwd=whole)) == 0
    killed = 0
    for wanted in (1, 2):
        command = [sys.executable, "-m", "benchmark.run"]
        command += run_command("--checkpoint-every", "0.1", cwd=cut)
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        while process.poll() is None:
            files = list(cut.rglob("metrics.jsonl"))
            if files and len(files[0].read_text().splitlines()) >= wanted:
                time.sleep(0.3)  # into the next epoch
                os.kill(process.pid, signal.SIGKILL)
                process.wait()
                killed += 1
                break
            time.sleep(0.01)
    assert killed == 2
    assert not list(cut.rglob("result.json"))
    assert run.main(run_command(cwd=cut)) == 0
    first, second = (next((d / "runs").rglob("result.json")) for d in (whole, cut))
    assert "resumed at step" in (second.parent / "log.txt").read_text()
    a, b = (json.loads(p.read_text()) for p in (first, second))
    assert {k: a[k] for k in ("rules", "method")} == {k: b[k] for k in ("rules", "method")}
    x, y = (np.load(p.parent / "predictions.npz") for p in (first, second))
    assert set(x) == set(y)
    assert all(np.array_equal(x[name], y[name]) for name in x)


class CountingStem(nn.Module):
    calls = 0

    def forward(self, x):
        CountingStem.calls += 1
        return x


@pytest.fixture
def counting_encoder():
    if "counting" not in backbones.names():

        @backbones.register("counting")
        def build(shape):
            inner = backbones.create("mlp", shape)
            return Encoder(CountingStem(), inner.tail, inner.dim)

    CountingStem.calls = 0
    return "counting"


@pytest.mark.parametrize("composition", COMPOSITIONS)
def test_the_stem_runs_once_per_batch_whatever_the_method(tmp_path, counting_encoder, composition):
    # A second modality for the methods that need one; only the first is counted.
    (spec,) = tiny_specs(
        tmp_path,
        composition,
        backbones={"m1": counting_encoder},
        recipe={"epochs": 1, "batch_size": 8},
    )
    settings = RunSettings(tmp_path, threads=1)
    dataset = settings.open_dataset(spec.dataset, spec.options)
    training = TinyRun(spec, dataset, Store(tmp_path).folder(spec), settings)

    class Counter(Silent):
        seen = ()

        def step(self, step, total):
            self.seen = (*self.seen, CountingStem.calls)

    watcher = Counter()
    training.run(watcher)
    assert watcher.seen == tuple(range(1, training.train_part.steps + 1))


class Exploding(methods.base.Method):
    """A method whose loss becomes NaN at its fifth step."""

    def loss(self, batch):
        fused = self.model.fuse(self.model.embed(batch.features))
        bad = float("nan") if self.run.step == 5 else 1.0
        return {
            "fused": nn.functional.cross_entropy(fused, batch.labels) * bad,
            "penalty": fused.sum() * 0 + 2.5,
        }


def test_a_nan_loss_fails_the_run_with_step_and_loss_parts(tmp_path):
    if "exploding" not in methods.names():
        methods.register("exploding")(Exploding)
    (spec,) = tiny_specs(tmp_path, "exploding")
    state = execute(spec, RunSettings(tmp_path, checkpoint_every=0), Silent()).state
    status = Store(tmp_path).folder(spec).status()
    assert state == status.state == "failed"
    assert "not finite at step 5" in status.error
    assert "fused=nan" in status.error
    assert "penalty=2.5" in status.error
    assert "Traceback" in status.traceback
    assert Store(tmp_path).folder(spec).checkpoint.exists(), "a checkpoint that loads is kept"


class ExplodingTwice(Exploding):
    """The same, and a step later another error follows from it."""

    def loss(self, batch):
        if self.run.step == 6:
            raise IndexError("an index made of NaN")
        return super().loss(batch)


@pytest.mark.parametrize("every", [0, 1000])
def test_a_nan_loss_is_told_rather_than_the_error_that_follows_from_it(tmp_path, every):
    if "exploding_twice" not in methods.names():
        methods.register("exploding_twice")(ExplodingTwice)
    (spec,) = tiny_specs(tmp_path, "exploding_twice")
    settings = RunSettings(tmp_path, checkpoint_every=every)
    assert execute(spec, settings, Silent()).state == "failed"
    assert "not finite at step 5" in Store(tmp_path).folder(spec).status().error


def test_data_that_changed_after_planning_fails_the_run(tmp_path):
    (spec,) = tiny_specs(tmp_path)
    changed = replace(spec, data="0" * 64)
    assert execute(changed, RunSettings(tmp_path), Silent()).state == "failed"
    error = Store(tmp_path).folder(changed).status().error
    assert "changed since this run was planned" in error


@pytest.fixture
def warm_encoder():
    if "warm" not in backbones.names():

        @backbones.register("warm")
        def build(shape, weights=None):
            encoder = backbones.create("mlp", shape)
            if weights is not None:
                encoder.load_state_dict(torch.load(weights, weights_only=True))
            return encoder

    return "warm"


def test_an_encoder_starts_from_its_checkpoint_whose_content_is_part_of_the_id(
    capsys, tmp_path, warm_encoder
):
    files = {}
    for name, value in (("a", 0.25), ("b", 0.5)):
        encoder = backbones.create("mlp", (16,))
        for p in encoder.parameters():
            nn.init.constant_(p, value)
        files[name] = tmp_path / f"{name}.pt"
        torch.save(encoder.state_dict(), files[name])
    copy = tmp_path / "elsewhere.pt"
    copy.write_bytes(files["a"].read_bytes())

    def planned(weights):
        request = plan.Request(
            ["erm"],
            "synthetic",
            sources=("d1",),
            target="d2",
            dataset_options=TINY,
            backbones={"m1": warm_encoder},
        )
        settings = RunSettings(tmp_path / "r", threads=1, weights=weights)
        return plan.make(request, settings).specs[0], settings

    plain, _ = planned({})
    first, settings = planned({"m1": str(files["a"])})
    moved, _ = planned({"m1": str(copy)})
    other, wrong = planned({"m1": str(files["b"])})
    assert first.id == moved.id
    assert len({plain.id, first.id, other.id}) == 3
    dataset = settings.open_dataset(first.dataset, first.options)
    training = TinyRun(first, dataset, Store(tmp_path / "r").folder(first), settings)
    assert all((p == 0.25).all() for p in training.model.encoder("m1").parameters())
    assert execute(first, wrong, Silent()).state == "failed"
    assert "--weights MODALITY=FILE" in Store(tmp_path / "r").folder(first).status().error
    with pytest.raises(UsageError, match="encoder mlp takes no checkpoint"):
        planned({"m3": str(copy)})
    arguments = ["--method", "erm", "--smoke", "--weights", f"m9={copy}"]
    assert run.main(arguments) == 2
    assert "unknown modality of synthetic 'm9'" in capsys.readouterr().err
