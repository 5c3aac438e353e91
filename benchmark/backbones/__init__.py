"""Encoders behind one interface: a frozen `stem`, a trained `tail`, an embedding of size `dim`.

An encoder with a frozen stem names its official checkpoint when it is registered, since a stem of
random weights passes on little but noise. Runs start from it unless told otherwise.
"""

import inspect
from collections.abc import Callable
from typing import TYPE_CHECKING

from mmdg_common import Registry, UsageError

if TYPE_CHECKING:
    from benchmark.backbones.base import Encoder
    from benchmark.backbones.official import Checkpoint

Builder = Callable[..., "Encoder"]
"""Takes the shape of a sample; one that can start from a checkpoint also takes `weights`."""

_registry: Registry[Builder] = Registry("encoder", __name__)
_checkpoints: "dict[str, Checkpoint]" = {}
names = _registry.names


def register(name: str, checkpoint: "Checkpoint | None" = None) -> Callable[[Builder], Builder]:
    """Return a decorator that files a builder under `name`, with the encoder's checkpoint."""
    if checkpoint is not None:
        _checkpoints[name] = checkpoint
    return _registry.register(name)


def checkpoint(name: str) -> "Checkpoint | None":
    """Return the official checkpoint of the encoder `name`; None for one trained from scratch.

    Raises:
        UsageError: there is no such encoder.
    """
    _ = _registry[name]
    return _checkpoints.get(name)


def create(
    name: str, shape: tuple[int, ...], weights: str | None = None, random_tail: bool = False
) -> "Encoder":
    """Build the encoder `name` for samples of `shape` (without the batch axis).

    With `random_tail` the checkpoint fills the frozen stem alone.

    Raises:
        UsageError: the name is unknown, the encoder reads other shapes, or `weights` do not fit
            it or are given to an encoder that has none.
    """
    builder = _registry[name]
    if weights is None:
        return builder(shape)
    if not _takes_weights(builder):
        able = ", ".join(n for n in names() if _takes_weights(_registry[n]))
        raise UsageError(
            f"encoder {name} takes no checkpoint, but {weights} was given. Leave it out, or "
            f"choose an encoder that takes one: {able}."
        )
    encoder = builder(shape, weights=weights)
    if random_tail:
        encoder.tail = builder(shape).tail
    return encoder


def check_shape(encoder: str, shape: tuple[int, ...], form: str) -> None:
    """Raise UsageError unless `shape` has the `form`, e.g. "(3, T, height, width)".

    Numbers in the form must match, names stand for any size.
    """
    axes = form.strip("()").split(", ")
    fits = len(axes) == len(shape) and all(
        axis == str(size) or not axis.isdigit() for axis, size in zip(axes, shape, strict=True)
    )
    if not fits:
        raise UsageError(
            f"encoder {encoder} reads samples of shape {form}, not {shape}. Choose another "
            f"encoder for this modality: {', '.join(names())}."
        )


def _takes_weights(builder: Builder) -> bool:
    return "weights" in inspect.signature(builder).parameters
