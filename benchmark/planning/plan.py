"""What is to be run: domains × modality subsets × methods × seeds, as a list of specs."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import methods
from benchmark import backbones
from benchmark.planning import protocols, weights
from benchmark.records.spec import SETTINGS, RunSpec
from benchmark.settings import RunSettings
from datasets.base import Card, MultimodalDataset, Recipe
from methods.published import PublishedScript
from mmdg_common import UsageError, unknown

ALL = "all"
MULTI, SINGLE, UPPER = SETTINGS


@dataclass(frozen=True)
class Request:
    """What a user asks for, in the user's words; `None` and empty leave the default."""

    methods: Sequence[str]
    """Compositions; `all` stands for every method and wrapper that is registered."""
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
    search: int = 0
    """Settings to try of every method: the default, and draws from the search ranges."""
    search_seed: int = 0
    protocol: str = "fair"
    switches: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Protocol`; those of one modality each may name only some modalities."""
    recipe: Mapping[str, Any] = field(default_factory=dict)
    """Fields of `Recipe`."""
    backbones: Mapping[str, str] = field(default_factory=dict)
    """Encoders by modality; what they start from is part of the settings."""


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
    notes: list[str]
    """What the user should know of the runs."""


def make(request: Request, settings: RunSettings) -> Plan:
    """Turn a request into specs.

    Raises:
        UsageError: a name is unknown, parts contradict each other, or nothing is left to run.
    """
    pipeline = protocols.pipeline(request.protocol, request.dataset)
    asked = [n for name in request.methods for n in (methods.names() if name == ALL else [name])]
    scripts = protocols.scripts(request.protocol, asked)
    assigned = method_settings(list(scripts), request.set)
    options = {**pipeline.options, **request.dataset_options}
    dataset = settings.open_dataset(request.dataset, options)
    card = dataset.card
    switches, recipes, tried = {}, {}, {}
    for composition, script in scripts.items():
        layers = (pipeline.switches, script.switches, request.switches)
        switches[composition] = protocols.switched(card, layers)
        recipes[composition] = _recipe(card, script.recipe, request.recipe)
        tried[composition] = _tried(request, composition, script, assigned[composition])
    encoders = _encoders(card, request.backbones)
    subsets = _subsets(card, request)
    used = [k for k in encoders if any(k in subset for subset in subsets)]
    start = weights.resolve(dataset, encoders, used, settings)
    protocols.check_switches(card, encoders, start, request.switches)
    specs, skipped = [], []
    wanted = _splits(card, request)
    _check_parts(dataset, wanted)
    for split, subset in itertools.product(wanted, subsets):
        data = dataset.fingerprint(subset)
        for composition in scripts:
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
                hyperparameters={},
                recipe=recipes[composition],
                encoders={k: encoders[k] for k in subset},
                weights={k: start[k] for k in subset if k in start},
                protocol=switches[composition].on(subset, start),
            )
            specs += [
                replace(first, hyperparameters=setting, seed=seed)
                for setting in tried[composition]
                for seed in dict.fromkeys(request.seeds)
            ]
    skipped = list(dict.fromkeys(skipped))
    if not specs:
        raise UsageError("nothing to run: " + "; ".join(skipped))
    return Plan(specs, skipped, dataset, weights.notes(dataset, encoders, used, settings))


def check_weights(plans: Sequence[Plan], settings: RunSettings) -> None:
    """Raise UsageError if there is a checkpoint for a modality that no dataset planned has."""
    there = dict.fromkeys(m.name for made in plans for m in made.dataset.card.modalities)
    for name in settings.weights:
        if name not in there:
            cards = dict.fromkeys(made.dataset.card.name for made in plans)
            raise unknown(f"modality of {' and '.join(cards)}", name, there)


def _tried(
    request: Request, composition: str, script: PublishedScript, given: methods.Settings
) -> list[dict[str, dict[str, Any]]]:
    """Return the settings to run, each once: one, or as many as a search has distinct ones.

    What is given on the command line is searched over by no draw.
    """
    drawn = [
        methods.draw(composition, request.search_seed, number)
        for number in range(max(request.search, 1))
    ]
    settings = [protocols.merged(script.settings, draw, given) for draw in drawn]
    resolved = [methods.resolve(composition, setting) for setting in settings]
    return [s for i, s in enumerate(resolved) if s not in resolved[:i]]


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
    """Yield every split: a target and all others, a source and a target, or a target alone."""
    for target in domains:
        others = tuple(d for d in domains if d != target)
        if setting == MULTI:
            yield Split(MULTI, others, target)
        elif setting == UPPER:
            yield Split(UPPER, (target,), target)
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
    if tuple(request.settings) == (UPPER,) and request.target:
        if request.sources:
            raise UsageError(
                "--setting upper-bound trains on the target itself; leave out --sources"
            )
        return [Split(UPPER, (request.target,), request.target)]
    if not request.target or not request.sources:
        first = next(splits(card.domains, MULTI))
        raise UsageError(
            "say what to train on: --all-splits, or for example "
            f"--sources {' '.join(first.sources)} --target {first.target}"
        )
    if request.target in request.sources:
        raise UsageError(
            f"the target {request.target} is among the sources: a target must stay unseen; "
            f"take it out of --sources (or ask for --setting upper-bound)"
        )
    sources = tuple(d for d in card.domains if d in request.sources)
    return [Split(SINGLE if len(sources) == 1 else MULTI, sources, request.target)]


def _check_parts(dataset: MultimodalDataset, wanted: Sequence[Split]) -> None:
    """Raise UsageError if a domain has no sample in a role it is to play."""
    alone = {(split.sources, split.target) for split in wanted if split.setting == UPPER}
    alone |= {
        ((source,), split.target)
        for split in wanted
        if split.setting != UPPER
        for source in split.sources
    }
    for sources, target in sorted(alone):
        for role, samples in dataset.parts(sources, target).items():
            if not samples:
                domain = target if role == "target" else sources[0]
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


def _recipe(card: Card, *layers: Mapping[str, Any]) -> Recipe:
    changes = {name: value for layer in layers for name, value in layer.items()}
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


def _encoders(card: Card, chosen: Mapping[str, str]) -> dict[str, str]:
    names = {m.name: m.encoder for m in card.modalities}
    for modality, encoder in chosen.items():
        if modality not in names:
            raise unknown(f"modality of {card.name}", modality, names)
        if encoder not in backbones.names():
            raise unknown("encoder", encoder, backbones.names())
        names[modality] = encoder
    return names
