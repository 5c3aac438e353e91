"""Runs by condition: those that may share a block of a table, and a figure."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from benchmark.records.read import Record
from benchmark.records.spec import MULTI_SOURCE, SETTINGS, UPPER_BOUND, RunSpec
from benchmark.reporting import conditions

if TYPE_CHECKING:  # takes half a second
    from pandas import DataFrame

Splits = Mapping[str, tuple[tuple[str, ...], str]]
"""Sources and target of every split, by its name."""


@dataclass(frozen=True)
class Condition:
    """The runs of one condition: all that can move a number, but method, split and seed."""

    key: str
    told: tuple[str, ...]
    """The differences from the other conditions of the dataset and setting."""
    records: Sequence[Record]
    methods: Mapping[str, Sequence[Sequence[Record]]]
    """The runs of each method, those of one setting of its hyper-parameters together."""

    @property
    def spec(self) -> RunSpec:
        """Return the spec of some run; all share the condition."""
        return self.records[0].spec

    @property
    def place(self) -> tuple[str, str, str]:
        """Return dataset, setting and set of modalities."""
        return self.spec.dataset, self.spec.setting, "+".join(self.spec.modalities)


@dataclass
class _Group:
    """A condition as its runs are found."""

    at: list[int] = field(default_factory=list)
    methods: dict[str, list[list[Record]]] = field(default_factory=dict)


def by_condition(runs: "DataFrame", records: Sequence[Record], rule: str) -> list[Condition]:
    """Return the runs by condition, in order of dataset, setting, condition and modalities.

    Args:
        runs: a row per record, of `tidy.runs`.
        records: in the same order.
        rule: the selection rule of `runs`.
    """
    families: dict[tuple[str, str], dict[str, _Group]] = {}
    names = ["dataset", "setting", "condition", "method", "settings"]
    grouped: dict[Any, Any] = runs.groupby(names, sort=False).indices
    for (dataset, setting, key, method, _), at in sorted(grouped.items()):
        group = families.setdefault((dataset, setting), {}).setdefault(key, _Group())
        group.at += at.tolist()
        group.methods.setdefault(method, []).append([records[i] for i in at])
    found = []
    for family in families.values():
        members = {key: [records[i] for i in sorted(group.at)] for key, group in family.items()}
        told = conditions.distinctions(
            [conditions.facts(of[0].spec, rule) for of in members.values()]
        )
        found += [
            Condition(key, differs, of, family[key].methods)
            for (key, of), differs in zip(members.items(), told, strict=True)
        ]
    return sorted(found, key=_order)


def _order(condition: Condition) -> tuple[str, int, tuple[str, ...], int, tuple[str, ...]]:
    spec, told = condition.spec, condition.told
    return spec.dataset, SETTINGS.index(spec.setting), told, len(spec.modalities), spec.modalities


def splits_of(records: Sequence[Record]) -> Splits:
    """Return every split that a whole table of these runs has."""
    domains = sorted({d for r in records for d in (*r.spec.sources, r.spec.target)})
    setting = records[0].spec.setting
    if setting == MULTI_SOURCE:
        return {t: (tuple(d for d in domains if d != t), t) for t in domains}
    if setting == UPPER_BOUND:
        return {t: ((t,), t) for t in domains}
    return {f"{s} → {t}": ((s,), t) for s, t in itertools.permutations(domains, 2)}
