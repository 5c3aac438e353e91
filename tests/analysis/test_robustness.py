"""The analysis of robustness: numbers, settings, what it leaves out, its tables and figures."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import torch
from support import Silent, tiny_specs
from support_folder import one_of_each
from support_sound import tone

import datasets
from benchmark import analyze
from benchmark.analysis.corrupted import POOLED, Corruptible, deviation
from benchmark.analysis.corruptions import BY_KIND, SEVERITIES, drawn, video
from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.robustness import NOTHING, Robustness, RobustnessSettings
from benchmark.launch.execute import execute
from benchmark.records import analyses, read
from benchmark.records.read import Record
from benchmark.reporting import figures, kinds
from benchmark.reporting.request import Wanted
from benchmark.settings import RunSettings
from benchmark.training import evaluate
from benchmark.training.loader import Inputs
from datasets.card import KINDS, ModalitySpec
from datasets.media import audio, published
from mmdg_common import UsageError

MODALITIES = ("m1", "m2", "m3")


def trained(results: Path, method: str = "erm", **changes) -> Record:
    """Return a tiny run on vectors m1, m3 and a signal m2, with its weights."""
    (spec,) = tiny_specs(results, method, **changes)
    settings = RunSettings(results, threads=1, keep_checkpoints="best")
    execute(spec, settings, Silent())
    (record,) = [r for r in read.read([results]).records if r.spec.id == spec.id]
    return record


@pytest.fixture(scope="module")
def record(tmp_path_factory) -> Record:
    return trained(tmp_path_factory.mktemp("r"), modalities=("m1+m2+m3",))


@pytest.fixture
def run(record: Record) -> FinishedRun:
    return finished(record)


def finished(record: Record, **roots: Path) -> FinishedRun:
    assert record.folder is not None
    return FinishedRun(record, RunSettings(record.folder, data_roots=roots, threads=1))


@pytest.fixture(scope="module")
def values(record: Record) -> dict:
    return Robustness().measure(finished(record))


def test_clean_is_the_stored_accuracy_and_that_of_the_whole_subset(values, record):
    assert record.result is not None
    stored = record.result["rules"]["best-val"]["target"]["accuracy"]
    assert values["clean"] == pytest.approx(stored)
    for absence in ("zero", "mean"):
        assert values["missing"][absence]["m1+m2+m3"] == pytest.approx(stored)
        assert len(values["missing"][absence]) == 7


def test_signals_are_corrupted_and_vectors_left_out_with_a_reason(values):
    assert list(values["corrupted"]) == ["m2"]
    assert list(values["corrupted"]["m2"]["by"]) == list(BY_KIND["signal"])
    assert values["left_out"].keys() == {"m1", "m3"}
    assert "does not say" in values["left_out"]["m1"]


def test_means_are_over_severities_and_corruptions_and_retained_is_their_share(values):
    by = values["corrupted"]["m2"]["by"]
    cells = [[of["severity"][str(s)] for s in SEVERITIES] for of in by.values()]
    assert [of["mean"] for of in by.values()] == pytest.approx(np.mean(cells, axis=1))
    assert values["corrupted"]["m2"]["mean"] == values["mean"] == pytest.approx(np.mean(cells))
    assert values["retained"] == pytest.approx(np.mean(cells) / values["clean"])
    assert len({tuple(of) for of in cells}) > 1  # or nothing was corrupted


@pytest.mark.parametrize("name", ["drift", "dropped_span"])
def test_a_cell_is_the_accuracy_on_inputs_corrupted_by_hand(values, run, name):
    """Sample by sample, all modalities anew, through the prediction of the run itself."""
    train = torch.stack(
        [run.dataset.load(s, ["m2"], None)["m2"].double() for s in run.samples("train")]
    )
    unit = train.std(dim=(0, 2), unbiased=False)[:, None].float()

    def by_hand(inputs: Inputs) -> Inputs:
        rows = []
        for x, sample in zip(inputs.tensors["m2"], inputs.ids, strict=True):
            random = drawn(name, BY_KIND["signal"][name], x.shape, sample)
            if name == "drift":
                rows.append(x + 2 * unit * random * torch.arange(24) / 23)
            else:
                start = 1 + int(random * 12)
                lost = x.clone()
                lost[:, start : start + 12] = x[:, start - 1 : start]
                rows.append(lost)
        return replace(inputs, tensors={**inputs.tensors, "m2": torch.stack(rows)})

    batches = (run.stemmed(by_hand(inputs)) for inputs in run.inputs(run.samples("target")))
    found = evaluate.predict(run.method, batches, {"it": run.model})["it"]
    right = (found.logits["fused"].argmax(dim=1) == found.labels).double().mean().item()
    assert values["corrupted"]["m2"]["by"][name]["severity"]["5"] == pytest.approx(right)


def test_the_deviation_is_that_of_each_channel_over_the_sources_train_part(run):
    x = np.stack([run.dataset.load(s, ["m2"], None)["m2"] for s in run.samples("train")])
    assert {s.domain for s in run.samples("train")} == {"d1", "d2"}
    found = deviation(run, "m2", (0, 2))
    assert found.shape == (4, 1)
    np.testing.assert_allclose(found[:, 0], x.std(axis=(0, 2)), rtol=1e-5)


@pytest.mark.parametrize(
    "kind, shape, wanted",
    [("skeleton", (3, 6, 5), (3, 1, 5)), ("depth", (1, 4, 6, 8), (1, 1, 1, 1))],
)
def test_deviations_are_of_an_axis_of_each_joint_and_of_all_depths(kind, shape, wanted):
    x = torch.rand(9, *shape, generator=torch.Generator().manual_seed(0)) * 3 + 100

    class Sources:
        def samples(self, part: str) -> list[int]:
            return {"train": list(range(9))}[part]

        def inputs(self, samples: list[int], modalities: list[str]) -> list[Inputs]:
            return [inputs_of(x=x[:5]), inputs_of(x=x[5:])]

    found = deviation(Sources(), "x", POOLED[kind])  # type: ignore[arg-type]
    assert found.shape == wanted
    torch.testing.assert_close(found, x.std(POOLED[kind], unbiased=False, keepdim=True)[0])


def test_a_second_call_gives_the_same_numbers_and_the_model_stays_as_it_was(values, run):
    before = {name: x.clone() for name, x in run.model.state_dict().items()}
    assert Robustness().measure(run) == values
    assert all(torch.equal(x, before[name]) for name, x in run.model.state_dict().items())
    assert not run.model.training


@pytest.mark.parametrize("method", ["late_fusion", "mla", "unimodal"])
def test_a_method_with_a_prediction_of_its_own_is_measured_by_it(method, tmp_path):
    modalities = "m2" if method == "unimodal" else "m1+m2"
    record = trained(tmp_path, method, modalities=(modalities,))
    assert record.result is not None
    found = Robustness(RobustnessSettings(severities="5")).measure(finished(record))
    stored = record.result["rules"]["best-val"]["target"]["accuracy"]
    assert found["clean"] == pytest.approx(stored)
    assert found["corrupted"]["m2"]["by"]["gaussian_noise"]["severity"].keys() == {"5"}


def test_a_part_of_the_target_is_drawn_once_for_all_methods(run):
    few = RobustnessSettings(most=7, corruptions="drift", severities="2")
    assert Robustness(few).measure(run)["n"] == 7
    assert [s.id for s in run.samples("target", 7)] == [s.id for s in run.samples("target", 7)]


# Settings.


def test_one_choice_has_one_spelling():
    one = RobustnessSettings(corruptions="rotation, drift", severities="5,1,5")
    assert (one.corruptions, one.severities) == ("drift,rotation", "1,5")
    assert one == RobustnessSettings(corruptions="drift,rotation", severities="1,5")


@pytest.mark.parametrize(
    "wrong", [{"severities": "6"}, {"corruptions": "gaussian"}, {"corruptions": "rain.wav"}]
)
def test_what_there_is_not_is_wrong_use(wrong):
    with pytest.raises(UsageError, match="unknown"):
        RobustnessSettings(**wrong)


def test_records_say_which_noise_it_was_and_not_where_it_was(record, tmp_path):
    keys = []
    for place in ("here", "there"):
        (tmp_path / place).mkdir()
        soundfile.write(tmp_path / place / "rain.wav", np.ones(50), 16000)
        settings = RobustnessSettings(noise_dir=str(tmp_path / place), corruptions="rain.wav")
        told = Robustness(settings).told(record)
        assert place not in str(told)
        keys.append(Robustness(settings).key(record))
    assert keys[0] == keys[1] != Robustness().key(record)


def test_a_run_without_anything_to_corrupt_is_not_measured(record, tmp_path):
    flow = replace(record.spec, dataset="epic_kitchens", modalities=("flow",))
    assert Robustness().lacks(record, []) == ""
    assert Robustness().lacks(replace(record, spec=flow), []) == NOTHING
    both = replace(flow, modalities=("video", "flow"))
    assert Robustness().lacks(replace(record, spec=both), []) == ""
    vectors = trained(tmp_path, modalities=("m1+m3",))  # what synthetic has depends on options
    assert Robustness().lacks(vectors, []) == ""
    with pytest.raises(UsageError, match="can be corrupted"):
        Robustness().measure(finished(vectors))
    with pytest.raises(UsageError, match="has the corruptions jpeg"):
        Robustness(RobustnessSettings(corruptions="jpeg")).measure(finished(record))


# Kinds.


def test_the_kind_of_a_modality_moves_no_fingerprint_and_must_be_known():
    dataset = datasets.create("synthetic")
    before = dataset.fingerprint(MODALITIES)
    other = tuple(replace(m, kind="inertial") for m in dataset.card.modalities)
    dataset.card = replace(dataset.card, modalities=other)
    assert dataset.fingerprint(MODALITIES) == before
    with pytest.raises(UsageError, match="Did you mean 'video'"):
        ModalitySpec("x", (3, 8, 32, 32), "tiny_video", kind="vidoe")


def test_the_cards_of_the_suite_declare_kinds_that_fit_their_shapes():
    dimensions = {"video": 4, "flow": 4, "audio": 3, "depth": 4, "skeleton": 3, "inertial": 2}
    cards = [getattr(datasets.get(name), "card", None) for name in datasets.names()]
    specs = [m for card in cards if card for m in card.modalities]
    assert {m.kind for m in specs} == KINDS.keys() - {""}
    for m in specs:
        assert len(m.shape) == dimensions.get(m.kind, 2), m
        assert m.kind not in ("skeleton", "inertial") or m.shape[0] % 3 == 0
        assert (m.kind in ("video", "flow")) == (m.scale is not None)


# Media.


def inputs_of(**tensors: torch.Tensor) -> Inputs:
    n = len(next(iter(tensors.values())))
    labels = torch.zeros(n, dtype=torch.long)
    return Inputs(dict(tensors), labels, labels, tuple(f"s{i}" for i in range(n)))


def test_bytes_of_a_clip_are_corrupted_before_they_are_scaled(run):
    clips = torch.randint(0, 256, (2, 3, 6, 32, 32), dtype=torch.uint8)
    spec = ModalitySpec("video", (3, 6, 32, 32), "tiny_video", "", published.RGB, "video")
    one = Corruptible(run, spec, BY_KIND["video"], [])
    found = {(n, s): x.tensors for n, s, x in one.corrupted(inputs_of(video=clips), SEVERITIES)}
    assert len(found) == 30
    assert all(list(of) == ["video"] and of["video"].dtype == torch.uint8 for of in found.values())
    assert torch.equal(found["brightness", 5]["video"], video.brightened(clips, 1.5))
    noise = drawn("gaussian_noise", BY_KIND["video"]["gaussian_noise"], clips.shape[1:], "s1")
    wanted = video.noisy(clips[1:], 0.38, noise[None])
    assert torch.equal(found["gaussian_noise", 5]["video"][1:], wanted)


def test_sound_is_corrupted_before_its_spectrogram(tmp_path, capsys):
    """A folder of tones, trained on and analysed by the commands, with a noise of one's own."""
    from benchmark import run as training

    def sound(i: int) -> tuple[str, np.ndarray]:
        return f"{i}.wav", tone((440, 2000)[i % 2], 0.5 + 0.01 * i)

    root = tmp_path / "data"
    dataset = one_of_each(root, sound=sound)
    sample = dataset.samples("d0", "target")[0]
    samples = dataset.waveform(sample, "sound", ["sound"])
    loaded = dataset.load(sample, ["sound"], None)["sound"]
    assert torch.equal(audio.spectrogram(samples, None), loaded)

    results = tmp_path / "r"
    how = ["--results", str(results), "--threads", "1", "--device", "cpu"]
    data = ["--dataset", "folder", "--data-root", str(root), "--keep-checkpoints", "best"]
    asked = ["--method", "erm", "--sources", "d0", "--target", "d1", "--epochs", "1"]
    assert training.main([*asked, *data, *how]) == 0, capsys.readouterr()
    (tmp_path / "noise").mkdir()
    soundfile.write(tmp_path / "noise" / "hum.wav", tone(50, 1), 16000)
    settings = ["--set", f"noise_dir={tmp_path / 'noise'}", "severities=3"]
    assert analyze.main(["robustness", *how, *settings]) == 0, capsys.readouterr()
    (found,) = read.read([results]).records
    (measured,) = found.measured("robustness")
    by = measured.values["corrupted"]["sound"]["by"]
    assert list(by) == ["gaussian_noise", "clipping", "wind", "hum.wav"]

    one = Corruptible(
        finished(found, folder=root), dataset.card.modalities[0], BY_KIND["audio"], [sample]
    )
    batch = replace(inputs_of(sound=loaded[None]), ids=(sample.id,))
    got = {n: x.tensors["sound"][0] for n, _, x in one.corrupted(batch, [3])}
    clipped = np.clip(samples, -0.2 * abs(samples).max(), 0.2 * abs(samples).max())
    torch.testing.assert_close(got["clipping"], audio.spectrogram(clipped, None))


# Tables and figures.


def measured(record: Record, clean: float, corrupted: float) -> None:
    """Write what could have been measured of a run."""
    by = {"drift": {"mean": corrupted, "severity": {"1": corrupted + 0.1, "5": corrupted - 0.1}}}
    subsets = {"m1": 0.5, "m2": 0.4, "m1+m2": clean}
    found = {
        "n": 10,
        "clean": clean,
        "mean": corrupted,
        "retained": corrupted / clean,
        "corrupted": {"m2": {"mean": corrupted, "retained": corrupted / clean, "by": by}},
        "left_out": {"m1": "it is a vector"},
        "missing": {"zero": subsets, "mean": {**subsets, "m1": 0.3}},
    }
    assert record.folder is not None
    analyses.write(record.folder, analyses.Measured("robustness", 1, {}, found, {}))


@pytest.fixture(scope="module")
def wanted(tmp_path_factory) -> Wanted:
    """ERM and late fusion at two seeds, of which the numbers are made up."""
    results = tmp_path_factory.mktemp("r")
    numbers = {("erm", 0): (0.8, 0.6), ("erm", 1): (0.9, 0.5)}
    numbers |= {("late_fusion", 0): (0.8, 0.7), ("late_fusion", 1): (0.8, 0.8)}
    for method, seed in numbers:
        for spec in tiny_specs(results, method, seeds=(seed,), modalities=("m1+m2",)):
            execute(spec, RunSettings(results, threads=1), Silent())
    for record in read.read([results]).records:
        measured(record, *numbers[record.spec.method, record.spec.seed])
    return Wanted(read.read([results]).records)


def cells(table, label: str) -> dict[str, float]:
    (row,) = [row for row in table.rows if row.label == label]
    return {name: c.value for name, c in zip(table.columns, row.cells, strict=True)}


def test_the_table_has_the_gain_over_erm_on_the_same_seeds(wanted):
    (table,) = kinds.build(["robustness"], wanted)
    assert table.columns == (
        *("clean", "corrupted m2", "mean", "retained", "m2 over ERM", "mean over ERM"),
    )
    own = cells(table, "late_fusion")
    assert own["mean"] == pytest.approx(75)
    assert own["mean over ERM"] == pytest.approx((70 - 60 + 80 - 50) / 2)
    assert own["retained"] == pytest.approx(100 * (0.7 / 0.8 + 1) / 2)
    assert cells(table, "erm")["mean over ERM"] == 0
    (row,) = [row for row in table.rows if row.label == "late_fusion"]
    assert row.cells[-1].std == pytest.approx(np.std([10, 30], ddof=1))
    assert "Not corrupted: m1, as it is a vector." in table.notes


def test_without_erm_there_is_no_gain(wanted):
    (table,) = kinds.build(
        ["robustness"], Wanted([r for r in wanted.records if r.spec.method != "erm"])
    )
    own = cells(table, "late_fusion")
    assert own["mean over ERM"] is None
    assert own["mean"] == pytest.approx(75)


def test_tables_of_each_corruption_and_of_missing_modalities(wanted):
    each, missing = kinds.build(["corruptions", "missing"], wanted)
    assert (each.name, missing.name) == ("corruptions", "missing")
    assert cells(each, "erm") == pytest.approx({"clean": 85, "m2: drift": 55})
    assert cells(missing, "erm") == pytest.approx(
        {"all": 85, "m1": 50, "m2": 40, "m1, mean": 30, "m2, mean": 40}
    )


def test_figures_show_a_line_per_method_and_a_column_per_subset(wanted):
    found = {f.name.partition("-")[0]: f for f in figures.make(wanted)}
    lines, heat = figures.drawn(found["robustness"]), figures.drawn(found["missing"])
    (ax,) = lines.axes
    assert ax.get_title() == "m2\ndrift"
    drawn_lines = [[list(x) for x in line.get_data()] for line in ax.get_lines()]
    assert drawn_lines[0] == [[0, 1, 5], pytest.approx([85, 65, 45])]
    assert len(drawn_lines) == 2
    names = [text.get_text() for text in heat.axes[0].get_xticklabels()]
    assert names == ["all", "m1", "m2", "m1, mean", "m2, mean"]
