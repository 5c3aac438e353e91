"""The table of barriers between seeds."""

from collections.abc import Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values
from benchmark.reporting.kinds.layouts.sharpness import PARTS


def _columns(_: Sequence[Values]) -> list[Column]:
    return [
        Column(f"{what}, {name}{said}", (part, kind, f"{what}_barrier"), what == "accuracy")
        for part, name in PARTS.items()
        for kind, said in (("linear", ""), ("reset", ", reset"))
        for what in ("loss", "accuracy")
    ]


LAYOUT = Layout(
    _columns,
    (
        "Barriers on the straight line from the weights of each seed to those of one other seed "
        "(the setting partner, which has no line of its own): how far the loss rises above, and "
        "the accuracy falls below, what lies between the two ends. 0 means that both seeds are in "
        "one basin. Batch-norm statistics are interpolated, too, or (reset) computed anew at every "
        "point on samples of the sources' train part.",
    ),
)
