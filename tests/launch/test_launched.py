"""What the sweep command knows of launched sweeps without planning: by the manifest."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from support_grids import make_hac

from benchmark import sweep
from benchmark.records.store import Store

GRID = """
dataset: synthetic
dataset-option: {domains: 3, samples_per_class: 5}
all-splits: true
epochs: 1
runs:
- {label: plain, method: erm}
- {label: ours, method: joint}
"""
ONLY_LOOKS = """
import sys
from benchmark import sweep
code = sweep.main(sys.argv[1:])
heavy = sorted({"torch", "pandas", "scipy"} & sys.modules.keys())
assert not heavy, f"a look imports {heavy}"
sys.exit(code)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "grid.yaml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def looked(*options: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a process of its own, which must not import what only training needs."""
    command = [sys.executable, "-c", ONLY_LOOKS, "grid.yaml", *options]
    return subprocess.run(command, capture_output=True, text=True)


def test_neither_data_nor_torch_is_needed_to_look_at_what_was_launched(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MMDG_DATA", raising=False)
    make_hac(here / "hac")
    (here / "grid.yaml").write_text(
        "dataset: hac\nall-splits: true\nweights: none\nmethod: [erm, mbcd]\n"
    )
    # The files are no videos, so that nothing is trained; but it was launched.
    assert sweep.main(["grid.yaml", "--data-root", "hac"]) != 0
    shutil.rmtree(here / "hac")
    capsys.readouterr()
    for options in (["--status"], ["--watch"], ["--status", "--only", "method=erm"]):
        done = looked(*options)
        runs = 3 if "--only" in options else 6
        assert re.search(rf"{runs} runs +·", done.stdout), (done.stdout, done.stderr)
    # To run something takes the data as before.
    assert sweep.main(["grid.yaml", "--dry-run"]) == 2
    assert "hac" in capsys.readouterr().err


def test_the_rows_and_their_order_are_those_of_the_plan(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(["grid.yaml", "--status"]) == 0  # planned, as nothing was launched yet
    planned = capsys.readouterr().out
    assert not (here / "results").exists()
    assert sweep.main(["grid.yaml", "--only", "target=d1", "row=ours"]) == 0
    (folder,) = [folder for _, folder in Store(Path("results")).all()]
    kept = (folder.path / "result.json").read_bytes()
    (folder.path / "result.json").unlink()
    (folder.path / "status.json").unlink()
    capsys.readouterr()
    assert sweep.main(["grid.yaml", "--status"]) == 0
    assert capsys.readouterr().out == planned
    (folder.path / "result.json").write_bytes(kept)
    assert sweep.main(["grid.yaml", "--status"]) == 0
    assert re.search(r"synthetic +ours +1 +· +· +2", capsys.readouterr().out)


def test_an_edited_grid_is_run_as_it_is_and_looked_at_as_it_was_launched(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    only = ["--only", "target=d1"]
    assert sweep.main(["grid.yaml", *only]) == 0
    (here / "grid.yaml").write_text(GRID + "- {label: third, method: ema}\n")
    capsys.readouterr()
    assert sweep.main(["grid.yaml", "--status"]) == 0
    out = capsys.readouterr().out
    assert "grid.yaml was edited since it was launched" in out
    assert re.search(r"6 runs +2 +· +· +4", out) and "third" not in out
    assert sweep.main(["grid.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert "third" in out and "edited" not in out
    # What is retried is what the grid says.
    assert sweep.main(["grid.yaml", "--retry-failed"]) == 1
    out = capsys.readouterr().out
    assert re.search(r"9 runs +2 +· +· +7", out)
    assert sweep.main(["grid.yaml", "--status"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"9 runs +2 +· +· +7", out) and "edited" not in out


def test_what_was_not_launched_yet_of_a_grid_is_said(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("MMDG_DATA", raising=False)
    (here / "grid.yaml").write_text(
        "all-splits: true\nmethod: erm\nepochs: 1\nruns: [{dataset: hac}, "
        "{dataset: synthetic, dataset-option: {domains: 3, samples_per_class: 5}}]\n"
    )
    assert sweep.main(["grid.yaml", "--only", "dataset=synthetic"]) == 0
    capsys.readouterr()
    assert sweep.main(["grid.yaml", "--status"]) == 0
    out = capsys.readouterr().out
    assert "not launched yet, and so not shown: hac\n" in out
    assert re.search(r"3 runs +3", out)
    assert sweep.main(["grid.yaml", "--status", "--only", "dataset=synthetic"]) == 0
    assert "not launched" not in capsys.readouterr().out
    # What was never launched is planned, for which it has to be there.
    assert sweep.main(["grid.yaml", "--status", "--only", "dataset=hac"]) == 2


def test_only_failures_with_a_text_in_their_error_are_retried(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from benchmark.training.train import Training

    def broken(self: Training, watcher: object) -> None:
        raise LookupError(f"no {self.spec.method} at /data/{self.spec.target}/{id(self)}.bin")

    with monkeypatch.context() as patched:
        patched.setattr(Training, "run", broken)
        assert sweep.main(["grid.yaml"]) == 1
    shown = capsys.readouterr()
    assert shown.err.count("failed on ") == 2 and shown.err.count("3 runs, such as") == 2
    assert sweep.main(["grid.yaml", "--retry-failed", "nothing such"]) == 1
    assert "no failed run has 'nothing such' in its error" in capsys.readouterr().out
    assert sweep.main(["grid.yaml", "--retry-failed", "lookuperror: no JOINT"]) == 1
    assert re.search(r"6 runs +3 +· +· +· +3", capsys.readouterr().out)
    assert sweep.main(["grid.yaml", "--retry-failed", "LookupError"]) == 0


def test_the_page_is_written_in_place_of_printing(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert sweep.main(["grid.yaml", "--only", "target=d1"]) == 0
    capsys.readouterr()
    assert sweep.main(["grid.yaml", "--status", "--format", "html"]) == 0
    assert capsys.readouterr().out == "results/status.html\n"
    assert "2 of 6 runs done" in (here / "results/status.html").read_text()
    done = looked("--status", "--format", "html", "--output", "there/now.html")
    assert (done.returncode, done.stdout) == (0, "there/now.html\n"), done.stderr
    assert (here / "there/now.html").is_file()
    for options, error in (
        (["--format", "html"], "add --status"),
        (["--status", "--output", "a"], "add --format html"),
        (["--watch", "--budget", "1h"], "leave --watch out"),
    ):
        assert sweep.main(["grid.yaml", *options]) == 2
        assert error in capsys.readouterr().err


def test_a_command_tells_of_the_end_once_and_its_failure_changes_nothing(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    told = 'echo "$MMDG_TEXT|$MMDG_RUNS|$MMDG_DONE|$MMDG_FAILED|$MMDG_LEFT|$MMDG_EXIT_CODE" >> told'
    assert sweep.main(["grid.yaml", "--only", "target=d1", "--notify", told]) == 0
    assert sweep.main(["grid.yaml", "--watch", "--notify", told]) == 1
    assert sweep.main(["grid.yaml", "--status", "--notify", told]) == 0  # nothing ends
    assert sweep.main(["grid.yaml", "--device", "cuda:7", "--notify", told]) == 2
    lines = (here / "told").read_text().splitlines()
    assert lines[:2] == [
        "grid.yaml: 2 done|2|2|0|0|0",
        "grid.yaml: 2 done, 4 to do|6|2|0|4|1",
    ]
    assert re.fullmatch(r"grid.yaml: --device cuda:7 cannot be used .*\|6\|2\|0\|4\|2", lines[2])
    assert len(lines) == 3
    capsys.readouterr()
    assert sweep.main(["grid.yaml", "--only", "target=d1", "--notify", "exit 3"]) == 0
    assert capsys.readouterr().err == "--notify exit 3: ended with code 3\n"
