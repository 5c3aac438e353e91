"""The table of flatness around the weights."""

from collections.abc import Iterator, Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values

PARTS = {"val": "validation", "target": "target"}


def _columns(found: Sequence[Values]) -> list[Column]:
    radii = list(found[0]["val"]["random"])
    middle = radii[len(radii) // 2]
    return [column for part in PARTS for column in _of(part, middle)]


def _of(part: str, radius: str) -> Iterator[Column]:
    for label, *place in (
        ("loss", "loss"),
        (f"at r = {radius}", "random", radius, "loss"),
        ("worst rise", "worst", "steps"),
        ("λ₁", "hessian", "top"),
        ("trace", "hessian", "trace"),
    ):
        yield Column(f"{label}, {PARTS[part]}", (part, *place))


LAYOUT = Layout(
    _columns,
    (
        "The cross-entropy of the fused prediction on samples of the sources' validation part and "
        "of the target, and how it changes with the weights; lower is flatter. at r: the mean "
        "over random directions in which every filter moves by r times its own length. worst "
        "rise: the highest that an ascent finds in a ball around the weights (its radius is the "
        "setting rho). λ₁, trace: the largest eigenvalue of the Hessian by the trained weights, "
        "and an estimate of its trace from random vectors, which is below 0 where the loss bends "
        "down more than up.",
        "The worst rise, λ₁ and the trace depend on the scale of the weights, so that methods "
        "which grow or shrink them differ by that alone. The loss at r does not.",
    ),
)
