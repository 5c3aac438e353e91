"""What the encoders of planned runs start from."""

from collections.abc import Collection, Mapping
from functools import cache

from benchmark import backbones
from benchmark.backbones import official
from benchmark.settings import RunSettings
from datasets.base import MultimodalDataset
from mmdg_common import UsageError


def resolve(
    dataset: MultimodalDataset,
    encoders: Mapping[str, str],
    modalities: Collection[str],
    settings: RunSettings,
) -> dict[str, str]:
    """Return by modality what the encoders start from, as `RunSpec.weights` records it.

    Every checkpoint is loaded once, so that a wrong one is an error now and not in every run.

    Args:
        dataset: made-up recordings need no official checkpoints.
        encoders: the encoder of each modality.
        modalities: the ones that are used.
        settings: what the user says, and where checkpoints are looked for.

    Raises:
        UsageError: an official checkpoint is not there, or a file does not fit.
    """
    content: dict[str, str] = {}
    lacking: dict[str, str] = {}
    for modality in dataset.card.modalities:
        k, encoder = modality.name, encoders[modality.name]
        if not (settings.chosen(k) or (k in modalities and not dataset.fabricated)):
            continue
        if start := settings.start(k, encoder):
            content[k] = settings.content(start)
            _check(encoder, modality.shape, start, content[k])
        elif backbones.checkpoint(encoder) and not settings.chosen(k):
            lacking[k] = encoder
    if lacking:
        raise _lacking(dataset.card.name, lacking, settings)
    return content


def notes(
    dataset: MultimodalDataset,
    encoders: Mapping[str, str],
    modalities: Collection[str],
    settings: RunSettings,
) -> list[str]:
    """Return what a user should know who did not say what the encoders start from."""
    unsaid = [k for k in modalities if backbones.checkpoint(encoders[k]) and not settings.chosen(k)]
    if not dataset.fabricated or not unsaid:
        return []
    return [
        f"{dataset.card.name} is fabricated data: encoders start from random weights, unless "
        "--weights MODALITY=FILE names a checkpoint"
    ]


@cache
def _check(encoder: str, shape: tuple[int, ...], start: str, content: str) -> None:
    """Raise UsageError unless an encoder can start from this; once for each content."""
    backbones.create(encoder, shape, start)


def _lacking(dataset: str, lacking: Mapping[str, str], settings: RunSettings) -> UsageError:
    files = [f"{k}: {backbones.checkpoint(encoder)}" for k, encoder in lacking.items()]
    places = ", ".join(map(str, official.folders(settings.homes)))
    first = next(iter(lacking))
    fetch = " ".join(dict.fromkeys(lacking.values()))
    return UsageError(
        f"official checkpoints are missing ({'; '.join(files)}); looked for in {places}. Fetch "
        f"them: python -m datasets.prepare {dataset} --checkpoints {fetch}. Or name other files, "
        f"--weights {first}=FILE, or accept random weights, --weights none"
    )
