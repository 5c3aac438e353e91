"""dsads: the cache, which spares the text files."""

from pathlib import Path

import numpy as np
import pytest
import torch
from damage import poison
from support_dsads import SENSORS, everything, opened

from datasets import dsads_files
from mmdg_common import UsageError


def test_cache_spares_the_files_and_gives_the_same_tensors(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "deep" / "cache"
    first = opened(tree, cache, units="torso")
    first.prepare(SENSORS)
    poison(tree, "s*.txt")
    second = opened(tree, cache, modalities_by="both")  # one file for all options
    for sample in everything(second)[::5]:
        ours = first.load(sample, ["gyroscope"], None)["gyroscope"]
        theirs = second.load(sample, ["torso_gyroscope"], None)["torso_gyroscope"]
        assert torch.equal(ours, theirs)
    assert len(list(cache.iterdir())) == 1


@pytest.mark.parametrize("change", ["size", "time", "fewer", "version"])
def test_cache_is_not_used_once_files_or_code_changed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    opened(tree, tmp_path / "cache").prepare(["gyroscope"])
    poison(tree, "s*.txt")
    if change == "size":
        (tree / "data/a01/p1/s01.txt").write_text("x")
    elif change == "time":
        (tree / "data/a01/p1/s01.txt").touch()
    elif change == "fewer":
        (tree / "data/a07/p8/s06.txt").unlink()
    else:
        monkeypatch.setattr(dsads_files, "CACHE_VERSION", dsads_files.CACHE_VERSION + 1)
    with pytest.raises(UsageError, match=r"a01/p1/s01\.txt"):
        opened(tree, tmp_path / "cache").prepare(["gyroscope"])


def test_half_written_cache_is_built_again(tree: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    opened(tree, cache).prepare(["gyroscope"])
    (whole,) = cache.iterdir()
    content = whole.read_bytes()
    whole.write_bytes(content[: len(content) // 2])
    opened(tree, cache).prepare(["gyroscope"])
    with np.load(whole) as arrays:
        assert arrays["values"].shape == (96, 45, 125)
