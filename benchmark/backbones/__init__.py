"""Encoders behind one interface: a frozen `stem`, a trained `tail`, an embedding of size `dim`."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from mmdg_common import Registry

if TYPE_CHECKING:
    from benchmark.backbones.base import Encoder

Builder = Callable[[tuple[int, ...]], "Encoder"]

_registry: Registry[Builder] = Registry("encoder", __name__)
register = _registry.register
names = _registry.names


def create(name: str, shape: tuple[int, ...], weights: Path | None = None) -> "Encoder":
    """Build the encoder `name` for samples of `shape` (without the batch axis).

    Raises:
        UsageError: the name is unknown, or weights are given to an encoder that has none.
    """
    builder = _registry[name]
    if weights is not None:
        from mmdg_common import UsageError

        raise UsageError(f"encoder {name} takes no checkpoint, but {weights} was given")
    return builder(shape)
