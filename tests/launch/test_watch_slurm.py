"""Watching on a real cluster: jobs that are taken away, held, or cannot be asked about."""

import re
import subprocess

import pytest
from slurm_cluster import Cluster, slurm  # noqa: F401  (a fixture)
from slurm_sweeps import ONE, PROFILE, SLURM, Sweeps, queue, starts
from support import until

from benchmark.records import claims

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(900)]


@pytest.fixture
def sweeps(tmp_path, slurm: Cluster) -> Sweeps:  # noqa: F811
    return Sweeps(tmp_path)


def test_the_watch_submits_again_what_a_preemption_that_cancels_left(sweeps):
    (sweeps.folder / "grid.yaml").write_text(
        ONE + "method: mbcd\nsteps: 500\nvalidate-every: 100\ncheckpoint-every: 0.5\n"
    )
    watching = sweeps.start(*SLURM, "--watch", "--notify", 'echo "$MMDG_TEXT" > told')
    (folder,) = until("a run", sweeps.folders)
    until("a run that can be resumed", lambda: folder.mark())
    subprocess.run(["scancel", str(claims.owner(folder.path)["job"])], check=True)
    out, err = watching.communicate(timeout=600)
    assert (watching.returncode, err) == (0, ""), (out, err)
    assert out.count("submitted 1 of 1 jobs") == 2, out
    assert starts(folder)[0] == 1 and len(starts(folder)[1]) == 1
    assert (sweeps.folder / "told").read_text() == "grid.yaml: 1 done\n"


def test_held_jobs_are_named_with_what_to_do(sweeps):
    sweeps.grid("method: erm\nepochs: 1\n")
    (sweeps.folder / "site.yaml").write_text(PROFILE + "sbatch: {hold: true}\n")
    sweeps.submit("--jobs", "2")
    (array,) = {re.split("[_ ]", line)[0] for line in queue()}
    code, out, _ = sweeps.run("--status")
    assert code == 0 and re.search(r"3 runs +· +· +3 +·", out), out
    assert "queue for 3 runs: 2 jobs: 2 pending (JobHeldUser). JobHeldUser: held" in out, out
    assert f"to let it start: scontrol release {array}\n" in out, out
    subprocess.run(["scontrol", "release", array], check=True)
    code, out, err = sweeps.run("--watch")
    assert (code, err) == (0, ""), (out, err)


def test_a_controller_that_is_down_ends_no_watch(sweeps, slurm):  # noqa: F811
    sweeps.grid("method: erm\nepochs: 1\n")
    (sweeps.folder / "site.yaml").write_text(PROFILE + "sbatch: {hold: true}\n")
    sweeps.submit("--jobs", "1")
    (array,) = {re.split("[_ ]", line)[0] for line in queue()}
    slurm.stop_controller()
    try:
        watching = sweeps.start("--watch")
        assert watching.stdout and watching.stderr
        code, out, _ = sweeps.run("--status")
        assert code == 0 and "scontrol failed" in out and re.search(r"3 runs +·", out), out
        # It has asked, and goes on, before the controller is back.
        assert any("scontrol failed" in line for line in watching.stdout)
        assert watching.poll() is None
    finally:
        slurm.start_controller()
    subprocess.run(["scontrol", "release", array], check=True)
    # Not communicate(), which forgets what was read ahead of the line above.
    out, err = watching.stdout.read(), watching.stderr.read()
    assert (watching.wait(), err) == (0, ""), (out, err)
    assert re.search(r"3 runs +3 ", out), out
