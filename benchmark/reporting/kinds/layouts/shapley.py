"""The table of Shapley values."""

from collections.abc import Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values


def _columns(found: Sequence[Values]) -> list[Column]:
    modalities = list(found[0]["target"]["zero"]["shapley"])
    families = [("φ", "shapley"), ("only", "alone")]
    families += [("without", "without")] if len(modalities) > 2 else []  # the same as only, of two
    return [
        Column("all", ("target", "zero", "all"), percent=True),
        *(
            Column(f"{label} {k}", ("target", "zero", name, k), percent=True)
            for label, name in families
            for k in modalities
        ),
        *(
            Column(f"φ {k}, mean", ("target", "mean", "shapley", k), percent=True)
            for k in modalities
        ),
    ]


LAYOUT = Layout(
    _columns,
    (
        "Accuracy of the fused prediction on the target from all modalities, from one only, "
        "and without one; φ: Shapley values, which sum to the accuracy from all less chance. "
        "An absent modality is zeros after the neck, or (mean) the mean embedding of the "
        "sources' train part.",
    ),
)
