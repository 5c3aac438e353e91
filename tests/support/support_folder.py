"""Writes data for the `folder` dataset."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

import datasets
from datasets.base import Sample
from datasets.folder import Folder
from datasets.media import fabricate

Lines = Sequence[Sequence[str]]


def save(root: Path, file: str, content: Any) -> str:
    """Write a file of any kind, if there is none yet, and return its path below the root."""
    path = root / file
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.exists():
        if path.suffix == ".npy":
            np.save(path, content)
        elif path.suffix in (".wav", ".flac"):
            fabricate.write_wav(path, content) if path.suffix == ".wav" else _flac(path, content)
        elif path.suffix in (".mp4", ".mkv", ".avi"):
            fabricate.write_mp4(path, content)
        else:
            path.write_text(content)
    return file


def _flac(path: Path, samples: Any) -> None:
    import soundfile  # type: ignore[import-untyped]

    soundfile.write(str(path), samples, fabricate.RATE)


def table(root: Path, lines: Lines, **how: Any) -> Path:
    """Write samples.csv."""
    root.mkdir(exist_ok=True)
    text = how.pop("end", "\n").join(",".join(line) for line in lines) + "\n"
    (root / "samples.csv").write_text(text, **{"newline": "", "encoding": "utf-8", **how})
    return root


def vectors(root: Path, counts: Any, **extra: Sequence[str]) -> list[list[str]]:
    """Write a vector a recording; return the lines of a samples.csv that names them.

    Args:
        root: where to.
        counts: recordings by (domain, label).
        extra: further columns, their cells in order.
    """
    lines = [["label", "domain", "x", *extra]]
    rng = np.random.default_rng(0)
    for (domain, label), n in counts.items():
        for i in range(n):
            file = save(root, f"x/{domain}_{label}_{i}.npy", rng.normal(size=6))
            lines.append([label, domain, file, *(v[len(lines) - 1] for v in extra.values())])
    return lines


FOURS = {(d, c): 4 for d in "BA" for c in "yx"}


def opened(root: Path, cache: Path | None = None, **options: Any) -> Folder:
    dataset = datasets.create("folder", root, cache, **options)
    assert isinstance(dataset, Folder)
    return dataset


def ids(samples: Sequence[Sample]) -> list[str]:
    return [sample.id for sample in samples]


def one_of_each(root: Path, **columns: Callable[[int], tuple[str, Any]]) -> Folder:
    """Return a dataset of 2 domains, 2 classes and 12 rows with these columns of files."""
    lines = [["label", "domain", *columns]]
    for i in range(12):
        cells = []
        for column, make in columns.items():
            name, content = make(i)
            parts = zip(name.split(";"), content if ";" in name else [content], strict=True)
            cells.append(";".join(save(root, f"{column}/{n}", c) for n, c in parts))
        lines.append([f"c{i % 2}", f"d{i // 6}", *cells])
    return opened(table(root, lines))


def damaged(root: Path) -> None:
    """Spoil four recordings: a missing, an empty, a cut-off file and one of another shape."""
    (root / "x/B_y_0.npy").unlink()
    (root / "x/B_y_1.npy").write_bytes(b"")
    content = (root / "x/A_y_2.npy").read_bytes()
    (root / "x/A_y_2.npy").write_bytes(content[:-8])
    np.save(root / "x/A_x_3.npy", np.zeros(7))
