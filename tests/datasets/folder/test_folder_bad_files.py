"""The `folder` dataset: missing and broken files, and wrong options."""

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from support_folder import FOURS, damaged, one_of_each, opened, table, vectors

from benchmark import run
from datasets.folder import Folder
from datasets.media import MediaError
from mmdg_common import UsageError


def test_a_missing_file_is_named_with_its_row(small: Path) -> None:
    (small / "x/B_y_0.npy").unlink()
    dataset = opened(small)
    message = r"samples\.csv, row 2: .*B_y_0\.npy is missing or empty.*--on-bad-sample skip"
    with pytest.raises(MediaError, match=message):
        dataset.fingerprint(["x"])


def test_a_broken_file_is_named_with_its_row_before_training(small: Path) -> None:
    np.save(small / "x/B_x_1.npy", np.zeros(7))
    dataset = opened(small)
    message = r"1 rows.*row 7: .*B_x_1\.npy has the shape \[7\], but .*B_y_0\.npy has \[6\]"
    with pytest.raises(MediaError, match=message):
        dataset.prepare(["x"])


def test_skip_leaves_out_what_cannot_be_read(small: Path, tmp_path: Path) -> None:
    damaged(small)
    for _ in range(2):  # the second time from the cached index
        dataset = opened(small, tmp_path / "cache", on_bad_sample="skip")
        planned = dataset.fingerprint(["x"])
        dataset.prepare(["x"])
        spoilt = {"x/B_y_0.npy", "x/B_y_1.npy", "x/A_y_2.npy", "x/A_x_3.npy"}
        assert set(dataset.skipped) == spoilt
        every = {s.id for d in "AB" for s in dataset.samples(d, "target")}
        assert len(every) == 12
        assert not every & spoilt
        assert dataset.fingerprint(["x"]) == planned
    kept = [path.name.split("-index")[0] for path in (tmp_path / "cache").glob("*.json")]
    assert kept == ["folder-x"]


def test_an_empty_cell_is_a_missing_file(tmp_path: Path) -> None:
    root = tmp_path / "d"
    lines = vectors(root, FOURS)
    lines = [[*line, "y"] if n == 0 else [*line, line[2]] for n, line in enumerate(lines)]
    lines[5][3] = ""
    table(root, lines)
    with pytest.raises(MediaError, match=r"row 6: the cell under y is empty"):
        opened(root).prepare(["x", "y"])
    opened(root).prepare(["x"])
    skipping = opened(root, on_bad_sample="skip")
    skipping.prepare(["x", "y"])
    assert list(skipping.skipped) == [lines[5][2]]


def test_a_file_replaced_by_one_of_its_size_and_time_is_looked_at_anew(
    small: Path, tmp_path: Path
) -> None:
    opened(small, tmp_path / "cache").prepare(["x"])
    path = small / "x/B_x_1.npy"
    stamp = path.stat()
    np.save(path, np.zeros((2, 3)))
    assert path.stat().st_size == stamp.st_size
    os.utime(path, ns=(stamp.st_atime_ns, stamp.st_mtime_ns))
    with pytest.raises(MediaError, match=r"B_x_1\.npy has the shape \[2, 3\]"):
        opened(small, tmp_path / "cache").prepare(["x"])


NOT_FINITE = {"npy": np.array([1, 2, 3, 4, 5, np.nan]), "csv": "1,2\n3,inf\n" * 9}


@pytest.mark.parametrize("suffix", NOT_FINITE)
def test_numbers_that_are_not_finite_stop_preparation_or_are_left_out(
    tmp_path: Path, suffix: str
) -> None:
    good = {"npy": np.arange(6.0), "csv": "1,2\n3,4\n" * 9}[suffix]
    content = {7: NOT_FINITE[suffix]}
    root = tmp_path / "d"
    one_of_each(root, x=lambda i: (f"{i}.{suffix}", content.get(i, good)))
    with pytest.raises(MediaError, match=rf"1 rows .*row 9: .*7\.{suffix} .*not finite.*skip"):
        opened(root).prepare(["x"])
    for _ in range(2):  # the second time from the index
        dataset = opened(root, tmp_path / "cache", on_bad_sample="skip")
        dataset.prepare(["x"])
        assert list(dataset.skipped) == [f"x/7.{suffix}"]
        for sample in dataset.samples("d1", "target"):
            assert torch.isfinite(dataset.load(sample, ["x"], None)["x"]).all()
    (problem,) = (p for p in opened(root).verify())
    assert problem.startswith("row 9, x: ")


def test_a_file_that_breaks_after_preparation_is_named_with_the_way_out(small: Path) -> None:
    dataset = opened(small)
    dataset.prepare(["x"])
    np.save(small / "x/B_x_1.npy", np.full(6, np.nan))
    (sample,) = (s for s in dataset.samples("B", "target") if s.id == "x/B_x_1.npy")
    with pytest.raises(MediaError, match=r"not finite.*prepare folder --root DIR"):
        dataset.load(sample, ["x"], None)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"length": 15}, "length: type 16 or more"),
        ({"standardise": "sampel"}, "mean 'sample'"),
        ({"on_bad_sample": "skp"}, "mean 'skip'"),
        ({"lenght": 64}, "mean 'length'"),
    ],
)
def test_wrong_options_say_what_is_right(
    small: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        opened(small, **options)


def test_unknown_domains_and_modalities_are_named(small: Path) -> None:
    dataset = opened(small)
    with pytest.raises(UsageError, match="unknown domain 'C'"):
        dataset.samples("C", "train")
    with pytest.raises(UsageError, match="unknown modality 'z'"):
        dataset.load(dataset.samples("A", "train")[0], ["z"], None)


def skipping(root: Path, *names: str) -> Folder:
    """Open the data without these vectors, and prepare it."""
    for name in names:
        (root / f"x/{name}.npy").write_bytes(b"")
    dataset = opened(root, on_bad_sample="skip")
    dataset.prepare(["x"])
    return dataset


ALL_OF_B = [f"B_{label}_{i}" for label in "xy" for i in range(4)]


def test_a_source_or_target_of_which_every_sample_is_left_out_is_refused(small: Path) -> None:
    dataset = skipping(small, *ALL_OF_B)
    reason = r"x/B_y_\d\.npy cannot be read as numbers"
    for sources, target, part in ((("B",), "A", "train"), (("A",), "B", "target")):
        with pytest.raises(UsageError) as caught:
            dataset.parts(sources, target)
        assert re.search(
            rf"every sample of domain B for the part '{part}'.*{reason}", str(caught.value)
        )
        assert "\n" not in str(caught.value)
    assert len(dataset.parts(("B",), "A", listed=True)["train"]) == 6


def test_one_emptied_source_among_several_is_refused(tmp_path: Path) -> None:
    counts = {(d, c): 4 for d in "ABC" for c in "xy"}
    root = table(tmp_path / "d", vectors(tmp_path / "d", counts))
    dataset = skipping(root, *ALL_OF_B)
    with pytest.raises(UsageError, match="every sample of domain B for the part 'train'"):
        dataset.parts(("A", "B"), "C")
    assert len(dataset.parts(("A",), "C")["train"]) == 6


def test_a_class_of_which_every_training_sample_is_left_out_is_refused(small: Path) -> None:
    held = {s.id for s in opened(small).samples("B", "val")}
    names = [f"B_x_{i}" for i in range(4) if f"x/B_x_{i}.npy" not in held]
    dataset = skipping(small, *names)
    with pytest.raises(UsageError, match=r"every sample of class x for the part 'train'.*B_x_"):
        dataset.parts(("B",), "A")
    assert len(dataset.parts(("A",), "B")["target"]) == 8 - len(names)


def test_a_run_without_a_usable_target_stops_in_one_line_before_training(
    small: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for name in ALL_OF_B:
        (small / f"x/{name}.npy").write_bytes(b"")
    arguments = ["--method", "erm", "--dataset", "folder", "--data-root", str(small)]
    arguments += ["--sources", "A", "--target", "B", "--on-bad-sample", "skip"]
    assert run.main([*arguments, "--results", str(tmp_path / "r"), "--device", "cpu"]) == 2
    error = [line for line in capsys.readouterr().err.splitlines() if "error" in line]
    assert len(error) == 1
    assert error[0].startswith("error: folder: every sample of domain B for the part 'target'")
    assert not list((tmp_path / "r").rglob("status.json"))
