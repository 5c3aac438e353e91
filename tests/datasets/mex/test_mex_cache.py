"""MEx: the cache, which spares the CSV files."""

from pathlib import Path

import pytest
import torch
from damage import poison
from support_mex import BOTH, act, dc, edit, everything, opened

from datasets import mex_files


def never(*_: object) -> None:
    pytest.fail("read again")


def test_cache_spares_the_files_and_gives_the_same_tensors(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cache = tmp_path / "deep" / "cache"
    first = opened(tree, cache)
    first.prepare(BOTH)
    monkeypatch.setattr(mex_files, "windows", never)
    second = opened(tree / "MEx", cache)
    assert second.windows() == first.windows()
    for sample in everything(second):
        ours, theirs = first.load(sample, BOTH, None), second.load(sample, BOTH, None)
        assert all(torch.equal(ours[m], theirs[m]) for m in BOTH)
    assert len(list(cache.glob("*.npz"))) == 1


@pytest.mark.parametrize("change", ["size", "content", "name", "version"])
def test_cache_is_not_used_once_files_or_code_changed(
    tree: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, change: str
) -> None:
    opened(tree, tmp_path / "cache").prepare(BOTH)
    if change == "size":
        edit(act(tree), 0, 1, "0.25")
        dataset = opened(tree, tmp_path / "cache")
        value = dataset.load(everything(dataset)[0], ["accelerometer"], None)["accelerometer"]
        assert value[0, 0].item() == 0.25
        return
    monkeypatch.setattr(mex_files, "windows", never)
    if change == "content":
        poison(act(tree))
    elif change == "name":
        for there in (act, dc):
            there(tree).rename(there(tree, "01/05_1"))
    else:
        monkeypatch.setattr(mex_files, "CACHE_VERSION", mex_files.CACHE_VERSION + 1)
    with pytest.raises(pytest.fail.Exception):
        opened(tree, tmp_path / "cache").prepare(BOTH)
