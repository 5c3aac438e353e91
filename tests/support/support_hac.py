"""What the tests of HAC share."""

import json
from pathlib import Path
from typing import Any

import datasets
from datasets import hac, hac_files

ALL = ["video", "flow", "audio"]


def opened(root: Path, cache: Path | None = None, **options: Any) -> hac.Hac:
    dataset = datasets.create("hac", root, cache, **options)
    assert isinstance(dataset, hac.Hac)
    return dataset


def replace(path: Path, content: bytes | None) -> None:
    path.unlink()
    if content is not None:
        path.write_bytes(content)


def names(samples: Any) -> list[str]:
    return [sample.id for sample in samples]


def with_copies(root: Path) -> list[str]:
    """Name human's first two training clips in its test file too; return their names."""
    train, test = (hac_files.split_file(root, "human", part) for part in ("train", "test"))
    rows = train.read_bytes().splitlines(keepends=True)[:2]
    content = test.read_bytes()
    replace(test, rows[0] + content + rows[1])
    return [f"human/{row.decode().split('.mp4')[0]}" for row in rows]


def command(root: Path, results: Path, *more: str) -> list[str]:
    return [
        *("--method", "erm", "--dataset", "hac", "--data-root", str(root)),
        *("--sources", "human", "animal", "--target", "cartoon", "--results", str(results)),
        *("--backbone", "video=tiny_video", "flow=tiny_flow", "audio=tiny_audio"),
        *("--threads", "1", "--epochs", "1", "--batch-size", "7", *more),
    ]


def recorded(results: Path) -> dict[str, Any]:
    return {
        path.parts[-5]: json.loads(path.read_text())
        for path in results.glob("runs/hac/*/*/*/*/result.json")
    }
