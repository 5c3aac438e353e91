"""Made-up HAC data for the tests of this folder."""

import os
import shutil
from pathlib import Path

import pytest

import datasets


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two clips of each class and domain; tests that change something work on a `tree`."""
    root = tmp_path_factory.mktemp("hac") / "data"
    datasets.get("hac").fabricate(root, 2)
    return root


@pytest.fixture
def tree(stand_in: Path, tmp_path: Path) -> Path:
    """A copy of the made-up clips; files are links, so they are replaced, never written into."""
    shutil.copytree(stand_in, tmp_path / "data", copy_function=os.link)
    return tmp_path / "data"
