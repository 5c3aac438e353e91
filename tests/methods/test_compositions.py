"""Which methods and wrappers can be combined, and what their combination does."""

import copy

import pytest
import torch
from support import tiny_run
from support_methods import (
    VECTORS,
    adam,
    assert_same,
    fused_loss,
    make_batches,
    make_method,
    tensors,
    tiny_model,
    train,
    trajectory,
)

import methods
from methods.erm import ERM
from mmdg_common import UsageError


@pytest.mark.parametrize(
    ("composition", "reason"),
    [
        ("ema+mbcd", "mbcd already evaluates an average"),
        ("ema+swad", "both average the weights"),
        ("swad+ema", "both average the weights"),
        ("swad+swad", "both average the weights"),
        ("ema+ema", "both average the weights"),
        ("sma+mbcd", "mbcd already evaluates an average"),
        ("sma+sam+mbcd", "mbcd already evaluates an average"),
        ("sma+sma", "both average the weights"),
        ("sma+ema", "both average the weights"),
        ("ema+sma", "both average the weights"),
        ("swa+sma", "both average the weights"),
        ("swa+swad", "both average the weights"),
        ("swa+unimodal", "selects its own weights"),
        ("swad+unimodal", "selects its own weights"),
        ("ema+unimodal", "selects its own weights"),
        ("ema+swad+mbcd", "ema"),
        ("mbcd+erm", "mbcd is not a wrapper"),
        ("erm+swad", "erm is not a wrapper"),
    ],
)
def test_a_composition_that_means_nothing_is_refused_with_the_reason(composition, reason):
    for ask in (methods.components, methods.canonical, methods.create):
        with pytest.raises(UsageError, match=reason) as refusal:
            ask(composition)
        assert composition in str(refusal.value)


def test_a_wrapper_alone_wraps_erm():
    assert methods.canonical("swad+erm") == methods.canonical("swad") == "swad"
    assert methods.canonical("ema+erm") == "ema"
    assert methods.canonical("swad+mbcd") == "swad+mbcd"
    batches = make_batches(VECTORS)
    assert_same(
        trajectory("swad", tiny_model(), batches), trajectory("swad+erm", tiny_model(), batches)
    )


@pytest.mark.parametrize("wrapper", ["ema", "sma", "swad"])
def test_every_hook_goes_inward_once_and_before_the_average_moves(wrapper, monkeypatch):
    heard = []

    def spy(hook):
        plain = getattr(ERM, hook)

        def hear(self, *arguments):
            heard.append((hook, copy.deepcopy(method.state_dict()), tensors(method.model)))
            return plain(self, *arguments)

        return hear

    method = make_method(wrapper, tiny_model())
    hooks = ["epoch_start", "compute_grads", "after_step", "epoch_end", "validated", "finalize"]
    for hook in hooks:
        monkeypatch.setattr(ERM, hook, spy(hook))
    method.epoch_start()
    train(method, make_batches(count=1), adam(method))
    method.epoch_end()
    method.validated(fused_loss(1.0))
    method.finalize()
    assert [hook for hook, *_ in heard] == hooks
    (_, before, start), (_, after, stepped) = heard[1:3]
    own = [name for name in before if not name.startswith("inner.")]
    assert own
    assert not torch.equal(start["fusion.0.weight"], stepped["fusion.0.weight"])
    assert_same({name: after[name] for name in own}, {name: before[name] for name in own})


@pytest.mark.parametrize(
    ("typed", "meant"),
    [("mbdc", "mbcd"), ("swadd+mbcd", "swad"), ("swad+lat_fusion", "late_fusion")],
)
def test_an_unknown_method_offers_the_nearest(typed, meant):
    with pytest.raises(UsageError, match=f"Did you mean '{meant}'"):
        methods.create(typed)


def test_settings_reach_the_component_they_name_and_no_other():
    settings = {"swad": {"converge": 2}, "mbcd": {"beta": 0.5}}
    assert methods.resolve("swad+mbcd", settings)["swad"]["converge"] == 2
    assert methods.resolve("swad+mbcd", settings)["mbcd"]["beta"] == 0.5
    with pytest.raises(UsageError, match="mbcd"):
        methods.create("swad+erm", {"mbcd": {"beta": 0.5}})
    with pytest.raises(UsageError, match="'beta'"):
        methods.create("mbcd", {"mbcd": {"betta": 0.5}})


def test_the_engine_trains_the_same_student_with_and_without_an_average(tmp_path):
    changes = {"modalities": ("m1+m2",), "recipe": {"epochs": 3, "batch_size": 8}}
    records = {}
    for composition in ("erm", "ema", "sma", "swa", "swad"):
        settings = {"set": ["sma.start=2"]} if composition == "sma" else {}
        _, folder = tiny_run(tmp_path / composition, composition, **changes, **settings)
        records[composition] = folder.metrics()
    for composition in ("ema", "sma", "swa", "swad"):
        assert [r["student"] for r in records[composition]] == [r["val"] for r in records["erm"]]
    for composition in ("ema", "sma"):
        assert [r["val"] for r in records[composition]] != [
            r["student"] for r in records[composition]
        ]
    for composition in ("swa", "swad"):
        assert [r["val"] for r in records[composition]] == [
            r["student"] for r in records[composition]
        ]


@pytest.mark.parametrize("composition", ["ema", "mbcd"])
def test_the_protocol_decides_whether_averages_warm_up(tmp_path, composition):
    last = []
    for warmup in (True, False):
        changes = {"switches": {"ema_warmup": warmup}, "modalities": ("m1+m2",)}
        _, folder = tiny_run(tmp_path / str(warmup), composition, **changes)
        last.append(folder.metrics()[-1])
    # A constant 0.999 has hardly left the initial weights after a dozen steps.
    untrained = 1.1
    assert last[0]["val"]["fused"]["loss"] < last[1]["val"]["fused"]["loss"]
    assert last[1]["val"]["fused"]["loss"] == pytest.approx(untrained, abs=0.3)
