"""Random numbers that torch's distributions would draw from the global stream only."""

import torch
from torch import Tensor


def beta(alpha: float, count: int, generator: torch.Generator) -> Tensor:
    """Draw [count] numbers from Beta(alpha, alpha), alpha ≥ 0.01: smaller ones underflow to ½."""
    # torch.distributions takes no generator; its Beta too is a Dirichlet of two parts.
    both = torch.full((count, 2), alpha, dtype=torch.float64)
    return torch._sample_dirichlet(both, generator=generator)[:, 0]
