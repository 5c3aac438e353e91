"""Which runs a figure puts together: those of one condition, method and hyper-parameters."""

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from benchmark.records.read import Record
from benchmark.records.selection import REFERENCE, rule_of
from benchmark.records.spec import RunSpec
from benchmark.reporting import conditions
from benchmark.reporting.blocks import column_of

ORACLE = "oracle"


@dataclass(frozen=True)
class Group:
    """The finished runs of one method with one setting of its hyper-parameters.

    Of several settings it is the one with the most runs, the first of equals. Runs that source
    validation chose among several settings are together, as they are in a table.
    """

    method: str
    records: tuple[Record, ...]
    settings: int
    """With how many settings the method was run."""


@dataclass(frozen=True)
class Panel:
    """The finished runs of one condition: all that can move a number, but what a method is."""

    spec: RunSpec
    """One of the runs."""
    told: tuple[str, ...]
    """What tells the condition from others of its dataset, setting and modalities."""
    name: str
    """A file name's part that is its own."""
    rule: str
    targets: tuple[str, ...]
    """What was tested on; with one source, from where to where."""
    groups: Mapping[str, Group]

    @property
    def where(self) -> str:
        """Return the condition in words."""
        return ", ".join((*_place(self.spec), *self.told))

    def caption(self, text: str, methods: Iterable[str], selected: bool = True) -> str:
        """Return a caption: the text about the figure, and what holds for all of its kind.

        Args:
            text: about the figure alone.
            methods: in the figure.
            selected: the figure shows what a selection rule chose, not all of training.
        """
        groups = [self.groups[method] for method in methods]
        said = notes(self.spec, self.rule if selected else None)
        return " ".join([text, *said, *_settings_note(groups)])


def panels(records: Iterable[Record], rule: str) -> list[Panel]:
    """Return the finished runs by condition, sorted."""
    found: dict[str, list[Record]] = {}
    for record in records:
        if record.result is not None:
            key = conditions.key(conditions.facts(record.spec, rule))
            found.setdefault(key, []).append(record)
    families: dict[tuple[str, ...], list[tuple[str, list[Record]]]] = {}
    for key, members in found.items():
        families.setdefault(_place(members[0].spec), []).append((key, members))
    made = []
    for place, family in sorted(families.items()):
        facts = [conditions.facts(members[0].spec, rule) for _, members in family]
        told = conditions.distinctions(facts)
        for words, (key, members) in sorted(zip(told, family, strict=True), key=lambda p: p[0]):
            several = (key,) if len(family) > 1 else ()
            name = slug(*place, *several)
            targets = tuple(sorted({column_of(record.spec) for record in members}))
            made.append(Panel(members[0].spec, words, name, rule, targets, _groups(members, rule)))
    return made


def slug(*parts: str) -> str:
    """Return a part of a file name; a condition's key in it is shortened to a hash."""
    short = [hashlib.sha256(p.encode()).hexdigest()[:6] if p[:1] == "[" else p for p in parts]
    return re.sub(r"[^\w.+-]+", "-", "-".join(short))


def notes(spec: RunSpec, rule: str | None) -> list[str]:
    """Return what a reader of any figure of these runs must know; None: it selects nothing."""
    said = []
    if rule is not None:
        said.append(f"Selection rule: {rule}.")
    if spec.fabricated:
        said.append(f"Fabricated data stand in for {spec.dataset}: the figures say nothing of it.")
    if rule == ORACLE:
        said.append("The validation was chosen on the target itself, so this is no result.")
    return said


def percent(record: Record, rule: str) -> float:
    """Return a finished run's accuracy on its target, 0 to 100."""
    assert record.result is not None
    used = rule_of(record.result, rule)
    return 100 * float(record.result["rules"][used]["target"]["accuracy"])


def by_target(records: Iterable[Record], rule: str) -> dict[str, dict[int, float]]:
    """Return accuracies in percent by target and seed."""
    found: dict[str, dict[int, float]] = {}
    for record in records:
        found.setdefault(column_of(record.spec), {})[record.spec.seed] = percent(record, rule)
    return found


def averages(values: Mapping[str, Mapping[int, float]], targets: Sequence[str]) -> dict[int, float]:
    """Return the mean over targets of each seed that has all of them."""
    rows = [values.get(name, {}) for name in targets]
    seeds = sorted(set.intersection(*(set(row) for row in rows))) if rows else []
    return {seed: fmean(row[seed] for row in rows) for seed in seeds}


def metrics(record: Record) -> list[dict[str, object]]:
    """Return the lines of a run's `metrics.jsonl`; none where they are not at hand or not whole."""
    return record.metrics()


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _place(spec: RunSpec) -> tuple[str, ...]:
    return spec.dataset, spec.setting, "+".join(spec.modalities)


def _groups(records: Sequence[Record], rule: str) -> dict[str, Group]:
    methods: dict[str, dict[str, list[Record]]] = {}
    for record in records:
        key = "" if record.tried > 1 else _settings(record.spec, rule)
        methods.setdefault(record.spec.method, {}).setdefault(key, []).append(record)
    groups = {}
    for method, variants in sorted(methods.items()):
        if "" in variants:  # a search leaves one run a cell, which with one setting was not chosen
            variants = {"": [record for runs in variants.values() for record in runs]}
        _, runs = min(variants.items(), key=lambda p: (-len(p[1]), p[0]))
        groups[method] = Group(method, tuple(runs), len(variants))
    return groups


def _settings(spec: RunSpec, rule: str) -> str:
    """Return a text that tells the settings of one method apart."""
    values = spec.to_json()
    # The scripts that this rule compares differ in these as well, which are no conditions then.
    fields = ("hyperparameters", *(conditions.BY_SCRIPT if rule == REFERENCE else ()))
    return json.dumps([values[field] for field in fields], sort_keys=True)


def _settings_note(groups: Sequence[Group]) -> list[str]:
    several = [f"{group.method} (1 of {group.settings})" for group in groups if group.settings > 1]
    tried = max((record.tried for group in groups for record in group.records), default=1)
    said = []
    if several:
        said.append(
            "Of several hyper-parameter settings only the one with the most runs, the first of "
            f"equals, is shown: {listed(several)}."
        )
    if tried > 1:
        said.append(f"Hyper-parameters are the best of up to {tried} on source validation.")
    return said
