"""`benchmark.speed cache`: a run with the feature cache beside one without."""

import json

import pytest
import torch
from torch import nn

from benchmark import backbones
from benchmark.backbones.base import Encoder
from benchmark.speed import __main__ as command


@pytest.fixture
def frozen():
    if "frozen_for_speed" not in backbones.names():

        @backbones.register("frozen_for_speed")
        def build(shape):
            stem = nn.Sequential(nn.Flatten(), nn.Linear(torch.Size(shape).numel(), 256), nn.ReLU())
            return Encoder(stem, nn.Linear(256, 8), 8)

    return "m1=frozen_for_speed"


@pytest.mark.slow
def test_the_cache_is_measured_and_agrees(frozen, capsys):
    words = ["cache", "--method", "erm", "--modalities", "m1+m2", "--backbone", frozen]
    words += ["--rounds", "2", "--steps", "2", "--views", "2", "--threads", "1"]
    assert command.main([*words, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    cache, samples = found["cache"], found["samples"]
    assert list(cache) == ["without", "fp32", "bf16"]
    assert cache["without"]["difference"] == 0
    assert 0 <= cache["fp32"]["difference"] < 1e-5
    assert cache["fp32"]["difference"] < cache["bf16"]["difference"] < 1e-2
    assert cache["without"]["cpu_s"]["stem"]["median"] > 0
    assert cache["bf16"]["cpu_s"]["stem"]["median"] < cache["without"]["cpu_s"]["stem"]["median"]
    kept = samples["evaluated"] + 2 * samples["train"]
    assert cache["fp32"]["bytes"] > kept * 256 * 4
    assert cache["fp32"]["bytes"] - cache["bf16"]["bytes"] == kept * 256 * 2
    assert command.main(words) == 0
    out = capsys.readouterr().out
    assert "on disk" in out.splitlines()[2]
    assert [line.split()[0] for line in out.splitlines()[3:6]] == list(cache)


def test_encoders_without_frozen_stages_are_refused(capsys):
    assert command.main(["cache", "--method", "erm"]) == 2
    assert "no encoder of synthetic has frozen stages" in capsys.readouterr().err
