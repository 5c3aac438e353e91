"""Pieces of methods that compute gradients more than once a batch."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class RandomState:
    """Where torch's global random streams stood: of the CPU, and of a batch's GPU."""

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
        """Draw the same random numbers, e.g. dropout, once more; then go on as if nothing was."""
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
