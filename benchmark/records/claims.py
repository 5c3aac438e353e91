"""Which process carries out a run: numbered claims, valid on a filesystem that machines share.

A claim is a file `claim-N.json` in a run's folder; the highest number counts. A process takes a run
over by creating the next number, which a filesystem grants once: of two processes that find the
same dead owner, one gets the run. An owner that was given up finds the higher number at its next
heartbeat or write, and writes nothing more.

The heartbeat is the file's modification time. An owner on another machine counts as dead once the
file server's own clock says that the heartbeat is old, or once this process has itself watched the
claim for that long without a change: the time of a claim may lie in the future, where some
machine's clock was wrong.
"""

import json
import os
import re
import secrets
import socket
import threading
import time
from collections.abc import Mapping
from contextlib import suppress
from functools import cache
from pathlib import Path
from types import TracebackType
from typing import Annotated, Any, NotRequired, TypedDict

from benchmark.records import shape
from benchmark.records.shape import Count, UnreadableError, Within
from mmdg_common import group_permissions, make_folder, written_atomically

BEAT_EVERY = 10.0
"""Seconds between two heartbeats."""
STALE_AFTER = 300.0
"""Seconds without a heartbeat after which an owner counts as dead: file servers cache times."""
UNWRITTEN_AFTER = 30.0
"""The same for a claim that names no process: its owner was killed before it could write."""

DIED, OUT_OF_TIME = "died", "out of time"
"""How an owner ended that came no further than it started; see `Claim.fruitless`."""

Content = Mapping[str, Any]
"""The values of `Process`, or none."""


class Process(TypedDict):
    """The owner of a run, as its claim names it."""

    host: str
    machine: str
    """Shared by processes that see each other's process numbers."""
    pid: Annotated[int, Within(1, 2**31 - 1)]
    started: str
    """When the process started, as the kernel counts; empty where it does not say."""
    job: str | None
    """Of SLURM."""
    restart: Count
    """How often SLURM has started the job again."""
    mark: int
    """The point from which the run started or resumed."""
    token: str
    stopped: NotRequired[bool]
    """Whether it was asked to stop: should it be killed now, it did not crash."""
    out_of_time: NotRequired[bool]
    """Whether it stopped because its job came to the time limit."""
    released: NotRequired[bool]


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

    def fruitless(self) -> list[str]:
        """Return how the owners just before this one ended that came no further than it starts.

        Each is DIED or OUT_OF_TIME, the latest first; an owner that was stopped for another reason
        ends the list.
        """
        found: list[str] = []
        for number in range(self.number - 1, 0, -1):
            before = _content(_file(self.path.parent, number))
            if before.get("mark") != self._content["mark"]:
                break
            if before.get("out_of_time"):
                found.append(OUT_OF_TIME)
            elif before.get("released") or before.get("stopped"):
                break
            else:
                found.append(DIED)
        return found

    def note_stop(self, out_of_time: bool = False) -> None:
        """Note that this process was asked to stop, and whether its job's time limit did."""
        with suppress(OSError):
            self._note("out_of_time" if out_of_time else "stopped")

    def __enter__(self) -> "Claim":
        threading.Thread(target=self._beat, daemon=True).start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Stop the heartbeat and release the run."""
        self._ended.set()
        with suppress(ClaimLostError, OSError):
            self.check()
            try:
                self._note("released")
            except OSError:
                self.path.unlink()  # the one change that a full disk allows

    def _note(self, what: str) -> None:
        self._content = {**self._content, what: True}
        with written_atomically(self.path) as file:
            file.write(json.dumps(self._content).encode())

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
    """Claim a run; None if another process holds it.

    Args:
        folder: of the run, created if it does not exist.
        mark: a number that names the point where the run starts or resumes.
    """
    make_folder(folder)
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
            group_permissions(path)
            json.dump(content, file)
    except BaseException:  # a full disk, or the signal that ends a job
        path.unlink(missing_ok=True)
        raise
    return Claim(path, last + 1, content)


def held(folder: Path) -> bool:
    """Return whether a living process carries out a run, as far as can be told."""
    last = _latest(folder)
    try:
        return bool(last) and not _over(folder, last)
    except OSError:
        return True  # out of reach, so that nothing speaks for its owner's death


def owner(folder: Path) -> Content:
    """Return the process that the last claim names; empty where none is named."""
    return _content(_file(folder, _latest(folder)))


def wait_for_sign(folder: Path) -> None:
    """Wait until the owner of a run beats, ends, or counts as dead."""
    last = _latest(folder)
    first = _signature(folder, last)
    while _latest(folder) == last and _signature(folder, last) == first and not _over(folder, last):
        time.sleep(1)


def host() -> str:
    """Return the name of this machine, on a cluster that of the node."""
    return os.environ.get("SLURMD_NODENAME") or socket.gethostname()


def _file(folder: Path, number: int) -> Path:
    return folder / f"claim-{number}.json"


FILE = re.compile(r"claim-([1-9][0-9]{0,8})\.json")
"""The names of claims."""


def _latest(folder: Path) -> int:
    """Return the highest claim's number; 0 where there is none."""
    try:
        names = os.listdir(folder)
    except FileNotFoundError:
        return 0
    return max((int(found[1]) for name in names if (found := FILE.fullmatch(name))), default=0)


def _content(path: Path) -> Content:
    """Return the process that a claim names; empty where it is damaged or being written."""
    try:
        return shape.load(path, Process) or {}
    except UnreadableError as error:
        if isinstance(error.__cause__, OSError) and not path.is_dir():
            raise error.__cause__ from None  # the claim may be good and only out of reach
        return {}


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
    return _silent(folder, number, STALE_AFTER if content else UNWRITTEN_AFTER)


_watched: dict[Path, tuple[tuple[int, ...], float]] = {}
"""By claim, the signature that this process last saw, and when it saw it first (monotonic)."""


def _silent(folder: Path, number: int, limit: float) -> bool:
    """Return whether a claim has had no heartbeat for so many seconds."""
    path, signature = _file(folder, number), _signature(folder, number)
    if signature is None:
        return True
    now = time.monotonic()
    seen, since = _watched.get(path, ((), now))
    if seen != signature:
        _watched[path], since = (signature, now), now
    if now - since > limit:
        return True
    beaten = signature[0] / 1e9
    # Only a claim that looks old is worth asking the file server for its own time.
    return time.time() - beaten > limit and _server_time(folder) - beaten > limit


def _signature(folder: Path, number: int) -> tuple[int, ...] | None:
    """Return what every heartbeat and every write changes of a claim; None where there is none."""
    try:
        found = _file(folder, number).stat()
    except FileNotFoundError:
        return None
    return found.st_mtime_ns, found.st_ino, found.st_size


def _server_time(folder: Path) -> float:
    probe = folder / f".now.{secrets.token_hex(4)}"
    try:
        probe.touch()
        return probe.stat().st_mtime
    except OSError:
        return time.time()  # the folder may only be read
    finally:
        with suppress(OSError):
            probe.unlink(missing_ok=True)


def _process() -> dict[str, Any]:
    return {
        "host": host(),
        "machine": _machine(),
        "pid": os.getpid(),
        "started": _started(os.getpid()),
        "job": os.environ.get("SLURM_JOB_ID"),
        "restart": int(os.environ.get("SLURM_RESTART_COUNT") or 0),
    }


@cache
def _machine() -> str:
    """Return a text that processes share only if they see each other's process numbers."""
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
