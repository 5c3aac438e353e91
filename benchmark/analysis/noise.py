"""The variance of the stochastic gradient: how far the gradients of single batches scatter."""

from collections.abc import Collection, Iterable, Mapping

from torch import Tensor

Named = Mapping[str, Tensor]
"""A gradient by the names of the trained tensors."""


class Scatter:
    """The scatter of gradients around their mean, one batch at a time (Welford 1962)."""

    def __init__(self, found: Iterable[Named]) -> None:
        self.count = 0
        self._mean: dict[str, Tensor] = {}
        self._squares: dict[str, float] = {}
        for gradient in found:
            self._add({name: g.double() for name, g in gradient.items()})

    def _add(self, gradient: Named) -> None:
        self.count += 1
        for name, g in gradient.items():
            mean = self._mean.setdefault(name, g.new_zeros(g.shape))
            before = g - mean
            mean += before / self.count
            self._squares[name] = self._squares.get(name, 0.0) + float((before * (g - mean)).sum())

    def variance(self, names: Collection[str] | None = None) -> float:
        """Return s² = Σ_B ‖g_B - ḡ‖² / (n - 1) of n batches, at least two, which have the mean ḡ.

        Args:
            names: the tensors that count; None: all of them.
        """
        return sum(self._squares[name] for name in self._named(names)) / (self.count - 1)

    def square(self, population: int, names: Collection[str] | None = None) -> float:
        """Return an estimate of ‖g‖², which may be below 0 where the noise is large against g.

        ‖ḡ‖² itself is too large, by the error of ḡ: on average by s²/n (1 - n/N).

        Args:
            population: N, how many batches there are, of which n were drawn without replacement.
            names: the tensors that count; None: all of them.
        """
        length = sum(float((self._mean[name] ** 2).sum()) for name in self._named(names))
        return length - self.variance(names) / self.count * (1 - self.count / population)

    def relative(self, population: int, names: Collection[str] | None = None) -> float | None:
        """Return s² / ‖g‖², an estimate of E‖g_B - g‖² / ‖g‖².

        None for fewer than two batches, and where no estimate of ‖g‖² is left.
        """
        if self.count < 2 or (square := self.square(population, names)) <= 0:
            return None
        return self.variance(names) / square

    def _named(self, names: Collection[str] | None) -> Collection[str]:
        return self._mean.keys() if names is None else self._mean.keys() & names
