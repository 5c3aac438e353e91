import json
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from support import TINY

from benchmark import run
from methods.joint import Joint

OPTIONS = [f"{key}={value}" for key, value in TINY.items()]
BASE = [
    "--dataset",
    "synthetic",
    "--dataset-option",
    *OPTIONS,
    "--epochs",
    "2",
    "--batch-size",
    "8",
    "--threads",
    "1",
]


def command(tmp_path, *extra):
    return run.main([*BASE, "--results", str(tmp_path), *extra])


def results(tmp_path):
    return sorted(p for p in tmp_path.rglob("result.json"))


def test_help_does_not_import_torch():
    code = (
        "import sys, benchmark.run\n"
        "try: benchmark.run.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert 'torch' not in sys.modules and 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "--all-splits" in done.stdout


def test_runs_are_done_once_and_the_command_is_safe_to_repeat(tmp_path, capsys):
    arguments = ("--method", "erm", "joint", "--all-splits", "--seeds", "0", "1")
    assert command(tmp_path, *arguments) == 0
    assert len(results(tmp_path)) == 3 * 2 * 2
    before = {p: p.stat().st_mtime_ns for p in results(tmp_path)}
    capsys.readouterr()
    assert command(tmp_path, *arguments) == 0
    assert {p: p.stat().st_mtime_ns for p in results(tmp_path)} == before
    assert "12 runs: 12 done" in capsys.readouterr().out


def test_progress_is_plain_lines_when_it_is_not_a_terminal(tmp_path, capsys):
    command(tmp_path, "--method", "erm", "--sources", "d1", "--target", "d2")
    out = capsys.readouterr().out
    assert "[1/1] erm · synthetic · d1 → d2 · m1+m2+m3 · seed 0" in out
    assert "validation" in out
    assert "\x1b" not in out


def test_dry_run_and_status_train_nothing(tmp_path, capsys):
    arguments = ("--method", "erm", "--all-splits")
    assert command(tmp_path, *arguments, "--dry-run") == 0
    out = capsys.readouterr().out
    assert "3 runs: 3 to do" in out
    assert out.count("erm · synthetic") == 3
    assert not results(tmp_path)
    command(tmp_path, "--method", "erm", "--sources", "d1", "d2", "--target", "d3")
    capsys.readouterr()
    assert command(tmp_path, *arguments, "--status") == 0
    assert "3 runs: 2 to do, 1 done" in capsys.readouterr().out


def test_force_runs_again_and_keeps_the_earlier_record(tmp_path):
    arguments = ("--method", "erm", "--sources", "d1", "--target", "d2")
    command(tmp_path, *arguments)
    (first,) = results(tmp_path)
    old = first.read_text()
    assert command(tmp_path, *arguments, "--force") == 0
    aside = first.parent.with_name(first.parent.name + "~1") / "result.json"
    assert aside.read_text() == old
    rules = [json.loads(p.read_text())["rules"] for p in (first, aside)]
    assert rules[0] == rules[1]


def test_another_seed_gives_other_numbers(tmp_path):
    command(tmp_path, "--method", "erm", "--sources", "d1", "--target", "d2", "--seeds", "0", "1")
    a, b = (json.loads(p.read_text()) for p in results(tmp_path))
    assert a["rules"] != b["rules"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--method", "erm", "--smoke", "--dataset", "utd_mhad"], "--smoke runs on the synthetic"),
        (["--method", "erm", "--all-splits"], "say which dataset: --dataset"),
        (["--dataset", "synthetic", "--all-splits"], "say which method: --method"),
        (
            ["--method", "erm", "--dataset", "synthetic", "--all-splits", "--device", "tpu9"],
            "try --device cpu",
        ),
        (
            ["--method", "erm", "--dataset", "synthetic", "--all-splits", "--backbone", "mlp"],
            "--backbone mlp: write key=value",
        ),
        (
            ["--method", "erm", "--dataset", "synthetic", "--all-splits", "--threads", "-1"],
            "--threads -1: type a whole number from 0",
        ),
        (["--method", "emr", "--dataset", "synthetic", "--all-splits"], "Did you mean 'erm'"),
        (["--method", "erm", "--dataset", "utd_mhad", "--all-splits"], "data/utd_mhad"),
    ],
)
def test_wrong_use_ends_with_code_2_and_one_clear_line(tmp_path, capsys, arguments, message):
    assert run.main([*arguments, "--results", str(tmp_path)]) == 2
    captured = capsys.readouterr()
    assert message in captured.err
    assert captured.err.startswith("error: ")
    assert "Traceback" not in captured.err


def test_a_results_folder_that_cannot_be_one_is_an_error(tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert command(tmp_path / "file", "--method", "erm", "--all-splits") == 2
    assert f"--results {tmp_path / 'file'} cannot be used" in capsys.readouterr().err


PLUGIN = '''
import sys
from torch.nn import functional as F
from benchmark.run import main
from methods import register
from methods.base import Method

@register("smoothed")
class Smoothed(Method):
    """ERM with label smoothing."""

    def loss(self, batch):
        logits = self.model.fuse(self.model.embed(batch.features))
        return {"fused": F.cross_entropy(logits, batch.labels, label_smoothing=0.1)}

@register("breaks")
class Breaks(Method):
    """NaN at the third step."""

    def loss(self, batch):
        logits = self.model.fuse(self.model.embed(batch.features))
        return {"fused": F.cross_entropy(logits, batch.labels) * (float("nan") if BROKEN and
                self.run.step == 3 else 1)}

BROKEN = "mend" not in sys.argv
sys.exit(main([a for a in sys.argv[1:] if a != "mend"]))
'''


@pytest.fixture
def plugin(tmp_path):
    script = tmp_path / "plugin.py"
    script.write_text(PLUGIN)

    def call(*arguments):
        return subprocess.run(
            [sys.executable, script, *BASE, "--results", tmp_path / "r", *arguments],
            capture_output=True,
            text=True,
        )

    return call


def test_adding_a_method_is_registering_one_class(plugin, tmp_path):
    done = plugin("--method", "smoothed", "ema+smoothed", "--sources", "d1", "d2", "--target", "d3")
    assert done.returncode == 0, done.stderr
    assert {p.parts[-5] for p in results(tmp_path)} == {"smoothed", "ema+smoothed"}


def test_a_run_that_fails_does_not_stop_the_others(tmp_path, capsys, monkeypatch):
    arguments = ("--method", "joint", "erm", "--sources", "d1", "d2", "--target", "d3")
    loss = Joint.loss

    def breaks(self, batch):
        terms = loss(self, batch)
        return terms | {"fused": terms["fused"] * float("nan")} if self.run.step == 3 else terms

    monkeypatch.setattr(Joint, "loss", breaks)
    assert command(tmp_path, *arguments) == 1
    said = capsys.readouterr().err
    assert "not finite at step 3: fused=nan" in said and "--retry-failed" in said
    assert [p.parts[-5] for p in results(tmp_path)] == ["erm"]
    monkeypatch.setattr(Joint, "loss", loss)
    # A failed run stays failed until it is asked for.
    assert command(tmp_path, *arguments) == 1
    assert "[1/1]" not in capsys.readouterr().out
    assert command(tmp_path, *arguments, "--retry-failed") == 0
    assert capsys.readouterr().out.count("[1/1]") == 2
    assert len(results(tmp_path)) == 2


@pytest.mark.slow
def test_smoke_says_whether_a_method_runs_and_leaves_nothing_behind(plugin, tmp_path):
    done = subprocess.run(
        [sys.executable, tmp_path / "plugin.py", "--method", "breaks", "smoothed", "--smoke"],
        capture_output=True,
        text=True,
        cwd=tmp_path,
    )
    assert done.returncode == 1
    assert "step 3" in done.stderr
    assert not (tmp_path / "results").exists()


def test_ctrl_c_leaves_a_run_that_resumes(tmp_path, monkeypatch):
    from benchmark.training.train import Training

    arguments = (
        "--method",
        "erm",
        "--sources",
        "d1",
        "d2",
        "--target",
        "d3",
        "--checkpoint-every",
        "0",
    )
    original = Training._run_epoch

    def interrupted(self, watcher):
        if self.epoch == 1:
            raise KeyboardInterrupt
        original(self, watcher)

    monkeypatch.setattr(Training, "_run_epoch", interrupted)
    assert command(tmp_path, *arguments) == 130
    (status,) = tmp_path.rglob("status.json")
    assert json.loads(status.read_text())["state"] == "interrupted"
    monkeypatch.undo()
    assert command(tmp_path, *arguments) == 0
    assert "resumed" in next(tmp_path.rglob("log.txt")).read_text()


def test_an_interruption_in_the_middle_of_a_save_is_no_failure(tmp_path, monkeypatch):
    """What torch.save makes of it is a RuntimeError about positions in its file."""
    arguments = ("--method", "erm", "--sources", "d1", "--target", "d2", "--checkpoint-every", "0")
    whole, saves, errors = torch.save, [], []

    class Cut:
        def __init__(self, file):
            self.file, self.writes = file, 0

        def write(self, data):
            self.writes += 1
            if self.writes == 8:
                raise KeyboardInterrupt
            return self.file.write(data)

    def save(state, file):
        saves.append(file)
        try:
            whole(state, Cut(file) if len(saves) == 3 else file)
        except BaseException as error:
            errors.append(type(error))
            raise

    monkeypatch.setattr(torch, "save", save)
    assert command(tmp_path, *arguments) == 130
    assert errors == [RuntimeError]
    (status,) = tmp_path.rglob("status.json")
    assert json.loads(status.read_text())["state"] == "interrupted"
    monkeypatch.undo()
    assert command(tmp_path, *arguments) == 0
    log = next(tmp_path.rglob("log.txt")).read_text()
    assert "resumed at step 2" in log and "failed" not in log


LIMITED = """
import resource, sys
from benchmark.run import main
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[1]), resource.RLIM_INFINITY))
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_a_save_that_fails_leaves_the_run_to_be_resumed(tmp_path):
    """As on a full disk: a limit on file sizes lets small files through, and no checkpoint."""
    arguments = [*BASE, "--results", str(tmp_path), "--method", "erm", "--sources", "d1"]
    arguments += ["--target", "d2", "--epochs", "100", "--checkpoint-every", "0.1"]
    first = subprocess.Popen([sys.executable, "-m", "benchmark.run", *arguments])
    wait_until(lambda: len(lines_of(tmp_path, "metrics.jsonl")) > 5)
    first.kill()
    first.wait()
    (checkpoint,) = tmp_path.rglob("checkpoint.pt")
    before = checkpoint.read_bytes()
    limit = str(len(before) // 2)
    full = subprocess.run(
        [sys.executable, "-c", LIMITED, limit, *arguments], capture_output=True, text=True
    )
    assert full.returncode == 1
    assert "1 runs: 1 interrupted" in full.stdout
    assert "File too large" in full.stderr and "resume interrupted runs" in full.stderr
    assert checkpoint.read_bytes() == before
    assert run.main([*arguments, "--checkpoint-every", "1"]) == 0
    log = "\n".join(lines_of(tmp_path, "log.txt"))
    assert log.count("started") == 1 and log.count("resumed at step") == 2
    assert "failed" not in log
    assert not list(tmp_path.rglob("checkpoint*.pt"))


def lines_of(folder, name):
    return [line for path in folder.rglob(name) for line in path.read_text().splitlines()]


def wait_until(holds, seconds=60):
    ends = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < ends
        time.sleep(0.05)


LOSES_A_WORKER = """
import os, signal, sys
from pathlib import Path
from torch.utils.data import get_worker_info
from benchmark.run import main
from datasets.synthetic import Synthetic

killed = Path(sys.argv[1])
whole = Synthetic.load

def load(self, sample, modalities, seed):
    if get_worker_info() and len(list(Path(killed.parent).rglob("checkpoint.pt"))) == 1:
        if not killed.exists():
            killed.touch()
            os.kill(os.getpid(), signal.SIGKILL)
    return whole(self, sample, modalities, seed)

Synthetic.load = load
sys.exit(main(sys.argv[2:]))
"""


@pytest.mark.slow
def test_a_lost_loading_process_leaves_the_run_to_be_resumed(tmp_path):
    arguments = [*BASE, "--results", str(tmp_path), "--method", "erm", "--sources", "d1"]
    arguments += ["--target", "d2", "--checkpoint-every", "0", "--workers", "1"]
    command = [sys.executable, "-c", LOSES_A_WORKER, str(tmp_path / "killed"), *arguments]
    lost = subprocess.run(command, capture_output=True, text=True)
    assert lost.returncode == 1, lost.stderr
    assert re.search(r"interrupted on \S+: erm", lost.stderr), lost.stderr
    assert "DataLoader worker" in lost.stderr
    assert list(tmp_path.rglob("checkpoint.pt"))
    again = subprocess.run(command, capture_output=True, text=True)
    assert again.returncode == 0, again.stderr
    assert "resumed at step" in "\n".join(lines_of(tmp_path, "log.txt"))


@pytest.mark.slow
def test_a_stopped_force_goes_on_where_it_was_stopped(tmp_path, monkeypatch):
    from benchmark.training.train import Training

    arguments = ("--method", "erm", "--all-splits", "--checkpoint-every", "0")
    assert command(tmp_path, *arguments) == 0
    original, started = Training.run, []

    def stopped(self, watcher):
        started.append(self.spec.target)
        if len(started) == 2:
            raise KeyboardInterrupt
        return original(self, watcher)

    monkeypatch.setattr(Training, "run", stopped)
    assert command(tmp_path, *arguments, "--force") == 130
    monkeypatch.undo()
    asides = sorted(p.name for p in tmp_path.rglob("*~*") if p.is_dir())
    assert len(asides) == 3 and all(name.endswith("~1") for name in asides)
    done = {p: p.stat().st_mtime_ns for p in results(tmp_path) if "~" not in p.parent.name}
    assert len(done) == 1
    assert command(tmp_path, *arguments, "--force") == 0
    assert sorted(p.name for p in tmp_path.rglob("*~*") if p.is_dir()) == asides
    assert {p: p.stat().st_mtime_ns for p in done} == done
    # All of it has ended, so that now --force means what it says again.
    assert command(tmp_path, *arguments, "--force") == 0
    assert len([p for p in tmp_path.rglob("*~2") if p.is_dir()]) == 3


def test_results_default_to_a_folder_under_the_working_directory(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run.main([*BASE, "--method", "erm", "--sources", "d1", "--target", "d2"]) == 0
    assert len(results(Path("results/runs"))) == 1


@pytest.mark.slow
def test_two_commands_at_once_both_end_with_every_run_done(tmp_path):
    arguments = [
        sys.executable,
        "-m",
        "benchmark.run",
        *BASE,
        "--results",
        str(tmp_path),
        "--method",
        "erm",
        "joint",
        "--all-splits",
        "--seeds",
        "0",
        "1",
    ]
    both = [subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    out = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert len(results(tmp_path)) == 12
    assert not [p for p in tmp_path.rglob("status.json") if '"state": "done"' not in p.read_text()]
    assert "12 done" in out[0] or "12 done" in out[1]
