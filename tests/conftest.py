"""What all tests share."""

import os
from pathlib import Path

# Two test processes, or a test and its child, fight over the cores otherwise. Libraries read it
# when they are imported.
os.environ["OMP_NUM_THREADS"] = os.environ["OPENBLAS_NUM_THREADS"] = "1"

import pytest

PROJECT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data-root", metavar="DIR", help="folder of datasets, e.g. utd_mhad/")


def real_data(request: pytest.FixtureRequest, dataset: str, part: str) -> Path:
    """Return a real dataset's root where it holds `part`; skip the test otherwise."""
    given = request.config.getoption("--data-root")
    root = (Path(given) if given else PROJECT.parent / "shared" / "data") / dataset
    if not (root / part).is_dir():
        pytest.skip(f"{dataset} is not at {root}; name its parent with --data-root DIR")
    return root


@pytest.fixture(scope="session")
def utd_root(request: pytest.FixtureRequest) -> Path:
    return real_data(request, "utd_mhad", ".")


@pytest.fixture(scope="session")
def hac_root(request: pytest.FixtureRequest) -> Path:
    """The real split files; the clips are not needed."""
    return real_data(request, "hac", "HAC_Splits")


@pytest.fixture(scope="session")
def epic_root(request: pytest.FixtureRequest) -> Path:
    """The real split tables; the frames are not needed."""
    return real_data(request, "epic_kitchens", "MM-SADA_Domain_Adaptation_Splits")
