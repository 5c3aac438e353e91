"""Helpers for methods that compute gradients more than once per batch."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """The state of torch's global random streams: that of the CPU, and that of a batch's GPU."""

    cpu: Tensor
    device: torch.device
    gpu: Tensor | None

    @classmethod
    def now(cls, like: Tensor) -> "RandomState":
        """Return the present state of the streams that computing on `like` draws from."""
        gpu = torch.cuda.get_rng_state(like.device) if like.is_cuda else None
        return cls(torch.get_rng_state(), like.device, gpu)

    @contextmanager
    def replayed(self) -> Iterator[None]:
        """Draw the same random numbers, e.g. dropout, once more; then put the streams back."""
        before = RandomState.now(torch.empty(0, device=self.device))
        self._set()
        try:
            yield
        finally:
            before._set()

    def _set(self) -> None:
        torch.set_rng_state(self.cpu)
        if self.gpu is not None:
            torch.cuda.set_rng_state(self.gpu, self.device)


def gradients(loss: Tensor, parameters: Sequence[Tensor], keep: bool = True) -> list[Tensor]:
    """Return the gradient of a loss by each parameter, zeros where it has no part in it.

    With `keep` the graph stays for further gradients.
    """
    found = torch.autograd.grad(loss, parameters, retain_graph=keep, allow_unused=True)
    pairs = zip(found, parameters, strict=True)
    return [torch.zeros_like(p) if g is None else g for g, p in pairs]


def inner_product(a: Iterable[Tensor], b: Iterable[Tensor]) -> Tensor:
    """Return the inner product of two lists of tensors, each taken as one long vector."""
    products = [(x * y).sum() for x, y in zip(a, b, strict=True)]
    return torch.stack(products).sum()


def norm(tensors: Sequence[Tensor]) -> Tensor:
    """Return the length of a list of tensors taken as one long vector."""
    return inner_product(tensors, tensors).sqrt()


def add_to_grads(parameters: Iterable[Tensor], changes: Iterable[Tensor]) -> None:
    """Add to the gradient of each parameter."""
    for parameter, change in zip(parameters, changes, strict=True):
        parameter.grad = change.clone() if parameter.grad is None else parameter.grad + change


def min_norm_weight(a: Sequence[Tensor], b: Sequence[Tensor]) -> Tensor:
    """Return the c in 0..1 for which c·a + (1-c)·b is shortest, each list one long vector."""
    difference = [x - y for x, y in zip(a, b, strict=True)]
    length = inner_product(difference, difference)
    towards_a = -inner_product(b, difference)
    return (towards_a / length.clamp_min(torch.finfo(length.dtype).tiny)).clamp(0, 1)
