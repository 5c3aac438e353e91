"""What tests of flatness share: what runs hold, and losses that are known in closed form."""

import torch
from torch import Tensor

from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.surface import Point, Surface


def state_of(run: FinishedRun) -> dict[str, Tensor]:
    """Copies of everything that a run's model and method hold."""
    both = {"model": run.model, "method": run.method}
    return {
        f"{name}.{key}": value.detach().clone()
        for name, module in both.items()
        for key, value in module.state_dict().items()
        if isinstance(value, Tensor)
    }


def unchanged(run: FinishedRun, before: dict[str, Tensor]) -> bool:
    """Whether a run's tensors are bit for bit what they were, and it still only evaluates."""
    after = state_of(run)
    same = all(torch.equal(after[name], value) for name, value in before.items())
    parts = [*run.model.modules(), *run.method.modules()]
    return same and after.keys() == before.keys() and not any(m.training for m in parts)


class Quadratic(Surface):
    """L(w) = ½ wᵀ H w + bᵀ w of one tensor w of any shape; everything about it is known."""

    def __init__(self, hessian: Tensor, slope: Tensor, at: Tensor) -> None:
        self.hessian, self.slope = hessian, slope
        self._centre, self.size = at, 1
        self.visited: list[Tensor] = []

    @property
    def centre(self):
        return {"w": self._centre}

    def loss(self, w: Tensor) -> Tensor:
        w = w.flatten()
        return 0.5 * w @ self.hessian @ w + self.slope @ w

    def at(self, weights):
        self.visited.append(weights["w"].detach())
        return Point(self.loss(weights["w"]).item(), 0.0)

    def shares(self, weights):
        self.visited.append(weights["w"].detach())
        yield 0.25 * self.loss(weights["w"])
        yield 0.75 * self.loss(weights["w"])


def a_quadratic(size: int = 6, seed: int = 0, shape: tuple[int, ...] = ()) -> Quadratic:
    """A quadratic that bends down in some directions, away from where its slope is zero."""
    drawn = torch.Generator().manual_seed(seed)
    root = torch.randn(size, size, generator=drawn, dtype=torch.float64)
    slope, at = torch.randn(2, size, generator=drawn, dtype=torch.float64)
    return Quadratic(root + root.T, slope, at.view(shape or (size,)))
