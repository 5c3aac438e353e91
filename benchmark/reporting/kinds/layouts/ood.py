"""The table of out-of-distribution detection."""

from collections.abc import Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values

SCORES = {"msp": "MSP", "max_logit": "max logit", "energy": "energy"}
MEASURES = {
    "AUROC": ("auroc",),
    "AUPR in": ("aupr_in",),
    "AUPR out": ("aupr_out",),
    "FPR95 first": ("fpr95", "first"),
    "FPR95 nearest": ("fpr95", "nearest"),
}


def _columns(_: Sequence[Values]) -> list[Column]:
    return [
        Column("accuracy", ("accuracy",), percent=True),
        *(
            Column(f"{label} {measure}", ("scores", score, *place), percent=True)
            for score, label in SCORES.items()
            for measure, place in MEASURES.items()
        ),
    ]


LAYOUT = Layout(
    _columns,
    (
        "How well the highest softmax probability (MSP), the highest logit and the energy tell "
        "the target from samples out of distribution: of classes that were held out, or of the "
        "dataset named as against. Accuracy is that on the target, of the classes trained on.",
        "Samples out of distribution are positive in AUROC, AUPR out and FPR95, the target in "
        "AUPR in. FPR95 (lower is better) is the share of the target that is rejected where 95 % "
        "of the others are: at the first threshold with a true positive rate of at least 95 %, "
        "and at the one nearest to 95 %; public code has both. No number: the score is the same "
        "for all samples, as the energy of methods that combine probabilities.",
    ),
)
