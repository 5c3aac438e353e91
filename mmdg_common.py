"""Named things, the one error that wrong use raises, and writing files as a whole.

The three packages of the suite do not import each other's plumbing, so the little that all
of them need lives here.
"""

import difflib
import importlib
import os
import pkgutil
import secrets
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Generic, TypeVar

T = TypeVar("T")


class UsageError(ValueError):
    """Wrong use of the suite. The message says what to type next; commands exit with 2."""


def unknown(kind: str, name: str, valid: Iterable[str]) -> UsageError:
    """Return the error for a `name` that is not among the `valid` names of its `kind`."""
    names = list(valid)
    close = difflib.get_close_matches(name.lower(), [n.lower() for n in names], n=1, cutoff=0.5)
    nearest = next((n for n in names if close and n.lower() == close[0]), None)
    hint = f" Did you mean {nearest!r}?" if nearest else ""
    return UsageError(f"unknown {kind} {name!r}.{hint} Valid: {', '.join(names) or 'none'}.")


def check_choices(owner: object, choices: Mapping[str, Sequence[str | int]]) -> None:
    """Raise UsageError unless each named attribute of `owner` is one of its choices."""
    for name, valid in choices.items():
        if (value := getattr(owner, name)) not in valid:
            raise unknown(name, str(value), map(str, valid))


class Registry(Generic[T]):
    """The things of one kind, registered by decorator in the modules of one package.

    The modules are imported on the first look-up, so importing the package costs nothing.
    """

    def __init__(self, kind: str, package: str) -> None:
        self.kind = kind
        self._package = package
        self._items: dict[str, T] = {}
        self._discovered = False

    def register(self, name: str) -> Callable[[T], T]:
        """Return a decorator that files a class under `name`; a name taken twice is an error."""

        def add(item: T) -> T:
            if name in self._items:
                raise ValueError(f"{self.kind} {name!r} is registered twice")
            self._items[name] = item
            return item

        return add

    def names(self) -> tuple[str, ...]:
        """Return every registered name, sorted."""
        self._discover()
        return tuple(sorted(self._items))

    def __getitem__(self, name: str) -> T:
        self._discover()
        if name not in self._items:
            raise unknown(self.kind, name, self.names())
        return self._items[name]

    def _discover(self) -> None:
        if self._discovered:
            return
        package = importlib.import_module(self._package)
        for module in pkgutil.iter_modules(package.__path__):
            importlib.import_module(f"{self._package}.{module.name}")
        # Only now: a module that cannot be imported says so again at the next look-up.
        self._discovered = True


@contextmanager
def written_atomically(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears at `path` as a whole when the block ends, or not at all.

    A killed process leaves at most a hidden temporary file; of two writers the last one wins.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    try:
        with temporary.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
