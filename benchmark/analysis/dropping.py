"""What a run's records say of modality dropout: rates over training, and samples left with one."""

from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from benchmark.records.spec import RunSpec
from methods.mbcd import LITERAL
from methods.shared import masks

LOGGED = ("speed", "drop_rate", "effective_drop_rate")
"""What methods log of each modality, as `speed/<modality>` and so on."""
Line = Mapping[str, Any]
"""One line of `metrics.jsonl`."""


def logged(lines: Sequence[Line], modalities: Sequence[str]) -> dict[str, Any]:
    """Return by name and modality the mean over validations of what was logged, and the last value.

    None where nothing was.
    """
    return {
        name: {k: _summary(_values(lines, f"{name}/{k}")) for k in modalities} for name in LOGGED
    }


def _values(lines: Sequence[Line], name: str) -> list[float | None]:
    return [line.get("train", {}).get(name) for line in lines]


def _summary(values: Sequence[float | None]) -> dict[str, float] | None:
    there = [value for value in values if value is not None]
    return {"mean": fmean(there), "final": there[-1]} if there else None


def keeping_one(
    lines: Sequence[Line], spec: RunSpec, modalities: Sequence[str], kept: int | None
) -> dict[str, Any]:
    """Return the share of the training samples that keep exactly one modality.

    It follows exactly from the drop rates of an epoch's batches, of which the mean is logged: it is
    the share at these mean rates. None for other methods than MBCD, whose masks may follow another
    rule.

    Args:
        lines: the validations.
        spec: says by which rule masks are drawn.
        modalities: of the run.
        kept: the number of the validation whose weights were kept, where there is one.
    """
    redrawn = _redrawn(spec)
    rates = [_values(lines, f"drop_rate/{k}") for k in modalities]
    course = [
        masks.keeping_one([rate for rate in of if rate is not None], redrawn)
        if redrawn is not None and None not in of
        else None
        for of in zip(*rates, strict=True)
    ]
    return {
        "kept": None if kept is None else course[kept],
        **(_summary(course) or {"mean": None, "final": None}),
        "course": course,
    }


def _redrawn(spec: RunSpec) -> bool | None:
    """Return whether samples that lose all modalities are drawn again; None: nothing is known."""
    rule = spec.hyperparameters.get("mbcd", {}).get("dropout")
    return rule != LITERAL if rule else None
