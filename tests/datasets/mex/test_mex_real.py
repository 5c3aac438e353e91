"""MEx: the real extract."""

from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from support_mex import opened

from datasets import duplicates, mex

COUNTS = {
    "s1s2": (24, 25, 24, 32, 25, 24, 25),
    "s3s4": (18, 30, 28, 24, 18, 12, 21),
    "s5s6": (29, 31, 34, 16, 27, 17, 30),
    "s7s8": (22, 28, 35, 19, 25, 21, 28),
    "s9s10": (24, 24, 24, 21, 26, 24, 22),
}
"""Windows of each class of the extract, as measured."""


@pytest.fixture(scope="session")
def real(mex_root: Path, tmp_path_factory: pytest.TempPathFactory) -> mex.Mex:
    return opened(mex_root, tmp_path_factory.mktemp("cache"))


@pytest.mark.data
@pytest.mark.slow
def test_the_extract_has_857_windows(real: mex.Mex) -> None:
    assert len(real.windows()) == sum(map(sum, COUNTS.values())) == 857
    for domain, counts in COUNTS.items():
        of = Counter(s.label for s in real.samples(domain, "target"))
        assert tuple(of[label] for label in range(7)) == counts
    roles = {r: [len(real.samples(d, r)) for d in real.card.domains] for r in ("train", "val")}
    assert roles == {"train": [146, 122, 145, 143, 136], "val": [33, 29, 39, 35, 29]}
    for domain in COUNTS:
        assert {s.label for s in real.samples(domain, "val")} == set(range(7))


@pytest.mark.data
@pytest.mark.slow
def test_values_of_the_extract_are_plausible(real: mex.Mex) -> None:
    acceleration, depth = real.read("accelerometer"), real.read("depth")
    assert acceleration.shape == (857, 3, 500) and depth.shape == (857, 1, 5, 12, 16)
    assert np.median(np.linalg.norm(acceleration, axis=1)) == pytest.approx(1, abs=0.1)  # in g
    assert depth.min() >= 0 and depth.max() <= 1
    # Neighbours below each other resemble each other only where rows are as long as they must be.
    apart = abs(np.diff(depth, axis=-2)).mean()
    assert apart < 0.7 * abs(np.diff(depth.reshape(857, 1, 5, 16, 12), axis=-2)).mean()


@pytest.mark.data
@pytest.mark.slow
def test_nothing_is_wrong_with_the_extract(real: mex.Mex) -> None:
    assert list(real.verify()) == list(real.remarks()) == []
    assert list(duplicates.anywhere(real)) == []
