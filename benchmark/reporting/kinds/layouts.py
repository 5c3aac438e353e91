"""The columns of the tables of analyses, by the name of the analysis."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmark.reporting.model import Form

Values = Mapping[str, Any]
"""What was measured of one run."""


@dataclass(frozen=True)
class Column:
    """One number of each run."""

    label: str
    place: tuple[str, ...]
    """Where the number stands in what was measured."""
    percent: bool = False
    """Whether it is a share, shown in percent."""
    form: Form = Form.QUANTITY

    def look(self, values: Values) -> float | None:
        """Return the number; None where a run has none."""
        found: Any = values
        for name in self.place:
            found = found.get(name) if isinstance(found, Mapping) else None
        return None if found is None else float(found)


@dataclass(frozen=True)
class Layout:
    """The table of an analysis."""

    columns: Callable[[Sequence[Values]], Sequence[Column]]
    """Of what was measured of all its runs."""
    notes: Sequence[str]
    """What the columns hold."""


def _calibration(_: Sequence[Values]) -> list[Column]:
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


def _shapley(found: Sequence[Values]) -> list[Column]:
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


LAYOUTS: Mapping[str, Layout] = {
    "calibration": Layout(
        _calibration,
        (
            "On the target. confidence: the mean highest softmax probability. ECE: expected "
            "calibration error in 15 bins; scaled: after dividing logits by the temperature, which "
            "is fitted on the sources' validation part.",
            "How well confidence tells correct from wrong predictions: AURC and E-AURC (times "
            "1000, lower is better), AUROC (higher), and the share of wrong predictions that pass "
            "where 95 % of the correct ones do (FPR95, lower): at the first threshold with a true "
            "positive rate of at least 95 %, and at the one nearest to 95 %; public code has both.",
        ),
    ),
    "shapley": Layout(
        _shapley,
        (
            "Accuracy of the fused prediction on the target from all modalities, from one only, "
            "and without one; φ: Shapley values, which sum to the accuracy from all less chance. "
            "An absent modality is zeros after the neck, or (mean) the mean embedding of the "
            "sources' train part.",
        ),
    ),
}
