"""What tests of grids share: files that planning looks at but does not open, and planned rows.

A test module that wants the fixtures says `pytest_plugins = ["support_grids"]`.
"""

from itertools import product
from pathlib import Path

import pytest

import datasets
from benchmark.planning import grid
from benchmark.planning.grid import Row
from benchmark.settings import RunSettings
from datasets import epic_files, hac_files

HAC = ("human", "animal", "cartoon")
EPIC = ("D1", "D2", "D3")
BASE = "dataset: synthetic\nall-splits: true\n"
"""Two lines of a grid."""


def touched(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x")


def make_hac(root: Path) -> None:
    for domain, part in product(HAC, ("train", "test")):
        split = hac_files.split_file(root, domain, part)
        split.parent.mkdir(parents=True, exist_ok=True)
        split.write_text(f"{part}.mp4,0\n")
        for name in (f"videos/{part}.mp4", f"audio/{part}.wav"):
            touched(root / domain / name)
        for half in "xy":
            touched(root / domain / "flow" / f"{part}_flow_{half}.mp4")


def make_epic(root: Path) -> None:
    for domain, part in product(EPIC, epic_files.TABLES):
        row = epic_files._row(0, "P00_01", 100, 104, "take", 0)
        epic_files.write_table(epic_files.table_file(root, domain, part), [row])
        rgb, flow = (root / kind / part / domain / "P00_01" for kind in ("rgb", "flow"))
        touched(rgb.with_suffix(".wav"))
        for folder, number in ((rgb, 100), (flow / "u", 50), (flow / "v", 50)):
            touched(folder / f"frame_{number:010d}.jpg")


def make_utd(root: Path) -> None:
    for action, subject, trial in product((1, 2), range(1, 9), (1, 2)):
        for folder in ("Depth", "Skeleton", "Inertial"):
            name = f"a{action}_s{subject}_t{trial}_{folder.lower()}.mat"
            touched(root / folder / name)


@pytest.fixture(scope="session")
def roots(tmp_path_factory) -> dict[str, Path]:
    """Return the folders of datasets by name; most of their files can be listed but not read."""
    folder = tmp_path_factory.mktemp("data")
    makers = {"hac": make_hac, "epic_kitchens": make_epic, "utd_mhad": make_utd}
    for name, make in makers.items():
        make(folder / name)
    for name in ("dsads", "mex"):  # whose files are read when a run is planned
        datasets.get(name).fabricate(folder / name, 2)
    return {name: folder / name for name in (*makers, "dsads", "mex")}


@pytest.fixture
def written(tmp_path, monkeypatch):
    """Return a function that writes a grid into the working directory."""
    monkeypatch.chdir(tmp_path)

    def write(text: str | bytes) -> Path:
        path = Path("grid.yaml")
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        return path

    return write


def planned(path: Path, **roots: Path) -> list[Row]:
    return grid.read(path).plan(RunSettings(Path("results"), data_roots=roots, random_weights=True))
