"""How flat the loss is around the weights of a run: three families of measures."""

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

import torch
from torch import Tensor

from benchmark.analysis import register
from benchmark.analysis.base import Analysis, finite
from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.hessian import Hessian
from benchmark.analysis.surface import PARTS, Surface, Weights, direction, moved, sampled
from methods.hyperparameters import hyper
from methods.shared.gradients import norm
from mmdg_common import UsageError

OVERSHOOT = 2.5
"""The steps of an ascent together are so many radii long (Madry et al., ICLR 2018)."""


@dataclass(frozen=True)
class Settings:
    """See the fields."""

    samples: int = sampled()
    radii: str = hyper("0.1,0.25,0.5,0.75,1", "radii of random perturbations, relative to filters")
    directions: int = hyper(5, "random directions", low=1)
    rho: float = hyper(0.05, "radius of the worst case, an L2 norm over all weights", low=0.0)
    steps: int = hyper(10, "steps of the ascent to the worst case after the first one", low=1)
    eigenvalues: int = hyper(3, "largest eigenvalues of the Hessian", low=1)
    probes: int = hyper(20, "random vectors that estimate the trace of the Hessian", low=2)


@register("sharpness")
class Sharpness(Analysis):
    """Does the loss rise when the trained weights are moved?

    The loss is the mean cross-entropy of the fused prediction; nothing but trained tensors moves.

    - `random`: by radius, along filter-normalised directions (Li et al., NeurIPS 2018), the mean
      over directions.
    - `worst`: the rise within a ball of radius ρ around the weights: by one step along the
      gradient, as SAM takes it (Foret et al., ICLR 2021), and the highest on a projected ascent
      from there. ρ is absolute, as it is for SAM, and no share of the weights' length, so that the
      rise depends on the scale of the weights (Dinh et al., ICML 2017).
    - `hessian`: its largest eigenvalues, and Hutchinson's estimate of its trace with the standard
      error. With ReLU these are derivatives within the piece of the loss in which the weights lie;
      the kinks between pieces count in the other two measures only.
    """

    about = "loss under random and worst-case perturbation of the weights; Hessian eigenvalues."
    Settings = Settings

    def check(self) -> None:
        """Raise UsageError where radii are no numbers."""
        super().check()
        radii(self.settings.radii)

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return the measures on the sources' validation part and on the target."""
        return {part: self._of(Surface.of(run, part, self.settings.samples)) for part in PARTS}

    def _of(self, surface: Surface) -> dict[str, Any]:
        asked = self.settings
        centre = surface.at(surface.centre)
        one_step, highest = ascent(surface, asked.rho, asked.steps)
        hessian = Hessian(surface)
        values = hessian.eigenvalues(asked.eigenvalues)
        trace, error = hessian.trace(asked.probes)
        return {
            "n": surface.size,
            "loss": finite(centre.loss),
            "accuracy": centre.accuracy,
            "random": perturbed(surface, radii(asked.radii), asked.directions),
            "worst": {"one_step": finite(one_step), "steps": finite(highest)},
            "hessian": {
                "top": finite(values[0]),
                "eigenvalues": [finite(value) for value in values],
                "trace": finite(trace),
                "trace_error": finite(error),
            },
        }


def radii(text: str) -> list[float]:
    """Return the radii that a setting lists.

    Raises:
        UsageError: it lists something else than positive numbers.
    """
    try:
        found = sorted({float(word) for word in text.split(",")})
    except ValueError:
        found = []
    if not found or not all(0 < radius < float("inf") for radius in found):
        raise UsageError(f"sharpness.radii={text}: write positive numbers, e.g. 0.1,0.5,1")
    return found


def perturbed(surface: Surface, at: Sequence[float], number: int) -> dict[str, dict[str, Any]]:
    """Return by radius the mean loss and accuracy over so many random directions."""
    directions = [direction(surface.centre, i) for i in range(number)]
    found = {}
    for radius in at:
        points = [surface.at(moved(surface.centre, [(d, radius)])) for d in directions]
        found[f"{radius:g}"] = {
            "loss": finite(fmean(point.loss for point in points)),
            "accuracy": fmean(point.accuracy for point in points),
        }
    return found


def ascent(surface: Surface, rho: float, steps: int) -> tuple[float, float]:
    """Return the rise of the loss one step away, and the highest found within the ball.

    The first step is SAM's, ε = ρ g / ‖g‖; then ε ← Π(ε + 2.5 ρ / steps · g(θ + ε) / ‖g(θ + ε)‖),
    where Π shortens ε to ρ. The second number is no less than the first, and no less than 0.
    """
    centre = surface.centre
    loss, gradient = surface.gradient(centre)
    offset = _within(_step(gradient, rho), rho)
    rises = []
    for _ in range(steps):
        found, gradient = surface.gradient(moved(centre, [(offset, 1.0)]))
        rises.append(found - loss)
        step = _step(gradient, OVERSHOOT * rho / steps)
        offset = _within(moved(offset, [(step, 1.0)]), rho)
    rises.append(surface.at(moved(centre, [(offset, 1.0)])).loss - loss)
    return rises[0], torch.tensor([0.0, *rises], dtype=torch.float64).max().item()


def _step(gradient: Weights, length: float) -> dict[str, Tensor]:
    """Return a step of this length along the gradient, none where it is zero."""
    whole = norm(list(gradient.values()))
    return {k: length * g / whole if whole else torch.zeros_like(g) for k, g in gradient.items()}


def _within(offset: Weights, rho: float) -> dict[str, Tensor]:
    """Return the nearest offset in the ball."""
    whole = norm(list(offset.values()))
    return {name: x * (rho / whole) if whole > rho else x for name, x in offset.items()}
