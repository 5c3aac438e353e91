"""Named things, the one error that wrong use raises, command lines, and files that are whole.

The three packages of the suite do not import each other's plumbing, so the little that all
of them need lives here.
"""

import argparse
import difflib
import importlib
import json
import os
import pkgutil
import secrets
import stat
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Generic, NoReturn, TypeVar

T = TypeVar("T")

AVERAGE = "average"
"""The last column of every table, so no domain or set of modalities can have the name."""


class UsageError(ValueError):
    """Wrong use of the suite. The message says what to type next; commands exit with 2."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> UsageError:
    """Return the error for a `name` that is not among the `valid` names of its `kind`."""
    names = list(valid)
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=3, cutoff=0.5)
    # Letters that are swapped are likelier than others: "emr" is "erm" and not "pmr".
    close.sort(key=lambda n: sorted(n) != sorted(name.lower()))
    nearest = next((n for n in names if close and n.lower() == close[0]), None)
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    return UsageError(f"unknown {kind} {name!r}.{hint} Valid: {', '.join(names) or 'none'}.")


def check_choices(owner: object, choices: Mapping[str, Sequence[str | int]]) -> None:
    """Raise UsageError unless each named attribute, or all values in it, are among its choices."""
    for name, valid in choices.items():
        value = getattr(owner, name)
        for one in value.values() if isinstance(value, Mapping) else (value,):
            if one not in valid:
                raise unknown(name, str(one), map(str, valid))


def homes() -> tuple[Path, ...]:
    """Return the folders that hold datasets and checkpoints by name: `$MMDG_DATA` and `data`.

    The first that has something wins. Commands ask once, and pass on what they are told.
    """
    given = os.environ.get("MMDG_DATA")
    return (*([Path(given).expanduser()] if given else []), Path("data"))


class Parser(argparse.ArgumentParser):
    """A parser that raises UsageError, so that wrong use is one line like everywhere else."""

    def error(self, message: str) -> NoReturn:
        """Raise UsageError."""
        _, _, missing = message.partition("arguments are required: ")
        if missing.startswith("-"):
            message = f"{missing} is missing: {self.prog} --help tells what it takes"
        elif missing:
            # It may well be there, behind an option that takes the words after it.
            message = f"{missing} is missing: write it first, as in {self.prog} {missing} ..."
        raise UsageError(message.removeprefix("argument "))


INTERRUPTED = 130
"""The exit code after Ctrl-C."""


def exit_code(command: Callable[[], int], stopped: str) -> int:
    """Carry out a command and return its exit code, with a line on stderr where it goes wrong.

    Args:
        command: returns its own code: 0 done, 1 some of it failed.
        stopped: what to say after Ctrl-C, which is 130. Wrong use is 2, a file that cannot be
            written 1.
    """
    try:
        return command()
    except UsageError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(f"\n{stopped}", file=sys.stderr)
        return INTERRUPTED
    except OSError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1


def causes(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, and what it was caused by or raised on top of, back to the first."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__


class Registry(Generic[T]):
    """The things of one kind, registered by decorator in the modules of one package.

    The modules are imported on the first look-up, so importing the package costs nothing. Then
    installed distributions add theirs through entry points of the group `mmdg.<package>`, each of
    which names a module whose decorators register, or a class. One that cannot be loaded is told
    of on stderr, and again where a name is not found.

    A module may stand in for the package, with its own last name in that of the group.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._items: dict[str, T] = {}
        self._taken_twice: dict[str, str] = {}
        self._broken: list[str] = []
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files a class under `name`; a name taken twice is an error."""

        def add(item: T) -> T:
            if name in self._items:
                self._taken_twice[name] = (
                    f"{self.kind} {name!r} is registered twice, by "
                    f"{_described(self._items[name])} and by {_described(item)}; rename one of them"
                )
                raise UsageError(self._taken_twice[name])
            self._items[name] = item
            return item

        return add

    def names(self) -> tuple[str, ...]:
        """Return every registered name, sorted."""
        self._discover()
        return tuple(sorted(self._items))

    def __getitem__(self, name: str) -> T:
        self._discover()
        if name in self._taken_twice:
            raise UsageError(self._taken_twice[name])
        if name not in self._items:
            error = unknown(self.kind, name, self.names())
            raise UsageError(" ".join([str(error), *self._broken]))
        return self._items[name]

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(getattr(package, "__path__", ())):
            if module.name != "__main__":
                importlib.import_module(f"{self._package}.{module.name}")
        # Only now: a module that cannot be imported says so again at the next look-up. And not
        # later: what is loaded from here on may look up names itself.
        self._discovered = True
        self._load_entry_points(package)

    def _load_entry_points(self, package: Any) -> None:
        from importlib.metadata import entry_points  # slow to import

        group = f"mmdg.{self._package.rpartition('.')[2]}"
        for entry in sorted(entry_points(group=group), key=lambda e: e.name):
            try:
                loaded = entry.load()
                if isinstance(loaded, type) and loaded not in self._items.values():
                    package.register(entry.name)(loaded)
            except Exception as error:  # whatever a stranger's module does when it is imported
                owner = entry.dist.name if entry.dist else "unknown"
                self._broken.append(
                    f"The {self.kind} {entry.name!r} of the installed package {owner!r} "
                    f"({entry.value}) cannot be loaded: {type(error).__name__}: {error}"
                )
                print(f"warning: {self._broken[-1]}", file=sys.stderr)


def _described(item: object) -> str:
    return f"{getattr(item, '__module__', '?')}.{getattr(item, '__qualname__', item)}"


def parse_json(data: bytes) -> dict[str, Any] | None:
    """Return the object that JSON in UTF-8 describes; None where it is not whole, or no object.

    A text with half a surrogate pair cannot be printed, and counts as not whole.
    """
    try:
        value = json.loads(data.decode())
        if b"\\u" in data:
            json.dumps(value, ensure_ascii=False).encode()
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) else None


def make_folder(path: Path) -> None:
    """Make a folder where there is none, and those above it, with their `group_permissions`."""
    if not path.is_dir():
        if not path.parent.exists():
            make_folder(path.parent)
        path.mkdir(exist_ok=True)
        group_permissions(path)


def group_permissions(path: Path) -> None:
    """Let the group do with a new file or folder what it may do in the folder that holds it.

    So a folder that a group may write to is one that its members share, whatever their umasks.
    Nothing changes elsewhere, nor where another user has made the file, or it has another group.
    """
    around, found = path.parent.stat(), path.stat()
    bits = stat.S_IRWXG if stat.S_ISDIR(found.st_mode) else stat.S_IRGRP | stat.S_IWGRP
    mode = found.st_mode | around.st_mode & bits
    mine = found.st_uid == os.geteuid() and found.st_gid == around.st_gid
    if mine and around.st_mode & stat.S_IWGRP and mode != found.st_mode:
        path.chmod(stat.S_IMODE(mode))


@contextmanager
def written_atomically(path: Path, durable: bool = True) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` as a whole when the block ends, or not at all.

    A killed process leaves at most a hidden temporary file; of two writers the last one wins. The
    group may do with it what `group_permissions` says.

    Args:
        path: the file; its folder is made where there is none.
        durable: wait for the disk. Without it a power cut can leave a short or empty file, so
            whoever reads it must be able to tell.
    """
    make_folder(path.parent)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            group_permissions(temporary)
            yield file
            if durable:
                file.flush()
                os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
