"""Methods and datasets of other installed packages, found through their entry points."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from support import install

METHOD = """
from methods import register
from methods.erm import ERM

@register("{name}")
class {cls}(ERM):
    paper = "{cls}"
"""
UNDECORATED = """
from methods.erm import ERM

class Plain(ERM):
    pass
"""
DATASET = """
from datasets import register
from datasets.synthetic import Synthetic

@register("made_up")
class MadeUp(Synthetic):
    pass
"""
PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def run(tmp_path):
    """Return a function that runs Python code with the folder on its path."""

    def execute(code, *arguments):
        return subprocess.run(
            [sys.executable, "-c", code, *arguments],
            env=os.environ | {"PYTHONPATH": str(tmp_path)},
            cwd=PROJECT,
            capture_output=True,
            text=True,
        )

    return execute


@pytest.mark.slow
def test_methods_and_datasets_of_an_installed_package_are_found(tmp_path, run):
    install(
        tmp_path,
        "lab",
        {
            "lab_one": METHOD.format(name="lab_one", cls="One"),
            "lab_two": METHOD.format(name="lab_two", cls="Two"),
            "lab_plain": UNDECORATED,
            "lab_data": DATASET,
            "broken": "import nowhere",
        },
        methods={
            "anything": "lab_one",
            "lab_two": "lab_two:Two",
            "lab_plain": "lab_plain:Plain",
            "worse": "broken",
        },
        datasets={"made_up": "lab_data"},
    )
    done = run(
        "import sys, datasets, methods\n"
        "from benchmark.run import main\n"
        "print({'lab_one', 'lab_two', 'lab_plain', 'erm'} <= set(methods.names()))\n"
        "print(methods.create('swad+lab_plain').inner.name, methods.canonical('ema+lab_two'))\n"
        "print(datasets.get('made_up').__module__, 'made_up' in datasets.names(), flush=True)\n"
        "arguments = ['--smoke', '--threads', '1', '--results', sys.argv[1], '--method']\n"
        "print(main([*arguments, 'lab_one']), main([*arguments, 'worse']))",
        str(tmp_path / "results"),
    )
    lines = done.stdout.splitlines()
    assert lines[:3] == ["True", "lab_plain ema+lab_two", "lab_data True"]
    assert lines[-1] == "0 2", done.stderr
    assert list((tmp_path / "results" / "runs").rglob("lab_one/**/result.json"))
    warning, *_, error = done.stderr.splitlines()
    assert warning.startswith("warning: The method 'worse' of the installed package 'lab' (broken)")
    assert "unknown method 'worse'" in error
    assert warning.removeprefix("warning: ") in error


# The rest with a registry that imports nothing slow.

HOUSE = """
from mmdg_common import Registry

registry = Registry("thing", __name__)
register = registry.register
"""
ROOM = """
from house import register

@register("{name}")
class {cls}:
    pass
"""


def build_house(site):
    (site / "house").mkdir()
    (site / "house" / "__init__.py").write_text(HOUSE)
    (site / "house" / "kitchen.py").write_text(ROOM.format(name="kitchen", cls="Kitchen"))
    (site / "house" / "__main__.py").write_text("raise SystemExit('a command, and no room')")


LOOK_UP = "import sys, house; print(house.registry[sys.argv[1]].__module__)"


@pytest.mark.parametrize(
    ("text", "value", "reason"),
    [
        ("import nowhere", "lab", "ModuleNotFoundError: No module named 'nowhere'"),
        ("def oops(:", "lab", "SyntaxError"),
        ("x = 1", "lab:Missing", "AttributeError"),
        ("raise RuntimeError('bad luck')", "lab", "RuntimeError: bad luck"),
    ],
)
def test_a_broken_entry_point_is_told_of_once_and_breaks_nothing_else(
    tmp_path, run, text, value, reason
):
    build_house(tmp_path)
    install(tmp_path, "broken_lab", {"lab": text}, house={"attic": value})
    code = "import house; house.registry.names(); print(*house.registry.names())"
    done = run(f"{code}; house.registry['kitchen']; house.registry['attic']")
    assert done.stdout == "kitchen\n"
    warning, *_, error = done.stderr.splitlines()
    assert done.stderr.count("warning:") == 1
    assert "The thing 'attic' of the installed package 'broken_lab'" in warning
    assert reason in warning
    assert error.startswith("mmdg_common.UsageError: unknown thing 'attic'.")
    assert error.endswith(warning.removeprefix("warning: "))


@pytest.mark.parametrize("taken", ["kitchen", "cellar"])
def test_a_name_taken_twice_is_an_error_that_names_both_when_it_is_asked_for(tmp_path, run, taken):
    build_house(tmp_path)
    cellar, mine = ROOM.format(name="cellar", cls="Cellar"), ROOM.format(name=taken, cls="Mine")
    install(tmp_path, "a_lab", {"a_module": cellar}, house={"a": "a_module"})
    install(tmp_path, "b_lab", {"b_module": mine}, house={"b": "b_module"})
    first = "house.kitchen.Kitchen" if taken == "kitchen" else "a_module.Cellar"
    both = f"thing '{taken}' is registered twice, by {first} and by b_module.Mine"
    other = run(LOOK_UP, "cellar" if taken == "kitchen" else "kitchen")
    assert other.stdout == ("a_module\n" if taken == "kitchen" else "house.kitchen\n")
    assert both in other.stderr
    assert "'b_lab'" in other.stderr
    asked = run(LOOK_UP, taken)
    assert asked.returncode == 1
    assert f"UsageError: {both}" in asked.stderr


def test_a_module_that_looks_up_names_when_it_is_loaded_finds_those_of_the_house(tmp_path, run):
    build_house(tmp_path)
    curious = "from house import registry; seen = registry.names(); registry['kitchen']"
    install(tmp_path, "lab", {"lab": curious}, house={"a": "lab"})
    done = run("import house; house.registry.names(); import lab; print(*lab.seen)")
    assert (done.stdout, done.stderr) == ("kitchen\n", "")


def test_importing_the_packages_loads_no_entry_point(tmp_path, run):
    install(
        tmp_path, "lab", {"lab": "print('loaded')"}, methods={"a": "lab"}, datasets={"b": "lab"}
    )
    code = (
        "import sys, datasets, methods, benchmark.run\n"
        "try: benchmark.run.main(['--help'])\n"
        "except SystemExit: pass\n"
        "assert 'torch' not in sys.modules and 'lab' not in sys.modules"
    )
    done = run(code)
    assert done.returncode == 0, done.stderr
    assert "loaded" not in done.stdout
