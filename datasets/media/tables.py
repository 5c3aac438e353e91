"""Tables that pandas pickled, read without running anything that the file asks for.

Unpickling calls whatever a file names, so a file from the internet can do anything. Here a file
may name only what pandas writes for a table of numbers and texts, and even these names stand for
objects that merely note how they were called; the columns are assembled from the notes. No code of
pandas or numpy sees the file's instructions, and any version of pandas may have written it.
"""

import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from datasets.media import MediaError

ARRAY = "_reconstruct"
BUFFER = "_frombuffer"
BACKED = "__pyx_unpickle_NDArrayBacked"
ALLOWED = {
    *(("numpy", name) for name in ("ndarray", "dtype")),
    *((f"numpy.{core}.multiarray", ARRAY) for core in ("core", "_core")),
    *((f"numpy.{core}.numeric", BUFFER) for core in ("core", "_core")),
    *(("pandas", name) for name in ("DataFrame", "Index", "RangeIndex", "StringDtype")),
    ("pandas.core.frame", "DataFrame"),
    ("pandas.core.indexes.base", "Index"),
    ("pandas.core.indexes.base", "_new_Index"),
    ("pandas.core.indexes.range", "RangeIndex"),
    ("pandas.core.internals.managers", "BlockManager"),
    ("pandas._libs.internals", "_unpickle_block"),
    ("pandas.arrays", "StringArray"),
    ("pandas._libs.arrays", BACKED),
    ("builtins", "slice"),
}
NUMBERS = {f"{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)} | {"f4", "f8"}


def read_table(path: Path, columns: Mapping[str, type[Any]]) -> list[dict[str, Any]]:
    """Return the rows of a pickled DataFrame.

    Args:
        path: the pickle.
        columns: the columns wanted, and whether they hold `int` or `str`; others are left out.

    Raises:
        MediaError: the file is missing, is not such a table, or names anything else to call.
    """
    try:
        with path.open("rb") as file:
            table = dict(_columns(_Unpickler(file).load()))
    except OSError as error:
        raise MediaError(f"{path} cannot be read: {error.strerror}") from error
    except _Refused as error:
        raise MediaError(
            f"{path} was not read: it asks to call {error}, which no table of numbers and texts "
            "needs. Get the file from its official source."
        ) from error
    except Exception as error:  # what pickle raises depends on the bytes that are broken
        raise MediaError(
            f"{path} is not a readable table of pandas ({type(error).__name__}: {error})"
        ) from error
    for name, kind in columns.items():
        if name not in table:
            raise MediaError(f"{path} has no column {name!r}, only {', '.join(map(str, table))}")
        if not all(type(value) is kind for value in table[name]):
            raise MediaError(f"{path}: column {name!r} does not hold {kind.__name__} alone")
    chosen = (table[name] for name in columns)
    return [dict(zip(columns, row, strict=True)) for row in zip(*chosen, strict=True)]


class _Refused(Exception):
    """The pickle names something that is not allowed."""


class _Note:
    """What every name in a pickle stands for: it keeps its arguments and its state."""

    args: tuple[Any, ...]
    state: Any

    def __new__(cls, *args: Any) -> "_Note":
        note = super().__new__(cls)
        note.args, note.state = args, None
        return note

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def of(self, *names: str) -> bool:
        """Return whether one of these names was called."""
        return type(self).__name__ in names


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in ALLOWED:
            raise _Refused(f"{module}.{name}")
        return type(name, (_Note,), {})


def _columns(frame: Any) -> Iterator[tuple[str, list[Any]]]:
    """Yield name and values of each column of a noted DataFrame."""
    if not isinstance(frame, _Note) or not frame.of("DataFrame"):
        raise ValueError("it holds no DataFrame")
    manager = frame.state["_mgr" if "_mgr" in frame.state else "_data"]
    if manager.args:  # since pandas 1.3
        blocks, axes = manager.args
        pieces = [(block.args[0], block.args[1]) for block in blocks]
    else:
        newest = manager.state[3]["0.14.1"]
        axes, pieces = newest["axes"], [(b["values"], b["mgr_locs"]) for b in newest["blocks"]]
    names = _array(axes[0].args[1]["data"]).tolist()
    for values, places in pieces:
        rows = np.atleast_2d(_array(values))
        held = _names_at(names, places)
        if len(held) != len(rows):
            raise ValueError(f"{len(held)} columns share {len(rows)} rows of values")
        yield from zip(held, rows.tolist(), strict=True)


def _names_at(names: list[str], places: _Note) -> list[str]:
    """Return the names at the places of a noted slice or array."""
    if places.of("slice"):
        return names[slice(*places.args)]
    return [names[place] for place in _array(places).tolist()]


def _array(note: _Note) -> NDArray[Any]:
    """Return the array that a pickle describes: numbers from bytes, texts from a list."""
    if note.of(BACKED):
        return _array(next(piece for piece in note.state if piece.of(ARRAY, BUFFER)))
    if note.of(BUFFER):
        data, dtype, shape, order = note.args
    elif note.of(ARRAY):
        _, shape, dtype, by_column, data = note.state
        order = "F" if by_column else "C"
    else:
        raise ValueError(f"there is {type(note).__name__} in place of an array")
    code = dtype.args[0]
    if code == "O8" and isinstance(data, list):
        return np.fromiter(data, object, len(data)).reshape(shape, order=order)
    if code not in NUMBERS:
        raise ValueError(f"there are values of type {code}")
    return np.frombuffer(data, dtype.state[1] + code).reshape(shape, order=order)
