"""What a profile, a path or a grid's name may put into a job script: never a line of its own."""

from pathlib import Path

import pytest

from benchmark import sweep
from benchmark.launch import profile
from mmdg_common import UsageError

GRID = "dataset: synthetic\nall-splits: true\nmethod: erm\nepochs: 1\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "grid.yaml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("key", ["partition", "account", "qos", "constraint", "exclude", "memory"])
def test_a_value_with_a_line_break_is_refused(here, key):
    Path("site.yaml").write_text(f'time: 5\n{key}: "a\\nrm -rf x"\n')
    with pytest.raises(UsageError, match=r"site\.yaml, line 2: .* more than one line of the job"):
        profile.read("site.yaml")


@pytest.mark.parametrize(
    "text",
    [
        'gpus: "1\\r\\nrm"',
        'setup: ["module load cuda\\nrm -rf x"]',
        "setup:\n- |\n  one\n  two",
        'sbatch: {reservation: "a\\nb"}',
    ],
)
def test_so_is_one_anywhere_else(here, text):
    Path("site.yaml").write_text(f"{text}\n")
    with pytest.raises(UsageError, match="more than one line of the job script; write one per"):
        profile.read("site.yaml")


@pytest.mark.parametrize("name", ["--hold", "a b", "a\\nb", "-x"])
def test_a_key_of_sbatch_is_the_name_of_an_option(here, name):
    Path("site.yaml").write_text(f'sbatch: {{"{name}": x}}\n')
    with pytest.raises(UsageError, match="is no option of sbatch"):
        profile.read("site.yaml")


def test_a_block_of_one_line_is_one_line(here):
    Path("site.yaml").write_text("setup:\n- |\n  module load\tcuda\nsbatch: {mail-user: me}\n")
    read = profile.read("site.yaml")
    assert read.setup == ("module load\tcuda",)
    assert read.sbatch == {"mail-user": "me"}


def test_a_path_or_name_with_a_line_break_is_refused(here, capsys, monkeypatch):
    def error(*words):
        assert sweep.main([*words]) == 2
        err = capsys.readouterr().err
        assert err.count("\n") == 1
        return err

    assert "a path cannot hold control characters" in error("grid.yaml", "--results", "a\nb")
    assert "a path cannot hold control characters" in error("a\nb.yaml")
    odd = here / "a\nb"
    odd.mkdir()
    (odd / "grid.yaml").write_text(GRID)
    monkeypatch.chdir(odd)
    assert "the job script cannot hold" in error("grid.yaml", "--launcher", "slurm")


def test_a_dry_run_checks_profile_and_device(here, capsys):
    Path("site.yaml").write_text("time: soon\n")
    for words, error in (
        (["--launcher", "slurm", "--profile", "site.yaml"], "site.yaml, line 1: time is in"),
        (["--launcher", "slurm", "--profile", "nope"], "unknown profile 'nope'."),
        (["--device", "cuda:77"], "--device cuda:77 cannot be used"),
        (["--launcher", "local", "--device", "cuda:77"], "--device cuda:77 cannot be used"),
        (["--device", "meta"], "--device meta: runs cannot compute there"),
        (["--launcher", "slurm", "--device", "meta"], "--device meta: runs cannot compute there"),
        (["--processes", "5000000"], "--processes 5000000: type a whole number from 0 to"),
        (["--jobs", "many"], "--jobs: invalid int value: 'many'"),
    ):
        assert sweep.main(["grid.yaml", "--dry-run", *words]) == 2, words
        out, err = capsys.readouterr()
        assert out == "" and err.startswith(f"error: {error}") and err.count("\n") == 1, err
    Path("site.yaml").write_text("time: 5\n")
    # Planning for a cluster needs neither the cluster nor its GPUs.
    fine = ["--launcher", "slurm", "--profile", "site.yaml", "--device", "cuda:77"]
    assert sweep.main(["grid.yaml", "--dry-run", *fine]) == 0
