import pytest
from support import TINY, tiny_specs

from benchmark.planning import plan, splits
from benchmark.planning.request import Request
from benchmark.records.spec import MULTI_SOURCE, SINGLE_SOURCE
from benchmark.settings import RunSettings
from mmdg_common import UsageError


def specs(tmp_path, **changes):
    free = {"sources": (), "target": None}
    return tiny_specs(tmp_path, **{**free, "all_splits": True, **changes})


def test_multi_source_takes_every_domain_as_target_once():
    assert [(s.sources, s.target) for s in splits.splits(("a", "b", "c"), MULTI_SOURCE)] == [
        (("b", "c"), "a"),
        (("a", "c"), "b"),
        (("a", "b"), "c"),
    ]


def test_single_source_takes_every_ordered_pair():
    pairs = {(s.sources, s.target) for s in splits.splits(("a", "b", "c"), SINGLE_SOURCE)}
    assert pairs == {((x,), y) for x in "abc" for y in "abc" if x != y}


def test_the_grid_is_splits_times_subsets_times_methods_times_seeds(tmp_path):
    made = specs(
        tmp_path,
        methods=["erm", "mbcd"],
        all_modalities=True,
        seeds=(0, 1),
        settings=(MULTI_SOURCE, SINGLE_SOURCE),
    )
    assert len(made) == (3 + 6) * 4 * 2 * 2
    assert len({s.id for s in made}) == len(made)
    assert {s.modalities for s in made} == {
        ("m1", "m2"),
        ("m1", "m3"),
        ("m2", "m3"),
        ("m1", "m2", "m3"),
    }


def test_subsets_of_the_sizes_asked_for_are_planned(tmp_path):
    made = tiny_specs(tmp_path, subset_sizes=(3, 1))
    assert [s.modalities for s in made] == [("m1",), ("m2",), ("m3",), ("m1", "m2", "m3")]


def test_a_plan_of_thousands_of_runs_is_announced_first(tmp_path, monkeypatch, capsys):
    tiny_specs(tmp_path, seeds=range(7))
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(plan, "MANY", 6)
    tiny_specs(tmp_path, seeds=range(7))
    said = capsys.readouterr().err
    assert said.startswith("planning 7 runs; --subset-sizes, --modalities") and "\n" in said


def test_names_are_sorted_into_the_dataset_order(tmp_path):
    (given,) = tiny_specs(tmp_path, modalities=["m3+m1"], sources=("d2", "d1"))
    (sorted_,) = tiny_specs(tmp_path, modalities=["m1+m3"], sources=("d1", "d2"))
    assert given.id == sorted_.id
    assert given.modalities == ("m1", "m3")
    assert given.sources == ("d1", "d2")


def test_a_thing_asked_for_twice_is_planned_once(tmp_path):
    made = tiny_specs(
        tmp_path, methods=["swad", "swad+erm", "swad"], seeds=(0, 0), modalities=["m1+m2", "m2+m1"]
    )
    assert len(made) == 1


def test_defaults_and_the_same_values_given_are_one_run(tmp_path):
    (default,) = tiny_specs(tmp_path, "mbcd")
    (given,) = tiny_specs(
        tmp_path, "mbcd", set=["beta=0.999"], dataset_options=TINY | {"seed": "0"}
    )
    assert default.id == given.id


def test_an_id_does_not_depend_on_where_and_how(tmp_path):
    request = Request(["erm"], "synthetic", all_splits=True)
    a = plan.make(request, RunSettings(tmp_path / "a", threads=1, device="cpu")).specs
    b = plan.make(request, RunSettings(tmp_path / "b", threads=2, workers=3)).specs
    assert [s.id for s in a] == [s.id for s in b]


def test_set_reaches_every_named_method_that_has_the_key(tmp_path):
    made = tiny_specs(tmp_path, methods=["erm", "ema", "swad+mbcd"], set=["beta=0.5"])
    by_name = {s.method: s.hyperparameters for s in made}
    assert by_name["ema"]["ema"]["beta"] == 0.5
    assert by_name["swad+mbcd"]["mbcd"]["beta"] == 0.5
    assert by_name["erm"] == {"erm": {}}


def test_set_with_a_method_reaches_that_one_alone(tmp_path):
    made = tiny_specs(tmp_path, methods=["ema", "mbcd"], set=["mbcd.beta=0.5"])
    assert made[0].hyperparameters["ema"]["beta"] == 0.999
    assert made[1].hyperparameters["mbcd"]["beta"] == 0.5


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"methods": ["mcbd"]}, "unknown method 'mcbd'. Did you mean 'mbcd'"),
        ({"dataset": "synthetc"}, "unknown dataset 'synthetc'. Did you mean 'synthetic'"),
        ({"target": "d33"}, "unknown domain of synthetic 'd33'. Did you mean 'd3'"),
        ({"sources": ("d1", "dd2")}, "unknown domain of synthetic 'dd2'. Did you mean 'd2'"),
        ({"sources": ("d1", "d3")}, "the target d3 is among the sources"),
        ({"sources": ()}, "--sources d2 d3 --target d1"),
        ({"all_splits": True}, "not both"),
        ({"modalities": ["m1+n2"]}, "unknown modality of synthetic 'n2'. Did you mean 'm2'"),
        ({"modalities": ["m1"], "all_modalities": True}, "not both"),
        ({"methods": ["mbcd"], "set": ["bta=1"]}, "'bta'. Did you mean 'beta'"),
        ({"methods": ["erm"], "set": ["beta=1"]}, "unknown hyper-parameter in --set 'beta'"),
        ({"methods": ["mbcd"], "set": ["ema.beta=1"]}, "unknown method in --set 'ema'"),
        ({"methods": ["mbcd"], "set": ["mbcd.alhpa=1"]}, "Did you mean 'alpha'"),
        ({"methods": ["mbcd"], "set": ["beta"]}, "write key=value"),
        ({"methods": ["mbcd"], "set": ["beta=much"]}, "mbcd.beta=much: not of type float"),
        ({"methods": ["mbcd"], "set": ["beta=2"]}, "lie between 0 and 1"),
        ({"methods": ["mbcd"], "set": ["dropout=fxed"]}, "Did you mean 'fixed'"),
        ({"methods": ["ema+mbcd"]}, "mbcd already evaluates an average"),
        ({"methods": ["mbcd+swad"]}, "write the wrapper first"),
        ({"dataset_options": {"clases": "3"}}, "unknown dataset option 'clases'. Did you mean"),
        ({"dataset_options": {"classes": "three"}}, "not of type int"),
        ({"recipe": {"epochs": 0}}, "--epochs 0: type a whole number from 1"),
        ({"recipe": {"batch_size": -1}}, "--batch-size -1: type a whole number from 1"),
        ({"protocol": "reference"}, "is not available for synthetic"),
        ({"switches": {"frozen_bn": "train"}}, "would change nothing"),
        ({"backbones": {"m1": "mlpp"}}, "unknown encoder 'mlpp'. Did you mean 'mlp'"),
        ({"backbones": {"m9": "mlp"}}, "unknown modality of synthetic 'm9'"),
        ({"methods": ["ogm_ge"], "modalities": ["m1"]}, "ogm_ge needs at least 2 modalities"),
    ],
)
def test_wrong_use_says_what_to_type(tmp_path, changes, message):
    with pytest.raises(UsageError) as error:
        tiny_specs(tmp_path, **changes)
    assert message in str(error.value)


def test_a_domain_without_samples_for_its_part_is_named(tmp_path, monkeypatch):
    from datasets.synthetic import Synthetic

    original = Synthetic.samples

    def without_val(self, domain, role):
        return [] if (domain, role) == ("d2", "val") else original(self, domain, role)

    monkeypatch.setattr(Synthetic, "samples", without_val)
    with pytest.raises(UsageError, match="domain d2 has no samples for the part 'val'"):
        tiny_specs(tmp_path)


def test_what_a_method_cannot_do_is_skipped_with_the_reason(tmp_path):
    request = Request(["erm", "ogm_ge"], "synthetic", all_splits=True, modalities=["m1", "m1+m2"])
    made = plan.make(request, RunSettings(tmp_path))
    assert made.skipped == ["ogm_ge on m1: ogm_ge needs at least 2 modalities"]
    assert {(s.method, len(s.modalities)) for s in made.specs} == {
        ("erm", 1),
        ("erm", 2),
        ("ogm_ge", 2),
    }
