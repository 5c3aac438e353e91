"""What all tests share."""

import os
import tarfile
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
def sp_sw_har_root(request: pytest.FixtureRequest) -> Path:
    """The official files, from which the packaged windows were made."""
    return real_data(request, "sp_sw_har", "DATA") / "DATA"


@pytest.fixture(scope="session")
def dsads_root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real files, unpacked first where there is only the archive of half of them."""
    root = real_data(request, "dsads", ".")
    if (root / "data").is_dir():
        return root
    archive = root / "dsads_s01-s30.tar.xz"
    if not archive.is_file():
        pytest.skip(f"{root} holds neither data/ nor {archive.name}")
    unpacked = tmp_path_factory.mktemp("dsads_real")
    with tarfile.open(archive) as files:
        files.extractall(unpacked, filter="data")
    return unpacked


@pytest.fixture(scope="session")
def mex_root(request: pytest.FixtureRequest) -> Path:
    return real_data(request, "mex", "MEx")


@pytest.fixture(scope="session")
def hac_root(request: pytest.FixtureRequest) -> Path:
    """The real split files; the clips are not needed."""
    return real_data(request, "hac", "HAC_Splits")


@pytest.fixture(scope="session")
def epic_root(request: pytest.FixtureRequest) -> Path:
    """The real split tables; the frames are not needed."""
    return real_data(request, "epic_kitchens", "MM-SADA_Domain_Adaptation_Splits")
