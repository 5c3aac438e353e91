"""What a checkpoint holds: all that training can change, each thing once."""

import json
import math
import time
from dataclasses import replace

import pytest
import torch
from support import DiesAt, Interrupted, Silent, numbers, tiny_specs
from torch import nn

from benchmark import backbones
from benchmark.backbones.base import Encoder
from benchmark.contract.case import TinyRun
from benchmark.launch.execute import execute
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from benchmark.training.checkpoint import Checkpoints, load
from benchmark.training.train import Training

SWITCHES = ("eval", "train")


@pytest.fixture
def frozen_encoder():
    """The name of an encoder with frozen stages, batch norm among them."""
    if "frozen_mlp" not in backbones.names():

        @backbones.register("frozen_mlp")
        def build(shape):
            inner = backbones.create("mlp", shape)
            size = math.prod(shape)
            stem = nn.Sequential(nn.Flatten(), nn.Linear(size, size), nn.BatchNorm1d(size))
            return Encoder(nn.Sequential(stem, nn.Unflatten(1, shape)), inner.tail, inner.dim)

    return "frozen_mlp"


@pytest.fixture
def case(tmp_path, frozen_encoder):
    """Return a function that gives the spec, folder and settings of a tiny run."""

    def make(where="run", composition="swad+mbcd", frozen_bn="eval"):
        (spec,) = tiny_specs(
            tmp_path / where,
            composition,
            backbones={"m1": frozen_encoder},
            recipe={"validate_every": 2},
            switches={"frozen_bn": frozen_bn},
        )
        assert spec.protocol.of("frozen_bn", "m1") == frozen_bn
        settings = RunSettings(tmp_path / where, threads=1, checkpoint_every=0)
        return spec, Store(tmp_path / where).folder(spec), settings

    return make


def stopped(spec, folder, settings, step):
    """Train until a step and return the training as it then is."""
    training = TinyRun(spec, settings.open_dataset(spec.dataset, spec.options), folder, settings)
    with pytest.raises(Interrupted):
        training.run(DiesAt(step))
    return training


@pytest.mark.parametrize("frozen_bn", SWITCHES)
def test_a_checkpoint_holds_frozen_stages_only_where_something_changes_them(case, frozen_bn):
    spec, folder, settings = case(frozen_bn=frozen_bn)
    stopped(spec, folder, settings, 6)
    files = sorted(folder.path.glob("checkpoint*.pt"))
    states = [torch.load(path, weights_only=True) for path in files]
    names = {n for s in states for part in ("method", "weights") for n in s.get(part, {})}
    frozen = {name.rpartition(".")[2] for name in names if ".stem." in name}
    moving = {"running_mean", "running_var", "num_batches_tracked"}
    assert frozen == (moving if frozen_bn == "train" else set())
    assert any(".tail." in name for name in names)


@pytest.mark.parametrize("frozen_bn", SWITCHES)
@pytest.mark.parametrize("composition", ["ema", "swad+mbcd", "miro"])
def test_a_run_with_frozen_stages_resumes_to_the_same_numbers(case, composition, frozen_bn):
    spec, whole, settings = case("whole", composition, frozen_bn)
    execute(spec, settings, Silent())
    spec, cut, settings = case("cut", composition, frozen_bn)
    for step in (3, 8):
        stopped(spec, cut, settings, step)
        torch.manual_seed(step)
    execute(spec, settings, Silent())
    assert numbers(cut) == numbers(whole)
    assert cut.metrics() == whole.metrics()
    assert not list(cut.path.glob("checkpoint*.pt"))


def test_what_a_rule_chose_is_written_once_and_goes_when_no_rule_chooses_it(case):
    spec, folder, settings = case(composition="erm")
    written = {}
    for step in range(3, 13):
        stopped(spec, folder, settings, step)
        parts = {p.name: p.stat().st_mtime_ns for p in folder.path.glob("checkpoint-*.pt")}
        state = torch.load(folder.checkpoint, weights_only=True)
        chosen = {f"checkpoint-{n}.pt" for n in state["chosen"].values()}
        assert set(parts) == chosen, step
        assert all(written.get(name, time) == time for name, time in parts.items()), step
        written |= parts
    assert len(written) > 2


@pytest.mark.parametrize("harm", ["gone", "cut off"])
def test_a_run_whose_chosen_weights_are_damaged_starts_anew_and_says_so(case, harm):
    spec, folder, settings = case(composition="erm")
    stopped(spec, folder, settings, 7)
    part = next(folder.path.glob("checkpoint-*.pt"))
    if harm == "gone":
        part.unlink()
    else:
        part.write_bytes(part.read_bytes()[:-100])
    execute(spec, settings, Silent())
    assert part.name in (folder.path / "log.txt").read_text()
    again = case("again", "erm")
    execute(again[0], again[2], Silent())
    assert numbers(folder) == numbers(again[1])


# How often it is saved


def test_what_a_save_takes_decides_when_the_next_is_due(tmp_path, monkeypatch):
    """By a clock that only saves and the test move: 49 seconds for each that a save takes."""
    now = takes = 0.0

    def path():
        nonlocal now
        now += takes
        return tmp_path / "checkpoint.pt"

    def save(seconds):
        nonlocal takes
        takes = seconds
        points.save({}, {})

    def until_due():
        nonlocal now
        began = now
        while not points.due:
            now += 1
        return now - began

    monkeypatch.setattr(time, "monotonic", lambda: now)
    points = Checkpoints(path, 30)
    assert until_due() == 30
    for seconds, wait in ((0.125, 30), (0.5, 30), (1, 49), (10, 490), (0.125, 30)):
        save(seconds)
        assert until_due() == wait, seconds
    points = Checkpoints(path, 0)
    for seconds in (0, 10):
        save(seconds)
        assert points.due  # it was asked for


def test_a_slow_file_system_gets_two_percent_of_the_time(tmp_path):
    def slow():
        time.sleep(0.01)
        return tmp_path / "checkpoint.pt"

    points, saves = Checkpoints(slow, 0.1), []
    while len(saves) < 4:
        time.sleep(0.002)
        if points.due:
            began = time.monotonic()
            points.save({"step": len(saves)}, {})
            saves.append((began, time.monotonic() - began))
    first, last = saves[0][0], saves[-1][0]
    spent = sum(seconds for _, seconds in saves[:-1])
    assert spent / (last - first) <= 0.0201
    assert load(tmp_path / "checkpoint.pt", torch.device("cpu"))["step"] == 3


def test_saving_less_often_moves_no_number(tmp_path, case):
    spec, folder, settings = case(composition="mbcd")
    settings = replace(settings, checkpoint_every=1000)
    execute(spec, settings, Silent())

    class Slow(Checkpoints):
        saves = 0

        def save(self, state, parts):
            self.saves += 1
            super().save(state, parts)

    def path():
        time.sleep(0.05)
        return tmp_path / "checkpoint.pt"

    dataset = settings.open_dataset(spec.dataset, spec.options)
    points = Slow(path, 1e-9)
    outcome = Training(spec, dataset, settings, points).run(Silent())
    assert 1 <= points.saves < 5 < outcome.records[-1]["step"]
    assert json.loads(json.dumps(outcome.rules)) == numbers(folder)["rules"]
