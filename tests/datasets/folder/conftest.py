"""Small data sets for the tests of this folder."""

from pathlib import Path

import pytest
from support_folder import FOURS, table, vectors

from datasets.folder import Folder


@pytest.fixture(scope="session")
def example(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What `--fabricate 3` writes; tests read it and change nothing."""
    root = tmp_path_factory.mktemp("folder") / "data"
    Folder.fabricate(root, 3)
    return root


@pytest.fixture
def small(tmp_path: Path) -> Path:
    """Vectors of two domains and two classes, four of each."""
    return table(tmp_path / "data", vectors(tmp_path / "data", FOURS))
