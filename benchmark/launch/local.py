"""The local launcher: several processes on one machine, one per GPU or per share of the cores."""

import importlib
import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from multiprocessing.connection import Connection, wait
from types import FrameType
from typing import Any, NoReturn

from rich.console import Console

from benchmark.cores import available_cores
from benchmark.launch.execute import MOST_DEATHS, OUT_OF_TIME, execute
from benchmark.launch.inline import ELSEWHERE, AtOnce
from benchmark.launch.progress import Board, RunWatcher, board
from benchmark.launch.todo import Listed, ToDo
from benchmark.records.spec import RunSpec
from benchmark.records.state import State
from benchmark.settings import RunSettings

SPAWN = multiprocessing.get_context("spawn")
KILLED = 128 + signal.SIGKILL
"""The exit code of a launcher that ends because one of its processes was killed."""
TELL_EVERY = 0.2
"""Seconds between two messages about the steps of a run."""


@dataclass(frozen=True)
class Local(AtOnce):
    """Carries out runs in processes of their own; one that dies is replaced."""

    processes: int = 0
    """0: one per GPU, or the cores divided by the threads of a run."""

    def carry_out(self, specs: Sequence[RunSpec], settings: RunSettings) -> str:
        """See `AtOnce`."""
        slots = self.slots(len(specs), settings)
        return carry_out(Listed(specs), len(specs), slots, settings)

    def slots(self, runs: int, settings: RunSettings) -> list[str]:
        """Return for each process that carries out so many runs its GPU; without one, ''."""
        found = gpus(settings)
        wanted = self.processes or len(found) or _shares(settings)
        return [found[i % len(found)] if found else "" for i in range(min(wanted, runs))]


def carry_out(
    todo: ToDo,
    total: int,
    slots: Sequence[str],
    settings: RunSettings,
    end_if_killed: bool = False,
) -> str:
    """Carry out runs in processes beside each other; see `inline.carry_out`.

    Args:
        todo: gives the runs.
        total: how many there are, to show.
        slots: for each process the GPU that it sees; '' for one that sees what this one does.
        settings: how runs are carried out.
        end_if_killed: end once a process is killed, rather than replace it.

    Returns:
        Why this machine cannot go on; empty where nothing was left to take.

    Raises:
        SystemExit: with `KILLED`, as `end_if_killed` says.
    """
    with board(total, Console()) as shown:
        # A plain copy, without the datasets that this process has opened.
        pool = _Pool(replace(settings, processes=len(slots)), shown, todo, end_if_killed)
        try:
            pool.run(slots)
        finally:
            print(f"{len(slots)} processes {pool.usage}", flush=True)
    return pool.over


@dataclass
class _Usage:
    """How long processes had a run, from the first run of each to its last."""

    busy: float = 0.0
    idle: float = 0.0
    """Between two runs of a process."""

    def add(self, free: float | None, began: float, ended: float) -> None:
        """Count a run of a process that was free since some time; None: it had no run before."""
        self.busy += ended - began
        self.idle += 0.0 if free is None else began - free

    def __str__(self) -> str:
        return f"trained for {self.busy:.1f} s and waited for {self.idle:.1f} s between runs"


@dataclass
class _Worker:
    """A process, the pipe to it, and the run it carries out.

    Times are those of `time.monotonic`, which all processes of a machine share.
    """

    gpu: str
    process: Any
    pipe: Connection
    free: float | None = None
    """When its last run ended."""
    given: float = 0.0
    """When it was given its run."""
    spec: RunSpec | None = None
    watcher: RunWatcher | None = None

    def tell_time(self) -> None:
        """Let the process know that its job comes to the time limit."""
        with suppress(ProcessLookupError):
            os.kill(self.process.pid, signal.SIGUSR2)


class _Pool:
    def __init__(
        self, settings: RunSettings, shown: Board, todo: ToDo, end_if_killed: bool
    ) -> None:
        self.settings, self.shown, self.todo = settings, shown, todo
        self.end_if_killed = end_if_killed
        self.over = ""
        """Why this machine cannot go on."""
        self.usage = _Usage()
        self.watchers: dict[str, RunWatcher] = {}
        self.deaths: Counter[str] = Counter()

    def run(self, slots: Sequence[str]) -> None:
        workers = [self._start(gpu) for gpu in slots]
        try:
            for worker in workers:
                self._give(worker)
            # On a machine that fails one run the others are stopped, to go on elsewhere.
            while not self.over and (busy := [worker for worker in workers if worker.spec]):
                ready = wait([worker.pipe for worker in busy])
                for worker in busy:
                    if worker.pipe in ready and not self._hear(worker):
                        workers.remove(worker)
                        workers.append(self._replace(worker))
                for worker in workers:
                    if not worker.spec:
                        self._give(worker)
        except SystemExit as stop:
            if stop.code == OUT_OF_TIME:
                for worker in workers:
                    worker.tell_time()
            raise
        finally:
            for worker in workers:
                worker.pipe.close()  # a worker that finds nobody at the other end stops
            for worker in workers:
                worker.process.join()

    def _start(self, gpu: str) -> _Worker:
        ours, theirs = SPAWN.Pipe()
        process = SPAWN.Process(target=_work, args=(theirs, self.settings))
        with _seeing(gpu):
            process.start()
        theirs.close()
        return _Worker(gpu, process, ours)

    def _replace(self, dead: _Worker) -> _Worker:
        """Put back the run of a worker that died, and start another worker in its place."""
        dead.process.join()
        assert dead.spec is not None
        self.usage.add(dead.free, dead.given, time.monotonic())
        if self.end_if_killed and dead.process.exitcode == -signal.SIGKILL:
            print("a process was killed, as where memory runs out, and others end too", flush=True)
            raise SystemExit(KILLED)
        self.deaths[dead.spec.id] += 1
        # Beyond this it dies before it comes to the run, which would have been failed otherwise.
        if self.deaths[dead.spec.id] > 2 * MOST_DEATHS:
            self.watchers.pop(dead.spec.id).finish(
                f"not run: {self.deaths[dead.spec.id]} processes died"
            )
        else:
            self.todo.give_back(dead.spec, died=True)
        return self._start(dead.gpu)

    def _give(self, worker: _Worker) -> None:
        if not (taken := self.todo.take()):
            return
        worker.spec, patient = taken
        worker.given = time.monotonic()
        if worker.spec.id not in self.watchers:
            self.watchers[worker.spec.id] = self.shown.start(worker.spec.title)
        worker.watcher = self.watchers[worker.spec.id]
        try:
            worker.pipe.send((worker.spec, patient))
        except OSError:
            return  # it died, which the next read from its pipe finds out

    def _hear(self, worker: _Worker) -> bool:
        """Read one message of a worker; return False if it died."""
        assert worker.spec is not None and worker.watcher is not None
        try:
            kind, *values = worker.pipe.recv()
        except (EOFError, OSError):
            return False
        if kind == "step":
            worker.watcher.step(*values)
        elif kind == "filling":
            worker.watcher.filling(*values)
        elif kind == "validated":
            worker.watcher.validated(*values)
        else:
            ending, patient, began, ended = values
            self.usage.add(worker.free, began, ended)
            worker.free = ended
            elsewhere = ending.state == State.RUNNING
            if not (elsewhere and not patient and self.todo.give_back(worker.spec, died=False)):
                self.watchers.pop(worker.spec.id).finish(ELSEWHERE if elsewhere else str(ending))
            if ending.over:
                self.over = ending.reason or str(ending)
            worker.spec = worker.watcher = None
        return True


class _Teller:
    """A watcher that passes everything on to the launcher."""

    def __init__(self, pipe: Connection) -> None:
        self.pipe, self.told = pipe, 0.0

    def step(self, step: int, total: int) -> None:
        self._now_and_then("step", step, total)

    def alive(self, step: int, total: int) -> None:
        pass

    def filling(self, done: int, total: int) -> None:
        self._now_and_then("filling", done, total)

    def validated(self, records: Sequence[Mapping[str, Any]]) -> None:
        self._send("validated", records[-1:])

    def _now_and_then(self, *message: Any) -> None:
        if time.monotonic() - self.told > TELL_EVERY:
            self.told = time.monotonic()
            self._send(*message)

    def _send(self, *message: Any) -> None:
        try:
            self.pipe.send(message)
        except OSError:  # the launcher is gone, and with it the user who wanted this
            raise KeyboardInterrupt from None


def _work(pipe: Connection, settings: RunSettings) -> None:
    """Carry out the runs that come through the pipe, until it closes."""
    from benchmark.training.setup import configure

    signal.signal(signal.SIGUSR2, _out_of_time)
    for name in settings.modules:
        importlib.import_module(name)
    configure(settings)  # imports torch, which is no part of the first run
    with suppress(EOFError, BrokenPipeError, ConnectionResetError, KeyboardInterrupt):
        while True:
            spec, patient = pipe.recv()
            began = time.monotonic()
            ending = execute(spec, settings, _Teller(pipe), patient)
            pipe.send(("ended", ending, patient, began, time.monotonic()))


def _out_of_time(number: int, frame: FrameType | None) -> NoReturn:
    raise SystemExit(OUT_OF_TIME)


def gpus(settings: RunSettings) -> list[str]:
    """Return the value of CUDA_VISIBLE_DEVICES for each process; nothing without GPUs."""
    import torch

    if settings.device not in ("auto", "cuda") or not torch.cuda.is_available():
        return []
    # Names that are visible here stay the names in the processes, be they numbers or UUIDs.
    visible = os.environ.get("CUDA_VISIBLE_DEVICES", "")
    return visible.split(",") if visible else [str(i) for i in range(torch.cuda.device_count())]


def _shares(settings: RunSettings) -> int:
    each = max(settings.threads, 1) + (settings.workers or 0)
    return max(available_cores() // each, 1)


@contextmanager
def _seeing(gpu: str) -> Iterator[None]:
    """Let a process that starts now see one GPU, or all where none is named."""
    before = os.environ.get("CUDA_VISIBLE_DEVICES")
    if gpu:
        os.environ["CUDA_VISIBLE_DEVICES"] = gpu
    try:
        yield
    finally:
        if before is not None:
            os.environ["CUDA_VISIBLE_DEVICES"] = before
        elif gpu:
            del os.environ["CUDA_VISIBLE_DEVICES"]
