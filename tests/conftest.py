"""What all tests share."""

from pathlib import Path

import pytest
import torch

PROJECT = Path(__file__).resolve().parents[1]


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--data-root", metavar="DIR", help="folder that holds utd_mhad/")


@pytest.fixture(scope="session")
def utd_root(request: pytest.FixtureRequest) -> Path:
    """The real UTD-MHAD, where it is at hand."""
    given = request.config.getoption("--data-root")
    folder = (Path(given) if given else PROJECT.parent / "shared" / "data") / "utd_mhad"
    if not folder.is_dir():
        pytest.skip(f"UTD-MHAD is not at {folder}; name its parent with --data-root DIR")
    return folder


def pytest_configure() -> None:
    # Two test processes, or a test and its child, fight over the cores otherwise.
    torch.set_num_threads(1)
