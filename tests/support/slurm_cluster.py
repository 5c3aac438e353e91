"""A real SLURM cluster of one node for tests: munged, slurmctld and slurmd, without systemd.

    from slurm_cluster import Cluster, slurm    # the fixture `slurm` gives a running Cluster

By hand, until Ctrl-C (DIR short, for its path goes into names of sockets):

    python tests/support/slurm_cluster.py DIR
"""

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import randrange

import pytest

BINARIES = ("munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol", "scancel")
SEARCHED = os.pathsep.join((os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"))
LAST = ("slurmctld", "munged")
"""The daemons that end after those of the nodes."""
START_TIMEOUT_S = 60.0
STOP_TIMEOUT_S = 20.0  # of a daemon, and of all jobs, which have KillWait seconds of it to give up
INSTALL = "install the Debian packages `munge slurm-wlm`, as .ci/packages.txt lists them"

# AuthInfo: a munged of the cluster's own, so that neither root nor a host's munged is needed; a
#   requeued job is eligible cred_expire seconds later (120 by default).
# KillWait: a run whose job a test ends must not come to its end within it on a fast machine.
# SlurmdParameters: the node is what this file says, whatever the hardware has.
# SchedulerParameters: a job starts within a second instead of up to half a minute.
SLURM_CONF = """\
ClusterName=test
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={controller_port}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket,cred_expire=5
KillWait=2
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/slurmctld.pid
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmctldLogFile={folder}/slurmctld.log
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
AccountingStorageType=accounting_storage/none
JobAcctGatherType=jobacct_gather/none
SchedulerParameters=batch_sched_delay=0,sched_interval=2,sched_min_interval=0,bf_interval=1
SlurmdParameters=config_overrides
ReturnToService=2
MaxArraySize=10001
MaxJobCount=50000
GresTypes=gpu
PartitionName=debug Nodes=ALL Default=YES State=UP
"""
NODE = (
    "NodeName={node} NodeHostname={host} NodeAddr=127.0.0.1 Port={port} CPUs={cpus} "
    "RealMemory=16000 Gres=gpu:2 State=UNKNOWN\n"
)
# CUDA_VISIBLE_DEVICES is set only for GPUs with character devices; any that exist will do.
GRES_CONF = "NodeName={node} Name=gpu File=/dev/null,/dev/zero\n"
# No plugin in use needs cgroups, yet slurmd insists on one that starts; this one starts anywhere.
CGROUP_CONF = "CgroupPlugin=cgroup/v1\n"


class Cluster:
    """Nodes with two made-up GPUs each, all on this machine; jobs run as the user who started it.

    Attributes:
        folder: Configuration, state and logs.
        conf: What SLURM_CONF must be for clients.
        environment: The same as variables to add to a client's environment.
    """

    def __init__(
        self, folder: Path, nodes: int = 1, options: str = "", submit_lua: str = ""
    ) -> None:
        self.folder = folder.resolve()
        self.conf = self.folder / "slurm.conf"
        self.environment = {"SLURM_CONF": str(self.conf)}
        self._host = socket.gethostname().split(".")[0]
        # A single node has the machine's own name.
        self.nodes = [f"node{i + 1}" for i in range(nodes)] if nodes > 1 else [self._host]
        self._options, self._submit_lua = options, submit_lua
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    def start(
        cls, folder: Path, nodes: int = 1, options: str = "", submit_lua: str = ""
    ) -> "Cluster":
        """Write the configuration into `folder`, start the daemons, wait for idle nodes.

        Args:
            folder: of everything that the cluster writes.
            nodes: how many; each has a daemon of its own.
            options: further lines of slurm.conf.
            submit_lua: a job_submit.lua, which sees every job before it is taken.

        Raises:
            RuntimeError: Not idle within 60 s, or a daemon ended; with the ends of all logs.
        """
        cluster = cls(folder, nodes, options, submit_lua)
        try:
            cluster._configure()
            munge = cluster.folder / "munge"
            files = {"key-file": "key", "socket": "socket", "pid-file": "pid", "seed-file": "seed"}
            options = (f"--{option}={munge}.{suffix}" for option, suffix in files.items())
            # --force: it dislikes private folders, such as temporary ones are.
            cluster._launch("munged", "--foreground", "--force", *options)
            cluster._wait("munged's socket", Path(f"{munge}.socket").exists)
            for node in cluster.nodes:
                cluster._launch("slurmd", "-D", "-N", node)
            cluster.start_controller()
            idle = {f"{node} idle" for node in cluster.nodes}  # once for each partition
            asked = ("sinfo", "-hNo", "%N %T")
            cluster._wait("idle nodes", lambda: {*cluster._client(*asked).splitlines()} == idle)
        except BaseException:
            cluster.stop()
            raise
        return cluster

    def stop(self) -> None:
        """Cancel all jobs and end the daemons; nothing of the cluster runs afterwards."""
        if self._alive("slurmctld"):
            self._client("scancel", f"--user={os.geteuid()}")
            give_up = time.monotonic() + STOP_TIMEOUT_S
            while self._client("squeue", "-h") and time.monotonic() < give_up:
                time.sleep(0.1)
        for name in [*(n for n in self._daemons if n.startswith("slurmd-")), *LAST]:
            self._end(name)
        self._kill_steps()

    def stop_controller(self, how: signal.Signals = signal.SIGTERM) -> None:
        """End slurmctld, which keeps its state; running jobs go on."""
        self._end("slurmctld", how)

    def start_controller(self) -> None:
        """Start slurmctld and wait until it answers.

        Raises:
            RuntimeError: It does not within 60 s; with the ends of all logs.
        """
        self._launch("slurmctld", "-D")
        self._wait("slurmctld", lambda: " is UP" in self._client("scontrol", "ping"))

    def drain(self) -> None:
        """Let no further job start; running ones go on.

        Raises:
            RuntimeError: The controller refused or does not answer.
        """
        nodes = f"NodeName={','.join(self.nodes)}"
        self._client("scontrol", "update", nodes, "State=DRAIN", "Reason=test", check=True)

    def resume(self) -> None:
        """Let jobs start again after `drain`.

        Raises:
            RuntimeError: The controller refused, e.g. on a node not drained, or does not answer.
        """
        nodes = f"NodeName={','.join(self.nodes)}"
        self._client("scontrol", "update", nodes, "State=RESUME", check=True)

    def _configure(self) -> None:
        for name in ("state", *(f"spool-{node}" for node in self.nodes)):
            (self.folder / name).mkdir(parents=True, exist_ok=True)
        key = self.folder / "munge.key"
        key.touch(mode=0o600)
        key.write_bytes(os.urandom(128))
        text = SLURM_CONF.format(
            host=self._host,
            folder=self.folder,
            user=os.geteuid(),
            controller_port=_free_port(20000),
        )
        for node in self.nodes:
            cpus, port = max(2, os.cpu_count() or 2), _free_port(25000)
            text += NODE.format(node=node, host=self._host, cpus=cpus, port=port)
        if self._submit_lua:
            (self.folder / "job_submit.lua").write_text(self._submit_lua)
            text += "JobSubmitPlugins=lua\n"
        self.conf.write_text(text + self._options)
        gres = "".join(GRES_CONF.format(node=node) for node in self.nodes)
        (self.folder / "gres.conf").write_text(gres)
        (self.folder / "cgroup.conf").write_text(CGROUP_CONF)

    def _variables(self) -> dict[str, str]:
        return {**os.environ, **self.environment, "PATH": SEARCHED}

    def _launch(self, name: str, *arguments: str) -> None:
        """Start a daemon in the foreground, but in a session that the terminal cannot interrupt."""
        # A test session that is killed cannot clean up; the daemons end by themselves then.
        command = ["setpriv", "--pdeathsig", "TERM", name, *arguments]
        label = f"{name}-{arguments[-1]}" if name == "slurmd" else name
        with (self.folder / f"{label}.out").open("ab") as out:
            self._daemons[label] = subprocess.Popen(
                command, stdout=out, stderr=out, env=self._variables(), start_new_session=True
            )

    def _alive(self, name: str) -> bool:
        return name in self._daemons and self._daemons[name].poll() is None

    def _end(self, name: str, how: signal.Signals = signal.SIGTERM) -> None:
        if daemon := self._daemons.pop(name, None):
            daemon.send_signal(how)
            with contextlib.suppress(subprocess.TimeoutExpired):
                daemon.wait(STOP_TIMEOUT_S)
            with contextlib.suppress(ProcessLookupError):  # its helpers too, e.g. slurmscriptd
                os.killpg(daemon.pid, signal.SIGKILL)
            daemon.wait()

    def _kill_steps(self) -> None:
        """Kill what outlives slurmd: job steps and their tasks, which share a step's session."""
        sessions: set[int] = set()
        give_up = time.monotonic() + STOP_TIMEOUT_S
        while time.monotonic() < give_up:
            living: dict[int, int] = {}  # the session of each process
            for process in Path("/proc").glob("[0-9]*"):
                # Fails for processes of other users and for those that have ended.
                with contextlib.suppress(OSError):
                    os.readlink(process / "exe")
                    living[int(process.name)] = session = os.getsid(int(process.name))
                    if self._is_step(process):
                        sessions.add(session)
            left = [pid for pid, session in living.items() if session in sessions]
            if not left:
                return
            for pid in left:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)
            time.sleep(0.05)

    def _is_step(self, process: Path) -> bool:
        if (process / "comm").read_text() != "slurmstepd\n":
            return False
        # Other clusters have steps too; those of this one write to this slurmd's log.
        logs = {str(self.folder / f"slurmd-{node}.log") for node in self.nodes}
        return any(os.readlink(file) in logs for file in (process / "fd").iterdir())

    def _client(self, *command: str, check: bool = False) -> str:
        """Return what a client prints; nothing, or RuntimeError with `check`, where it fails."""
        done = subprocess.run(command, env=self._variables(), capture_output=True, text=True)
        if check and done.returncode:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return "" if done.returncode else done.stdout.strip()

    def _wait(self, what: str, until: Callable[[], bool]) -> None:
        give_up = time.monotonic() + START_TIMEOUT_S
        while not until():
            dead = [name for name in self._daemons if not self._alive(name)]
            if dead or time.monotonic() > give_up:
                reason = f"{', '.join(dead)} ended" if dead else f"waited {START_TIMEOUT_S:.0f} s"
                raise RuntimeError(f"SLURM: no {what}: {reason}\n{self._tails()}")
            time.sleep(0.1)

    def _tails(self, lines: int = 20) -> str:
        logs = sorted(self.folder.glob("*.out"))
        ends = ((log.name, log.read_text(errors="replace").splitlines()[-lines:]) for log in logs)
        return "\n".join(f"--- {name}\n" + "\n".join(end) for name, end in ends)


def missing() -> list[str]:
    """Return those of the needed binaries that are neither on PATH nor in /usr/sbin and /sbin."""
    return [name for name in BINARIES if shutil.which(name, path=SEARCHED) is None]


def _free_port(first: int) -> int:
    # Below those that the kernel gives to outgoing connections, which could take the port while
    # the controller is stopped; any of 5000, so that clusters started together do not clash.
    while True:
        with socket.socket() as trial, contextlib.suppress(OSError):
            trial.bind(("", port := first + randrange(5000)))
            return port


_running: list[Cluster] = []


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """A running cluster, for the whole session; clients find it through the environment."""
    if _running:
        # Each module that imports this fixture has one of its own; the first of them ends last.
        yield _running[0]
        return
    if absent := missing():
        pytest.fail(f"not installed: {', '.join(absent)}; {INSTALL}", pytrace=False)
    with running() as cluster:
        _running.append(cluster)
        try:
            yield cluster
        finally:
            _running.clear()


@contextlib.contextmanager
def running(nodes: int = 1, options: str = "", submit_lua: str = "") -> Iterator[Cluster]:
    """Run a cluster until the block ends; clients find it through the environment."""
    with (
        # Neither below pytest's folder nor TMPDIR: the path of a socket holds 107 characters.
        tempfile.TemporaryDirectory(dir="/tmp", ignore_cleanup_errors=True) as folder,
        pytest.MonkeyPatch.context() as patch,
    ):
        cluster = Cluster.start(Path(folder), nodes, options, submit_lua)
        try:
            for name, value in {**cluster.environment, "PATH": SEARCHED}.items():
                patch.setenv(name, value)
            yield cluster
        finally:
            cluster.stop()


def main() -> None:
    """Run a cluster in the folder given, until Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(description="A SLURM cluster of one node, until Ctrl-C.")
    parser.add_argument("folder", type=Path, metavar="DIR", help="where it keeps its files")
    folder = parser.parse_args().folder
    if absent := missing():
        sys.exit(f"not installed: {', '.join(absent)}; {INSTALL}")
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    with contextlib.suppress(KeyboardInterrupt):
        cluster = Cluster.start(folder)
        try:
            print(f"export SLURM_CONF={cluster.conf}", flush=True)
            signal.pause()
        finally:
            cluster.stop()


if __name__ == "__main__":
    main()
