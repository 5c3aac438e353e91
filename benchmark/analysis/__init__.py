"""What is measured of finished runs: one module per analysis, each one registered class.

No analysis trains a run again. What one measures is kept beside the run, see `records.analyses`.
"""

from typing import TYPE_CHECKING

from mmdg_common import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

    from benchmark.analysis.base import Analysis

_registry: "Registry[type[Analysis]]" = Registry("analysis", __name__)


def register(name: str) -> "Callable[[type[Analysis]], type[Analysis]]":
    """Return a decorator that makes a class the analysis called `name`."""

    def add(cls: "type[Analysis]") -> "type[Analysis]":
        cls.name = name
        return _registry.register(name)(cls)

    return add


def names() -> tuple[str, ...]:
    """Return every registered analysis, sorted."""
    return _registry.names()


def get(name: str) -> "type[Analysis]":
    """Return an analysis by name; raise UsageError, naming the nearest one, for another name."""
    return _registry[name]
