"""MEx: which windows train, validate and test."""

from itertools import pairwise
from pathlib import Path

from support_mex import opened, write_recording


def test_the_last_fifth_of_each_recording_validates(tmp_path: Path) -> None:
    counts = {"01/01_1": 12, "01/02_1": 5, "02/04_2": 3, "02/05_1": 1}
    for recording, windows in counts.items():
        write_recording(tmp_path, recording, 500 * windows, 5 * windows)
    dataset = opened(tmp_path)
    val = [s.id for s in dataset.samples("s1s2", "val")]
    # A single window trains: no class of a source may be without any.
    assert val == ["01/01_1/10", "01/01_1/11", "01/02_1/4", "02/04_2/2"]
    train = [s.id for s in dataset.samples("s1s2", "train")]
    assert not set(train) & set(val)
    assert sorted(train + val) == sorted(s.id for s in dataset.samples("s1s2", "target"))


def test_validation_shares_no_moment_with_training(tree: Path) -> None:
    """The first channel of the tree's files is the time, which no two windows may share."""
    dataset = opened(tree)
    for domain in ("s1s2", "s9s10"):
        spans: dict[str, list[tuple[float, float, str]]] = {}
        for role in ("train", "val"):
            for sample in dataset.samples(domain, role):
                time = dataset.load(sample, ["accelerometer"], None)["accelerometer"][0]
                span = (time.min().item(), time.max().item(), role)
                spans.setdefault(sample.group[-1], []).append(span)
        for found in spans.values():
            found.sort()
            assert all(a[1] < b[0] for a, b in pairwise(found))
            roles = [role for _, _, role in found]
            assert roles == sorted(roles), "validation is what a recording ends with"


def test_upper_bound_holds_out_contiguous_ends(tmp_path: Path) -> None:
    for recording in ("01/01_1", "02/03_1"):
        write_recording(tmp_path, recording, 5000, 50)
    parts = opened(tmp_path).parts(("s1s2",), "s1s2")
    numbers = {
        role: [int(s.id[8:]) for s in of if s.group[-1] == "02/03_1"] for role, of in parts.items()
    }
    # Of ten windows the last two test, and of the other eight the last two validate.
    assert numbers == {"train": [0, 1, 2, 3, 4, 5], "val": [6, 7], "target": [8, 9]}
