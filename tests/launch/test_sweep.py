"""The sweep command without a cluster: inline and local, the plan, and what goes wrong."""

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support import heed_ctrl_c, numbers

from benchmark import sweep
from benchmark.launch import local, profile, snapshot
from benchmark.launch.profile import Profile
from benchmark.planning import request as from_options
from benchmark.records import claims
from benchmark.records.store import Store
from mmdg_common import UsageError

PROJECT = Path(__file__).resolve().parents[2]
GRID = """
dataset: synthetic
dataset-option: {domains: 3, samples_per_class: 5}
all-splits: true
epochs: 2
method: [erm, mbcd]
"""
LONGER = """
dataset: synthetic
sources: [d1, d2]
target: d3
steps: 120
validate-every: 60
checkpoint-every: 0.4
seeds: [0, 1]
method: erm
"""


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory with a grid of six runs."""
    (tmp_path / "grid.yaml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def measured(results: Path):
    return {
        spec.id: (numbers(folder), (folder.path / "predictions.npz").read_bytes())
        for spec, folder in Store(results).all()
    }


def starts(results: Path) -> list[int]:
    return [(f.path / "log.txt").read_text().count("started") for _, f in Store(results).all()]


def started(*options: str, **more) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "benchmark.sweep", "grid.yaml", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
    return subprocess.Popen(command, **pipes, **more, preexec_fn=heed_ctrl_c)


@pytest.mark.slow
def test_inline_and_local_give_the_same_bits(here, capsys):
    assert sweep.main(["grid.yaml", "--results", "inline"]) == 0
    assert re.search(r"6 runs +6 +·", capsys.readouterr().out)
    process = started("--results", "local", "--launcher", "local", "--processes", "3")
    out, err = process.communicate()
    assert (process.returncode, err) == (0, ""), out
    assert len(measured(Path("local"))) == 6
    assert measured(Path("inline")) == measured(Path("local"))
    pids = {json.loads(p.read_text())["pid"] for p in Path("local").rglob("claim-1.json")}
    assert len(pids) == 3
    before = {p: p.stat().st_mtime_ns for p in here.rglob("result.json")}
    assert sweep.main(["grid.yaml", "--results", "local", "--launcher", "local"]) == 0
    assert {p: p.stat().st_mtime_ns for p in here.rglob("result.json")} == before


@pytest.mark.slow
def test_a_killed_worker_is_replaced_and_its_run_resumes(here):
    (here / "grid.yaml").write_text(LONGER)
    process = started("--launcher", "local", "--processes", "2")
    give_up = time.monotonic() + 60
    while not (found := [f for _, f in Store(Path("results")).all() if f.checkpoint.exists()]):
        assert time.monotonic() < give_up and process.poll() is None
        time.sleep(0.05)
    victim = claims.owner(found[0].path)
    assert victim["pid"] != process.pid
    os.kill(victim["pid"], signal.SIGKILL)
    out, err = process.communicate(timeout=300)
    assert (process.returncode, err) == (0, ""), out
    log = (found[0].path / "log.txt").read_text()
    assert re.fullmatch(r"\S+ \S+ started\n\S+ \S+ resumed at step \d+\n\S+ \S+ done\n", log), log
    assert len(re.findall(r"^2 processes trained for [\d.]+ s and waited for ", out, re.M)) == 1
    assert sweep.main(["grid.yaml", "--results", "inline"]) == 0
    assert measured(Path("inline")) == measured(Path("results"))


@pytest.mark.slow
@pytest.mark.parametrize("kind", [signal.SIGTERM, signal.SIGINT, signal.SIGKILL])
def test_a_launcher_that_is_stopped_leaves_runs_that_resume_and_no_process(here, kind):
    # Long enough for both to be at work, however long a worker takes to start.
    (here / "grid.yaml").write_text(LONGER.replace("steps: 120", "steps: 240"))
    process = started("--launcher", "local", "--processes", "2")
    give_up = time.monotonic() + 60
    while len(list(here.rglob("checkpoint.pt"))) < 2:
        assert time.monotonic() < give_up and process.poll() is None
        time.sleep(0.05)
    workers = {claims.owner(p.parent)["pid"] for p in here.rglob("claim-1.json")}
    process.send_signal(kind)
    process.communicate(timeout=60)
    assert process.returncode == (130 if kind == signal.SIGINT else -kind)
    give_up = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < give_up, "a worker lives on without its launcher"
        time.sleep(0.1)
    states = {f.status().state for _, f in Store(Path("results")).all()}
    assert states == {"interrupted"}
    assert sweep.main(["grid.yaml", "--launcher", "inline"]) == 0
    assert starts(Path("results")) == [1, 1]


@pytest.mark.slow
def test_a_worker_that_cannot_start_does_not_keep_the_launcher_for_ever(here, monkeypatch, capsys):
    monkeypatch.setattr(local, "_work", os._exit)  # called with a pipe: an error at once
    assert sweep.main(["grid.yaml", "--launcher", "local", "--processes", "2"]) == 1
    shown = capsys.readouterr()
    assert shown.out.count("processes died") == 6
    assert re.search(r"6 runs +· +· +· +6", shown.out)
    assert "6 runs are left to do" in shown.err


def test_gpus_and_cores_decide_how_many_processes_there_are(monkeypatch, tmp_path):
    import torch

    from benchmark.settings import RunSettings

    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)))
    assert local._shares(RunSettings(tmp_path, threads=3)) == 2
    assert local._shares(RunSettings(tmp_path, threads=1, workers=1)) == 4
    assert local._shares(RunSettings(tmp_path, threads=16)) == 1
    assert local.gpus(RunSettings(tmp_path, device="cpu")) == []
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    assert local.gpus(RunSettings(tmp_path, device="auto")) == ["0", "1"]
    assert local.gpus(RunSettings(tmp_path, device="cuda:1")) == []
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    assert local.gpus(RunSettings(tmp_path, device="auto")) == ["4", "7"]
    with local._seeing("7"):
        assert os.environ["CUDA_VISIBLE_DEVICES"] == "7"
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "4,7"


def test_a_dry_run_counts_and_estimates_from_earlier_records(here, capsys):
    assert sweep.main(["grid.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"6 runs +· +· +· +6", out)
    assert "6 runs to do have no earlier record on cpu with 1 thread" in out
    assert not (here / "results").exists()
    assert sweep.main(["grid.yaml"]) == 0
    set_seconds(here / "results/runs/synthetic/erm", 100.0)
    (here / "grid.yaml").write_text(GRID.replace("[erm, mbcd]", "[erm, joint]") + "seeds: [0, 1]\n")
    capsys.readouterr()
    assert sweep.main(["grid.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    assert re.search(r"dataset +row +done +to do +time", out)
    assert re.search(r"synthetic +erm +3 +3 +5 min", out)
    assert re.search(r"12 runs +3 +9 +\d+ min", out)
    assert re.search(r"9 runs to do take about \d+ min in all on cpu with 1 thread: ", out)
    assert ": 3 by earlier runs alike, 6 by earlier runs of other methods\n" in out


def set_seconds(folder: Path, seconds: float) -> None:
    for path in folder.rglob("result.json"):
        result = json.loads(path.read_text())
        result["provenance"]["wall_s"] = seconds
        path.write_text(json.dumps(result))


ORDERED = """
dataset: synthetic
dataset-option: {domains: 3, samples_per_class: 5}
all-splits: true
epochs: 1
seeds: [1, 0]
runs:
- {label: plain, method: erm}
- {label: ours, method: joint}
"""


def begun(out: str) -> list[tuple[str, str, int]]:
    """Return the runs that a launcher began, in its order: method, target, seed."""
    found = re.findall(r"\[\d+/\d+\] (\w+) · .* → (d\d) · .* seed (\d)", out)
    return [(method, target, int(seed)) for method, target, seed in found]


@pytest.mark.parametrize(
    "launcher",
    ["inline", pytest.param("local", marks=pytest.mark.slow)],
)
def test_launchers_carry_out_runs_in_the_order_that_is_asked_for(here, capsys, launcher):
    (here / "grid.yaml").write_text(ORDERED)
    seeds = [("erm", "d1", 1), ("joint", "d1", 1), ("erm", "d1", 0), ("joint", "d1", 0)]
    rows = [seeds[i] for i in (0, 2, 1, 3)]
    options = ["--launcher", launcher, "--processes", "1", "--only", "target=d1"]
    for given, expected in (([], seeds), (["--order", "row"], rows)):
        where = ["--results", f"{len(given)}"]
        assert sweep.main(["grid.yaml", *options, *given, *where]) == 0
        assert begun(capsys.readouterr().out) == expected
    set_seconds(Path("0/runs/synthetic/joint"), 9.0)
    set_seconds(Path("0/runs/synthetic/erm"), 3.0)
    options[-1] = "target=d2"
    assert sweep.main(["grid.yaml", *options, "--order", "longest", "--results", "0"]) == 0
    longest = [("joint", "d2", 1), ("joint", "d2", 0), ("erm", "d2", 1), ("erm", "d2", 0)]
    assert begun(capsys.readouterr().out) == longest


def test_only_narrows_all_that_the_command_does(here, capsys, monkeypatch):
    (here / "grid.yaml").write_text(ORDERED)
    only = ["--only", "row=plain", "seed=0"]
    for mode in ("--dry-run", "--status", "--watch"):
        assert sweep.main(["grid.yaml", *only, mode]) in (0, 1)
        out = capsys.readouterr().out
        assert re.search(r"synthetic +plain +· +· +· +3", out) and "ours" not in out
    assert sweep.main(["grid.yaml", *only, "--only", "target=d2"]) == 0
    capsys.readouterr()
    assert sweep.main(["grid.yaml", "--status"]) == 0
    assert re.search(r"12 runs +1 +· +· +11", capsys.readouterr().out)
    folder = next(folder for _, folder in Store(Path("results")).all())
    (folder.path / "result.json").unlink()
    folder.write_status("failed", error="broken")
    assert sweep.main(["grid.yaml", "--only", "row=ours", "--retry-failed"]) == 1
    assert folder.status().state == "failed"
    assert sweep.main(["grid.yaml", "--only", "row=plain", "target=d2", "--retry-failed"]) == 1
    assert folder.status().state == "done"
    assert sweep.main(["grid.yaml", "--only", "row=our"]) == 2
    assert "unknown row of the grid 'our'. Did you mean 'ours'?" in capsys.readouterr().err


def test_a_dataset_that_is_left_out_needs_no_data(here, capsys, monkeypatch):
    monkeypatch.delenv("MMDG_DATA", raising=False)
    (here / "grid.yaml").write_text(
        "all-splits: true\nmethod: erm\nweights: {video: none}\n"
        "runs: [{dataset: hac}, {dataset: synthetic}]\n"
    )
    assert sweep.main(["grid.yaml", "--dry-run"]) == 2
    assert "hac" in capsys.readouterr().err
    assert sweep.main(["grid.yaml", "--dry-run", "--only", "dataset=synthetic"]) == 0
    assert re.search(r"4 runs +· +· +· +4", capsys.readouterr().out)


def test_a_budget_is_spent_on_the_next_runs_until_it_is_used_up(here, capsys):
    (here / "grid.yaml").write_text(ORDERED)
    assert sweep.main(["grid.yaml", "--budget", "1h"]) == 2
    error = capsys.readouterr().err
    assert "12 of 12 runs have no earlier record on cpu with 1 thread" in error
    (only,) = re.findall(r"with (--only seed=1 target=d1) in place of --budget", error)
    assert sweep.main(["grid.yaml", *only.split()]) == 0
    set_seconds(here / "results", 3600.0)
    capsys.readouterr()
    budget = ["--budget", "2.5h"]
    assert sweep.main(["grid.yaml", "--dry-run", *budget]) == 0
    told = "--budget: 2 of 10 runs now, about 2.0 h in all; 8 left out, about 8.0 h\n"
    out = capsys.readouterr().out
    assert told in out and re.search(r"12 runs +2 +10 +10.0 h", out)
    assert sweep.main(["grid.yaml", *budget]) == 1
    shown = capsys.readouterr()
    assert told in shown.out and "8 runs are left to do" in shown.err
    assert begun(shown.out) == [("erm", "d2", 1), ("erm", "d3", 1)]
    assert sweep.main(["grid.yaml", "--budget", "1 week"]) == 2
    assert "--budget: type a time such as 90m, 200h or 2d" in capsys.readouterr().err


def test_failed_runs_are_named_and_wait_for_a_retry(here, monkeypatch, capsys):
    from benchmark.training.train import Training

    whole = Training.run

    def broken(self, watcher):
        if self.spec.method == "mbcd":
            raise LookupError("no such thing")
        return whole(self, watcher)

    monkeypatch.setattr(Training, "run", broken)
    assert sweep.main(["grid.yaml"]) == 1
    shown = capsys.readouterr()
    assert re.search(r"6 runs +3 +· +· +· +3", shown.out)
    assert "3 runs, such as mbcd · synthetic" in shown.err and "--retry-failed" in shown.err
    assert shown.err.count("LookupError: no such thing") == 1
    (log,) = re.findall(r"^  (results/runs/synthetic/mbcd/.*/log.txt)$", shown.err, re.MULTILINE)
    assert "LookupError: no such thing" in Path(log).read_text()
    monkeypatch.undo()
    monkeypatch.chdir(here)
    assert sweep.main(["grid.yaml"]) == 1  # a plain command leaves them alone
    assert sweep.main(["grid.yaml", "--status"]) == 1
    assert sweep.main(["grid.yaml", "--watch"]) == 1
    capsys.readouterr()
    assert sweep.main(["grid.yaml", "--retry-failed"]) == 0
    assert re.search(r"6 runs +6 +·", capsys.readouterr().out)


def test_where_the_queue_cannot_be_asked_the_state_is_shown_all_the_same(here, monkeypatch, capsys):
    """As on a laptop that mounts the cluster's results."""
    jobs = Path("results/slurm/jobs")
    jobs.mkdir(parents=True)
    (jobs / "1.json").write_text('{"owner": "me@cluster", "jobs": ["1_0"], "runs": ["a"]}')
    monkeypatch.setenv("PATH", "/nowhere")
    assert sweep.main(["grid.yaml", "--status"]) == 0
    shown = capsys.readouterr()
    assert "no squeue on this machine: which runs are in SLURM's queue is not known" in shown.out
    assert re.search(r"6 runs +· +· +· +6", shown.out) and not shown.err


def test_labels_name_the_rows(here, capsys):
    (here / "grid.yaml").write_text(
        GRID.replace("method: [erm, mbcd]\n", "")
        + "runs:\n- {label: plain, method: erm}\n- {label: ours, method: mbcd}\n"
        + "variants:\n- {}\n- {label: no neck, neck: none}\n"
    )
    assert sweep.main(["grid.yaml", "--dry-run"]) == 0
    out = capsys.readouterr().out
    for label in ("plain", "plain, no neck", "ours", "ours, no neck"):
        assert re.search(rf"synthetic +{label} +· +· +· +3", out), out


def test_wrong_use_is_one_line_and_exit_code_2(here, capsys):
    for options, error in (
        (["--launcher", "slrum"], "unknown launcher 'slrum'. Did you mean 'slurm'?"),
        (["--jobs", "-1"], "--jobs is a number from 1 to 100000, not -1"),
        (["--profile", "nope", "--launcher", "slurm"], "unknown profile 'nope'."),
        (["--weights", "m9=x"], "unknown modality of synthetic 'm9'."),
        (["--data-root", "a"], "--data-root a: say of which dataset"),
        (["--device", "cuda"], "--device cuda cannot be used"),
    ):
        assert sweep.main(["grid.yaml", *options]) == 2, options
        err = capsys.readouterr().err
        assert err.startswith(f"error: {error}") and err.count("\n") == 1, err
    assert sweep.main(["nothing.yaml"]) == 2
    assert "unknown grid 'nothing.yaml'" in capsys.readouterr().err


def test_folders_of_several_datasets_are_given_by_name(tmp_path):
    def roots(texts, wanted):
        return from_options.data_roots(texts, wanted, [tmp_path])

    given = roots(["hac=a", "epic_kitchens=b=c"], ["hac", "epic_kitchens", "synthetic"])
    assert given == {"hac": Path("a"), "epic_kitchens": Path("b=c")}
    assert roots(["some/dir"], ["hac", "synthetic"]) == {"hac": Path("some/dir")}
    with pytest.raises(UsageError, match="say of which dataset, such as epic_kitchens=DIR"):
        roots(["some/dir"], ["hac", "epic_kitchens"])
    with pytest.raises(UsageError, match=r"unknown dataset in --data-root 'hacc'\. Did you mean"):
        roots(["hacc=a"], ["hac", "epic_kitchens"])
    with pytest.raises(UsageError, match="with --data-root epic_kitchens=DIR, or fetch one"):
        roots(["hac=a"], ["hac", "epic_kitchens"])
    (tmp_path / "epic_kitchens").mkdir()
    assert roots(["hac=a"], ["hac", "epic_kitchens"]) == {"hac": Path("a")}


def test_help_does_not_import_torch():
    code = (
        "import sys, benchmark.sweep\n"
        "try: benchmark.sweep.main(['--help'])\n"
        "except SystemExit as e: assert e.code == 0\n"
        "assert 'torch' not in sys.modules and 'rich' not in sys.modules"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0 and "--jobs" in done.stdout, done.stderr


def test_a_profile_says_what_sbatch_is_asked_for(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(
        "partition: gpu\naccount: lab\ntime: 1-02:30\ngpus: a100:2\nmemory: 16G\nsignal: 90\n"
        "setup: [module load cuda]\nsbatch: {reservation: night, hold: true}\n"
    )
    read = profile.read(str(path))
    assert read.setup == ("module load cuda",)
    assert read.parameters(cores=3) == {
        "partition": "gpu",
        "account": "lab",
        "mem": "16G",
        "gres": "gpu:a100:2",
        "additional_parameters": {"requeue": True, "reservation": "night", "hold": True},
        "cpus_per_task": 3 * 2,
        "signal_delay_s": 90,
    }
    assert read.time == 26 * 60 + 30
    assert Profile(cpus=8).parameters(cores=3)["cpus_per_task"] == 8
    assert Profile(runs_at_once=4).parameters(cores=3)["cpus_per_task"] == 3 * 4
    assert [Profile(gpus=text).gpus_per_job for text in ("0", "2", "a100:2")] == [0, 2, 2]


@pytest.mark.parametrize(
    ("text", "minutes"),
    [("90", 90), ("10:30", 630), ("2:00:30", 121), ("0:00:20", 1), ("auto", None)],
)
def test_times_are_minutes_or_hours_and_minutes(tmp_path, text, minutes):
    (tmp_path / "a.yaml").write_text(f"time: {text}\n")
    assert profile.read(str(tmp_path / "a.yaml")).time == minutes


@pytest.mark.parametrize("text", ["0", "soon", "1:2", "-5"])
def test_a_time_that_is_none_is_refused(tmp_path, text):
    (tmp_path / "a.yaml").write_text(f"partition: a\ntime: {text}\n")
    with pytest.raises(UsageError, match=r"a\.yaml, line 2: time is in minutes"):
        profile.read(str(tmp_path / "a.yaml"))


def test_shipped_profiles_can_be_read():
    paths = sorted((PROJECT / "sweeps/profiles").glob("*.yaml"))
    assert paths
    for path in paths:
        assert profile.read(path.stem, path.parent) == profile.read(str(path))


def test_a_snapshot_is_the_code_with_its_commit_and_taken_once(tmp_path):
    first = snapshot.take(tmp_path / "code")
    mtime = first.stat().st_mtime_ns
    assert snapshot.take(tmp_path / "code") == first and first.stat().st_mtime_ns == mtime
    assert [p.name for p in (tmp_path / "code").iterdir()] == [first.name]
    code = (
        "import benchmark, methods, datasets, mmdg_common, sys\n"
        "from benchmark.records import provenance\n"
        "assert all(m.__file__.startswith(sys.argv[1]) for m in "
        "(benchmark, methods, datasets, mmdg_common))\n"
        "print(provenance.commit() or '')"
    )
    environment = {**os.environ, "PYTHONPATH": str(first), "PYTHONSAFEPATH": "1"}
    command = [sys.executable, "-c", code, str(first)]
    done = subprocess.run(command, env=environment, cwd=PROJECT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == (first / "COMMIT").read_text()
