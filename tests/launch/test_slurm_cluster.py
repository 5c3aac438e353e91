"""The cluster that other tests use is a real one: it queues, shares GPUs, requeues, restarts."""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest
import slurm_cluster
import submitit
from slurm_cluster import Cluster, slurm

__all__ = ["slurm"]  # pytest finds the fixture here

pytestmark = pytest.mark.slurm


def run(*command: str, environment: Mapping[str, str] | None = None) -> str:
    done = subprocess.run(command, check=True, capture_output=True, text=True, env=environment)
    return done.stdout.strip()


def submit(
    folder: Path, script: str, *options: str, environment: Mapping[str, str] | None = None
) -> str:
    """Submit a script whose output goes to `folder`/<job>.out; return the job's number."""
    output = f"--output={folder}/%j.out"
    command = ("sbatch", "--parsable", "--open-mode=append", output, *options, "--wrap", script)
    return run(*command, environment=environment)


def state(job: str) -> str:
    return run("squeue", "--states=all", "--noheader", "--format=%T", f"--jobs={job}")


def wait(until: Callable[[], bool], seconds: float = 60) -> None:
    give_up = time.monotonic() + seconds
    while not until():
        assert time.monotonic() < give_up, run("squeue", "--states=all", "--long")
        time.sleep(0.1)


def processes(cluster: Cluster) -> list[int]:
    """Return the processes started with this cluster's SLURM_CONF: its daemons and its jobs."""
    variable = f"SLURM_CONF={cluster.conf}".encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # of others, or gone
            if variable in (process / "environ").read_bytes().split(b"\0"):
                found.append(int(process.name))
    return found


def test_a_job_sees_the_gpu_it_asked_for(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(tmp_path, 'echo "gpu $CUDA_VISIBLE_DEVICES of $(hostname)"', "--gres=gpu:1")
    wait(lambda: state(job) == "COMPLETED")
    assert (tmp_path / f"{job}.out").read_text() == f"gpu 0 of {run('hostname')}\n"


def test_a_job_without_gpus_sees_none(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(tmp_path, 'echo "gpu ${CUDA_VISIBLE_DEVICES-unset}"')
    wait(lambda: state(job) == "COMPLETED")
    assert (tmp_path / f"{job}.out").read_text() == "gpu unset\n"


def test_two_jobs_share_the_two_gpus_and_a_third_waits(slurm: Cluster, tmp_path: Path) -> None:
    script = "echo $CUDA_VISIBLE_DEVICES; sleep 300"
    first, second = (submit(tmp_path, script, "--gres=gpu:1") for _ in range(2))
    outputs = [tmp_path / f"{job}.out" for job in (first, second)]
    wait(lambda: all(output.exists() and output.read_text() for output in outputs))
    third = submit(tmp_path, script, "--gres=gpu:1")
    assert [state(first), state(second), state(third)] == ["RUNNING", "RUNNING", "PENDING"]
    assert {output.read_text().strip() for output in outputs} == {"0", "1"}
    run("scancel", first, second, third)


def test_a_requeued_job_starts_again_within_a_minute(slurm: Cluster, tmp_path: Path) -> None:
    job = submit(tmp_path, "echo start ${SLURM_RESTART_COUNT:-0}; sleep 300", "--requeue")
    output = tmp_path / f"{job}.out"
    wait(lambda: output.exists() and "start 0" in output.read_text())
    run("scontrol", "requeue", job)
    wait(lambda: "start 1" in output.read_text(), seconds=60)
    run("scancel", job)


def test_jobs_outlive_a_restart_of_the_controller(slurm: Cluster, tmp_path: Path) -> None:
    ends = tmp_path / "ends"
    running = submit(tmp_path, f"until test -e {ends}; do sleep 0.1; done; echo ended")
    wait(lambda: state(running) == "RUNNING")
    queued = submit(tmp_path, "echo after", f"--dependency=afterok:{running}")
    slurm.stop_controller()
    with pytest.raises(subprocess.CalledProcessError):
        run("scontrol", "ping")
    slurm.start_controller()
    assert [state(running), state(queued)] == ["RUNNING", "PENDING"]
    ends.touch()
    wait(lambda: state(queued) == "COMPLETED")
    assert (tmp_path / f"{running}.out").read_text() == "ended\n"
    assert (tmp_path / f"{queued}.out").read_text() == "after\n"


def test_a_drained_node_leaves_jobs_in_the_queue(slurm: Cluster, tmp_path: Path) -> None:
    slurm.drain()
    try:
        job = submit(tmp_path, "true")
        time.sleep(3)  # longer than it takes a job to start
        assert state(job) == "PENDING"
    finally:
        slurm.resume()
    wait(lambda: state(job) == "COMPLETED")


def test_submitit_gets_the_results_of_an_array(slurm: Cluster, tmp_path: Path) -> None:
    executor = submitit.AutoExecutor(tmp_path, cluster="slurm")
    executor.update_parameters(timeout_min=5, cpus_per_task=1)
    jobs = executor.map_array(pow, [2, 3, 4], [5, 5, 5])
    # Without accounting submitit never learns that a job failed: result() could wait for ever.
    wait(lambda: all(job.done() for job in jobs))
    assert [job.result() for job in jobs] == [32, 243, 1024]
    assert len({job.job_id.split("_")[0] for job in jobs}) == 1


@pytest.mark.parametrize("controller", ["running", "stopped"])
def test_stop_ends_every_process_even_of_a_job_that_ignores_signals(controller: str) -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as name:
        folder = Path(name)
        cluster = Cluster.start(folder)
        try:
            script = f"trap '' TERM; echo $$ > {folder}/pid; while true; do sleep 0.1; done"
            environment = {**os.environ, **cluster.environment}
            submit(folder, script, environment=environment)
            wait(lambda: (folder / "pid").exists() and bool((folder / "pid").read_text()))
            assert len(processes(cluster)) >= 4  # three daemons and the job
            if controller == "stopped":
                cluster.stop_controller()
        finally:
            cluster.stop()
        assert processes(cluster) == []


def test_started_by_hand_it_runs_until_interrupted() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        command = [sys.executable, slurm_cluster.__file__, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as by_hand:
            assert by_hand.stdout is not None
            line = by_hand.stdout.readline()
            by_hand.send_signal(signal.SIGINT)
            assert by_hand.wait(60) == 0
        assert line == f"export SLURM_CONF={Cluster(Path(folder)).conf}\n"
        assert processes(Cluster(Path(folder))) == []


def test_its_daemons_end_with_a_killed_session() -> None:
    with tempfile.TemporaryDirectory(dir="/tmp") as folder:
        cluster = Cluster(Path(folder))
        command = [sys.executable, slurm_cluster.__file__, folder]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as by_hand:
            assert by_hand.stdout is not None
            assert by_hand.stdout.readline()
            by_hand.kill()
        wait(lambda: processes(cluster) == [])


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert slurm_cluster.missing() == []
    monkeypatch.setattr(slurm_cluster, "SEARCHED", "")
    assert slurm_cluster.missing() == list(slurm_cluster.BINARIES)
