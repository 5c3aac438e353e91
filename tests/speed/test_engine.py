"""`python -m benchmark.speed run`: the bare loop does the same work, and the shares add up."""

import json
import re

import pytest
from support_methods import assert_same

from benchmark.speed import __main__ as command
from benchmark.speed import bare, engine, selection
from benchmark.training.train import Training
from benchmark.training.watcher import Silent
from methods.base import Method

TINY = ["--dataset-option", "domains=3", "classes=3", "samples_per_class=40"]
RUN = ["run", *TINY, "--modalities", "m1+m2", "--threads", "1", "--rounds", "1", "--epochs", "2"]


@pytest.mark.parametrize("evaluates", [False, True])
@pytest.mark.parametrize("method", ["erm", "mbcd", "swad+mbcd", "simmmdg"])
def test_the_bare_loop_ends_at_the_weights_of_the_engine(method: str, evaluates: bool) -> None:
    options = command.parser().parse_args([*RUN, "--method", method])
    with selection.selected(options, {"epochs": 1}) as chosen:
        trained = chosen.training(method)
        trained.run(Silent())
        plain = bare.set_up(chosen, method)
        spent = bare.train(plain, epochs=1, evaluates=evaluates)
    assert trained.train_part.steps == 6 == plain.run_info.step
    assert_same(plain.model.state_dict(), trained.model.state_dict(), "model")
    if method != "swad+mbcd":  # its average follows what the engine validates
        assert_same(plain.method.state_dict(), trained.method.state_dict(), "method")
    assert spent.cpu > 0


def predictions(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int]]:
    """Note of every prediction whether the student makes it, and for how many samples."""
    noted = list[tuple[str, int]]()
    real = Method.predict

    def predict(self, features, present=None, model=None):
        noted.append(("student" if model is self.model else "other", len(features["m1"])))
        return real(self, features, present, model)

    monkeypatch.setattr(Method, "predict", predict)
    return noted


@pytest.mark.parametrize("method", ["erm", "mbcd"])
def test_the_bare_loop_predicts_what_the_engine_validates(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    options = command.parser().parse_args([*RUN, "--method", method])
    monkeypatch.setattr(Training, "_outcome", lambda training: None)
    with selection.selected(options, {"epochs": 2}) as chosen:
        noted = predictions(monkeypatch)
        chosen.training(method).run(Silent())
        validated = noted.copy()
        noted.clear()
        bare.train(bare.set_up(chosen, method), epochs=2, evaluates=True)
    assert noted == validated
    assert len(noted) > 0


def test_the_bare_loop_counts_no_passes() -> None:
    options = command.parser().parse_args(RUN)
    with selection.selected(options, {"epochs": 1}) as chosen:
        hooks = [
            len(module._forward_hooks) + len(module._forward_pre_hooks)
            for module in bare.set_up(chosen, "mbcd").model.modules()
        ]
    assert set(hooks) == {0}


def test_shares_add_up_and_the_json_holds_every_figure(capsys: pytest.CaptureFixture[str]) -> None:
    assert command.main([*RUN, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert list(found["methods"]) == ["erm", "mbcd"]
    for figures in found["methods"].values():
        assert list(figures["cpu_s"]) == ["engine", "bare", "bare_evaluating"]
        assert list(figures["ratio"]) == ["bare", "bare_evaluating"]
        assert list(figures["shares"]) == list(engine.SHARES)
        shares = [share["median"] for share in figures["shares"].values()]
        assert all(share > 0 for share in shares)
        assert sum(shares) == pytest.approx(1)  # of one round
        assert figures["ratio"]["bare"]["median"] > 1
    text = engine.tables(found)
    assert re.search(r"; 1 rounds of 2 epochs\nCPU seconds +engine +bare loop +", text)
    assert re.search(rf"^share in % +{' +'.join(engine.SHARES)}$", text, re.MULTILINE)
    assert len(re.findall(r"^(erm|mbcd) .*\d \(.*\)$", text, re.MULTILINE)) == 4
