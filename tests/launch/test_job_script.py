"""What a profile, a path or a grid's name may put into a job script: never a line of its own."""

import re
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from support import tiny_specs

from benchmark import sweep
from benchmark.launch import job_script, profile
from benchmark.launch.profile import Profile
from mmdg_common import UsageError

GRID = "dataset: synthetic\nall-splits: true\nmethod: erm\nepochs: 1\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    (tmp_path / "grid.yaml").write_text(GRID)
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "key",
    [
        *("partition", "account", "qos", "constraint", "exclude", "memory"),
        *("cluster", "python", "apptainer", "binds"),
    ],
)
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
        'srun: {mpi: "a\\nb"}',
        'overrides: [{when: {method: erm}, qos: "a\\nb"}]',
    ],
)
def test_so_is_one_anywhere_else(here, text):
    Path("site.yaml").write_text(f"{text}\n")
    with pytest.raises(UsageError, match="more than one line of the job script; write one per"):
        profile.read("site.yaml")


@pytest.mark.parametrize("command", ["sbatch", "srun"])
@pytest.mark.parametrize("name", ["--hold", "a b", "a\\nb", "-x"])
def test_a_key_of_sbatch_or_srun_is_the_name_of_an_option(here, name, command):
    Path("site.yaml").write_text(f'{command}: {{"{name}": x}}\n')
    with pytest.raises(UsageError, match=f"is no option of {command}"):
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


def test_python_is_the_one_of_the_profile_or_in_its_container(tmp_path):
    results = tmp_path / "my results"
    assert job_script.python(Profile(), [results]) == sys.executable
    own = Profile(python="$HOME/venv/bin/python")
    assert job_script.python(own, [results]) == "$HOME/venv/bin/python"
    boxed = Profile(apptainer="$HOME/a.sif", gpus="a100:1", binds=("/scratch:/data",))
    assert job_script.python(boxed, [results, results]) == (
        f"apptainer exec --nv --bind '{results}' --bind /scratch:/data $HOME/a.sif python3"
    )
    assert job_script.python(replace(own, apptainer="a.sif"), []) == (
        "apptainer exec a.sif $HOME/venv/bin/python"
    )


def test_runs_are_grouped_by_what_their_jobs_need(tmp_path):
    path = tmp_path / "site.yaml"
    path.write_text(
        "memory: 8G\ngpus: 1\noverrides:\n"
        "- when: {method: joint}\n  memory: [32G, 64G]\n"
        "- when: {modalities: m3+m1, method: 'erm,joint'}\n  gpus: 2\n  memory: 16G\n"
    )
    read = profile.read(str(path))
    specs = [
        tiny_specs(tmp_path, method, modalities=[f"m1+{other}"])[0]
        for method in ("erm", "joint", "ema")
        for other in ("m2", "m3")
    ]
    found = [
        (needs.memory, needs.gpus, [(spec.method, spec.modalities[1]) for spec in group])
        for needs, group in read.groups(specs)
    ]
    assert found == [
        (("8G",), "1", [("erm", "m2"), ("ema", "m2"), ("ema", "m3")]),
        (("16G",), "2", [("erm", "m3")]),
        (("32G", "64G"), "1", [("joint", "m2")]),
        (("16G",), "2", [("joint", "m3")]),
    ]


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("cluster: a,b", "line 1: name one cluster; submit once with a profile for each"),
        ("overrides: {gpus: 2}", "line 1: a list is wanted here"),
        ("overrides:\n- gpus: 2", "line 2: an override says of which runs, such as when:"),
        (
            "overrides:\n- when: {methd: erm}\n  gpus: 2",
            "line 2: unknown key 'methd'. Did you mean 'method'?",
        ),
        (
            "overrides:\n- when: {method: erm}\n  memroy: 2G",
            "line 3: unknown key 'memroy'. Did you mean 'memory'?",
        ),
        ("overrides:\n- {when: {method: erm}, time: soon}", "line 2: time is in minutes"),
        ("overrides:\n- {when: {method: erm}, stage: /x}", "line 2: unknown key 'stage'"),
    ],
)
def test_what_is_wrong_in_a_profile_is_one_line(here, text, error):
    Path("site.yaml").write_text(text + "\n")
    with pytest.raises(UsageError, match=re.escape(error)):
        profile.read("site.yaml")
