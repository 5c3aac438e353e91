"""Drop rates against Shapley values: which runs count, where points stand, and the correlation."""

from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from support_figures import make_record, make_spec

from benchmark.records import analyses
from benchmark.records.analyses import Measured
from benchmark.records.read import Record
from benchmark.records.run_folder import RunFolder
from benchmark.reporting import figures
from benchmark.reporting.figures.dropping import (
    NAME,
    against_shapley,
    correlation,
    interval,
    mean_rates,
)
from benchmark.reporting.request import Wanted


def test_the_correlation_is_spearmans():
    assert correlation(np.array([1.0, 2, 3]), np.array([10.0, 20, 400])) == pytest.approx(1)
    assert correlation(np.array([1.0, 2, 3]), np.array([3.0, 2, 1])) == pytest.approx(-1)
    assert correlation(np.array([1.0, 2]), np.array([7.0, 7])) is None
    rng = np.random.default_rng(0)
    x, y = rng.integers(0, 5, (6, 3)).astype(float), rng.normal(size=(6, 3))  # with ties
    expected = stats.spearmanr(x.ravel(), y.ravel()).statistic
    assert correlation(x, y) == pytest.approx(expected)


def test_the_interval_is_that_of_a_bootstrap_over_runs():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(12, 2))
    y = x + 0.8 * rng.normal(size=(12, 2))
    low, high = interval(x, y)
    assert (low, high) == interval(x, y)
    assert -1 < low < correlation(x, y) < high < 1
    loop = np.random.default_rng(5)
    values = []
    for _ in range(1000):
        runs = loop.integers(12, size=12)
        values.append(stats.spearmanr(x[runs].ravel(), y[runs].ravel()).statistic)
    assert (low, high) == pytest.approx(tuple(np.percentile(values, [2.5, 97.5])), abs=0.05)
    assert interval(x[:2], y[:2]) is None
    assert interval(x, np.ones((12, 2))) is None


def measured(record: Record, values: dict[str, float]) -> Record:
    """Put Shapley values beside a run; what a modality alone gives is 0.3 more."""
    alone = {k: value + 0.3 for k, value in values.items()}
    found = {"target": {"zero": {"shapley": values, "alone": alone}}}
    assert record.folder is not None
    analyses.write(record.folder, Measured("shapley", 1, {"permutations": 100}, found, {}))
    return record


def logging(record: Record, rates: dict[str, list[float]]) -> Record:
    """Let a run have logged these drop rates, one a validation."""
    assert record.folder is not None
    folder = RunFolder(record.folder)
    for i, line in enumerate(lines := folder.metrics()):
        line["train"] = {f"drop_rate/{k}": of[i] for k, of in rates.items()}
    folder.write_metrics(lines)
    return record


VALUES = [{"m1": 0.4, "m2": 0.1}, {"m1": 0.3, "m2": 0.2}, {"m1": 0.5, "m2": 0.05}]


def runs(root: Path, method: str, rates: dict[str, list[float]]) -> list[Record]:
    made = [make_record(make_spec(method, f"d{i + 1}", 0), root) for i in range(3)]
    return [measured(logging(r, rates), v) for r, v in zip(made, VALUES, strict=True)]


def test_points_are_mean_rates_against_shapley_values(tmp_path):
    records = runs(tmp_path, "mbcd", {"m1": [0.5, 0.2, 0.2], "m2": [0.0, 0.0, 0.03]})
    assert mean_rates(records[0]) == pytest.approx([0.3, 0.01])
    (figure,) = against_shapley(Wanted(records), figures.looks(["mbcd"]))
    assert figure.name == NAME
    shapley, alone = figures.drawn(figure).axes
    for ax, more in ((shapley, 0), (alone, 30)):
        first, second = ax.lines
        assert first.get_xdata() == pytest.approx([40 + more, 30 + more, 50 + more])
        assert second.get_xdata() == pytest.approx([10 + more, 20 + more, 5 + more])
        assert first.get_ydata() == pytest.approx([30] * 3)
        assert second.get_ydata() == pytest.approx([1] * 3)
    # m1 is above m2 in both; ranks 5, 5, 5, 2, 2, 2 against 5, 4, 6, 2, 3, 1.
    assert "mbcd (3 runs): +0.88 (" in figure.caption


def test_only_runs_that_adapt_their_rates_and_are_measured_count(tmp_path):
    looks = figures.looks(["erm", "mbcd"])
    fixed = runs(tmp_path / "fixed", "mbcd", {"m1": [0.5] * 3, "m2": [0.5] * 3})
    assert against_shapley(Wanted(fixed), looks) == []
    silent = runs(tmp_path / "silent", "erm", {})
    assert against_shapley(Wanted(silent), looks) == []
    without = [make_record(make_spec("mbcd", f"d{i}", 0), tmp_path / "without") for i in range(3)]
    assert against_shapley(Wanted(without), looks) == []
    names = {f.name for f in figures.make(Wanted(fixed))}
    assert NAME not in names
    adaptive = runs(tmp_path / "adaptive", "mbcd", {"m1": [0.5] * 3, "m2": [0.1] * 3})
    assert NAME in {f.name for f in figures.make(Wanted(adaptive))}
