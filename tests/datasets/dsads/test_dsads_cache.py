"""dsads: the cache, which spares the text files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from damage import poison
from support_dsads import SENSORS, everything, opened

from datasets import dsads_files


def never(*_: object) -> None:
    pytest.fail("read again")


def test_cache_spares_the_files_and_gives_the_same_tensors(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep" / "cache"
    first = opened(tree, cache, units="torso")
    first.prepare(SENSORS)
    monkeypatch.setattr(dsads_files, "_read", never)
    second = opened(tree, cache, modalities_by="both")  # one file for all options
    for sample in everything(second)[::5]:
        ours = first.load(sample, ["gyroscope"], None)["gyroscope"]
        theirs = second.load(sample, ["torso_gyroscope"], None)["torso_gyroscope"]
        assert torch.equal(ours, theirs)
    assert len(list(cache.glob("*.npz"))) == 1


def test_a_file_that_was_only_touched_is_the_same(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened(tree, tmp_path / "cache").prepare(["gyroscope"])
    (tree / "data/a01/p1/s01.txt").touch()
    monkeypatch.setattr(dsads_files, "_read", never)
    opened(tree, tmp_path / "cache").prepare(["gyroscope"])


@pytest.mark.parametrize("change", ["size", "content", "fewer", "version"])
def test_cache_is_not_used_once_files_or_code_changed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    opened(tree, tmp_path / "cache").prepare(["gyroscope"])
    monkeypatch.setattr(dsads_files, "_read", never)
    if change == "size":
        (tree / "data/a01/p1/s01.txt").write_text("x")
    elif change == "content":
        poison(tree / "data/a01/p1/s01.txt")
    elif change == "fewer":
        (tree / "data/a07/p8/s06.txt").unlink()
    else:
        monkeypatch.setattr(dsads_files, "CACHE_VERSION", dsads_files.CACHE_VERSION + 1)
    with pytest.raises(pytest.fail.Exception):
        opened(tree, tmp_path / "cache").prepare(["gyroscope"])


def test_half_written_cache_is_built_again(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    opened(tree, cache).prepare(["gyroscope"])
    (whole,) = cache.glob("*.npz")
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    opened(tree, cache).prepare(["gyroscope"])
    with np.load(whole) as arrays:
        assert arrays["values"].shape == (96, 45, 125)
