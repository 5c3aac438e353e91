"""Hyper-parameters: a dataclass beside each method, with default, search range and help."""

import math
import random
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any

from mmdg_common import UsageError, unknown


@dataclass(frozen=True)
class NoHyperparameters:
    """The hyper-parameters of a method that has none."""


@dataclass(frozen=True)
class LogUniform:
    """Search between two positive values, uniform in the logarithm."""

    low: float
    high: float


@dataclass(frozen=True)
class Uniform:
    """Search between two values, uniformly."""

    low: float
    high: float


@dataclass(frozen=True)
class Choice:
    """Search among a few values; for a string they are also the only valid ones, but for `also`."""

    values: tuple[Any, ...]
    also: tuple[str, ...] = field(default=(), repr=False)
    """Valid, but never drawn: a value that a later version adds moves no earlier search."""

    @property
    def valid(self) -> tuple[Any, ...]:
        """Return all values."""
        return (*self.values, *self.also)


SearchRange = LogUniform | Uniform | Choice


def hyper(
    default: Any,
    help: str,
    search: SearchRange | None = None,
    low: float = -math.inf,
    high: float = math.inf,
    younger: bool = False,
) -> Any:
    """Declare one hyper-parameter.

    Args:
        default: its value, which also gives its type.
        help: one line.
        search: the range of a search; None: no search moves it.
        low: the lowest valid value.
        high: the highest valid value.
        younger: whether it is younger than stored runs of the method, all of which had the default.
            At this value it is no part of what a run is, so that their ids stay what they were.
    """
    metadata = {"help": help, "search": search, "low": low, "high": high, "younger": younger}
    return field(default=default, metadata=metadata)


def without_younger(cls: type, values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values of the dataclass `cls` without the younger ones that are at their default."""
    usual = {f.name: f.default for f in fields(cls) if f.metadata.get("younger")}
    return {name: v for name, v in values.items() if name not in usual or v != usual[name]}


def draw(cls: type, rng: random.Random) -> dict[str, Any]:
    """Draw a value for every field of the dataclass `cls` that has a search range."""
    drawn: dict[str, Any] = {}
    for field_ in fields(cls):
        search = field_.metadata.get("search")
        if isinstance(search, Choice):
            drawn[field_.name] = rng.choice(search.values)
        elif search is not None:
            if isinstance(search, LogUniform):
                value = math.exp(rng.uniform(math.log(search.low), math.log(search.high)))
            else:
                value = rng.uniform(search.low, search.high)
            # Three digits tell settings apart as well as sixteen, and can be read and typed.
            kind: Any = type(field_.default)
            drawn[field_.name] = kind(float(f"{value:.3g}"))
    return drawn


def build(cls: type, owner: str, given: Mapping[str, Any]) -> Any:
    """Build the dataclass `cls` of the method `owner`; strings become the field's type.

    Raises:
        UsageError: a name is unknown, or a value has the wrong type or lies out of range.
    """
    known = {f.name: f for f in fields(cls)}
    values = {}
    for name, value in given.items():
        if name not in known:
            raise unknown(f"hyper-parameter of {owner}", name, known)
        values[name] = _convert(f"{owner}.{name}", value, known[name])
    return cls(**values)


def _convert(label: str, value: Any, spec: Any) -> Any:
    kind = type(spec.default)
    try:
        if kind is bool:
            converted = {"true": True, "false": False}[str(value).lower()]
        else:
            converted = kind(value)
        if kind is int and converted != value and not isinstance(value, str):
            raise ValueError("a fraction")
    except (KeyError, TypeError, ValueError):
        raise UsageError(f"{label}={value}: not of type {kind.__name__}") from None
    search, low, high = (spec.metadata[key] for key in ("search", "low", "high"))
    if kind is str and isinstance(search, Choice) and converted not in search.valid:
        raise unknown(f"value of {label}", str(value), search.valid)
    if kind in (int, float) and not (low <= converted <= high and math.isfinite(converted)):
        raise UsageError(f"{label}={value}: must be finite and lie between {low:g} and {high:g}")
    return converted
