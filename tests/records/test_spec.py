import json
from dataclasses import fields, replace

import pytest
from support import SPEC

from benchmark.records.spec import NUMBERS_VERSION, Asked, Protocol, RunSpec
from datasets.base import Recipe
from mmdg_common import UsageError

CHANGES = {
    "dataset": "utd_mhad",
    "options": {"seed": 1},
    "data": "cd" * 32,
    "fabricated": True,
    "setting": "single-source",
    "sources": ("d1",),
    "target": "d4",
    "modalities": ("m1",),
    "seed": 1,
    "method": "erm",
    "hyperparameters": {"mbcd": {"beta": 0.99}},
    "recipe": Recipe(epochs=3, lr=1e-3, batch_size=8),
    "encoders": {"m1": "mlp", "m2": "mlp"},
    "weights": {"m1": "ef" * 32},
    "protocol": Protocol(neck="none"),
    "numbers_version": NUMBERS_VERSION + 1,
}


def test_every_field_is_part_of_the_id():
    assert set(CHANGES) == {f.name for f in fields(RunSpec)} - {"asked"}
    ids = {replace(SPEC, **{name: value}).id for name, value in CHANGES.items()}
    assert len(ids | {SPEC.id}) == len(CHANGES) + 1


def test_ids_stay_what_they_were_as_records_are_found_by_them():
    rich = replace(
        SPEC,
        options={"snr": "2.5,8.0", "épaisseur": None, "sizes": (1, 2)},
        weights={"m2": "ef" * 32},
        hyperparameters={
            "swad": {"n_s": 3},
            "mbcd": {"beta": 0.999, "alpha": 1e-05, "dropout": "none", "on": True},
        },
        protocol=Protocol(
            frozen_bn={"m1": "train", "m2": "eval"}, embedding_dropout={"m1": 0.5, "m2": 0.0}
        ),
    )
    first = [replace(spec, numbers_version=1).id for spec in (SPEC, rich)]
    assert first == ["8e554996d92b", "d70120c5a535"]


def test_a_later_switch_is_part_of_the_id_except_at_the_value_that_all_earlier_runs_had():
    copied = replace(SPEC, protocol=Protocol(average_bn="copied"))
    assert copied.id != SPEC.id == replace(SPEC, protocol=Protocol(average_bn="averaged")).id
    stored = copied.to_json()
    assert RunSpec.from_json(stored) == copied
    del stored["protocol"]["average_bn"]  # as runs were stored before there was the switch
    assert RunSpec.from_json(stored) == SPEC


def test_the_order_of_dictionary_keys_is_not_part_of_the_id():
    swapped = replace(SPEC, encoders={"m2": "signal_cnn", "m1": "mlp"})
    assert swapped.id == SPEC.id


def test_a_spec_survives_json():
    again = RunSpec.from_json(json.loads(json.dumps(SPEC.to_json())))
    assert again == SPEC
    assert again.id == SPEC.id


def test_the_words_that_ask_for_a_run_are_stored_with_it_and_no_part_of_what_it_is():
    asked = Asked(("mbcd.beta=0.5",), ("--epochs", "3"))
    spec = replace(SPEC, asked=asked)
    assert spec == SPEC and spec.id == SPEC.id
    again = RunSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again.asked == asked
    assert "asked" not in SPEC.to_json() and RunSpec.from_json(SPEC.to_json()).asked is None


@pytest.mark.parametrize("asked", [{}, [], "x", 3, {"set": [1], "others": []}, {"set": 1}])
def test_words_that_are_none_are_no_spec(asked):
    with pytest.raises(UsageError, match="no spec of this version"):
        RunSpec.from_json({**SPEC.to_json(), "asked": asked})


def test_nothing_about_how_a_run_is_carried_out_is_in_a_spec():
    names = {f.name for f in fields(RunSpec)}
    assert not names & {"device", "threads", "workers", "results", "data_root", "launcher"}


@pytest.mark.parametrize(
    ("switches", "message"),
    [
        ({"neck": "layernom"}, "Did you mean 'layernorm'"),
        ({"frozen_bn": "evil"}, "Did you mean 'eval'"),
        ({"frozen_bn": {"a": "eval", "b": "tain"}}, "Did you mean 'train'"),
        ({"tail_init": "randm"}, "Did you mean 'random'"),
        ({"average_bn": "copy"}, "Did you mean 'copied'"),
        ({"embedding_dropout": 1.0}, "probability below 1"),
        ({"embedding_dropout": {"a": 0.5, "b": -0.1}}, "probability below 1"),
    ],
)
def test_a_wrong_switch_is_an_error(switches, message):
    with pytest.raises(UsageError, match=message):
        Protocol(**switches)


def test_a_protocol_has_one_form_on_the_modalities_of_a_run():
    asked = Protocol(
        frozen_bn={"a": "train", "b": "train", "c": "eval"},
        tail_init={"a": "random", "b": "random", "c": "pretrained"},
        embedding_dropout={"a": 0.5, "b": 0.5, "c": 0.0},
    )
    assert asked.on(("a", "b"), weights=("a", "b")) == Protocol(
        frozen_bn="train", tail_init="random", embedding_dropout=0.5
    )
    assert asked.on(("b", "c"), weights=("b", "c")).tail_init == {"b": "random", "c": "pretrained"}
    # Without a checkpoint there is nothing that a random start could take the place of.
    assert asked.on(("a", "b", "c"), weights=("c",)).tail_init == "pretrained"
    assert [asked.of("embedding_dropout", k) for k in "abc"] == [0.5, 0.5, 0.0]


def test_values_by_modality_survive_json():
    protocol = Protocol(frozen_bn={"m1": "train", "m2": "eval"})
    spec = replace(SPEC, protocol=protocol)
    again = RunSpec.from_json(json.loads(json.dumps(spec.to_json())))
    assert again == spec
    assert again.id != SPEC.id
