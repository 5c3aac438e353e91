"""What is to be run: domains × modality subsets × methods × seeds, as a list of specs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import methods
from benchmark import backbones
from benchmark.execution import Execution
from benchmark.spec import Protocol, RunSpec
from datasets.base import Card, MultimodalDataset, Recipe, Role
from mmdg_common import UsageError, unknown

MULTI, SINGLE = "multi-source", "single-source"


@dataclass(frozen=True)
class Request:
    """What a user asks for, in the user's words; `None` and empty leave the default."""

    methods: Sequence[str]
    dataset: str
    dataset_options: Mapping[str, str] = field(default_factory=dict)
    all_splits: bool = False
    sources: Sequence[str] = ()
    target: str | None = None
    settings: Sequence[str] = (MULTI,)
    """Which settings `all_splits` covers."""
    modalities: Sequence[str] = ()
    """Subsets such as `video+audio`; by default one subset, all of them."""
    all_modalities: bool = False
    """Every subset of two or more."""
    seeds: Sequence[int] = (0,)
    set: Sequence[str] = ()
    """Hyper-parameters, `key=value` or `component.key=value`."""
    protocol: str = "fair"
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Protocol`."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Recipe`."""
    backbones: Mapping[str, str] = field(default_factory=dict)
    """Encoders by modality; what they start from is part of the execution."""


@dataclass(frozen=True)
class Split:
    """Source domains and the unseen target."""

    setting: str
    sources: tuple[str, ...]
    target: str


@dataclass(frozen=True)
class Plan:
    """The runs, and the combinations left out with the reason."""

    specs: list[RunSpec]
    skipped: list[str]
    dataset: MultimodalDataset


def make(request: Request, execution: Execution) -> Plan:
    """Turn a request into specs.

    Raises:
        UsageError: a name is unknown, parts contradict each other, or nothing is left to run.
    """
    compositions = list(dict.fromkeys(methods.canonical(name) for name in request.methods))
    settings = method_settings(compositions, request.set)
    dataset = execution.open_dataset(request.dataset, request.dataset_options)
    card = dataset.card
    if request.protocol not in card.protocols:
        raise UsageError(
            f"--protocol {request.protocol} is not available for {card.name}; "
            f"valid here: {', '.join(sorted(card.protocols))}"
        )
    protocol = Protocol(**request.switches)
    encoders = _encoders(card, request.backbones, protocol)
    recipe = _recipe(card, request.recipe)
    _check_weights(card, encoders, execution.weights)
    weights = execution.weights_by_content
    specs, skipped = [], []
    wanted = _splits(card, request)
    _check_parts(dataset, wanted)
    for split, subset in itertools.product(wanted, _subsets(card, request)):
        data = dataset.fingerprint(subset)
        for composition in compositions:
            if reason := _limit(composition, split, subset):
                skipped.append(f"{composition} on {'+'.join(subset)}: {reason}")
                continue
            first = RunSpec(
                dataset=card.name,
                options=vars(dataset.options),
                data=data,
                fabricated=dataset.fabricated,
                setting=split.setting,
                sources=split.sources,
                target=split.target,
                modalities=subset,
                seed=request.seeds[0],
                method=composition,
                hyperparameters=methods.resolve(composition, settings[composition]),
                recipe=recipe,
                encoders={k: encoders[k] for k in subset},
                weights={k: weights[k] for k in subset if k in weights},
                protocol=protocol,
            )
            specs += [replace(first, seed=seed) for seed in dict.fromkeys(request.seeds)]
    skipped = list(dict.fromkeys(skipped))
    if not specs:
        raise UsageError("nothing to run: " + "; ".join(skipped))
    return Plan(specs, skipped, dataset)


def method_settings(
    compositions: Sequence[str], assignments: Sequence[str]
) -> dict[str, dict[str, dict[str, str]]]:
    """Return, by composition and component, what `--set` says.

    `key=value` reaches every component that has the key, `component.key=value` that one.

    Raises:
        UsageError: an assignment is malformed or reaches nothing.
    """
    parts = {name: methods.components(name) for name in compositions}
    keys = {
        cls.name: tuple(methods.resolve(cls.name)[cls.name])
        for classes in parts.values()
        for cls in classes
    }
    settings: dict[str, dict[str, dict[str, str]]] = {name: {} for name in compositions}
    for assignment in assignments:
        label, equals, value = assignment.partition("=")
        owner, dot, key = label.rpartition(".")
        if not equals or not key:
            raise UsageError(f"--set {assignment}: write key=value or method.key=value")
        if dot and owner not in keys:
            raise unknown("method in --set", owner, sorted(keys))
        reached = [name for name in keys if (not dot or name == owner) and key in keys[name]]
        if not reached:
            valid = sorted({k for name in keys if not dot or name == owner for k in keys[name]})
            raise unknown("hyper-parameter in --set", key, valid)
        for composition, classes in parts.items():
            for cls in classes:
                if cls.name in reached:
                    settings[composition].setdefault(cls.name, {})[key] = value
    return settings


def splits(domains: Sequence[str], setting: str) -> Iterator[Split]:
    """Yield every split: one target and all others, or one source and one target."""
    for target in domains:
        others = tuple(d for d in domains if d != target)
        if setting == MULTI:
            yield Split(MULTI, others, target)
        else:
            yield from (Split(SINGLE, (source,), target) for source in others)


def _splits(card: Card, request: Request) -> list[Split]:
    for name in (*request.sources, *([request.target] if request.target else [])):
        if name not in card.domains:
            raise unknown(f"domain of {card.name}", name, card.domains)
    if request.all_splits:
        if request.sources or request.target:
            raise UsageError("give --all-splits, or --sources and --target, not both")
        return [split for setting in request.settings for split in splits(card.domains, setting)]
    if not request.target or not request.sources:
        first = next(splits(card.domains, MULTI))
        raise UsageError(
            "say what to train on: --all-splits, or for example "
            f"--sources {' '.join(first.sources)} --target {first.target}"
        )
    if request.target in request.sources:
        raise UsageError(
            f"the target {request.target} is among the sources: a target must stay unseen; "
            f"take it out of --sources"
        )
    sources = tuple(d for d in card.domains if d in request.sources)
    return [Split(SINGLE if len(sources) == 1 else MULTI, sources, request.target)]


def _check_parts(dataset: MultimodalDataset, wanted: Sequence[Split]) -> None:
    """Raise UsageError if a domain has no sample in a role it is to play."""
    roles: tuple[Role, ...] = ("train", "val")
    parts = {(d, role) for split in wanted for d in split.sources for role in roles}
    parts |= {(split.target, "target") for split in wanted}
    for domain, role in sorted(parts):
        if not dataset.samples(domain, role):
            raise UsageError(
                f"{dataset.card.name}: domain {domain} has no samples for the part {role!r}; "
                "add recordings, or leave the domain out with --sources and --target"
            )


def _subsets(card: Card, request: Request) -> list[tuple[str, ...]]:
    everything = tuple(m.name for m in card.modalities)
    if request.all_modalities:
        if request.modalities:
            raise UsageError("give --modalities or --all-modalities, not both")
        sizes = range(2, len(everything) + 1)
        return [subset for n in sizes for subset in itertools.combinations(everything, n)]
    if not request.modalities:
        return [everything]
    subsets = []
    for text in request.modalities:
        asked = text.split("+")
        for name in asked:
            if name not in everything:
                raise unknown(f"modality of {card.name}", name, everything)
        subsets.append(tuple(name for name in everything if name in asked))
    return list(dict.fromkeys(subsets))


def _limit(composition: str, split: Split, subset: Sequence[str]) -> str | None:
    """Return why a composition cannot run on this many modalities or domains, or None."""
    for cls in methods.components(composition):
        if len(subset) < cls.min_modalities:
            return f"{cls.name} needs at least {cls.min_modalities} modalities"
        if cls.max_modalities is not None and len(subset) > cls.max_modalities:
            return f"{cls.name} is defined for at most {cls.max_modalities} modalities"
        if len(split.sources) < cls.min_domains:
            return f"{cls.name} needs at least {cls.min_domains} source domains"
    return None


def _recipe(card: Card, changes: Mapping[str, Any]) -> Recipe:
    if "epochs" in changes:
        changes = {"steps": 0, **changes}  # who asks for epochs does not want the card's steps
    recipe = replace(card.recipe, **changes)
    for name, valid in {
        "epochs": recipe.epochs >= 1 or recipe.steps > 0,
        "steps": recipe.steps >= 0,
        "batch_size": recipe.batch_size >= 1,
        "lr": recipe.lr > 0,
        "weight_decay": recipe.weight_decay >= 0,
        "validate_every": recipe.validate_every >= 0,
    }.items():
        if not valid:
            raise UsageError(f"--{name.replace('_', '-')} {getattr(recipe, name)}: out of range")
    return recipe


def _check_weights(card: Card, encoders: Mapping[str, str], weights: Mapping[str, str]) -> None:
    """Load every checkpoint once, so that a wrong one is an error now and not of every run."""
    shapes = {m.name: m.shape for m in card.modalities}
    for name, source in weights.items():
        if name not in shapes:
            raise unknown(f"modality of {card.name}", name, shapes)
        backbones.create(encoders[name], shapes[name], source)


def _encoders(card: Card, chosen: Mapping[str, str], protocol: Protocol) -> dict[str, str]:
    names = {m.name: m.encoder for m in card.modalities}
    for modality, encoder in chosen.items():
        if modality not in names:
            raise unknown(f"modality of {card.name}", modality, names)
        if encoder not in backbones.names():
            raise unknown("encoder", encoder, backbones.names())
        names[modality] = encoder
    if protocol.frozen_bn == "train":
        import torch

        with torch.device("meta"):  # shapes alone: nothing is drawn or stored
            built = [backbones.create(names[m.name], m.shape) for m in card.modalities]
        if not any("running_mean" in name for e in built for name in e.stem.state_dict()):
            raise UsageError(
                f"--frozen-bn train: no encoder of {card.name} has batch norm in frozen stages, "
                "so the switch would change nothing; leave it out"
            )
    return names
