"""How figures look: colours, sizes, legible texts, and whole files."""

import subprocess
import sys
import warnings
from itertools import combinations
from pathlib import Path

import numpy as np
import pytest
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure as Canvas
from matplotlib.text import Text
from support_figures import (
    a_gain_figure,
    beta_runs,
    made_of,
    make_record,
    make_spec,
    many_runs,
    one,
    some_runs,
)

from benchmark.records.read import Record
from benchmark.reporting import figures
from benchmark.reporting.figures import style


@pytest.fixture(scope="module")
def some(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return some_runs(tmp_path_factory.mktemp("some"))


@pytest.fixture(scope="module")
def many(tmp_path_factory: pytest.TempPathFactory) -> list[Record]:
    return many_runs(tmp_path_factory.mktemp("many"))


def test_a_method_has_the_same_colour_and_marker_in_all_figures(some: list[Record]) -> None:
    looks = figures.looks(r.spec.method for r in some)
    (cost,) = figures.drawn(one(some, "cost")).axes
    for line in cost.lines:
        if (look := looks.get(str(line.get_label()))) is not None:
            assert (line.get_color(), line.get_marker()) == (look.color, look.marker)
    for ax in figures.drawn(one(some, "curves")).axes:
        drawn = {(line.get_color(), line.get_marker()) for line in ax.lines}
        assert {(look.color, look.marker) for look in looks.values()} <= drawn
    (forest,) = [f for f in made_of(some) if f.name == "gains"]
    drawn = {(line.get_color(), line.get_marker()) for line in figures.drawn(forest).axes[0].lines}
    assert {(look.color, look.marker) for name, look in looks.items() if name != "erm"} <= drawn


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


def test_few_methods_are_legible(some: list[Record]) -> None:
    for figure in [*made_of([*some, *beta_runs()]), a_gain_figure(5)]:
        check_legible(figure)


@pytest.mark.slow
def test_thirty_eight_methods_are_legible(many: list[Record]) -> None:
    made = made_of(many)
    assert len([f for f in made if f.name.startswith("curves")]) == 7
    for figure in [*made, a_gain_figure()]:
        check_legible(figure)


@pytest.mark.slow
def test_many_splits_and_classes_are_legible(tmp_path: Path) -> None:
    names = [f"domain{i}" for i in range(5)]
    records = [
        make_record(make_spec(m, t, 0, sources=(s,), setting="single-source"), tmp_path, wall_s=5)
        for m in ("erm", "gradient_blending", "mbcd")
        for s in names
        for t in names
        if s != t
    ]
    for figure in made_of(records):
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


def test_figures_of_very_many_modalities_have_files_of_their_own(tmp_path: Path) -> None:
    names = ["+".join(f"left_leg_accelerometer_{i}" for i in range(15)) + end for end in "ab"]
    made = [figures.Figure(name, "", "", lambda canvas: None) for name in names]
    paths = {path for figure in made for path in figures.save(figure, tmp_path)}
    assert len(paths) == 4 and set(tmp_path.iterdir()) == paths
    assert all(path.name.startswith("left_leg_accelerometer_0+") for path in paths)


def test_the_same_figure_is_the_same_bytes(some: list[Record], tmp_path: Path) -> None:
    figure = one(some, "cost")
    a, b = (figures.save(figure, tmp_path / name) for name in "ab")
    assert [p.read_bytes() for p in a] == [p.read_bytes() for p in b]


def test_names_are_safe_for_files_and_unlike(many: list[Record], some: list[Record]) -> None:
    made = made_of([*some, *beta_runs(setting="single-source")])
    names = [figure.name for figure in made]
    assert len(set(names)) == len(names)
    assert all(set(name) <= set(SAFE) for name in names)


SAFE = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_+.-"


@pytest.mark.slow
def test_no_figure_stays_open_and_no_setting_changed(some: list[Record], tmp_path: Path) -> None:
    import matplotlib
    import matplotlib.pyplot as plt

    before = dict(matplotlib.rcParams)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for figure in made_of(some):
            figures.save(figure, tmp_path)
    assert plt.get_fignums() == []
    assert dict(matplotlib.rcParams) == before


def test_importing_and_making_waits_for_no_plotting_library(some: list[Record]) -> None:
    code = (
        "import sys; from benchmark.reporting import figures; "
        "from benchmark.reporting.request import Wanted; figures.make(Wanted([]));"
        "print([m for m in ('matplotlib', 'seaborn', 'torch') if m in sys.modules])"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.strip() == "[]"
