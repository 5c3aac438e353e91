"""The table of test-time adaptation."""

from collections.abc import Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values

LABELS = {"tent": "Tent", "t3a": "T3A", "sar": "SAR", "read": "READ", "aeo": "AEO"}


def _columns(found: Sequence[Values]) -> list[Column]:
    there = {name for values in found for name in values["evaluators"]}
    return [
        Column("without", ("without",), percent=True),
        *(
            Column(f"{label} {when}", ("evaluators", name, when), percent=True)
            for name, label in LABELS.items()
            if name in there
            for when in ("before", "after")
        ),
    ]


LAYOUT = Layout(
    _columns,
    (
        "Accuracy on the target, whose samples come once, in batches, in an order that is the "
        "same for all methods: without adaptation, and of the predictions made before and after "
        "each batch's own update. No number: the evaluator has nothing to adapt in the method, as "
        "READ and T3A where no fusion head is used, and AEO where no unimodal heads are trained; "
        "the file beside the run gives the reason.",
        "Tent and SAR normalise by the statistics of the test batch where the trained stages have "
        "batch norm; the others keep the statistics of the sources. Nothing is dropped out. SAR "
        "starts anew where its entropy falls below a constant that was made for 1000 classes: "
        "with few classes that can be after every batch.",
    ),
)
