"""What runs will cost, by hand: the work of a run, and which earlier ones say what it takes."""

import json
from dataclasses import replace

import pytest
from support import Silent, tiny_run, tiny_specs
from support_reports import make_result, whole

from benchmark.launch import forecast
from benchmark.launch.costs import Costs
from benchmark.launch.device import Device
from benchmark.launch.execute import execute
from benchmark.launch.profile import Profile
from benchmark.planning import plan
from benchmark.planning.request import Request
from benchmark.records import committed
from benchmark.records.committed import CommittedSet
from benchmark.records.spec import NUMBERS_VERSION, WITH_TARGET
from benchmark.records.store import Store
from benchmark.settings import RunSettings
from mmdg_common import UsageError

CPU = Device("cpu", 1)
HOME = committed.HOME
ERM, MBCD = {"forward": 1.0, "backward": 1.0}, {"forward": 3.0, "backward": 3.0}
# 48 samples to train on in batches of 8, 12 to validate on, 30 of the target; three modalities.
# Two epochs: 12 steps of 8 samples at 3 passes, 2 validations of 42, and at both of them a pass of
# 78: 288 + 84 + 156 = 528 forward passes of each modality.
SECONDS = 52.8


@pytest.fixture(autouse=True)
def nothing_committed(tmp_path, monkeypatch):
    monkeypatch.setattr(committed, "HOME", tmp_path / "home")


@pytest.fixture
def store(tmp_path):
    """Return a function that writes the record of a run that took so long."""

    def write(spec, seconds=SECONDS, passes=ERM, reused="", **where):
        folder = Store(tmp_path).folder(spec)
        folder.write_spec(spec)
        told = {"threads": 1, "wall_s": seconds, **where}
        result = {**whole(make_result(0.5, **told)), "passes": passes}
        folder.write_result(result | ({"reused": reused} if reused else {}))

    return write


@pytest.fixture
def costs(tmp_path):
    def make(device=CPU, passes=None, **settings):
        return Costs(RunSettings(tmp_path, threads=1, **settings), device, passes)

    return make


@pytest.fixture
def spec(tmp_path):
    def make(method="erm", **changes):
        (found,) = tiny_specs(tmp_path, method, **changes)
        return found

    return make


# How the work of a run grows


@pytest.mark.parametrize(
    ("changes", "seconds"),
    [
        ({"seeds": [7]}, 52.8),
        ({"recipe": {"lr": 0.5}}, 52.8),
        ({"recipe": {"steps": 12}}, 52.8),
        ({"recipe": {"epochs": 1}}, 26.4),  # 144 + 42 + 78
        ({"recipe": {"epochs": 20}}, 387.6),  # 2880 + 840 + 156
        ({"recipe": {"validate_every": 1}}, 94.8),  # 288 + 12 · 42 + 156
        ({"recipe": {"steps": 7, "validate_every": 4}}, 40.8),  # 168 + 84 + 156
        ({"sources": ("d1",)}, 32.4),  # 24, 6 and 30 samples: 144 + 72 + 108
        ({"settings": ("all-domains",), "sources": (), "target": None}, 46.8),  # 432 + 36
    ],
)
def test_a_run_takes_the_seconds_of_its_own_steps_and_validations(
    store, costs, spec, changes, seconds
):
    store(spec(seeds=[1]))
    found = costs().of(spec(**changes))
    assert (found.seconds, found.basis) == (pytest.approx(seconds), "earlier runs alike")


def test_several_records_count_by_their_work(store, costs, spec):
    store(spec(seeds=[1]), 50.0)
    store(spec(seeds=[2], recipe={"epochs": 20}), 600.0)
    assert costs().seconds(spec()) == pytest.approx(528 * 650 / (528 + 3876))


def test_a_run_that_was_trained_here_is_estimated_at_what_it_took(tmp_path, costs):
    spec, folder = tiny_run(tmp_path, "mbcd")
    assert costs().seconds(spec) == pytest.approx(folder.result()["provenance"]["wall_s"])


# Which records count


def test_the_most_similar_records_count(store, costs, spec):
    mbcd = spec("mbcd")
    store(spec(seeds=[1]))
    assert costs().of(mbcd) is None  # nobody knows what passes it makes
    known = costs(passes={"mbcd": 9.0}).of(mbcd)  # 12 · 8 · 9 + 84 + 156 = 1104
    assert (known.seconds, known.basis) == (pytest.approx(110.4), "earlier runs of other methods")
    store(spec("mbcd", modalities=("m1+m2",)), 1104.0 * 2, MBCD)
    found = costs().of(mbcd)
    assert (found.seconds, found.basis) == (pytest.approx(3312), "earlier runs of other modalities")
    store(spec("mbcd", set=["dropout=none"]), 8.16, {"forward": 2.0, "backward": 2.0})
    found = costs().of(mbcd)
    assert (found.seconds, found.basis) == (pytest.approx(8.16), "earlier runs with other settings")
    store(spec("mbcd", seeds=[1]), 5.0, MBCD)
    found = costs().of(mbcd)
    assert (found.seconds, found.basis) == (pytest.approx(5.0), "earlier runs alike")


def test_a_record_on_another_device_tells_the_passes_of_a_method(store, costs, spec):
    store(spec(seeds=[1]))
    store(spec("mbcd", seeds=[1]), 1.0, MBCD, device="NVIDIA H200")
    found = costs().of(spec("mbcd"))
    assert (found.seconds, found.basis) == (pytest.approx(110.4), "earlier runs of other methods")


@pytest.mark.parametrize(
    ("changes", "where"),
    [
        ({}, {"threads": 2}),
        ({}, {"device": "NVIDIA H200"}),
        ({}, {"kernels": "fast"}),
        ({}, {"feature_cache": True}),
        ({}, {"reused": "2026"}),
        ({}, {"seconds": 0.0}),
        ({"recipe": {"batch_size": 16}}, {}),
        ({"switches": {"precision": "bf16"}}, {}),
        ({"backbones": {"m1": "signal_cnn"}}, {}),
        ({"dataset_options": {"domains": "3", "classes": "3", "samples_per_class": "20"}}, {}),
    ],
)
def test_a_record_of_another_cost_does_not_count(store, costs, spec, changes, where):
    store(spec(seeds=[1], **changes), **where)
    assert costs().of(spec()) is None


def test_a_record_of_other_data_does_not_count(store, costs, spec):
    store(replace(spec(seeds=[1]), data="0" * 64))
    store(replace(spec(modalities=("m1+m2",)), data="0" * 64))
    assert costs().of(spec()) is None
    store(spec(modalities=("m1+m2",)))
    assert costs().of(spec()).basis == "earlier runs of other modalities"


def test_with_a_feature_cache_only_runs_with_one_count(store, costs, spec, tmp_path):
    store(spec(seeds=[1]), 10.0)
    store(spec(seeds=[2]), 3.0, feature_cache=True)
    store(spec(seeds=[3], switches={"views": 2}), 1.0, feature_cache=True)
    assert costs().seconds(spec()) == pytest.approx(10)
    cached = costs(feature_cache=tmp_path / "kept")
    assert cached.seconds(spec()) == pytest.approx(3)
    assert cached.seconds(spec(switches={"views": 4})) == pytest.approx(1)


def test_a_record_says_whether_there_was_a_feature_cache(tmp_path):
    (spec,) = tiny_specs(tmp_path)
    for cache in (None, tmp_path / "kept"):
        settings = RunSettings(tmp_path / str(cache is None), threads=1, feature_cache=cache)
        execute(spec, settings, Silent())
        result = Store(settings.results).folder(spec).result()
        assert result["provenance"]["feature_cache"] is (cache is not None)


# Devices


def test_a_record_of_a_cpu_says_nothing_of_a_gpu(store, costs, spec):
    store(spec(seeds=[1]), 10.0)
    h200, any_gpu = Device("NVIDIA H200"), Device("", gpus=2)
    assert costs(h200).of(spec()) is None and costs(any_gpu).of(spec()) is None
    (line,) = forecast.forecast([spec()], costs(any_gpu)).told()
    assert line == "1 runs to do have no earlier record on a GPU to estimate their time from"
    store(spec(seeds=[2]), 2.0, device="NVIDIA A100")
    assert costs(h200).of(spec()) is None
    assert costs(any_gpu).seconds(spec()) == pytest.approx(2)
    assert costs().seconds(spec()) == pytest.approx(10)
    assert costs(Device("cpu", None)).seconds(spec()) == pytest.approx(10)


def test_a_profile_says_what_its_jobs_compute_on(tmp_path):
    def on(device="auto", threads=1, **profile):
        return Device.on_nodes(
            RunSettings(tmp_path, device=device, threads=threads), Profile(**profile)
        )

    assert on() == on("cpu", gpus="2") == CPU
    assert on(threads=0) == Device("cpu", None)
    assert on(gpus="1") == Device("", gpus=1)
    assert on(gpus="a100:4") == on("cuda", gpus="4") == Device("", gpus=4)
    assert on("cuda") == Device("")
    assert Device.here(RunSettings(tmp_path, threads=1)) == CPU


# Committed results


@pytest.fixture
def commit(tmp_path):
    """Return a function that writes a run into a committed set."""
    root = tmp_path / "home" / "2026"

    def write(spec, seconds, passes=ERM):
        root.mkdir(parents=True, exist_ok=True)
        (root / "set.json").write_text(
            json.dumps({"schema": 1, "numbers_version": NUMBERS_VERSION})
        )
        (root.parent / "CURRENT").write_text("2026\n")
        result = {**whole(make_result(0.5, threads=1, wall_s=seconds)), "passes": passes}
        line = {"spec": spec.to_json(), "result": result, "parts": {"val": "a", "target": "b"}}
        path = CommittedSet(root).file_of(spec)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a") as file:
            file.write(json.dumps(line) + "\n")

    return write


def test_committed_runs_count_where_the_folder_has_none(store, commit, costs, spec, tmp_path):
    commit(spec(seeds=[1]), 7.0)
    commit(spec("mbcd", seeds=[1], modalities=("m1",)), 1.0, MBCD)
    found = costs().of(spec())
    assert (found.seconds, found.basis) == (pytest.approx(7), "committed runs alike")
    assert costs().of(spec("mbcd")).basis == "committed runs of other modalities"
    assert costs(reuse=tmp_path / "home").of(spec()) == found
    store(spec(seeds=[2]), 9.0)
    assert costs().of(spec()).basis == "earlier runs alike"
    found = costs().of(spec("mbcd"))
    assert (found.seconds, found.basis) == (
        pytest.approx(9 * 1104 / 528),
        "earlier runs of other methods",
    )


def test_the_estimates_of_the_committed_runs_add_up_to_what_they_took(tmp_path, monkeypatch):
    monkeypatch.setattr(committed, "HOME", HOME)
    settings = RunSettings(tmp_path, threads=1)
    for method in ("erm", "swad+mbcd"):
        # Estimates rest on the runs of every setting.
        asked = Request(
            [method], "sp_sw_har", all_splits=True, seeds=range(10), settings=WITH_TARGET
        )
        planned = {spec.id: spec for spec in plan.make(asked, settings).specs}
        rows = committed.current().done("sp_sw_har", method, ("phone", "watch"))
        took = {s.id: result["provenance"]["wall_s"] for s, result in rows if s.id in planned}
        assert len(took) >= 3 * 3
        specs = [planned[run] for run in took]
        found = Costs(settings, CPU)
        # The passes of a method may differ a little from run to run.
        assert sum(map(found.seconds, specs)) == pytest.approx(sum(took.values()), rel=1e-3)


# What follows


def test_a_job_gets_one_and_a_half_times_the_estimate_and_ten_minutes(store, costs, spec):
    assert costs().limit(spec()) == 240 * 60
    store(spec(seeds=[1]), 100.0)
    assert costs().limit(spec()) == 15 * 60
    store(spec("joint", seeds=[1]), 4000.0)
    assert costs().limit(spec("joint")) == pytest.approx(1.5 * 4000 + 600)


def test_a_forecast_says_how_long_on_what_and_how_it_knows(store, costs, spec):
    store(spec(seeds=[1]), 3600.0)
    specs = [spec(), spec(seeds=[2]), spec(set=[], switches={"neck": "none"}), spec("mbcd")]
    assert list(forecast.forecast(specs, costs()).told()) == [
        "3 runs to do take about 3.0 h in all on cpu with 1 thread: 2 by earlier runs alike, "
        "1 by earlier runs with other settings",
        "1 runs to do have no earlier record on cpu with 1 thread to estimate their time from",
    ]
    store(spec(seeds=[3]), 1800.0, device="NVIDIA H200")
    assert list(forecast.forecast([spec()], costs(Device("", gpus=4))).told()) == [
        "1 runs to do take about 30 min in all, 2.0 GPU-hours, on a GPU: 1 by earlier runs alike"
    ]


def test_a_budget_allows_the_next_runs_and_no_more(store, costs, spec, capsys):
    store(spec(seeds=[1]), 3600.0)
    specs = [spec(seeds=[seed]) for seed in (2, 3, 4)]
    assert forecast.within(specs, 2.5 * 3600, costs()) == specs[:2]
    assert capsys.readouterr().out == (
        "--budget: 2 of 3 runs now, about 2.0 h in all; 1 left out, about 60 min\n"
    )
    assert forecast.within(specs, 3.1 * 3600, costs()) == specs
    assert capsys.readouterr().out == "--budget: 3 of 3 runs now, about 3.0 h in all\n"
    assert forecast.within(specs, 60, costs()) == []
    store(spec(seeds=[5]), 3600.0, device="NVIDIA H200")
    on_two = costs(Device("", gpus=2))
    assert forecast.within(specs, 4.1 * 3600, on_two) == specs[:2]
    assert "2 of 3 runs now, about 4.0 GPU-hours in all; 1 left out" in capsys.readouterr().out


def test_a_budget_needs_an_estimate_of_every_run(store, costs, spec):
    store(spec(seeds=[1]))
    specs = [spec(), spec("mbcd", seeds=[3]), spec("joint")]
    with pytest.raises(UsageError) as error:
        forecast.within(specs, 3600, costs())
    assert str(error.value) == (
        "--budget: 2 of 3 runs have no earlier record on cpu with 1 thread to estimate their time "
        "from; train one of each first: the same command with --only seed=3 target=d3 in place of "
        "--budget"
    )
