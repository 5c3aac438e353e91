"""Made-up EPIC-Kitchens data for the tests of this folder."""

import os
import shutil
from pathlib import Path

import pytest

import datasets


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two segments of each class and domain; tests that change something work on a `tree`."""
    root = tmp_path_factory.mktemp("epic") / "data"
    datasets.get("epic_kitchens").fabricate(root, 2)
    return root


@pytest.fixture
def tree(stand_in: Path, tmp_path: Path) -> Path:
    """A copy of the made-up data; files are links, so they are replaced, never written into."""
    shutil.copytree(stand_in, tmp_path / "data", copy_function=os.link)
    return tmp_path / "data"
