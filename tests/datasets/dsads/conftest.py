"""Hand-written and made-up dsads segments for the tests of this folder."""

import shutil
from pathlib import Path

import pytest
from support_dsads import ACTIVITIES, SEGMENTS, SUBJECTS, content, name_of, write

from datasets import dsads


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two activities by eight subjects, six segments each: 96 files, never to be changed."""
    root = tmp_path_factory.mktemp("dsads")
    for activity in ACTIVITIES:
        for subject in SUBJECTS:
            for segment in SEGMENTS:
                name = name_of(activity, subject, segment)
                write(root / "data" / f"{name}.txt", content(activity, subject, segment))
    return root


@pytest.fixture
def tree(written: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    return Path(shutil.copytree(written, tmp_path / "tree"))


@pytest.fixture(scope="session")
def fabricated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All 19 activities and eight subjects, two segments each, never to be changed."""
    root = tmp_path_factory.mktemp("made") / "dsads"
    dsads.Dsads.fabricate(root, 2)
    return root


@pytest.fixture
def regular(fabricated: Path, tmp_path: Path) -> Path:
    """What looks like a real copy with 2 of 60 segments, to change."""
    root = Path(shutil.copytree(fabricated, tmp_path / "regular"))
    (root / "FABRICATED").unlink()
    return root
