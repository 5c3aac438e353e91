"""Hand-written and made-up MEx recordings for the tests of this folder."""

import shutil
from pathlib import Path

import pytest
from support_mex import LENGTHS, write_recording

from datasets import mex


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The recordings of `LENGTHS`, never to be changed."""
    root = tmp_path_factory.mktemp("mex")
    for recording, lengths in LENGTHS.items():
        write_recording(root, recording, *lengths)
    return root


@pytest.fixture
def tree(written: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(written, tmp_path / "data"))


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two windows of every recording in data/, never to be changed; cache/ may be filled."""
    root = tmp_path_factory.mktemp("fabricated")
    mex.Mex.fabricate(root / "data", 2)
    return root
