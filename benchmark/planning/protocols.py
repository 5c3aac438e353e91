"""What `--protocol` means for a dataset and for a method, and how its layers are put together.

A run is made of layers, of which later ones win: the dataset's and the method's defaults, what the
protocol says, and what is asked for by hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import datasets
import methods
from benchmark import backbones
from benchmark.records.spec import Protocol, switch_values
from datasets.base import Card, PublishedPipeline
from methods.published import PublishedScript
from mmdg_common import UsageError, unknown


def pipeline(name: str, dataset: str) -> PublishedPipeline:
    """Return what the protocol says of the dataset; nothing under `fair`.

    Raises:
        UsageError: the protocol is `reference`, and the dataset has no public scripts.
    """
    if name == "fair":
        return PublishedPipeline({}, {})
    published = datasets.get(dataset).published
    if published is None:
        having = [other for other in datasets.names() if datasets.get(other).published]
        raise UsageError(
            f"--protocol {name} is not available for {dataset}: it follows "
            f"public scripts, which there are for {' and '.join(having)}. Leave it out"
        )
    return published


def scripts(name: str, asked: Sequence[str]) -> dict[str, PublishedScript]:
    """Return the compositions to run, with what the protocol says of each; nothing under `fair`."""
    found = {}
    for composition in asked:
        *wrappers, inner = methods.components(composition)
        script = PublishedScript() if name == "fair" else inner.published
        parts = [*(cls.name for cls in wrappers), script.composition or inner.name]
        found[methods.canonical("+".join(parts))] = script
    return found


def merged(*layers: methods.Settings) -> dict[str, dict[str, Any]]:
    """Return the settings of all layers by component; later ones win."""
    owners = dict.fromkeys(owner for layer in layers for owner in layer)
    return {o: {k: v for layer in layers for k, v in layer.get(o, {}).items()} for o in owners}


def switched(card: Card, layers: Iterable[Mapping[str, Any]]) -> Protocol:
    """Return the switches of all layers, of which later ones win, modality by modality."""
    modalities = [m.name for m in card.modalities]
    values: dict[str, Any] = {}
    for switch, value in (item for layer in layers for item in layer.items()):
        if not isinstance(value, Mapping):
            values[switch] = value
            continue
        for name in value:
            if name not in modalities:
                raise unknown(f"modality of {card.name}", name, modalities)
        before = Protocol(**values)
        values[switch] = {k: before.of(switch, k) for k in modalities} | dict(value)
    return Protocol(**values)


def check_switches(
    card: Card,
    encoders: Mapping[str, str],
    weights: Mapping[str, str],
    asked: Mapping[str, Any],
) -> None:
    """Raise UsageError for a switch that was asked for and would change nothing."""
    if "random" in switch_values(asked.get("tail_init")) and not weights:
        raise UsageError(
            "--tail-init random: no encoder starts from a checkpoint, so the switch would change "
            "nothing; leave it out, or name checkpoints with --weights"
        )
    if "train" in switch_values(asked.get("frozen_bn")):
        import torch

        with torch.device("meta"):  # shapes alone: nothing is drawn or stored
            built = [backbones.create(encoders[m.name], m.shape) for m in card.modalities]
        if not any("running_mean" in name for e in built for name in e.stem.state_dict()):
            raise UsageError(
                f"--frozen-bn train: no encoder of {card.name} has batch norm in frozen stages, "
                "so the switch would change nothing; leave it out"
            )
