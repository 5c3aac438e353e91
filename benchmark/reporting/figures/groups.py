"""The runs that a figure puts together: those of one condition, method and hyper-parameters."""

import hashlib
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from benchmark.records.read import Record
from benchmark.records.spec import RunSpec
from benchmark.reporting.conditions import column_of
from benchmark.reporting.group import Condition
from benchmark.reporting.labels import is_default
from benchmark.reporting.request import Wanted
from benchmark.reporting.rows import averaged, by_split

ORACLE = "oracle"


@dataclass(frozen=True)
class Group:
    """The finished runs of one method with one setting of its hyper-parameters.

    Of several settings it is the default, as in a table; without one, that with the most runs, the
    first of equals. Runs that source validation chose among several settings are together.
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
    """The differences from other conditions of the dataset and setting."""
    name: str
    """A file name's part that is its own."""
    rule: str
    targets: tuple[str, ...]
    """The test domains; with one source, from where to where."""
    groups: Mapping[str, Group]
    values: Mapping[str, float]
    """The accuracy on the target in percent, by run."""

    def averages(self, records: Iterable[Record]) -> list[float]:
        """Return the mean over targets of each seed that has all of them."""
        return averages(records, self.targets, self.values)

    @property
    def where(self) -> str:
        """Return the condition in words."""
        spec = self.spec
        return ", ".join((spec.dataset, spec.setting, "+".join(spec.modalities), *self.told))

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


def panels(wanted: Wanted) -> list[Panel]:
    """Return the finished runs by condition, in the order of the tables."""
    done = [
        condition
        for condition in wanted.results.conditions
        if any(record.result is not None for record in condition.records)
    ]
    places = [condition.place for condition in done]
    values = wanted.results.percent("target", "accuracy")
    return [_panel(c, wanted.view.rule, values, places.count(c.place) > 1) for c in done]


def _panel(condition: Condition, rule: str, values: Mapping[str, float], several: bool) -> Panel:
    records = _finished(condition.records)
    name = slug(*condition.place, *((condition.key,) if several else ()))
    targets = tuple(sorted({column_of(record.spec) for record in records}))
    groups = {
        method: group
        for method, variants in sorted(condition.methods.items())
        if (group := _group(method, variants)) is not None
    }
    return Panel(records[0].spec, condition.told, name, rule, targets, groups, values)


def _finished(records: Iterable[Record]) -> tuple[Record, ...]:
    return tuple(record for record in records if record.result is not None)


def _group(method: str, variants: Sequence[Sequence[Record]]) -> Group | None:
    found = [runs for of in variants if (runs := _finished(of))]
    if any(record.tried > 1 for runs in found for record in runs):
        # A search leaves one run per cell, which with one setting was not chosen.
        found = [tuple(record for runs in found for record in runs)]
    return Group(method, max(found, key=precedence), len(found)) if found else None


def precedence(runs: Sequence[Record]) -> tuple[bool, int]:
    """Return what is highest for the setting that stands for its method."""
    return is_default(runs[0].spec), len(runs)


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


def averages(
    records: Iterable[Record], targets: Sequence[str], values: Mapping[str, float]
) -> list[float]:
    """Return the mean over targets of values by run, for each seed that has all targets."""
    found = by_split(records, values)
    seeds = {seed for of in found.values() for seed in of}
    return list(averaged(found, targets, seeds).values.values())


def metrics(record: Record) -> list[dict[str, object]]:
    """Return the lines of a run's `metrics.jsonl`; none where they are missing or damaged."""
    return record.metrics()


def listed(names: Sequence[str]) -> str:
    """Return names as a sentence lists them."""
    return " and ".join([", ".join(names[:-1]), names[-1]]) if len(names) > 1 else "".join(names)


def _settings_note(groups: Sequence[Group]) -> list[str]:
    several = [f"{group.method} (1 of {group.settings})" for group in groups if group.settings > 1]
    tried = max((record.tried for group in groups for record in group.records), default=1)
    said = []
    if several:
        said.append(
            "Of several hyper-parameter settings only the default is shown, or without it the one "
            f"with the most runs: {listed(several)}."
        )
    if tried > 1:
        said.append(f"Hyper-parameters are the best of up to {tried} on source validation.")
    return said
