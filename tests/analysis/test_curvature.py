"""Does flatness go with accuracy: the correlation, its interval, the table and the figures."""

import math
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support_figures import make_record, make_spec

from benchmark.records import analyses
from benchmark.records.analyses import Measured
from benchmark.records.read import Record
from benchmark.records.spec import Asked
from benchmark.reporting import figures, kinds
from benchmark.reporting.correlation import correlation, within
from benchmark.reporting.model import NONE, Interval, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View

METHODS = ("erm", "joint", "late_fusion", "mbcd", "unimodal")
TARGETS, SEEDS = ("d1", "d2", "d3"), (0, 1)

# The correlation


def noise(*shape, seed=0):
    return np.random.default_rng(seed).normal(size=shape)


def test_of_one_stratum_it_is_spearmans():
    x, y = noise(2, 12)
    x[3] = x[4]
    assert within(x, y, ["t"] * 12) == pytest.approx(stats.spearmanr(x, y).statistic)


def test_what_differs_between_strata_does_not_count():
    """Targets with high curvature and high accuracy are no sign that it helps."""
    x, y = noise(2, 3, 8)
    shift = np.array([0, 50, 500])[:, None]
    strata = np.repeat(["a", "b", "c"], 8).tolist()
    plain = within(x.ravel(), y.ravel(), strata)
    assert within((x + shift).ravel(), (y + shift).ravel(), strata) == pytest.approx(plain)
    own = [stats.spearmanr(*pair).statistic for pair in zip(x, y, strict=True)]
    assert plain == pytest.approx(np.mean(own))
    assert within(np.exp(x + shift / 100).ravel(), y.ravel(), strata) == pytest.approx(plain)


def test_large_strata_count_as_much_as_they_hold():
    x, y = noise(2, 16)
    sizes = np.array([4, 12])
    own = [stats.spearmanr(x[s], y[s]).statistic for s in (slice(0, 4), slice(4, 16))]
    weights = (sizes**2 - 1) / sizes  # the variance of n ranks between -½ and ½, times n
    expected = np.average(own, weights=weights)
    assert within(x, y, ["a"] * 4 + ["b"] * 12) == pytest.approx(expected)


def test_tied_values_have_no_correlation():
    assert within(np.ones(4), noise(4), ["t"] * 4) is None
    assert correlation(np.ones(4), noise(4), ["t"] * 4, list("abcd")) is None


def test_the_interval_is_the_jackknife_over_methods():
    x, y = noise(2, 24)
    y += x
    strata, clusters = ["s", "t"] * 12, np.repeat(list("abcdef"), 4).tolist()
    found = correlation(x, y, strata, clusters)
    assert found is not None
    names = sorted(set(clusters))
    left = []
    for name in names:
        kept = np.array(clusters) != name
        left.append(math.atanh(within(x[kept], y[kept], list(np.array(strata)[kept])) or 0))
    variance = 5 / 6 * sum((one - np.mean(left)) ** 2 for one in left)
    margin = stats.t.ppf(0.975, 5) * math.sqrt(variance)
    z = math.atanh(within(x, y, strata) or 0)
    assert found.interval == pytest.approx((math.tanh(z - margin), math.tanh(z + margin)))


def test_few_methods_or_a_perfect_order_have_no_interval():
    x, y = noise(2, 12)
    few = correlation(x, y, ["t"] * 12, ["a", "b", "c"] * 4)
    assert few is not None
    assert few.interval is None
    perfect = correlation(x, x, ["t"] * 12, list("abcdefghijkl"))
    assert perfect is not None
    assert perfect.value == pytest.approx(1)
    assert perfect.interval is None


# Tables and figures


def accuracy_of(target: str, flat: float) -> float:
    """The lower, the less flat; targets with high curvature are the easy ones."""
    return 0.6 + 0.15 * TARGETS.index(target) - 0.02 * flat


def measured_run(root: Path, method: str, target: str, seed: int, flat: float, **settings):
    """A finished run whose loss rises by `flat` (its λ₁) in every way, more on the target."""
    accuracy = settings.pop("accuracy", accuracy_of(target, flat))
    spec = make_spec(method, target, seed, **settings.pop("asked", {}))
    record = make_record(spec, root, accuracy=accuracy)

    def of(scale):
        return {
            "n": 8,
            "loss": 0.1,
            "accuracy": 0.9,
            "random": {
                "0.5": {"loss": 0.1 + scale * flat, "accuracy": 0.8},
                "1": {"loss": None, "accuracy": 0.5},
            },
            "worst": {"one_step": scale * flat, "steps": 2 * scale * flat},
            "hessian": {"top": scale * flat, "eigenvalues": [scale * flat], "trace": -flat,
                        "trace_error": 0.1},
        }  # fmt: skip

    values = {"val": of(1.0), "target": of(3.0)}
    assert record.folder is not None
    analyses.write(record.folder, Measured("sharpness", 1, {"rho": 0.05, **settings}, values, {}))
    return record


def flatness_of(method: str, target: str, seed: int) -> float:
    """Methods differ most, and targets by a factor."""
    place = METHODS.index(method) + 0.3 * seed + 0.1 * TARGETS.index(target)
    return (1 + place) * (1 + TARGETS.index(target))


@pytest.fixture(scope="module")
def runs(tmp_path_factory) -> list[Record]:
    root = tmp_path_factory.mktemp("runs")
    return [
        measured_run(root, m, t, s, flatness_of(m, t, s))
        for m in METHODS
        for t in TARGETS
        for s in SEEDS
    ]


def table_of(records, rule="best-val") -> list[Table]:
    return kinds.curvature.build(Wanted(records, View(rule)))


def test_the_table_says_how_each_measure_goes_with_accuracy(runs):
    (table,) = table_of(runs)
    rows = {row.label: row.cells for row in table.rows}
    assert list(rows) == ["rise at r = 0.5", "rise at r = 1", "one-step rise", "worst rise", "λ₁",
                          "trace"]  # fmt: skip
    for label in ("rise at r = 0.5", "one-step rise", "worst rise", "λ₁"):
        assert [rows[label][i].value for i in (0, 2)] == pytest.approx([-1, -1])
    assert rows["trace"][0].value == pytest.approx(1)
    assert rows["rise at r = 1"] == (NONE,) * 4


def test_an_interval_stands_beside_a_correlation_of_enough_methods(runs, tmp_path):
    odd = [measured_run(tmp_path, m, "d1", 9, 3.0, accuracy=0.1) for m in ("erm", "mbcd")]
    (table,) = table_of([*runs, *odd])
    for row in table.rows[2:]:
        for value, interval in (row.cells[:2], row.cells[2:]):
            assert isinstance(interval, Interval)
            assert value.value is not None
            assert -1 < interval.low < value.value < interval.high < 1
    (few,) = table_of([r for r in [*runs, *odd] if r.spec.method in METHODS[:3]])
    assert all(row.cells[1] == NONE for row in few.rows)


def test_other_weights_than_those_of_the_accuracy_do_not_count(runs, tmp_path):
    assert table_of(runs, "oracle") == []
    last = [measured_run(tmp_path, "erm", "d1", s, 1.0 + s, weights="last") for s in SEEDS]
    assert table_of(last) == []


def test_unmeasured_runs_make_no_table_and_no_figure(tmp_path):
    records = [make_record(make_spec("erm", t, s), tmp_path) for t in TARGETS for s in SEEDS]
    assert table_of(records) == []
    names = {f.name.split("-")[0] for f in figures.make(Wanted(records))}
    assert not names & {"sharpness", "curvature", "contours", "landscape", "interpolation"}


def test_measured_settings_that_no_row_shows_make_no_figure(tmp_path):
    usual = [make_record(make_spec("mbcd", "d1", s, asked=Asked()), tmp_path) for s in SEEDS]
    asked = {"hyperparameters": {"mbcd": {"beta": 0.5}}, "asked": Asked(("beta=0.5",))}
    other = measured_run(tmp_path, "mbcd", "d1", 0, 1.0, asked=asked)
    names = {f.name.split("-")[0] for f in figures.make(Wanted([*usual, other]))}
    assert "heatmap" in names and "sharpness" not in names


def figure_of(records, family):
    (found,) = [f for f in figures.make(Wanted(records)) if f.name.startswith(f"{family}-")]
    return found


def test_the_scatter_shows_every_run_on_its_target(runs):
    figure = figure_of(runs, "curvature")
    assert "within targets is -1.00" in figure.caption
    axes = figures.drawn(figure).axes
    assert [ax.get_title() for ax in axes] == list(TARGETS)
    for ax, target in zip(axes, TARGETS, strict=True):
        drawn = sorted((*line.get_xdata(), *line.get_ydata()) for line in ax.lines)
        flats = sorted(flatness_of(m, target, s) for m in METHODS for s in SEEDS)
        assert np.allclose(drawn, [(flat, 100 * accuracy_of(target, flat)) for flat in flats])


def test_the_curves_are_means_over_runs_with_their_range(runs):
    figure = figure_of(runs, "sharpness")
    losses, _, accuracies, _ = figures.drawn(figure).axes
    lines = {line.get_color(): line for line in losses.lines}
    looks = figures.looks(METHODS)
    flats = [flatness_of("mbcd", t, s) for t in TARGETS for s in SEEDS]
    x, y = lines[looks["mbcd"].color].get_data()
    assert list(x) == [0.0, 0.5, 1.0]
    assert y[:2] == pytest.approx([0.1, 0.1 + np.mean(flats)])
    assert np.isnan(y[2])
    (band,) = [c for c in losses.collections
               if c.get_facecolor()[0][:3] == pytest.approx(rgb(looks["mbcd"].color))]  # fmt: skip
    corners = band.get_paths()[0].vertices
    at_half = corners[corners[:, 0] == 0.5][:, 1]
    assert (at_half.min(), at_half.max()) == pytest.approx((0.1 + min(flats), 0.1 + max(flats)))
    assert accuracies.lines[0].get_ydata() == pytest.approx([90, 80, 50])


def rgb(color):
    from matplotlib.colors import to_rgb

    return to_rgb(color)


def plane_run(root: Path, method: str, target: str, seed: int) -> Record:
    record = make_record(make_spec(method, target, seed), root)
    x, y = np.meshgrid([-1.0, 0.0, 1.0], [-1.0, 0.0, 1.0])
    losses = 0.1 + seed + x**2 + 2 * y**2
    part = {"n": 8, "loss": losses.tolist(), "accuracy": (1 - losses / 10).tolist()}
    values = {"axis": [-1.0, 0.0, 1.0], "val": part, "target": part}
    assert record.folder is not None
    analyses.write(record.folder, Measured("landscape", 1, {}, values, {}))
    return record


def test_contours_are_of_one_run_each_and_the_line_is_the_middle_row(tmp_path):
    records = [
        *(plane_run(tmp_path, "erm", "d1", s) for s in (1, 2)),
        plane_run(tmp_path, "mbcd", "d1", 1),
        plane_run(tmp_path, "erm", "d2", 0),
    ]
    figure = figure_of(records, "contours")
    assert "on the target d1" in figure.caption
    assert "lowest seed (1)" in figure.caption
    axes = figures.drawn(figure).axes
    assert [ax.get_title() for ax in axes[:2]] == ["erm", "mbcd"]
    assert len(axes) == 4 + 1
    curve = figures.drawn(figure_of(records[2:3], "landscape")).axes[0].lines[0]
    assert list(curve.get_xdata()) == [-1, 0, 1]
    assert curve.get_ydata() == pytest.approx([2.1, 1.1, 2.1])


def test_interpolation_draws_both_kinds_of_statistics(tmp_path):
    record = make_record(make_spec("erm", "d1", 1), tmp_path)
    kinds_of = {
        kind: {"loss": [1.0, top, 1.0], "accuracy": [0.9, 0.5, 0.9]}
        for kind, top in (("linear", 3.0), ("reset", 2.0))
    }
    values = {"alphas": [0.0, 0.5, 1.0], "val": kinds_of, "target": kinds_of}
    assert record.folder is not None
    analyses.write(record.folder, Measured("interpolation", 1, {}, values, {}))
    canvas = figures.drawn(figure_of([record], "interpolation"))
    assert [max(line.get_ydata()) for line in canvas.axes[0].lines] == [3.0, 2.0]
    texts = [text.get_text() for text in canvas.legends[0].get_texts()]
    assert texts == ["erm", "statistics interpolated", "statistics computed anew"]
