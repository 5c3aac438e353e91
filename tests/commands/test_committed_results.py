"""What the repository carries: its results are whole, and its pages show them."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support_reports import make_spec, record

from benchmark import report, results, score
from benchmark.records import committed, read, verify
from benchmark.records.spec import Protocol
from benchmark.reporting.kinds import gains
from benchmark.reporting.leaderboard import pages
from benchmark.reporting.leaderboard.board import Board
from benchmark.reporting.request import Wanted
from benchmark.reporting.write.clean import cleaned

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def current() -> committed.CommittedSet:
    found = committed.current()
    assert found is not None
    return found


@pytest.fixture(scope="module")
def contents(current: committed.CommittedSet) -> dict[Path, bytes]:
    return pages.contents(current, ROOT)


def test_the_results_are_verified(capsys: pytest.CaptureFixture[str]) -> None:
    assert results.main(["verify"]) == 0, capsys.readouterr().err
    assert "all scores follow from the predictions" in capsys.readouterr().out


@pytest.mark.parametrize("name", ["README.md", "results/README.md", pages.LEADERBOARD])
def test_a_page_shows_the_results_byte_for_byte(name: str, contents: dict[Path, bytes]) -> None:
    assert (ROOT / name).read_bytes() == contents[ROOT / name], f"out of date: run `{pages.BY}`"


def test_the_figure_is_of_these_numbers(contents: dict[Path, bytes], tmp_path: Path) -> None:
    fresh = tmp_path / "fresh.png"
    fresh.write_bytes(contents[ROOT / pages.FIGURE])
    one, other = (Image.open(path) for path in (ROOT / pages.FIGURE, fresh))
    assert one.info["Comment"] == other.info["Comment"], f"out of date: run `{pages.BY}`"
    assert one.size == other.size


def test_the_leaderboard_and_the_findings_have_one_headline(
    current: committed.CommittedSet,
) -> None:
    """Single modalities and other extra runs of some methods move neither."""
    fair = [
        r for r in read.read([current.root], pages.RULE).records if r.spec.protocol == Protocol()
    ]
    records = pages.whole(fair)
    board, suite = Board(Wanted(records)).headline, gains.build(pages.headline(records))[0]
    assert [(row.label, row.cells) for row in board.rows] == [
        (row.label, row.cells) for row in cleaned(suite).rows
    ]


def test_a_clone_without_runs_prints_the_headline(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert report.main([]) == 0
    out = capsys.readouterr().out
    assert "gains · all tables" in out and "late_fusion" in out


def test_a_committed_method_is_scored_without_training(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ["joint", "--only", "sp_sw_har", "--results", str(tmp_path / "results")]
    assert score.main(given) == 0
    out = capsys.readouterr().out
    assert "rank" in out and "epoch" not in out


def test_a_changed_prediction_is_found(current: committed.CommittedSet, tmp_path: Path) -> None:
    """In the set itself; tests/records/test_verify.py changes everything else."""
    copy = tmp_path / current.name
    shutil.copytree(current.root, copy)
    (path,) = copy.glob("sp_sw_har/multi-source/mbcd.npz")
    arrays = committed.arrays_of(path)
    name = next(name for name in sorted(arrays) if name.endswith("/target"))
    arrays[name] = arrays[name].copy()
    arrays[name][0] = (arrays[name][0] + 1) % 5
    np.savez_compressed(path, allow_pickle=False, **arrays)
    found = verify.check(committed.CommittedSet(copy)).problems
    assert any("mbcd.jsonl: run" in text and "accuracy" in text for text in found), found


def test_a_dataset_counts_once_the_baseline_has_every_target():
    def of(dataset, method, targets):
        return [
            record(make_spec(method, t, dataset=dataset, sources=tuple({*"abc"} - {t})), 0.5)
            for t in targets
        ]

    begun = [*of("begun", "erm", "ab"), *of("begun", "mbcd", "abc")]
    done = [*of("done", "erm", "abc"), *of("done", "mbcd", "a")]
    assert pages.whole([*begun, *done]) == done
