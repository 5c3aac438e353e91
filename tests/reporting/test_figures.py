import subprocess
import sys
import warnings
from collections.abc import Sequence
from dataclasses import replace
from itertools import combinations
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Annotation, Text
from support import tiny_run
from support_reports import toy_spec, whole

import methods
from benchmark.records.read import Record
from benchmark.records.spec import Protocol, RunSpec
from benchmark.records.store import RunFolder, Store
from benchmark.reporting import figures
from benchmark.reporting.figures import style
from benchmark.reporting.figures.ranks import critical_difference
from datasets.base import Recipe

TARGETS, SEEDS, CLASSES, EPOCHS = ("d1", "d2", "d3"), (0, 1, 2), 4, 3
FAMILIES = ("heatmap", "cost", "curves", "confusion", "speed", "drop-rate", "beta")


# Records that a test makes up


def make_spec(method: str, target: str, seed: int, **changes: Any) -> RunSpec:
    usual = {
        "data": "ab12",
        "hyperparameters": {method: {"beta": 0.9} if method == "mbcd" else {}},
        "recipe": Recipe(epochs=EPOCHS, lr=1e-3, batch_size=32),
    }
    return toy_spec(method, target, seed, **usual | changes)


def make_record(spec: RunSpec, root: Path | None = None, **values: Any) -> Record:
    """A finished run; its numbers are drawn, but for the `accuracy` and `wall_s` that are given."""
    rng = np.random.default_rng(int(spec.id, 16) % 2**32)
    accuracy = values.get("accuracy", float(rng.uniform(0.3, 0.9)))
    where = {"device": "cpu", "threads": 1, "wall_s": values.get("wall_s", 10.0)}
    scores = {"val": {"accuracy": 0.5}, "target": {"accuracy": accuracy}}
    scored = {"best-val": scores, "oracle": scores}
    result = whole({"rules": scored, "provenance": where}, CLASSES)
    if root is None:
        return Record(spec, "done", result=result)
    folder = Store(root).folder(spec)
    folder.write_spec(spec)
    folder.write_metrics([made_line(epoch, rng, spec) for epoch in range(EPOCHS)])
    labels = np.repeat(np.arange(CLASSES), 5)
    logits = rng.normal(size=(len(labels), CLASSES)).astype(np.float16)
    parts = {"ids": labels.astype(str), "labels": labels, "fused": logits}
    folder.write_predictions({f"{r}/target/{k}": v for r in scored for k, v in parts.items()})
    folder.write_result(result)
    return Record(spec, "done", result=result, folder=folder.path)


def made_line(epoch: int, rng: np.random.Generator, spec: RunSpec) -> dict[str, Any]:
    train = {}
    if spec.method == "mbcd":
        names = [f"{family}/{k}" for family in ("speed", "drop_rate") for k in spec.modalities]
        train = {name: float(rng.uniform()) for name in names}
    parts = {part: {"fused": {"accuracy": float(rng.uniform())}} for part in ("val", "target")}
    return {"epoch": epoch, "step": 10 * (epoch + 1), "train": train, **parts}


def rows(root: Path | None, names: Sequence[str], **changes: Any) -> list[Record]:
    return [
        make_record(make_spec(method, target, seed, **changes), root, wall_s=5.0 * (i + 2))
        for i, method in enumerate(names)
        for target in TARGETS
        for seed in SEEDS
    ]


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Three methods, one of which logs, on three targets with three seeds."""
    return rows(tmp_path_factory.mktemp("some"), ["erm", "joint", "mbcd"])


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    """Every method there is; some cost about the same and have about the same accuracy."""
    root, names = tmp_path_factory.mktemp("many"), methods.names()
    assert len(names) >= 38
    return [
        make_record(make_spec(m, t, s), root, wall_s=10 + 0.4 * (i % 8), accuracy=a)
        for i, m in enumerate(names)
        for t in TARGETS
        for s, a in zip((0, 1), (0.5 + 0.01 * (i % 5), 0.52 + 0.01 * (i % 7)), strict=True)
    ]


def one(records: Sequence[Record], family: str, rule: str = "best-val") -> figures.Figure:
    (found,) = [f for f in figures.make(records, rule) if f.name.startswith(f"{family}-")]
    return found


def families(made: Sequence[figures.Figure]) -> set[str]:
    return {family for f in made for family in FAMILIES if f.name.startswith(f"{family}-")}


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


def accuracy_of(run: Record) -> float:
    assert run.result is not None
    return float(run.result["rules"]["best-val"]["target"]["accuracy"])


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
                assert run.predictions is not None
                arrays = np.load(run.predictions)
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
    made = figures.make(some, "best-val", classes={"toy": names})
    (figure,) = [f for f in made if f.name.startswith("confusion")]
    for ax in figures.drawn(figure).axes[:3]:
        assert tuple(label.get_text() for label in ax.get_yticklabels()) == names


def test_confusion_shows_the_six_methods_with_the_most_runs(many: list[Record]) -> None:
    records = [r for r in many if r.spec.method != "vrex" or r.spec.target == "d1"]
    figure = one(records, "confusion")
    titles = {ax.get_title() for ax in figures.drawn(figure).axes} - {""}
    assert titles == set(sorted(methods.names())[:6])
    assert "The 6 of 38 methods with the most runs." in figure.caption


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


BETAS = (0.9, 0.99, 0.999)


def beta_runs(method: str = "ema", **changes: Any) -> list[Record]:
    return [
        make_record(make_spec(method, t, s, hyperparameters={method: {"beta": b}}, **changes))
        for b in BETAS
        for t in TARGETS
        for s in SEEDS
    ]


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
    assert "beta" not in families(figures.make(runs[:9], "best-val"))
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
    assert "beta" not in families(figures.make([*runs[:9], *other], "best-val"))
    tuned = [replace(r, tried=8) for r in runs]
    assert "beta" not in families(figures.make(tuned, "best-val"))


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
    made = [f for f in figures.make(runs, "best-val") if f.name.startswith("beta-")]
    drawn = {f.name.rsplit("-", 1)[1]: figures.drawn(f).axes[0].containers for f in made}
    assert {name: len(lines) for name, lines in drawn.items()} == {"ema": 1, "nel": 1}
    assert all(len(lines[0].lines[0].get_ydata()) == 2 for lines in drawn.values())


def test_critical_difference_draws_ranks_bars_and_names() -> None:
    ax = Canvas().subplots()
    names, ranks = ["a", "b", "c", "d"], [3.5, 1.2, 2.0, 3.3]
    critical_difference(ax, names, ranks, 0.9, [(1, 2), (3, 0)])
    bars = [line.get_xdata().tolist() for line in ax.lines if line.get_label() == "_group"]
    assert bars == [[1.2, 2.0], [3.3, 3.5]]
    (length,) = [np.ptp(line.get_xdata()) for line in ax.lines if line.get_label() == "_cd"]
    assert length == pytest.approx(0.9)
    texts = [text.get_text() for text in ax.texts]
    assert {"b 1.20", "c 2.00", "3.30 d", "3.50 a", "  CD = 0.90"} <= set(texts)
    heights = {text.get_text(): text.xy[1] for text in ax.texts if isinstance(text, Annotation)}
    assert heights["b 1.20"] > heights["c 2.00"]  # the best on top left
    assert heights["3.50 a"] > heights["3.30 d"]  # the worst on top right


def test_bars_that_overlap_are_on_levels_of_their_own() -> None:
    ax = Canvas().subplots()
    critical_difference(ax, list("abcd"), [1, 2, 3, 4], 1.5, [(0, 1), (1, 2), (2, 3)])
    bars = [line for line in ax.lines if line.get_label() == "_group"]
    levels = [(line.get_ydata()[0], *line.get_xdata()) for line in bars]
    for (y, low, high), (other, start, end) in combinations(levels, 2):
        assert y != other or high < start or end < low


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


def test_other_conditions_have_figures_of_their_own(some: list[Record]) -> None:
    others = [replace(r, spec=replace(r.spec, protocol=Protocol(neck="none"))) for r in some]
    made = [f for f in figures.make([*some, *others], "best-val") if f.name.startswith("heatmap")]
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
    for figure in figures.make([*some, *beta_runs()], "oracle"):
        selected = not figure.name.startswith(("curves", "speed", "drop-rate"))
        assert ("chosen on the target itself" in figure.caption) is selected
        assert ("Selection rule: oracle." in figure.caption) is selected
    fabricated = [replace(r, spec=replace(r.spec, fabricated=True)) for r in some]
    assert all("Fabricated data" in f.caption for f in figures.make(fabricated, "best-val"))


def test_every_caption_says_what_its_spread_is(some: list[Record]) -> None:
    for figure in [*figures.make([*some, *beta_runs()], "best-val"), a_rank_figure()]:
        assert any(w in figure.caption for w in ("deviation", "lowest to the", "no spread"))
        assert "\n" not in figure.caption


# Which figures there are


def test_there_is_no_figure_without_data(some: list[Record]) -> None:
    assert figures.make([], "best-val") == []
    assert figures.make([replace(r, result=None, state="failed") for r in some], "best-val") == []
    bare = [replace(r, folder=None) for r in some]
    assert families(figures.make(bare, "best-val")) == {"heatmap", "cost"}
    alone = [r for r in bare if r.spec.method == "erm"]
    assert families(figures.make(alone, "best-val")) == {"heatmap"}
    erm = [r for r in some if r.spec.method == "erm"]
    assert families(figures.make(erm, "best-val")) == {"heatmap", "curves", "confusion"}


def test_real_runs_have_the_figures_of_their_records(tmp_path: Path) -> None:
    runs = [tiny_run(tmp_path, method, seeds=[s]) for method in ("erm", "mbcd") for s in (0, 1)]
    records = [Record(s, "done", result=f.result(), folder=f.path) for s, f in runs]
    made = figures.make(records, "best-val")
    assert families(made) == {"heatmap", "cost", "curves", "confusion", "speed", "drop-rate"}
    accuracies = [100 * accuracy_of(r) for r in records if r.spec.method == "mbcd"]
    (ax,) = figures.drawn(one(records, "cost")).axes
    (point,) = [line for line in ax.lines if line.get_label() == "mbcd"]
    assert point.get_ydata()[0] == pytest.approx(fmean(accuracies))
    for figure in made:
        assert figures.png_bytes(figure)


# How it looks


def test_a_method_has_the_same_colour_and_marker_in_all_figures(some: list[Record]) -> None:
    looks = figures.looks(r.spec.method for r in some)
    (cost,) = figures.drawn(one(some, "cost")).axes
    for line in cost.lines:
        if (look := looks.get(str(line.get_label()))) is not None:
            assert (line.get_color(), line.get_marker()) == (look.color, look.marker)
    for ax in figures.drawn(one(some, "curves")).axes:
        drawn = {(line.get_color(), line.get_marker()) for line in ax.lines}
        assert {(look.color, look.marker) for look in looks.values()} <= drawn
    rank = figures.drawn(figures.rank_figure("x", "9", list(looks), [1, 2, 3], 1, [], looks))
    drawn = {(line.get_color(), line.get_marker()) for line in rank.axes[0].lines}
    assert {(look.color, look.marker) for look in looks.values()} <= drawn


def test_no_two_of_seventy_methods_look_the_same() -> None:
    looks = figures.looks(str(i) for i in range(70))
    assert len(set(looks.values())) == 70


# Machado, Oliveira and Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency", 2009, at severity 1: linear RGB to linear RGB.
DEFICIENCIES = {
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "none": np.eye(3),
}


@pytest.mark.parametrize("deficiency", DEFICIENCIES)
def test_six_colours_can_be_told_apart_without_full_colour_vision(deficiency: str) -> None:
    lab = [seen(color, np.array(DEFICIENCIES[deficiency])) for color in style.PALETTE[:6]]
    # 2.3 is the smallest difference that can be seen side by side.
    assert min(np.linalg.norm(a - b) for a, b in combinations(lab, 2)) > 15


def seen(color: str, matrix: np.ndarray) -> np.ndarray:
    """A colour in CIELAB, as someone with a deficiency sees it."""
    rgb = np.array(to_rgb(color))
    linear = np.where(rgb <= 0.04045, rgb / 12.92, ((rgb + 0.055) / 1.055) ** 2.4)
    to_xyz = [[0.4124, 0.3576, 0.1805], [0.2126, 0.7152, 0.0722], [0.0193, 0.1192, 0.9505]]
    xyz = np.array(to_xyz) @ np.clip(matrix @ linear, 0, 1) / np.array([0.9505, 1, 1.089])
    f = np.where(xyz > 0.008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.array([116 * f[1] - 16, 500 * (f[0] - f[1]), 200 * (f[1] - f[2])])


def texts_of(canvas: Canvas) -> list[Text]:
    """Every text that is drawn, without labels of ticks that are out of view."""
    hidden = set()
    for ax in canvas.axes:
        for axis in (ax.xaxis, ax.yaxis):
            low, high = sorted(axis.get_view_interval())
            for tick in (*axis.get_major_ticks(), *axis.get_minor_ticks()):
                shown = low - 1e-9 <= tick.get_loc() <= high + 1e-9 and ax.axison
                hidden |= set() if shown else {id(tick.label1), id(tick.label2)}
        if not ax.axison:
            hidden |= {id(ax.xaxis.label), id(ax.yaxis.label)}
    found = canvas.findobj(Text)
    return [t for t in found if t.get_visible() and t.get_text().strip() and id(t) not in hidden]


def check_legible(figure: figures.Figure) -> None:
    """No two texts overlap, none is small or out of the figure, and the width is a paper's."""
    canvas = figures.drawn(figure)
    canvas.draw_without_rendering()
    boxes = [(text.get_text(), text.get_window_extent()) for text in texts_of(canvas)]
    for (a, box), (b, other) in combinations(boxes, 2):
        x = min(box.x1, other.x1) - max(box.x0, other.x0)
        y = min(box.y1, other.y1) - max(box.y0, other.y0)
        assert min(x, y) <= 1, (figure.name, a, b, x, y)
    width, height = canvas.get_size_inches()
    assert width in (style.COLUMN, style.PAGE)
    assert height <= 9.2, figure.name
    for name, box in boxes:
        assert box.x0 > -1 and box.x1 < width * style.DPI + 1, (figure.name, name)
        assert box.y0 > -1 and box.y1 < height * style.DPI + 1, (figure.name, name)
    assert all(text.get_fontsize() >= 8 or "$" in text.get_text() for text in texts_of(canvas))


def a_rank_figure(number: int = 38) -> figures.Figure:
    rng = np.random.default_rng(0)
    names = list(methods.names())[:number]
    ranks = sorted(rng.uniform(1, number, number))
    groups = [range(i, min(i + 9, number)) for i in range(0, number, 4)]
    looks = figures.looks(names)
    return figures.rank_figure("toy", "12 targets", names, ranks, number / 4, groups, looks)


def test_few_methods_are_legible(some: list[Record]) -> None:
    for figure in [*figures.make([*some, *beta_runs()], "best-val"), a_rank_figure(5)]:
        check_legible(figure)


def test_thirty_eight_methods_are_legible(many: list[Record]) -> None:
    made = figures.make(many, "best-val")
    assert len([f for f in made if f.name.startswith("curves")]) == 7
    for figure in [*made, a_rank_figure()]:
        check_legible(figure)


def test_many_splits_and_classes_are_legible(tmp_path: Path) -> None:
    names = [f"domain{i}" for i in range(5)]
    records = [
        make_record(make_spec(m, t, 0, sources=(s,), setting="single-source"), tmp_path, wall_s=5)
        for m in ("erm", "gradient_blending", "mbcd")
        for s in names
        for t in names
        if s != t
    ]
    for figure in figures.make(records, "best-val"):
        check_legible(figure)


def test_legends_are_outside_of_the_panels(some: list[Record]) -> None:
    canvas = figures.drawn(one(some, "curves"))
    canvas.draw_without_rendering()
    legend = canvas.legends[0].get_window_extent()
    assert all(ax.get_window_extent().y0 > legend.y1 for ax in canvas.axes)
    assert all(ax.get_legend() is None for ax in canvas.axes)


# Files


def test_files_are_whole_and_of_the_stated_size(some: list[Record], tmp_path: Path) -> None:
    figure = one(some, "heatmap")
    png, pdf = figures.save(figure, tmp_path / "new")
    assert (png.name, pdf.name) == (f"{figure.name}.png", f"{figure.name}.pdf")
    head = png.read_bytes()
    assert head[:8] == b"\x89PNG\r\n\x1a\n"
    size = [int.from_bytes(head[i : i + 4], "big") for i in (16, 20)]
    expected = figures.drawn(figure).get_size_inches() * 150
    assert size == [int(side) for side in expected]
    assert pdf.read_bytes()[:5] == b"%PDF-"
    assert len(list((tmp_path / "new").iterdir())) == 2
    assert figures.png_bytes(figure) == head


def test_the_same_figure_is_the_same_bytes(some: list[Record], tmp_path: Path) -> None:
    figure = one(some, "cost")
    a, b = (figures.save(figure, tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]


def test_names_are_safe_for_files_and_unlike(many: list[Record], some: list[Record]) -> None:
    made = figures.make([*some, *beta_runs(setting="single-source")], "best-val")
    names = [figure.name for figure in made]
    assert len(set(names)) == len(names)
    assert all(set(name) <= set(SAFE) for name in names)


SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-"


def test_no_figure_stays_open_and_no_setting_changed(some: list[Record], tmp_path: Path) -> None:
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in figures.make(some, "best-val"):
            figures.save(figure, tmp_path)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_importing_and_making_waits_for_no_plotting_library(some: list[Record]) -> None:
    code = (
        "import sys; from benchmark.reporting import figures; figures.make([], 'best-val');"
        "print([m for m in ('matplotlib', 'seaborn', 'torch', 'pandas') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
