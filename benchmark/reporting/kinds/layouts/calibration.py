"""The table of calibration and failure prediction."""

from collections.abc import Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values


def _columns(_: Sequence[Values]) -> list[Column]:
    return [
        Column("accuracy", ("target", "accuracy"), percent=True),
        Column("confidence", ("target", "confidence"), percent=True),
        Column("ECE", ("target", "ece"), percent=True),
        Column("temperature", ("temperature",)),
        Column("ECE, scaled", ("scaled", "ece"), percent=True),
        Column("AURC", ("target", "aurc")),
        Column("E-AURC", ("target", "e_aurc")),
        Column("AUROC", ("target", "auroc"), percent=True),
        Column("FPR95 first", ("target", "fpr95", "first"), percent=True),
        Column("FPR95 nearest", ("target", "fpr95", "nearest"), percent=True),
    ]


LAYOUT = Layout(
    _columns,
    (
        "On the target. confidence: the mean highest softmax probability. ECE: expected "
        "calibration error in 15 bins; scaled: after dividing logits by the temperature, which "
        "is fitted on the sources' validation part.",
        "How well confidence tells correct from wrong predictions: AURC and E-AURC (times "
        "1000, lower is better), AUROC (higher), and the share of wrong predictions that pass "
        "where 95 % of the correct ones do (FPR95, lower): at the first threshold with a true "
        "positive rate of at least 95 %, and at the one nearest to 95 %; public code has both.",
    ),
)
