"""The tables of robustness: corrupted modalities in short and one by one, and missing ones."""

from collections.abc import Mapping, Sequence

from benchmark.reporting.kinds.layouts.layout import Column, Layout, Values

NAME = "robustness"


def corrupted(found: Sequence[Values]) -> dict[str, list[str]]:
    """Return the corruptions of each modality that has any; runs of one table have the same."""
    return {modality: list(of["by"]) for modality, of in found[0]["corrupted"].items()}


def subsets(found: Sequence[Values]) -> list[str]:
    """Return the subsets of modalities, as records name them."""
    return list(found[0]["missing"]["zero"])


def _short(found: Sequence[Values]) -> list[Column]:
    means = {k: ("corrupted", k, "mean") for k in corrupted(found)}
    return [
        Column("clean", ("clean",), percent=True),
        *(Column(f"corrupted {k}", place, percent=True) for k, place in means.items()),
        Column("mean", ("mean",), percent=True),
        Column("retained", ("retained",), percent=True),
        *(Column(f"{k} over ERM", place, percent=True, gain=True) for k, place in means.items()),
        Column("mean over ERM", ("mean",), percent=True, gain=True),
    ]


def _each(found: Sequence[Values]) -> list[Column]:
    return [
        Column("clean", ("clean",), percent=True),
        *(
            Column(f"{k}: {name}", ("corrupted", k, "by", name, "mean"), percent=True)
            for k, names in corrupted(found).items()
            for name in names
        ),
    ]


def _missing(found: Sequence[Values]) -> list[Column]:
    whole, *others = reversed(subsets(found))
    return [
        Column("all", ("missing", "zero", whole), percent=True),
        *(
            Column(f"{subset}{mark}", ("missing", absence, subset), percent=True)
            for absence, mark in (("zero", ""), ("mean", ", mean"))
            for subset in reversed(others)
        ),
    ]


def _left_out(found: Sequence[Values]) -> list[str]:
    reasons = {(k, why) for values in found for k, why in values["left_out"].items()}
    return [f"Not corrupted: {k}, as {why}." for k, why in sorted(reasons)]


ONE_AT_A_TIME = (
    "Accuracy on the target with one modality corrupted and the others clean, a mean over "
    "severities"
)
LAYOUTS: Mapping[str, Layout] = {
    NAME: Layout(
        _short,
        (
            f"{ONE_AT_A_TIME} and corruptions; mean: over modalities. retained: that mean as a "
            "share of the clean accuracy. over ERM: in points above the same accuracy of ERM, on "
            "the seeds of both.",
        ),
        remarks=_left_out,
    ),
    "corruptions": Layout(_each, (f"{ONE_AT_A_TIME}.",), NAME, _left_out),
    "missing": Layout(
        _missing,
        (
            "Accuracy of the fused prediction on the target from all modalities, and from those "
            "named alone. What is absent is zeros after the neck, or (mean) the mean embedding of "
            "the sources' train part.",
        ),
        NAME,
    ),
}
