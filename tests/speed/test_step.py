"""`python -m benchmark.speed step`: parts that make up the step, ratios, JSON, wrong use."""

import json
import re
import time
from argparse import Namespace
from typing import Any

import pytest
import torch

from benchmark.speed import __main__ as command
from benchmark.speed import selection, step
from benchmark.speed.clock import Clock, Seconds, Spread
from benchmark.training.train import Training
from datasets.synthetic import Synthetic
from methods.mbcd import MBCD

TINY = ["--dataset-option", "domains=3", "classes=3", "samples_per_class=30"]
STEP = ["step", *TINY, "--modalities", "m1+m2", "--steps", "3", "--rounds", "2", "--threads", "1"]
NUMBER = r"\d+\.\d\d"
SPREAD = rf"{NUMBER} \({NUMBER} to {NUMBER}\)"


def options(*more: str) -> Namespace:
    return command.parser().parse_args([*STEP, *more])


def test_of_nested_parts_the_innermost_counts(monkeypatch: pytest.MonkeyPatch) -> None:
    moments = iter([Seconds(wall, wall / 2) for wall in (0, 1, 3, 7, 100, 101)])
    monkeypatch.setattr(Seconds, "now", lambda: next(moments))
    clock = Clock()
    with clock.part("outer"), clock.part("inner"):  # from 0 to 7, and from 1 to 3
        pass
    with clock.part("outer"):  # from 100 to 101
        pass
    assert clock.parts == {"outer": Seconds(1 + 4 + 1, 3), "inner": Seconds(2, 1)}


def test_the_spread_is_that_of_the_quartiles() -> None:
    assert Spread.of([5, 1, 2, 4, 3]) == Spread(3, 2, 4)
    assert Spread.of([7]) == Spread(7, 7, 7)


def test_the_parts_of_a_step_add_up_to_the_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    took = list[float]()
    real = Training.train_on

    def timed(*arguments: Any) -> None:
        begun = time.perf_counter()
        real(*arguments)
        took.append(time.perf_counter() - begun)

    monkeypatch.setattr(Training, "train_on", timed)
    with selection.selected(options(), {"steps": 20}) as chosen:
        row = step.Row("mbcd", chosen.training("mbcd"))
        parts = row.measure(10)
    inner = [parts[name].wall for name in step.PARTS if name != "loading"]
    assert sum(inner) == pytest.approx(parts[step.STEP].wall)
    assert parts[step.STEP].wall == pytest.approx(sum(took) / 10, rel=0.05)
    assert all(parts[name].wall > 0 for name in step.PARTS)


def slowed(function: Any, seconds: float) -> Any:
    def slow(*arguments: Any, **named: Any) -> Any:
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass
        return function(*arguments, **named)

    return slow


@pytest.mark.parametrize(
    ("owner", "name", "part", "times"),
    [
        (Synthetic, "load", "loading", 32),
        (MBCD, "_mask", "forward", 1),
        (torch.autograd, "grad", "backward", 2),
        (torch.autograd, "backward", "backward", 1),
        (torch.optim.Adam, "step", "optimizer", 1),
        (MBCD, "after_step", "after_step", 1),
        (MBCD, "zero_grad", "rest", 1),
    ],
)
def test_what_is_slow_shows_in_its_part(
    owner: Any, name: str, part: str, times: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    with selection.selected(options(), {"steps": 20}) as chosen:
        row = step.Row("mbcd", chosen.training("mbcd"))
        row.measure(1)
        before = row.measure(2)
        monkeypatch.setattr(owner, name, slowed(getattr(owner, name), 0.1 / times))
        after = row.measure(2)
    rise = {k: after[k].cpu - before[k].cpu for k in step.PARTS}
    assert max(rise, key=lambda k: rise[k]) == part
    assert rise[part] > 0.05


def test_nothing_stays_patched() -> None:
    watched = [torch.autograd.grad, torch.autograd.backward, torch.optim.Adam.step, MBCD.loss]
    with selection.selected(options(), {"steps": 20}) as chosen:
        step.Row("mbcd", chosen.training("mbcd")).measure(1)
    kept = [torch.autograd.grad, torch.autograd.backward, torch.optim.Adam.step, MBCD.loss]
    assert all(a is b for a, b in zip(watched, kept, strict=True))


def test_methods_are_measured_on_the_same_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    seen: dict[str, list[tuple[str, ...]]] = {}
    real = Training.train_on

    def noted(training: Training, inputs: Any) -> None:
        seen.setdefault(training.spec.method, []).append(inputs.ids)
        real(training, inputs)

    monkeypatch.setattr(Training, "train_on", noted)
    assert command.main([*STEP, "--method", "erm", "mbcd"]) == 0
    assert len(seen["erm"]) == 1 + 3 * 2
    assert seen["erm"] == seen["mbcd"]


def test_the_json_holds_every_figure_of_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*STEP, "--published", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["methods"]) == ["erm", "mbcd", "erm (published)", "mbcd (published)"]
    assert (found["steps"], found["rounds"]) == (3, 2)
    for figures in found["methods"].values():
        for kind in ("wall", "cpu"):
            assert list(figures[f"{kind}_s"]) == [*step.PARTS, step.STEP]
            for spread in (*figures[f"{kind}_s"].values(), figures[f"{kind}_ratio"]):
                assert 0 <= spread["low"] <= spread["median"] <= spread["high"]
    assert found["methods"]["erm"]["wall_ratio"] == {"median": 1, "low": 1, "high": 1}
    assert found["methods"]["erm"]["passes"] == {"forward": 1, "backward": 1}
    assert found["methods"]["erm (published)"]["passes"] == {"forward": 1, "backward": 1}
    assert found["methods"]["mbcd (published)"]["passes"] == {"forward": 3, "backward": 3}
    lines = step.table(found).splitlines()
    assert lines[0] == "synthetic, d2+d3 → d1: m1 (mlp), m2 (signal_cnn)"
    assert lines[1].endswith("CPU threads: 1; 2 rounds of 3 steps")
    assert lines[2].split() == [*step.PARTS, step.STEP, "ratio", "passes"]
    figures = rf"( +{NUMBER}){{{len(step.PARTS)}}} +{SPREAD} +{SPREAD}"
    for name, wall, cpu in zip(found["methods"], lines[3::2], lines[4::2], strict=False):
        assert re.fullmatch(rf"{re.escape(name)} +wall{figures} +\d \+ [\d.]+", wall)
        assert re.fullmatch(rf" +CPU{figures}", cpu)


def test_the_published_step_stands_beside_ours(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*STEP, "--method", "erm", "--published"]) == 0
    names = re.findall(r"^(\S.*?) +wall", capsys.readouterr().out, re.MULTILINE)
    assert names == ["erm", "mbcd", "erm (published)", "mbcd (published)"]


@pytest.mark.parametrize("what", ["step", "run"])
@pytest.mark.parametrize(
    ("more", "message"),
    [
        (["--rounds", "0"], "--rounds must be at least 1, not 0"),
        (["--rounds", "x"], "--rounds: invalid int value: 'x'"),
        (["--method", "emr"], "unknown method 'emr'"),
        (["--dataset", "nope"], "unknown dataset 'nope'"),
        (["--modalities", "m1+m2", "m1"], "--modalities: give one subset"),
        (["--backbone", "m1=nope"], "unknown encoder 'nope'"),
        (["--dataset", "hac", "--data-root", "nowhere"], "nowhere"),
        (["--threads", "-1"], "--threads -1: type a whole number"),
        (["--method", "ogm_ge", "--modalities", "m1"], "nothing to run: ogm_ge"),
    ],
)
def test_wrong_use_is_one_line_and_exit_code_2(
    what: str, more: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([what, *more]) == 2
    captured = capsys.readouterr()
    assert re.fullmatch(f"error: .*{message}.*\n", captured.err)
    assert not captured.out


@pytest.mark.parametrize(("what", "count"), [("step", "--steps"), ("run", "--epochs")])
def test_nothing_to_measure_is_wrong_use(
    what: str, count: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command.main([what, count, "0"]) == 2
    assert capsys.readouterr().err == f"error: {count} must be at least 1, not 0\n"


def test_methods_that_cannot_run_are_left_out(capsys: pytest.CaptureFixture[str]) -> None:
    few = ["--modalities", "m1", "--steps", "1", "--rounds", "1", "--json"]
    assert command.main(["step", *TINY, *few, "--method", "erm", "ogm_ge"]) == 0
    captured = capsys.readouterr()
    assert list(json.loads(captured.out)["methods"]) == ["erm"]
    assert "skipped: ogm_ge on m1" in captured.err
