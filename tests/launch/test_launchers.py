"""Launchers without a cluster, and the table that names all of them."""

import pytest
from launcher_contract import LauncherContract

from benchmark.launch import launchers
from benchmark.launch.launchers import LaunchOptions
from mmdg_common import UsageError


@pytest.mark.slow
class TestInline(LauncherContract):
    options = ("--launcher", "inline")


@pytest.mark.slow
class TestLocal(LauncherContract):
    options = ("--launcher", "local", "--processes", "2")


def test_every_launcher_says_whether_it_waits():
    made = {name: launchers.create(name, LaunchOptions()) for name in launchers.LAUNCHERS}
    assert {name: launcher.waits for name, launcher in made.items()} == {
        "inline": True,
        "local": True,
        "slurm": False,
    }


def test_an_unknown_launcher_names_the_nearest():
    with pytest.raises(UsageError, match=r"unknown launcher 'slrum'\. Did you mean 'slurm'"):
        launchers.create("slrum", LaunchOptions())
