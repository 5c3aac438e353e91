"""The plan: domains × modality subsets × methods × seeds, as a list of specs."""

import itertools
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import datasets
import methods
from benchmark import backbones
from benchmark.planning import compositions, flags, protocols, splits, weights
from benchmark.planning.compositions import Composition
from benchmark.planning.request import Request
from benchmark.records.spec import RunSpec, flat, switch_values
from benchmark.settings import RunSettings
from datasets.base import Card, MultimodalDataset
from mmdg_common import UsageError, unknown

MANY = 3000
"""Runs from which on a plan is announced before it is made."""


@dataclass(frozen=True)
class Plan:
    """The runs, and the combinations left out with the reason."""

    specs: list[RunSpec]
    skipped: list[str]
    dataset: MultimodalDataset
    notes: Sequence[str] = ()
    """Facts that the user should know about the runs."""


def make(request: Request, settings: RunSettings) -> Plan:
    """Turn a request into specs.

    Raises:
        UsageError: a name is unknown, parts contradict each other, or nothing is left to run.
    """
    pipeline = protocols.pipeline(request.protocol, request.dataset)
    composed = compositions.asked(request)
    options = {**pipeline.options, **request.dataset_options}
    dataset = settings.open_dataset(request.dataset, options)
    dataset.check_ids()
    card = dataset.card
    encoders = _encoders(card, request.backbones)
    subsets = splits.subsets(request, card)
    used = [k for k in encoders if any(k in subset for subset in subsets)]
    start = weights.resolve(dataset, encoders, used, settings)
    _check_switches(card, encoders, start, request.switches)
    trained = [(one, one.recipe(card), one.protocol(card, pipeline)) for one in composed]
    wanted = splits.asked(request, dataset)
    settings_each = max(1, request.search)
    _announce(len(wanted) * len(subsets) * len(composed) * len(request.seeds) * settings_each)
    data = {subset: dataset.fingerprint(subset) for subset in subsets}
    specs: list[RunSpec] = []
    skipped: list[str] = []
    for split, subset in itertools.product(wanted, subsets):
        for one, recipe, protocol in trained:
            if reason := one.limit(len(subset), len(split.sources)):
                skipped.append(f"{one.name} on {'+'.join(subset)}: {reason}")
                continue
            first = RunSpec(
                dataset=card.name,
                options=vars(dataset.options),
                data=data[subset],
                fabricated=dataset.fabricated,
                setting=split.setting,
                sources=split.sources,
                target=split.target,
                modalities=subset,
                seed=request.seeds[0],
                method=one.name,
                hyperparameters={},
                recipe=recipe,
                encoders={k: encoders[k] for k in subset},
                weights={k: start[k] for k in subset if k in start},
                protocol=protocol.on(subset, start),
            )
            origins = settings.origins(first)
            specs += _each_setting(first, one, dataset, origins, request.seeds)
    skipped = list(dict.fromkeys(skipped))
    if not specs:
        raise UsageError("nothing to run: " + "; ".join(skipped))
    return Plan(specs, skipped, dataset, weights.notes(dataset, encoders, used, settings))


def _announce(runs: int) -> None:
    """Say how many runs are planned, where they may be more than the user means."""
    if runs > MANY:
        print(
            f"planning {runs:,} runs; --subset-sizes, --modalities, --sources and "
            "--target ask for fewer ...",
            file=sys.stderr,
            flush=True,
        )


def _each_setting(
    first: RunSpec,
    composition: Composition,
    dataset: MultimodalDataset,
    origins: Mapping[str, str],
    seeds: Sequence[int],
) -> Iterator[RunSpec]:
    """Yield a run for each setting of the hyper-parameters and each seed, otherwise as `first`."""
    card = dataset.card
    usual = {
        "set": flat(composition.defaults),
        "dataset_options": vars(datasets.get(card.name).Options()),
        "recipe": vars(card.recipe),
        "backbones": {modality.name: modality.encoder for modality in card.modalities},
    }
    for setting in composition.tried:
        run = replace(first, hyperparameters=methods.stored(setting))
        run = replace(run, asked=flags.asked(run, usual, origins))
        yield from (replace(run, seed=seed) for seed in dict.fromkeys(seeds))


def check_weights(plans: Sequence[Plan], settings: RunSettings) -> None:
    """Raise UsageError if there is a checkpoint for a modality that no dataset planned has."""
    there = dict.fromkeys(m.name for made in plans for m in made.dataset.card.modalities)
    for name in settings.weights:
        if name not in there:
            cards = dict.fromkeys(made.dataset.card.name for made in plans)
            raise unknown(f"modality of {' and '.join(cards)}", name, there)


def _encoders(card: Card, chosen: Mapping[str, str]) -> dict[str, str]:
    names = {m.name: m.encoder for m in card.modalities}
    for modality, encoder in chosen.items():
        if modality not in names:
            raise unknown(f"modality of {card.name}", modality, names)
        if encoder not in backbones.names():
            raise unknown("encoder", encoder, backbones.names())
        names[modality] = encoder
    return names


def _check_switches(
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
