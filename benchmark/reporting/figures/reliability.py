"""Reliability diagrams: accuracy against confidence on the target, of what was analysed."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from benchmark.reporting.figures import style
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import listed
from benchmark.reporting.figures.measured import paged
from benchmark.reporting.kinds.measured import Sheet, of_line, sheets
from benchmark.reporting.request import Wanted

if TYPE_CHECKING:  # takes a second
    from matplotlib.figure import Figure as Canvas

NAME = "calibration"
PANELS = 12
"""The most in one figure."""
Bins = NDArray[np.float64]
"""Number, accuracy and confidence of each bin: [3, n]."""


def reliability(wanted: Wanted) -> list[Figure]:
    """Return a figure for each condition and set of modalities of which runs were analysed."""
    return [figure for sheet in sheets(NAME, wanted) for figure in _figures(sheet, wanted)]


def _figures(sheet: Sheet, wanted: Wanted) -> list[Figure]:
    found = {
        line.label: pooled([sheet.of[r.spec.id].values for r in runs])
        for line in sheet.block.lines
        if (runs := of_line(line, sheet.of))
    }
    text = (
        "Accuracy (bars) in 15 bins of confidence, the highest softmax probability, on the targets "
        f"{listed(sheet.splits)}, all runs together. On the dashed line confidence is accuracy; "
        "bars below it are overconfident. Darker bars hold more samples. ECE: expected calibration "
        "error of all runs together."
    )
    return paged(
        sheet,
        "reliability",
        "Reliability",
        text,
        style.pages(list(found), PANELS, row=4),
        lambda page: partial(_draw, found={label: found[label] for label in page}),
        wanted.view.rule,
    )


def pooled(values: Sequence[Mapping[str, Any]]) -> Bins:
    """Return the bins of several runs together, means weighted by the number in each."""
    numbers, accuracies, sure = (
        np.array([one["target"]["bins"][name] for one in values], dtype=float)
        for name in ("number", "accuracy", "confidence")
    )
    total = numbers.sum(axis=0)
    filled = np.maximum(total, 1)
    means = [(numbers * of).sum(axis=0) / filled for of in (accuracies, sure)]
    return np.stack([total, *means])


def _draw(canvas: "Canvas", found: Mapping[str, Bins]) -> None:
    axes = style.panels(canvas, len(found), 4, 1.8)
    most = max(bins[0].max() / bins[0].sum() for bins in found.values())
    for ax, (label, (number, accuracy, sure)) in zip(axes, found.items(), strict=True):
        width = 1 / len(number)
        left = np.arange(len(number)) * width
        depth = 0.2 + 0.8 * np.sqrt(number / number.sum() / most)
        for x, height, alpha in zip(left[number > 0], accuracy[number > 0], depth[number > 0],
                                    strict=True):  # fmt: skip
            ax.bar(100 * x, 100 * height, 100 * width, align="edge", color=style.PALETTE[0],
                   alpha=alpha, edgecolor="white", linewidth=0.4)  # fmt: skip
        ax.plot([0, 100], [0, 100], color=style.GREY, linestyle="--", linewidth=0.8)
        error = (number * abs(accuracy - sure)).sum() / number.sum()
        ax.set_title(f"{label}: ECE {100 * error:.1f} %")
        ax.set_xlim(0, 100)
        ax.set_ylim(0, 100)
    style.axis_labels(axes, "confidence (%)", "accuracy (%)")
