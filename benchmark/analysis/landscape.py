"""The loss around the weights of a run, along one random direction and on a grid along two."""

from dataclasses import dataclass
from typing import Any

from benchmark.analysis import register
from benchmark.analysis.base import Analysis, finite
from benchmark.analysis.finished import FinishedRun
from benchmark.analysis.surface import PARTS, Surface, direction, moved, sampled
from methods.hyperparameters import hyper


@dataclass(frozen=True)
class Settings:
    """See the fields."""

    samples: int = sampled()
    points: int = hyper(5, "points of an axis on either side of the trained weights", low=1)
    reach: float = hyper(1.0, "how far an axis goes, relative to filters", low=1e-6)


@register("landscape")
class Landscape(Analysis):
    """What does the loss look like around the trained weights?

    On a plane through them that two filter-normalised random directions span (Li et al., NeurIPS
    2018), the same ones for every method. Batch norm evaluates with the statistics of the trained
    weights. The middle row is the line along the first direction.
    """

    about = "loss and accuracy on a plane through the weights, spanned by two random directions."
    Settings = Settings

    def measure(self, run: FinishedRun) -> dict[str, Any]:
        """Return the axis [A], and loss and accuracy [A, A] of each part.

        Rows go along the second direction, columns along the first.
        """
        points, reach = self.settings.points, self.settings.reach
        axis = [reach * i / points for i in range(-points, points + 1)]
        parts = {part: Surface.of(run, part, self.settings.samples) for part in PARTS}
        return {"axis": axis, **{part: grid(surface, axis) for part, surface in parts.items()}}


def grid(surface: Surface, axis: list[float]) -> dict[str, Any]:
    """Return loss and accuracy at every pair of places on the axes."""
    centre = surface.centre
    first, second = direction(centre, 0), direction(centre, 1)
    rows = [[surface.at(moved(centre, [(first, x), (second, y)])) for x in axis] for y in axis]
    return {
        "n": surface.size,
        "loss": [[finite(point.loss) for point in row] for row in rows],
        "accuracy": [[point.accuracy for point in row] for row in rows],
    }
