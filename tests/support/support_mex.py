"""What the tests of MEx share: recordings in the layout of the extract, written by hand."""

from pathlib import Path

import datasets
from datasets import mex
from datasets.base import Sample

BOTH = ["accelerometer", "depth"]
LENGTHS = {
    "01/01_1": (1099, 12),  # 10.99 s: what is left of the third window does not count
    "01/04_1": (2500, 25),
    "01/04_2": (3000, 9),  # the camera stopped early
    "02/02_1": (999, 60),  # a measurement less than two windows
    "03/07_1": (500, 5),  # one window to the millisecond
    "10/06_1": (1500, 15),
}
"""Measurements and frames of each recording of the tests' tree."""


def path_of(root: Path, recording: str, sensor: str) -> Path:
    subject, exercise = recording.split("/")
    return root / "MEx" / sensor / subject / f"{sensor}_{subject}_exercise_{exercise}.csv"


def act(root: Path, recording: str = "01/01_1") -> Path:
    return path_of(root, recording, "act")


def dc(root: Path, recording: str = "01/01_1") -> Path:
    return path_of(root, recording, "dc_0.05_0.05")


def measured(recording: str, k: int) -> list[float]:
    """What measurement k holds: time, who and what, and a value of its own."""
    number = int(recording[:2]) + int(recording[3:5]) / 10 + int(recording[6]) / 100
    return [k / 1000, -number, (k * 7 % 11) / 8]


def pixel(recording: str, frame: int, row: int, column: int) -> float:
    return (int(recording[6]) * 4000 + frame * 192 + row * 16 + column) % 9973 / 10000


def image(recording: str, frame: int) -> list[float]:
    return [pixel(recording, frame, row, column) for row in range(12) for column in range(16)]


def write(path: Path, rows: list[list[float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(",".join(f"{x:.6f}" for x in row) + "\n" for row in rows))


def write_recording(root: Path, recording: str, measurements: int, frames: int) -> None:
    write(act(root, recording), [[10 * k, *measured(recording, k)] for k in range(measurements)])
    write(dc(root, recording), [[1000 * f, *image(recording, f)] for f in range(frames)])


def opened(root: Path, cache: Path | None = None) -> mex.Mex:
    dataset = datasets.create("mex", root, cache)
    assert isinstance(dataset, mex.Mex)
    return dataset


def everything(dataset: mex.Mex) -> list[Sample]:
    return [s for domain in dataset.card.domains for s in dataset.samples(domain, "target")]


def edit(path: Path, line: int, cell: int, text: str) -> None:
    """Replace one cell; lines and cells count from 0."""
    lines = path.read_text().splitlines()
    cells = lines[line].split(",")
    cells[cell] = text
    lines[line] = ",".join(cells)
    path.write_text("\n".join(lines) + "\n")
