"""The compositions of a request: each with what the protocol and the user say of it.

A run is made of layers, of which later ones win: the dataset's and the method's defaults, what the
protocol says, and what is asked for by hand.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import methods
from benchmark.planning.assignments import reached
from benchmark.planning.protocols import scripts
from benchmark.planning.request import Request
from benchmark.records.spec import Protocol
from datasets.base import Card, PublishedPipeline, Recipe
from mmdg_common import UsageError, unknown

ALL = "all"

ByComponent = dict[str, dict[str, Any]]


@dataclass(frozen=True)
class Composition:
    """A composition to run."""

    name: str
    defaults: ByComponent
    """Its hyper-parameters where nothing is said of them."""
    tried: Sequence[ByComponent]
    """The hyper-parameters to run it with: one setting, or those of a search."""
    training: Mapping[str, Any]
    """Fields of the recipe that are said, by the protocol or by hand."""
    switches: Sequence[Mapping[str, Any]]
    """Protocol switches that are said, later ones winning."""

    def recipe(self, card: Card) -> Recipe:
        """Return how it is trained on a dataset.

        Raises:
            UsageError: neither epochs nor steps say how long.
        """
        # Epochs that are asked for replace the steps of the card.
        steps = {"steps": 0} if "epochs" in self.training else {}
        recipe = replace(card.recipe, **{**steps, **self.training})
        if not recipe.epochs and not recipe.steps:
            raise UsageError(f"--steps 0: {card.name} is trained for steps; add --epochs")
        return recipe

    def protocol(self, card: Card, pipeline: PublishedPipeline) -> Protocol:
        """Return the switches it is trained with, for all modalities of a dataset."""
        return _switched(card, [pipeline.switches, *self.switches])

    def limit(self, modalities: int, domains: int) -> str | None:
        """Return why it cannot run on so many modalities and source domains, or None."""
        for cls in methods.components(self.name):
            if modalities < cls.min_modalities:
                return f"{cls.name} needs at least {cls.min_modalities} modalities"
            if cls.max_modalities is not None and modalities > cls.max_modalities:
                return f"{cls.name} is defined for at most {cls.max_modalities} modalities"
            if domains < cls.min_domains:
                return f"{cls.name} needs at least {cls.min_domains} source domains"
        return None


def asked(request: Request) -> list[Composition]:
    """Return the compositions of a request, each once.

    Raises:
        UsageError: a method is unknown, parts cannot be combined, or a hyper-parameter is wrong.
    """
    names = [n for name in request.methods for n in (methods.names() if name == ALL else [name])]
    found = scripts(request.protocol, names)
    given = assigned(list(found), request.set)
    return [
        Composition(
            name,
            defaults=methods.resolve(name),
            tried=_tried(request, name, script.settings, given[name]),
            training={**script.recipe, **request.recipe},
            switches=(script.switches, request.switches),
        )
        for name, script in found.items()
    ]


def assigned(compositions: Sequence[str], assignments: Sequence[str]) -> dict[str, ByComponent]:
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
    settings: dict[str, ByComponent] = {name: {} for name in compositions}
    for assignment in assignments:
        owners, key, value = reached(assignment, keys, "method", "hyper-parameter")
        for composition, classes in parts.items():
            for cls in classes:
                if cls.name in owners:
                    settings[composition].setdefault(cls.name, {})[key] = value
    return settings


def _tried(
    request: Request, composition: str, script: methods.Settings, given: methods.Settings
) -> list[ByComponent]:
    """Return the settings to run, each once: one, or as many as a search has distinct ones.

    No draw of a search changes a value that is given by hand.
    """
    drawn: Iterable[methods.Settings] = (
        methods.draw(composition, request.search_seed, number)
        for number in range(max(request.search, 1))
    )
    found: list[ByComponent] = []
    for draw in drawn:
        setting = methods.resolve(composition, _merged(script, draw, given))
        if setting not in found:
            found.append(setting)
    return found


def _merged(*layers: methods.Settings) -> ByComponent:
    """Return the settings of all layers by component; later ones win."""
    owners = dict.fromkeys(owner for layer in layers for owner in layer)
    return {o: {k: v for layer in layers for k, v in layer.get(o, {}).items()} for o in owners}


def _switched(card: Card, layers: Iterable[Mapping[str, Any]]) -> Protocol:
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
