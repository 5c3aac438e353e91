"""Random streams by name: drawing from one never disturbs another."""

import hashlib
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TypeVar

import torch

T = TypeVar("T")


def stream(seed: int, *names: str | int) -> int:
    """Return the 63-bit seed of the stream called `names` in the run with this `seed`."""
    text = "/".join(str(name) for name in (seed, *names))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator(seed: int, *names: str | int) -> torch.Generator:
    """Return a CPU generator at the start of a stream."""
    return torch.Generator().manual_seed(stream(seed, *names))


def some(items: Sequence[T], most: int, *names: str | int) -> list[T]:
    """Return as many as `most` of some items in their order, drawn from a stream of seed 0."""
    if most >= len(items):
        return list(items)
    chosen = torch.randperm(len(items), generator=generator(0, *names))[:most]
    return [items[i] for i in sorted(chosen.tolist())]


@contextmanager
def drawing_from(seed: int, *names: str | int) -> Iterator[None]:
    """Draw torch's global random numbers from a stream; afterwards they go on as before."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(stream(seed, *names))
        yield
