"""What a results folder remembers of the grids that were launched into it."""

from dataclasses import replace
from pathlib import Path

import pytest
from support_reports import toy_spec

from benchmark.records import manifest
from benchmark.records.manifest import SweepRow


@pytest.fixture
def grid(tmp_path: Path) -> Path:
    path = tmp_path / "grids" / "my grid.yaml"
    path.parent.mkdir()
    path.write_text("method: erm\n")
    return path


def row(label: str, dataset: str = "toy", seeds: tuple[int, ...] = (0, 1)) -> SweepRow:
    return SweepRow(label, tuple(replace(toy_spec(), dataset=dataset, seed=s) for s in seeds))


def test_what_is_written_is_found_again_with_its_order_and_the_same_ids(
    grid: Path, tmp_path: Path
) -> None:
    rows = [row("b", seeds=(1, 0)), replace(row("a, b", seeds=(2,)), search_seed=5), row("")]
    assert manifest.find(tmp_path, grid) is None
    manifest.write(tmp_path, grid, rows, [])
    found = manifest.find(tmp_path, grid)
    assert found is not None and list(found.rows) == rows
    assert [s.id for r in found.rows for s in r.specs] == [s.id for r in rows for s in r.specs]
    assert [s.seed for s in manifest.specs(found.rows)] == [1, 0, 2]


def test_the_same_again_writes_nothing(grid: Path, tmp_path: Path) -> None:
    manifest.write(tmp_path, grid, [row("a")], [])
    (path,) = (tmp_path / "sweeps").iterdir()
    before = path.stat().st_mtime_ns, path.stat().st_ino
    manifest.write(tmp_path, grid, [row("a")], [])
    assert (path.stat().st_mtime_ns, path.stat().st_ino) == before


def test_an_edited_grid_is_known_by_its_place_and_a_moved_one_by_its_text(
    grid: Path, tmp_path: Path
) -> None:
    manifest.write(tmp_path, grid, [row("a")], [])
    moved = tmp_path / "elsewhere" / grid.name
    moved.parent.mkdir()
    moved.write_bytes(grid.read_bytes())
    found = manifest.find(tmp_path, moved)
    assert found is not None and found.digest == manifest.digest(moved)
    grid.write_text("method: mbcd\n")
    found = manifest.find(tmp_path, grid)
    assert found is not None and found.digest != manifest.digest(grid)
    # Another grid of the same name is neither.
    moved.write_text("method: ema\n")
    assert manifest.find(tmp_path, moved) is None
    # Two of one name do not overwrite each other.
    manifest.write(tmp_path, moved, [row("other")], [])
    labels = {p: manifest.find(tmp_path, p).rows[0].label for p in (grid, moved)}  # type: ignore[union-attr]
    assert labels == {grid: "a", moved: "other"}


def test_datasets_launched_one_after_the_other_add_up_until_the_grid_is_edited(
    grid: Path, tmp_path: Path
) -> None:
    manifest.write(tmp_path, grid, [row("x", "one")], ["two", "three"])
    manifest.write(tmp_path, grid, [row("x", "two")], ["one", "three"])
    found = manifest.find(tmp_path, grid)
    assert found is not None and found.left_out == ("three",)
    assert sorted(spec.dataset for r in found.rows for spec in r.specs) == [
        "one",
        "one",
        "two",
        "two",
    ]
    grid.write_text("method: mbcd\n")
    manifest.write(tmp_path, grid, [row("x", "two")], ["one", "three"])
    found = manifest.find(tmp_path, grid)
    assert found is not None and found.left_out == ("one", "three")
    assert {spec.dataset for r in found.rows for spec in r.specs} == {"two"}


@pytest.mark.parametrize("damage", ["", "{", '{"schema": 2}', '{"schema": 1, "rows": []}', "cut"])
def test_a_damaged_file_is_named_and_counts_as_none(
    grid: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], damage: str
) -> None:
    manifest.write(tmp_path, grid, [row("a")], [])
    (path,) = (tmp_path / "sweeps").iterdir()
    path.write_bytes(path.read_bytes()[:-9] if damage == "cut" else damage.encode())
    assert manifest.find(tmp_path, grid) is None
    assert str(path) in capsys.readouterr().err
    manifest.write(tmp_path, grid, [row("a")], [])
    assert manifest.find(tmp_path, grid) is not None
