"""Reading JSON files that may be damaged: whole and of the type that the suite writes, or refused.

A type is written in Python's own terms (`dict[str, float]`, a `TypedDict`, a dataclass), and
JSON values are compared with it. Integers have at most 64 bits.
"""

import sys
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import (
    Annotated,
    Any,
    NotRequired,
    Required,
    Union,
    get_args,
    get_origin,
    get_type_hints,
    is_typeddict,
)

from mmdg_common import parse_json


class UnreadableError(ValueError):
    """A file of a record is damaged, or of another version. The message says in what way."""


@dataclass(frozen=True)
class Within:
    """The bounds of a finite number: `Annotated[float, Within(0, 1)]`."""

    low: float
    high: float = sys.float_info.max


Share = Annotated[float, Within(0, 1)]
Amount = Annotated[float, Within(0)]
Count = Annotated[int, Within(0, 2**63 - 1)]

Check = Callable[[Any], str | None]
"""Returns where in a value something is wrong, such as `.rules.last`; None if nothing is."""


def load(path: Path | str, shape: Any) -> Any | None:
    """Return the object in a JSON file; None where there is no file.

    Args:
        path: of the file.
        shape: the type that the object must have.

    Raises:
        UnreadableError: the file cannot be read, or holds something else.
    """
    data = content(path)
    return None if data is None else parse(data, shape)


def content(path: Path | str) -> bytes | None:
    """Return what a file holds; None where there is no file.

    Raises:
        UnreadableError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return file.read()
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise UnreadableError(error.strerror or "cannot be read") from error


def parse(data: bytes, shape: Any) -> Any:
    """Return the object that JSON describes.

    Args:
        data: the JSON.
        shape: the type that the object must have.

    Raises:
        UnreadableError: it describes something else.
    """
    value = parse_json(data)
    if value is None:
        raise UnreadableError("not whole")
    require(value, shape)
    return value


def lines(path: Path) -> list[bytes]:
    """Return the lines of a file; none where there is no file.

    Raises:
        UnreadableError: the file cannot be read.
    """
    try:
        return (content(path) or b"").splitlines()
    except UnreadableError as error:
        raise UnreadableError(f"{path}: {error}") from error


def require(value: Mapping[str, Any], shape: Any) -> None:
    """Raise UnreadableError, with the place of what is wrong, unless a value has a type."""
    place = _check(shape)(value)
    if place is not None:
        raise UnreadableError(f"{place.lstrip('.') or 'the value'} is missing or wrong")


@cache
def _check(shape: Any) -> Check:
    """Return the check of a type, made once: reports read thousands of records."""
    origin, arguments = get_origin(shape), get_args(shape)
    if shape is Any:
        return _scalar
    if origin is Annotated:
        return _number(*arguments)
    if origin in (Required, NotRequired):
        return _check(arguments[0])
    if shape in (float, int):
        return lambda value: None if _is_number(value, shape) else ""
    if origin in (Union, UnionType):
        return _either(arguments)
    if origin in (list, tuple):
        return _items(_check(arguments[0]))
    if origin is not None and issubclass(origin, Mapping):
        return _values(_check(arguments[1]))
    if is_typeddict(shape) or is_dataclass(shape):
        return _fields(shape)
    return lambda value: None if isinstance(value, shape) else ""


def _number(kind: type, limits: Within) -> Check:
    low, high = limits.low, limits.high
    kinds = (int,) if kind is int else (float, int)

    def check(value: Any) -> str | None:
        # NaN compares with nothing, and a huge integer with anything.
        return None if type(value) in kinds and low <= value <= high else ""

    return check


def _is_number(value: Any, kind: type) -> bool:
    if type(value) is int:
        return abs(value) < _HUGE
    return kind is float and type(value) is float


_HUGE = 2**63


def _scalar(value: Any) -> str | None:
    """Accept the value of an option or a hyperparameter: a scalar or a flat list of them."""
    values = value if isinstance(value, (list, tuple)) else (value,)
    fits = all(
        one is None or isinstance(one, (str, bool)) or _is_number(one, float) for one in values
    )
    return None if fits else ""


def _either(shapes: tuple[Any, ...]) -> Check:
    checks = [_check(shape) for shape in shapes if shape is not NoneType]
    if len(checks) < len(shapes):
        checks.insert(0, lambda value: None if value is None else "")
    if len(checks) == 2:
        first, second = checks
        return lambda value: None if first(value) is None else second(value)
    return lambda value: None if any(check(value) is None for check in checks) else ""


def _items(check: Check) -> Check:
    def each(value: Any) -> str | None:
        if not isinstance(value, (list, tuple)):
            return ""
        for i, one in enumerate(value):
            if (place := check(one)) is not None:
                return f".{i}{place}"
        return None

    return each


def _values(check: Check) -> Check:
    def each(value: Any) -> str | None:
        if not isinstance(value, Mapping):
            return ""
        for key, one in value.items():
            if (place := check(one)) is not None:
                return f".{key}{place}"
        return None

    return each


def _fields(shape: Any) -> Check:
    """Check every field by name: a TypedDict may have more than its own, a dataclass may not."""
    hints = get_type_hints(shape, include_extras=True)
    if is_dataclass(shape):
        own = {one.name: one for one in fields(shape)}
        needed = {n for n, one in own.items() if one.default is one.default_factory is MISSING}
        hints = {name: hints[name] for name in own}
    else:
        needed = set(shape.__required_keys__)
    checks = {name: _check(hint) for name, hint in hints.items()}
    closed = is_dataclass(shape)

    def each(value: Any) -> str | None:
        if not isinstance(value, dict):
            return ""
        if closed and (foreign := value.keys() - checks.keys()):
            return f".{min(foreign)}"
        for name, check in checks.items():
            if name not in value:
                if name in needed:
                    return f".{name}"
            elif (place := check(value[name])) is not None:
                return f".{name}{place}"
        return None

    return each
