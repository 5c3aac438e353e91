"""How a model is trained: one file per method, one registered class per file.

`create("mbcd", {"mbcd": {"beta": 0.99}})` returns a method; `swad+mbcd` reads from the outside
in, and a wrapper alone wraps ERM.
"""

import random
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from mmdg_common import Registry, UsageError, unknown

if TYPE_CHECKING:
    from collections.abc import Callable

    from methods.base import Method

_registry: "Registry[type[Method]]" = Registry("method", __name__)

Settings = Mapping[str, Mapping[str, Any]]
"""Hyper-parameters by component: `{"swad": {...}, "mbcd": {...}}`."""


def register(name: str) -> "Callable[[type[Method]], type[Method]]":
    """Return a decorator that makes a class the method called `name`."""

    def add(cls: "type[Method]") -> "type[Method]":
        cls.name = name
        return _registry.register(name)(cls)

    return add


def names() -> tuple[str, ...]:
    """Return every registered method and wrapper, sorted."""
    return _registry.names()


def components(composition: str) -> "list[type[Method]]":
    """Return the classes of a composition from the outside in, ending with a full method.

    Raises:
        UsageError: a part is unknown, or the parts cannot be combined (the message says why).
    """
    classes = [_registry[part] for part in composition.split("+")]
    if classes[-1].is_wrapper:
        classes.append(_registry["erm"])
    for cls in classes[:-1]:
        if not cls.is_wrapper:
            raise UsageError(
                f"{composition!r}: {cls.name} is not a wrapper, so nothing can stand to its "
                f"right; write the wrapper first, e.g. swad+{cls.name}"
            )
    for depth, cls in enumerate(classes[:-1]):
        for inner in classes[depth + 1 :]:
            if reason := cls.refuses(inner):  # type: ignore[attr-defined]
                raise UsageError(f"{composition!r}: {reason}")
    return classes


def canonical(composition: str) -> str:
    """Return the one name of a composition: `swad+erm` is `swad`."""
    classes = components(composition)
    if len(classes) > 1 and classes[-1].name == "erm":
        classes = classes[:-1]
    return "+".join(cls.name for cls in classes)


def modules(compositions: Iterable[str]) -> list[str]:
    """Return the modules that register the parts of compositions.

    A process that imports them knows the methods, wherever their files lie on its path. What the
    main module registers is left out: nothing can import that.
    """
    classes = [cls for composition in compositions for cls in components(composition)]
    found = dict.fromkeys(cls.__module__ for cls in classes)
    return [name for name in found if name not in ("__main__", "__mp_main__")]


def draw(composition: str, seed: int, number: int) -> dict[str, dict[str, Any]]:
    """Return setting `number` of a random search, by component; number 0 is the default.

    The seed and the number alone decide it, so that a longer search repeats a shorter one.
    """
    from methods.hyperparameters import draw as draw_from

    if number == 0:
        return {}
    return {
        cls.name: draw_from(cls.Hyperparameters, random.Random(f"{seed}/{cls.name}/{number}"))
        for cls in components(composition)
    }


def resolve(composition: str, settings: Settings | None = None) -> dict[str, dict[str, Any]]:
    """Return every hyper-parameter of a composition, defaults included.

    Raises:
        UsageError: a setting is unknown, of the wrong type or out of range.
    """
    return {cls.name: asdict(hp) for cls, hp in _built(composition, settings or {})}


def stored(settings: Settings) -> dict[str, dict[str, Any]]:
    """Return resolved settings as the spec of a run holds them.

    A hyper-parameter that is younger than stored runs is left out at its default.
    """
    from methods.hyperparameters import without_younger

    return {
        name: without_younger(_registry[name].Hyperparameters, values)
        for name, values in settings.items()
    }


def create(composition: str, settings: Settings | None = None) -> "Method":
    """Build a composition; what is not set has its default.

    Raises:
        UsageError: as `components` and `resolve`.
    """
    method: Method | None = None
    for cls, hp in reversed(_built(composition, settings or {})):
        method = cls(hp) if method is None else cls(hp, inner=method)
    assert method is not None
    return method


def _built(composition: str, settings: Settings) -> "list[tuple[type[Method], Any]]":
    from methods.hyperparameters import build

    classes = components(composition)
    for owner in settings:
        if owner not in {cls.name for cls in classes}:
            raise unknown("component", owner, [cls.name for cls in classes])
    return [
        (cls, build(cls.Hyperparameters, cls.name, settings.get(cls.name, {}))) for cls in classes
    ]
