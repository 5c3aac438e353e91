"""The Hessian of a run's loss by its trained weights: largest eigenvalues and trace.

Products with vectors are made by differentiating twice (Pearlmutter 1994). `curvlinops` is no
choice: its product, jvp of jacrev, lacks a term for the weight of a layer norm under torch 2.11.
"""

from math import sqrt
from statistics import fmean, stdev

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from benchmark.analysis.surface import Surface, leaves_of
from benchmark.training import seeds
from methods.shared.gradients import inner_product

TOLERANCE = 0.01
"""Of the residual of an eigenvector, relative to its eigenvalue, whose own error is the square."""


class Hessian:
    """The Hessian [P, P] of the mean loss at a run's own weights, by all P trained numbers.

    Rows and columns are those of the trained tensors one after the other, each flattened.
    """

    def __init__(self, surface: Surface) -> None:
        self._surface = surface
        self._like = list(surface.centre.values())
        self.size = sum(w.numel() for w in self._like)

    def times(self, vector: Tensor) -> Tensor:
        """Return the product with a vector [P], which has the type and device of the weights."""
        pieces = torch.split(vector, [w.numel() for w in self._like])
        along = [piece.view_as(w) for piece, w in zip(pieces, self._like, strict=True)]
        found = torch.zeros_like(vector)
        for share in self._surface.shares(leaves := leaves_of(self._surface.centre)):
            by = list(leaves.values())
            first = torch.autograd.grad(share, by, create_graph=True, materialize_grads=True)
            second = torch.autograd.grad(inner_product(first, along), by, materialize_grads=True)
            found += torch.cat([g.flatten() for g in second])
        return found

    def eigenvalues(self, number: int) -> list[float]:
        """Return the largest eigenvalues, largest first, by Lanczos from a start that is drawn."""
        from scipy.sparse.linalg import LinearOperator, eigsh

        def times(vector: NDArray[np.float64]) -> NDArray[np.float64]:
            return self.times(torch.from_numpy(vector).to(self._like[0])).double().cpu().numpy()

        start = torch.randn(
            self.size, generator=seeds.generator(0, "analysis", "lanczos"), dtype=torch.float64
        )
        found = eigsh(
            LinearOperator((self.size, self.size), matvec=times, dtype=np.float64),
            min(number, self.size - 1),
            which="LA",
            v0=start.numpy(),
            tol=TOLERANCE,
            return_eigenvectors=False,
        )
        return sorted(map(float, found), reverse=True)

    def trace(self, probes: int) -> tuple[float, float]:
        """Return Hutchinson's estimate of the trace and its standard error.

        The mean of vᵀHv over vectors v of random signs (Hutchinson 1990), at least two.
        """
        found = []
        for i in range(probes):
            drawn = seeds.generator(0, "analysis", "probe", i)
            v = (2 * torch.randint(2, (self.size,), generator=drawn) - 1).to(self._like[0])
            found.append((v @ self.times(v)).item())
        return fmean(found), stdev(found) / sqrt(probes)
