"""The SLURM launcher keeps the contract of launchers, on a real cluster."""

import subprocess

import pytest
from launcher_contract import LauncherContract
from slurm_cluster import Cluster, slurm  # noqa: F401  (a fixture)
from support import until

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


class TestSlurm(LauncherContract):
    options = ("--launcher", "slurm", "--profile", "site.yaml", "--device", "cpu")

    @pytest.fixture(autouse=True)
    def _cluster(self, _folder: None, slurm: Cluster) -> None:  # noqa: F811
        (self.folder / "site.yaml").write_text("partition: debug\ngpus: 1\ntime: 30\nsignal: 10\n")

    def settle(self) -> None:
        """Wait until the queue is empty."""
        until("an empty queue", lambda: not queue())


def queue() -> str:
    return subprocess.run(["squeue", "-h"], capture_output=True, text=True, check=True).stdout
