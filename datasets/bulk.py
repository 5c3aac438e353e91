"""Many files at once: a few threads for them, and a lock for the processes of one machine."""

import fcntl
import sys
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Lock
from typing import TypeVar

from mmdg_common import group_permissions, make_folder

T = TypeVar("T")
R = TypeVar("R")

BLOCK = 4096
"""Bytes that even a small file takes on most disks."""
THREADS = 8
"""They wait for disks and servers most of the time."""


def in_threads(act: Callable[[T], R], items: Iterable[T]) -> list[R]:
    """Return what a function makes of each item, in no order, a few items at a time.

    The first error is raised as soon as no thread is at an item any more.
    """
    feed, turn, stopped = iter(items), Lock(), Event()
    found: list[R] = []

    def work() -> None:
        while not stopped.is_set():
            with turn:
                try:
                    item = next(feed)
                except StopIteration:
                    return
            found.append(act(item))

    with ThreadPoolExecutor(THREADS) as pool:
        try:
            for done in as_completed([pool.submit(work) for _ in range(THREADS)]):
                done.result()
        finally:
            stopped.set()
    return found


def on_disk(sizes: Iterable[int]) -> int:
    """Return the bytes that files of these sizes take on a disk."""
    return sum(-(-size // BLOCK) * BLOCK for size in sizes)


@contextmanager
def locked(path: Path, waiting: str = "") -> Iterator[None]:
    """Be the only process of this machine in such a block; a killed one lets go.

    Args:
        path: the file that is locked, made where there is none.
        waiting: a line for stderr, should another process be in such a block.
    """
    make_folder(path.parent)
    with path.open("ab") as file:
        group_permissions(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if waiting:
                print(waiting, file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
