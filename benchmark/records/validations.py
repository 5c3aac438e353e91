"""The validations of a run as two arrays: their columns, and their values in single precision."""

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NotRequired, TypedDict

import numpy as np
from numpy.typing import NDArray

from benchmark.records import result, shape
from benchmark.records.shape import Count, UnreadableError

ARRAYS = ("columns", "metrics")
"""The arrays that hold the validations of a run: their columns, and their values."""


class Fused(result.Accuracy):
    """What selection rules look at."""

    loss: float


class Heads(TypedDict):
    """The same by head."""

    fused: Fused


class Validation(TypedDict):
    """A validation, as far as it is read back."""

    epoch: Count
    step: Count
    val: Heads
    target: Heads
    train: NotRequired[dict[str, float | None]]


def flattened(records: Sequence[Mapping[str, Any]]) -> tuple[NDArray[np.str_], NDArray[np.float32]]:
    """Return validations as columns, the place of each value in JSON, and their values, [E, K]."""
    lines = [dict(_leaves(record)) for record in records]
    places = list(dict.fromkeys(place for line in lines for place in line))
    values = [[_number(line.get(place)) for place in places] for line in lines]
    columns = np.array([json.dumps(list(place)) for place in places], dtype=np.str_)
    return columns, np.array(values, dtype=np.float32).reshape(len(lines), len(places))


def read(columns: NDArray[Any], values: NDArray[Any]) -> list[dict[str, Any]]:
    """Return validations from the columns and values that `flattened` made of them.

    Raises:
        UnreadableError: something else did.
    """
    try:
        places = [tuple(json.loads(column)) for column in columns.tolist()]
        records = [_unflattened(places, line) for line in values.tolist()]
        for record in records:
            shape.require(record, Validation)
    except UnreadableError as error:
        raise UnreadableError(f"its validations are damaged: {error}") from None
    except Exception as error:  # whatever parsing and nesting stumble over
        raise UnreadableError(f"its validations are damaged: {type(error).__name__}") from None
    return records


def _leaves(value: Mapping[str, Any], place: tuple[str, ...] = ()) -> Iterator[Any]:
    for key, one in value.items():
        if isinstance(one, Mapping):
            yield from _leaves(one, (*place, key))
        else:
            yield (*place, key), one


def _number(value: Any) -> float:
    return float("nan") if value is None else float(value)


def _unflattened(places: Sequence[tuple[str, ...]], values: Sequence[float]) -> dict[str, Any]:
    """Return a validation from its columns; what was not logged is None."""
    record: dict[str, Any] = {}
    for place, value in zip(places, values, strict=True):
        inner = record
        for key in place[:-1]:
            inner = inner.setdefault(key, {})
        known: float | int | None = None if value != value else value
        inner[place[-1]] = int(value) if place in (("epoch",), ("step",)) else known
    return record
