"""What figures draw, and which runs they put together."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean, stdev

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from support import tiny_run
from support_figures import (
    BETAS,
    CLASSES,
    SEEDS,
    TARGETS,
    a_gain_figure,
    accuracy_of,
    beta_runs,
    families,
    made_of,
    make_record,
    make_spec,
    many_runs,
    one,
    some_runs,
)

import methods
from benchmark.records.read import Record
from benchmark.records.run_folder import RunFolder
from benchmark.records.spec import Asked, Protocol
from benchmark.reporting import figures
from benchmark.reporting.figures import style
from benchmark.reporting.figures.forest import gain_figure
from benchmark.reporting.kinds.gains import Gain
from benchmark.reporting.statistics import Estimate, adjusted
from datasets.base import Recipe


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return some_runs(tmp_path_factory.mktemp("some"))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return many_runs(tmp_path_factory.mktemp("many"))


# What is drawn


def test_accuracy_against_cost_shows_means_deviations_and_relative_time(
    some: list[Record],
) -> None:
    (ax,) = figures.drawn(one(some, "cost")).axes
    points = {line.get_label(): line for line in ax.lines if line.get_marker() in style.MARKERS}
    bars = {tuple(to_rgb(c.lines[0].get_color())): c for c in ax.containers}
    for i, method in enumerate(("erm", "joint", "mbcd")):
        (x,), (y,) = points[method].get_data()
        seeds = [seed_average(some, method, seed) for seed in SEEDS]
        assert x == pytest.approx((i + 2) / 2)
        assert y == pytest.approx(fmean(seeds))
        container = bars[tuple(to_rgb(points[method].get_color()))]
        ((_, low), (_, high)) = container.lines[2][0].get_segments()[0]
        assert (high - low) / 2 == pytest.approx(stdev(seeds))
    assert ax.get_xscale() == "log"
    assert {text.get_text() for text in ax.texts} == {"erm", "joint", "mbcd"}


def seed_average(records: Sequence[Record], method: str, seed: int) -> float:
    runs = [r for r in records if (r.spec.method, r.spec.seed) == (method, seed)]
    assert len(runs) == len(TARGETS)
    return fmean(100 * accuracy_of(run) for run in runs)


def test_cost_is_in_seconds_where_there_is_no_erm(some: list[Record]) -> None:
    figure = one([r for r in some if r.spec.method != "erm"], "cost")
    (ax,) = figures.drawn(figure).axes
    assert sorted(line.get_xdata()[0] for line in ax.lines if line.get_label()[0] != "_") == [
        *(15.0, 20.0)
    ]
    assert "seconds" in ax.get_xlabel()
    assert "in seconds" in figure.caption


def test_a_method_without_every_target_has_no_point_and_is_named(some: list[Record]) -> None:
    figure = one([r for r in some if (r.spec.method, r.spec.target) != ("joint", "d2")], "cost")
    (ax,) = figures.drawn(figure).axes
    assert {text.get_text() for text in ax.texts} == {"erm", "mbcd"}
    assert "No seed of joint has every target." in figure.caption


def test_a_single_seed_has_no_error_bar(some: list[Record]) -> None:
    (ax,) = figures.drawn(one([r for r in some if r.spec.seed == 0], "cost")).axes
    assert all(not container.has_yerr for container in ax.containers)


def test_heat_map_writes_the_mean_of_every_cell_best_first(some: list[Record]) -> None:
    (ax,) = figures.drawn(one(some, "heatmap")).axes
    names = [label.get_text() for label in ax.get_yticklabels()]
    columns = [label.get_text() for label in ax.get_xticklabels()]
    assert columns == [*TARGETS, "average"]
    texts = {
        (names[int(y)], columns[int(x)]): text.get_text()
        for text in ax.texts
        for x, y in [text.get_position()]
    }
    averages = {m: fmean(seed_average(some, m, s) for s in SEEDS) for m in names}
    assert names == sorted(averages, key=lambda m: -averages[m])
    for method in names:
        assert texts[method, "average"] == f"{averages[method]:.1f}"
        for target in TARGETS:
            runs = [r for r in some if (r.spec.method, r.spec.target) == (method, target)]
            assert texts[method, target] == f"{100 * fmean(map(accuracy_of, runs)):.1f}"
    assert len(texts) == len(names) * len(columns)


def test_heat_map_has_a_dash_where_runs_are_missing(some: list[Record]) -> None:
    records = [r for r in some if (r.spec.method, r.spec.target) != ("joint", "d2")]
    (ax,) = figures.drawn(one(records, "heatmap")).axes
    assert [text.get_text() for text in ax.texts].count("—") == 2  # the cell and the average
    assert ax.get_yticklabels()[-1].get_text() == "joint"


def test_confusion_is_normalised_by_row_and_summed_over_runs(some: list[Record]) -> None:
    axes = {ax.get_title(): ax for ax in figures.drawn(one(some, "confusion")).axes}
    for method in ("erm", "joint", "mbcd"):
        expected = np.zeros((CLASSES, CLASSES))
        for run in some:
            if run.spec.method == method:
                assert run.folder is not None
                arrays = np.load(run.folder / "predictions.npz")
                labels, logits = (arrays[f"best-val/target/{k}"] for k in ("labels", "fused"))
                for label, scores in zip(labels, logits, strict=True):
                    expected[label, np.argmax(scores)] += 1
        assert expected.sum() == len(TARGETS) * len(SEEDS) * CLASSES * 5
        drawn = np.asarray(axes[method].collections[0].get_array()).reshape(CLASSES, CLASSES)
        np.testing.assert_allclose(drawn, 100 * expected / expected.sum(1, keepdims=True))
        np.testing.assert_allclose(drawn.sum(axis=1), 100)
        # The first class on top, as in a table.
        assert axes[method].get_ylim() == (CLASSES, 0)


def test_classes_have_their_names_where_they_are_known(some: list[Record]) -> None:
    names = ("wave", "clap", "throw", "sit")
    known = [replace(r, result={**(r.result or {}), "classes": list(names)}) for r in some]
    for ax in figures.drawn(one(known, "confusion")).axes[:3]:
        assert tuple(label.get_text() for label in ax.get_yticklabels()) == names


@pytest.mark.slow
def test_confusion_shows_the_six_methods_with_the_most_runs(many: list[Record]) -> None:
    records = [r for r in many if r.spec.method != "vrex" or r.spec.target == "d1"]
    figure = one(records, "confusion")
    titles = {ax.get_title() for ax in figures.drawn(figure).axes} - {""}
    assert titles == set(sorted(methods.names())[:6])
    assert f"The 6 of {len(methods.names())} methods with the most runs." in figure.caption


def test_curves_are_means_over_seeds_with_a_band_from_lowest_to_highest(
    some: list[Record],
) -> None:
    canvas = figures.drawn(one(some, "curves"))
    looks = figures.looks(["erm", "joint", "mbcd"])
    for ax in canvas.axes:
        for method, look in looks.items():
            runs = [
                RunFolder(r.folder).metrics()
                for r in some
                if r.folder and (r.spec.method, r.spec.target) == (method, ax.get_title())
            ]
            for part, stroke in (("target", "-"), ("val", "--")):
                values = [[100 * x[part]["fused"]["accuracy"] for x in lines] for lines in runs]
                (line,) = [
                    each
                    for each in ax.lines
                    if (each.get_color(), each.get_linestyle()) == (look.color, stroke)
                ]
                np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
                np.testing.assert_allclose(line.get_ydata(), np.mean(values, axis=0))
                if part == "target":
                    (band,) = [
                        each
                        for each in ax.collections
                        if to_hex(each.get_facecolor()[0]).upper() == look.color
                    ]
                    corners = band.get_paths()[0].vertices
                    middle = corners[corners[:, 0] == 2, 1]
                    assert middle.min() == pytest.approx(np.min(values, axis=0)[1])
                    assert middle.max() == pytest.approx(np.max(values, axis=0)[1])
    assert [ax.get_title() for ax in canvas.axes] == list(TARGETS)


def test_validations_within_epochs_are_counted_instead(tmp_path: Path) -> None:
    (record,) = [make_record(make_spec("erm", "d1", 0), tmp_path)]
    assert record.folder is not None
    folder = RunFolder(record.folder)
    folder.write_metrics([{**line, "epoch": 0} for line in folder.metrics()])
    (ax,) = figures.drawn(one([record], "curves")).axes
    assert ax.get_xlabel() == "validation"


@pytest.mark.parametrize(("family", "log"), [("speed", "speed"), ("drop-rate", "drop_rate")])
def test_logs_of_modalities_are_means_over_runs(some: list[Record], family: str, log: str) -> None:
    (ax,) = figures.drawn(one(some, family)).axes
    assert ax.get_title() == "mbcd"
    runs = [RunFolder(r.folder).metrics() for r in some if r.folder and r.spec.method == "mbcd"]
    lines = {line.get_label(): line for line in ax.lines}
    assert sorted(lines) == ["m1", "m2"]
    for k, line in lines.items():
        values = [[each["train"][f"{log}/{k}"] for each in lines] for lines in runs]
        np.testing.assert_allclose(line.get_ydata(), np.mean(values, axis=0))


def test_gradients_have_figures_on_one_scale_where_runs_log_them(tmp_path: Path) -> None:
    records = [make_record(make_spec(m, "d1", 0), tmp_path) for m in ("erm", "joint", "mbcd")]
    assert not any("gradient" in f.name for f in made_of(records))
    for scale, record in enumerate(records[:2], 1):
        assert record.folder is not None
        folder = RunFolder(record.folder)
        logged = {"gradient_norm/m1": 2.0 * scale, "gradient_norm/m2": 4.0 * scale}
        if record.spec.method == "joint":
            logged |= {"unimodal_gradient_norm/m1": 3.0, "gradient_cosine/m1": -0.5}
        folder.write_metrics([{**line, "train": logged} for line in folder.metrics()])
    (erm, joint) = figures.drawn(one(records, "gradient-norm")).axes
    assert (erm.get_title(), joint.get_title()) == ("erm", "joint")
    for ax, scale in ((erm, 1), (joint, 2)):
        lines = {str(line.get_label()): line.get_ydata() for line in ax.lines}
        assert {k: set(y) for k, y in lines.items()} == {"m1": {2.0 * scale}, "m2": {4.0 * scale}}
        assert ax.get_yscale() == "log" and ax.get_ylim() == erm.get_ylim()
    for family, value in (("unimodal-gradient-norm", 3.0), ("gradient-cosine", -0.5)):
        (ax,) = figures.drawn(one(records, family)).axes
        assert ax.get_title() == "joint" and set(ax.lines[0].get_ydata()) == {value}
    caption = one(records, "gradient-cosine").caption
    assert (
        "same samples of the sources' train part" in caption and "in their own ways" not in caption
    )


def test_beta_curve_has_a_line_a_condition_with_means_and_deviations() -> None:
    warm, cold = beta_runs(), beta_runs(protocol=Protocol(ema_warmup=False))
    figure = one([*warm, *cold], "beta")
    (ax,) = figures.drawn(figure).axes
    labels = ["ema_warmup=False", "ema_warmup=True"]
    assert [c.get_label() for c in ax.containers] == labels
    for container, runs in zip(ax.containers, (cold, warm), strict=True):
        line, _, (bars,) = container.lines
        for i, beta in enumerate(BETAS):
            here = [r for r in runs if r.spec.hyperparameters["ema"]["beta"] == beta]
            seeds = [seed_average(here, "ema", seed) for seed in SEEDS]
            assert line.get_ydata()[i] == pytest.approx(fmean(seeds))
            ((_, low), (_, high)) = bars.get_segments()[i]
            assert (high - low) / 2 == pytest.approx(stdev(seeds))
    assert [t.get_text() for t in ax.get_xticklabels()] == ["0.9", "0.99", "0.999"]


def test_beta_curves_need_two_values_of_runs_that_are_equal_otherwise() -> None:
    runs = beta_runs()
    assert "beta" not in families(made_of(runs[:9]))
    other = [
        make_record(
            replace(
                r.spec,
                hyperparameters={"ema": {"beta": 0.99}},
                recipe=Recipe(epochs=9, lr=1e-3, batch_size=32),
            )
        )
        for r in runs[:9]
    ]
    assert "beta" not in families(made_of([*runs[:9], *other]))
    tuned = [replace(r, tried=8) for r in runs]
    assert "beta" not in families(made_of(tuned))


def test_the_beta_of_another_component_is_a_setting_like_any_other() -> None:
    pairs = [(0.9, 1.0), (0.99, 2.0), (0.9, 2.0)]
    runs = [
        make_record(
            make_spec("ema+nel", t, s, hyperparameters={"ema": {"beta": a}, "nel": {"beta": b}})
        )
        for a, b in pairs
        for t in TARGETS
        for s in SEEDS
    ]
    made = [f for f in made_of(runs) if f.name.startswith("beta-")]
    drawn = {f.name.rsplit("-", 1)[1]: figures.drawn(f).axes[0].containers for f in made}
    assert {name: len(lines) for name, lines in drawn.items()} == {"ema": 1, "nel": 1}
    assert all(len(lines[0].lines[0].get_ydata()) == 2 for lines in drawn.values())


def test_gains_stand_in_order_with_both_intervals() -> None:
    found = [
        Gain("a", Estimate(0.03, 0.01, 8), Estimate(0.03, 0.02, 2), 3, 3, 0, 12),
        Gain("b", Estimate(-0.01, 0.01, 8), Estimate(-0.01), 1, 0, 1, 12),
        Gain("c", Estimate(-0.02), Estimate(-0.02), 1, 0, 1, 12),
    ]
    figure = gain_figure(found, {"a": True, "b": False}, {})
    (ax,) = figures.drawn(figure).axes
    assert [label.get_text() for label in ax.get_yticklabels()] == ["a", "b", "c"]
    bottom, top = ax.get_ylim()
    assert bottom > top  # the first row on top
    lines = {name: [line for line in ax.lines if line.get_label() == name]
             for name in ("_here", "_new")}  # fmt: skip
    here = adjusted([gain.here for gain in found])
    for line, (_, ends) in zip(lines["_here"], here, strict=False):
        assert line.get_xdata() == pytest.approx([100 * x for x in ends])
    assert (len(lines["_here"]), len(lines["_new"])) == (2, 1)
    marks = [line for line in ax.lines if line.get_marker() == "o"]
    assert [float(line.get_xdata()[0]) for line in marks] == pytest.approx([3, -1, -2])
    assert [line.get_markerfacecolor() == "white" for line in marks] == [False, True, True]


# What is put together


def test_other_hyper_parameters_are_not_averaged_in(some: list[Record]) -> None:
    others = [
        make_record(replace(r.spec, hyperparameters={"mbcd": {"beta": 0.5}}), accuracy=0.0)
        for r in some
        if r.spec.method == "mbcd" and r.spec.seed < 2
    ]
    figure = one([*others, *some], "heatmap")
    texts = [text.get_text() for text in figures.drawn(figure).axes[0].texts]
    assert texts == [text.get_text() for text in figures.drawn(one(some, "heatmap")).axes[0].texts]
    assert "mbcd (1 of 2)" in figure.caption
    assert "mbcd" not in one(some, "heatmap").caption


def test_of_several_settings_the_default_is_shown_as_in_a_table(some: list[Record]) -> None:
    asked = Asked(("beta=0.9",))
    most = [replace(r, spec=replace(r.spec, asked=asked)) for r in some if r.spec.method == "mbcd"]
    few = [
        make_record(
            replace(r.spec, hyperparameters={"mbcd": {"beta": 0.999}}, asked=Asked()), accuracy=0.25
        )
        for r in most
        if r.spec.seed == 0
    ]
    figure = one([*most, *few], "heatmap")
    texts = [text.get_text() for text in figures.drawn(figure).axes[0].texts]
    assert set(texts) == {"25.0"}
    assert "only the default is shown" in figure.caption


def test_legends_with_long_names_stay_within_the_page() -> None:
    parts = ("dropout", "consistency", "distill_fused", "distill_unimodal")
    records = [
        make_record(replace(r.spec, hyperparameters={"ema": r.spec.hyperparameters["ema"] | more}))
        for r in beta_runs()
        for more in (dict.fromkeys(parts, "adaptive"), dict.fromkeys(parts, "none"))
    ]
    canvas = figures.drawn(one(records, "beta"))
    (legend,) = canvas.legends
    canvas.canvas.draw()
    box, page = legend.get_window_extent(), canvas.bbox
    assert page.x0 <= box.x0 and box.x1 <= page.x1


def test_other_conditions_have_figures_of_their_own(some: list[Record]) -> None:
    others = [replace(r, spec=replace(r.spec, protocol=Protocol(neck="none"))) for r in some]
    made = [f for f in made_of([*some, *others]) if f.name.startswith("heatmap")]
    assert len(made) == len({f.name for f in made}) == 2
    assert {f.title.rsplit(", ", 1)[1] for f in made} == {"neck=none", "neck=layernorm"}


def test_runs_that_a_search_chose_stand_together(some: list[Record]) -> None:
    tuned = [
        replace(r, tried=8, spec=replace(r.spec, hyperparameters={"erm": {"x": r.spec.seed}}))
        for r in some
    ]
    figure = one(tuned, "heatmap")
    assert "best of up to 8 on source validation" in figure.caption
    assert "most runs" not in figure.caption
    assert "mean over 3 seeds" in figure.caption


def test_captions_say_what_is_no_result(some: list[Record]) -> None:
    for figure in made_of([*some, *beta_runs()], "oracle"):
        selected = not figure.name.startswith(("curves", "speed", "drop-rate"))
        assert ("chosen on the target itself" in figure.caption) is selected
        assert ("Selection rule: oracle." in figure.caption) is selected
    fabricated = [replace(r, spec=replace(r.spec, fabricated=True)) for r in some]
    assert all("Fabricated data" in f.caption for f in made_of(fabricated))


def test_every_caption_says_what_its_spread_is(some: list[Record]) -> None:
    for figure in [*made_of([*some, *beta_runs()]), a_gain_figure()]:
        said = ("deviation", "lowest to the", "no spread", "95 % intervals")
        assert any(words in figure.caption for words in said)
        assert "\n" not in figure.caption


# Which figures there are


def test_there_is_no_figure_without_data(some: list[Record]) -> None:
    assert made_of([]) == []
    assert made_of([replace(r, result=None, state="failed") for r in some]) == []
    bare = [replace(r, folder=None) for r in some]
    assert families(made_of(bare)) == {"heatmap", "cost"}
    assert "gains" in {figure.name for figure in made_of(bare)}
    alone = [r for r in bare if r.spec.method == "erm"]
    assert families(made_of(alone)) == {"heatmap"}
    erm = [r for r in some if r.spec.method == "erm"]
    assert families(made_of(erm)) == {
        "heatmap",
        "curves",
        "confusion",
    }


def test_real_runs_have_the_figures_of_their_records(tmp_path: Path) -> None:
    runs = [tiny_run(tmp_path, method, seeds=[s]) for method in ("erm", "mbcd") for s in (0, 1)]
    records = [Record(s, "done", result=f.result(), folder=f.path) for s, f in runs]
    made = made_of(records)
    assert families(made) == {"heatmap", "cost", "curves", "confusion", "speed", "drop-rate"}
    (matrices,) = [figure for figure in made if figure.name.startswith("confusion")]
    labels = [label.get_text() for label in figures.drawn(matrices).axes[0].get_yticklabels()]
    assert labels == ["c0", "c1", "c2"]
    accuracies = [100 * accuracy_of(r) for r in records if r.spec.method == "mbcd"]
    (ax,) = figures.drawn(one(records, "cost")).axes
    (point,) = [line for line in ax.lines if line.get_label() == "mbcd"]
    assert point.get_ydata()[0] == pytest.approx(fmean(accuracies))
    for figure in made:
        assert figures.png_bytes(figure)
