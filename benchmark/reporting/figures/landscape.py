"""The loss on a plane through the weights: contours, a column of panels for each method."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.records.read import Record
from benchmark.reporting.conditions import column_of
from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import listed
from benchmark.reporting.figures.measured import members, paged
from benchmark.reporting.kinds.layouts.sharpness import PARTS
from benchmark.reporting.kinds.measured import Sheet, sheets
from benchmark.reporting.request import Wanted

if TYPE_CHECKING:  # takes a second
    from matplotlib.figure import Figure as Canvas

Array = NDArray[np.float64]
METHODS = 4
"""The most in one figure."""
PANEL, AROUND = 1.35, 1.5
"""The width of a panel, and that of all beside the panels, in inches."""
LEVELS = 13
DEPTH = 1e-3
"""The lowest contour, as a share of the highest one."""


def contours(wanted: Wanted) -> list[Figure]:
    """Return the contours of one run of each method on one target, in pages of methods."""
    return [figure for sheet in sheets("landscape", wanted) for figure in _figures(sheet)]


def _figures(sheet: Sheet) -> list[Figure]:
    runs = members(sheet)
    targets = sorted({column_of(record.spec) for of in runs.values() for record in of})
    target = max(targets, key=lambda t: sum(bool(_on(of, t)) for of in runs.values()))
    chosen = [
        min(here, key=lambda record: record.spec.seed)
        for of in runs.values()
        if (here := _on(of, target))
    ]
    values = {record.spec.method: sheet.of[record.spec.id].values for record in chosen}
    losses = [_losses(of, part).ravel() for of in values.values() for part in PARTS]
    levels = _levels(np.concatenate(losses))
    seeds = sorted({record.spec.seed for record in chosen})
    text = (
        "Cross-entropy of the fused prediction on a plane through the trained weights (cross), "
        "spanned by two random filter-normalised directions that are the same for all methods; "
        f"above on the sources' validation part, below on the target {target}. One run each, of "
        f"the lowest seed ({listed(list(map(str, seeds)))})."
    )
    return paged(
        sheet,
        "contours",
        "Loss around the weights",
        text,
        style.pages(list(values), METHODS),
        lambda page: partial(_draw, values={m: values[m] for m in page}, levels=levels),
    )


def _on(records: Sequence[Record], target: str) -> list[Record]:
    return [record for record in records if column_of(record.spec) == target]


def _losses(values: Mapping[str, Any], part: str) -> Array:
    return np.array(values[part]["loss"], float)


def _levels(losses: Array) -> Array:
    """Return contours from the lowest to the highest loss of all panels, by a constant factor."""
    there = losses[np.isfinite(losses)]
    high = float(there.max(initial=0.0)) or 1.0
    low = max(float(there.min(initial=high)), DEPTH * high)
    return np.geomspace(min(low, high / 2), high, LEVELS)


def _draw(canvas: "Canvas", values: Mapping[str, Mapping[str, Any]], levels: Array) -> None:
    from matplotlib.colors import LogNorm

    canvas.set_size_inches(AROUND + PANEL * len(values), 0.6 + 2 * PANEL)
    canvas.set_layout_engine("constrained")
    grid = canvas.subplots(2, len(values), sharex=True, sharey=True, squeeze=False)
    shade = LogNorm(levels[0], levels[-1])
    for column, (method, of) in zip(grid.T, values.items(), strict=True):
        for ax, part in zip(column, PARTS, strict=True):
            losses = np.ma.masked_invalid(_losses(of, part)).clip(levels[0], levels[-1])
            filled = ax.contourf(of["axis"], of["axis"], losses, levels, norm=shade, cmap="viridis")
            ax.contour(of["axis"], of["axis"], losses, levels, colors="white", linewidths=0.4)
            ax.plot(0, 0, "+", color="white", markersize=6)
            ax.set_aspect("equal")
        column[0].set_title(method)
        column[1].set_xlabel("direction 1")
    for ax, label in zip(grid[:, 0], PARTS.values(), strict=True):
        ax.set_ylabel(f"direction 2, {label}")
    bar = canvas.colorbar(filled, ax=grid, label="cross-entropy", shrink=0.9, pad=0.02)
    bar.set_ticks(list(levels[::2]), labels=[f"{level:.2g}" for level in levels[::2]])
    bar.minorticks_off()
