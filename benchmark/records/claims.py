"""Which process is at a run: numbered claims that hold on a filesystem several machines share.

A claim is a file `claim-N.json` in a run's folder; the highest number counts. To take a run over is
to create the next number, which a filesystem grants once: of two processes that find the same dead
owner, one gets the run. An owner that was given up finds the higher number at its next heartbeat or
write, and writes nothing more. The heartbeat is the file's modification time, which the file
server sets, so the clocks of the machines need not agree.
"""

import json
import os
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Any

from mmdg_common import read_json, written_atomically

BEAT_EVERY = 10.0
"""Seconds between two heartbeats."""
STALE_AFTER = 300.0
"""Seconds without a heartbeat after which an owner counts as dead: file servers cache times."""
UNWRITTEN_AFTER = 30.0
"""Seconds after which a claim that tells nothing is of an owner killed before it could write."""

Content = Mapping[str, Any]


class ClaimLostError(Exception):
    """Another process took this run over, because this one gave no sign of life for too long."""


class Claim:
    """This process's claim on a run, with a heartbeat while its `with` block lasts."""

    def __init__(self, path: Path, number: int, content: Content) -> None:
        self.path, self.number, self._content = path, number, content
        self._ended = threading.Event()

    def check(self) -> None:
        """Raise ClaimLostError if another process has taken the run over."""
        mine = _content(self.path).get("token") == self._content["token"]
        if _latest(self.path.parent) != self.number or not mine:
            raise ClaimLostError(f"another process took over {self.path.parent}")

    def deaths(self) -> int:
        """Return how many owners in a row died before this one, at the point it starts from."""
        count = 0
        for number in range(self.number - 1, 0, -1):
            before = _content(_file(self.path.parent, number))
            over = before.get("released") or before.get("stopped")
            if over or before.get("mark") != self._content["mark"]:
                break
            count += 1
        return count

    def note_stop(self) -> None:
        """Note that this process was asked to stop: should it be killed now, it did not crash."""
        self._content = {**self._content, "stopped": True}
        with suppress(OSError), written_atomically(self.path) as file:
            file.write(json.dumps(self._content).encode())

    def __enter__(self) -> "Claim":
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the heartbeat, and say that the run may be taken."""
        self._ended.set()
        with suppress(ClaimLostError, OSError):
            self.check()
            try:
                with written_atomically(self.path) as file:
                    file.write(json.dumps({**self._content, "released": True}).encode())
            except OSError:
                self.path.unlink()  # a full disk lets nothing be written, but this

    def _beat(self) -> None:
        while not self._ended.wait(BEAT_EVERY):
            try:
                self.check()
                os.utime(self.path)
            except ClaimLostError:
                return
            except OSError:
                continue  # a file server may be away for a while


def take(folder: Path, mark: int = 0) -> Claim | None:
    """Claim a run; None if another process is at it.

    Args:
        folder: of the run; made if need be.
        mark: a number that tells at what point the run starts or resumes.
    """
    folder.mkdir(parents=True, exist_ok=True)
    last = _latest(folder)
    if last and not _over(folder, last):
        return None
    path = _file(folder, last + 1)
    content = {**_process(), "mark": mark, "token": secrets.token_hex(8)}
    try:
        file = path.open("x")
    except FileExistsError:
        return None
    try:
        with file:
            json.dump(content, file)
    except BaseException:  # a full disk, or the signal that ends a job
        path.unlink(missing_ok=True)
        raise
    return Claim(path, last + 1, content)


def held(folder: Path) -> bool:
    """Return whether a living process is at a run, as far as can be told."""
    last = _latest(folder)
    return bool(last) and not _over(folder, last)


def owner(folder: Path) -> Content:
    """Return host, pid and SLURM job of the last claim; empty where there is none."""
    return _content(_file(folder, _latest(folder)))


def wait_for_sign(folder: Path) -> None:
    """Wait until the owner of a run beats, ends, or counts as dead."""
    last = _latest(folder)
    first = _beaten(folder, last)
    while _latest(folder) == last and _beaten(folder, last) == first and not _over(folder, last):
        time.sleep(1)


def _file(folder: Path, number: int) -> Path:
    return folder / f"claim-{number}.json"


def _latest(folder: Path) -> int:
    """Return the highest claim's number; 0 where there is none."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    numbers = [name[len("claim-") : -len(".json")] for name in names if name.startswith("claim-")]
    return max((int(number) for number in numbers if number.isdecimal()), default=0)


def _content(path: Path) -> Content:
    return read_json(path) or {}  # it may just be being written


def _beaten(folder: Path, number: int) -> float:
    try:
        return _file(folder, number).stat().st_mtime
    except OSError:
        return 0.0


def _over(folder: Path, number: int) -> bool:
    """Return whether the owner of a claim has ended, or must be taken for dead."""
    content = _content(_file(folder, number))
    if content.get("released"):
        return True
    mine = _process()
    if content.get("machine") == mine["machine"] and not _exists(content):
        return True
    if mine["job"] and content.get("job") == mine["job"] and content["restart"] < mine["restart"]:
        return True  # SLURM starts a job again only when its first start has ended
    silent, beaten = STALE_AFTER if content else UNWRITTEN_AFTER, _beaten(folder, number)
    # Only a claim that looks old is worth asking the file server for its own time.
    return time.time() - beaten > silent and _server_time(folder) - beaten > silent


def _server_time(folder: Path) -> float:
    probe = folder / f".now.{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()  # a folder that one may only read
    finally:
        probe.unlink(missing_ok=True)


def _process() -> dict[str, Any]:
    return {
        "host": socket.gethostname(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID"),
        "restart": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    }


@cache
def _machine() -> str:
    """Return a text that two processes share only if they see each other's process numbers."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot} {os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def _started(pid: int) -> str:
    """Return when a process started, as the kernel counts; empty where it does not say."""
    try:
        # The name, in parentheses, may hold spaces; the start is the 22nd field of all.
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    except OSError:
        return ""


def _exists(content: Content) -> bool:
    """Return whether a claim's process of this machine is still there."""
    try:
        os.kill(int(content["pid"]), 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return _started(int(content["pid"])) == content.get("started")
