"""Grids: a YAML file whose keys are the options of `benchmark.run`, and the runs it stands for.

    dataset: synthetic            # keys at the top hold for every entry below
    all-splits: true
    seeds: [0, 1, 2]
    runs:
      - label: EMA alone          # names the row in tables
        method: ema
      - label: no dropout
        method: mbcd
        set: {dropout: none}
    variants:                     # every entry once for each of these
      - {}
      - {label: no neck, neck: none}

An entry's keys win over those at the top, a variant's over both; mappings are merged. A row
is named by its labels; where only the variant has one, or the entry has several methods, the
method's name comes first: `mbcd, no neck`. Without labels it is named by the method alone.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import datasets
from benchmark.planning import options, plan, yaml_values
from benchmark.planning.flag_kinds import Flag, Many, Switch
from benchmark.planning.options import DATA_ROOTS, HOW, WHAT, WHERE
from benchmark.planning.plan import Plan
from benchmark.planning.request import Request, request
from benchmark.planning.yaml_values import Value
from benchmark.records import manifest
from benchmark.records.manifest import SweepRow
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from mmdg_common import Parser, UsageError

LABEL, RUNS, VARIANTS = "label", "runs", "variants"
OF_RUNS: Mapping[str, Flag] = {flag.name: flag for flag in (*WHAT, *HOW)}
"""The keys that an entry can have."""
OF_SWEEP: Mapping[str, Flag] = {flag.name: flag for flag in (*WHERE, DATA_ROOTS)}
"""The keys that hold for the whole grid: options of the sweep command."""


@dataclass(frozen=True)
class Entry:
    """The runs that an entry and a variant ask for, and the labels of both, '' for none."""

    labels: tuple[str, str]
    where: Value
    request: Request


@dataclass(frozen=True)
class Row:
    """The runs of an entry: of one method if there is a label; '' as a label: by method."""

    label: str
    plan: Plan
    request: Request

    @property
    def launched(self) -> SweepRow:
        """The row as it is remembered once it is launched."""
        seed = self.request.search_seed if self.request.search else None
        return SweepRow(self.label, tuple(self.plan.specs), seed)


@dataclass(frozen=True)
class Grid:
    """A grid file."""

    path: Path
    entries: tuple[Entry, ...]
    given: Mapping[str, Any]
    """The options of the sweep command that the file sets, by name in a namespace."""

    def plan(self, settings: RunSettings) -> list[Row]:
        """Turn every entry into runs.

        Raises:
            UsageError: as `plan.make`, with the line of the entry.
        """
        rows = []
        for entry in self.entries:
            try:
                made = plan.make(entry.request, settings)
            except UsageError as error:
                raise entry.where.error(error) from None
            rows += _rows(entry, made)
        return rows


def _rows(entry: Entry, made: Plan) -> list[Row]:
    label, variant = entry.labels
    if not label and not variant:
        return [Row("", made, entry.request)]
    rows = []
    found = dict.fromkeys(spec.method for spec in made.specs)
    for method in found:
        named = [label] if label and len(found) == 1 else [method, label]
        name = ", ".join(filter(None, [*named, variant]))
        part = replace(made, specs=[spec for spec in made.specs if spec.method == method])
        rows.append(Row(name, part, entry.request))
    return rows


def specs(rows: Sequence[Row]) -> list[RunSpec]:
    """Return the runs of all rows, each once."""
    return manifest.specs(row.launched for row in rows)


def read(path: Path) -> Grid:
    """Return the grid in a file.

    Raises:
        UsageError: the file cannot be read, or a key or value is no option of the command.
    """
    whole = yaml_values.read(path)
    only_here = [*OF_SWEEP, RUNS, VARIANTS]
    top = whole.mapping([*OF_RUNS, *only_here])
    shared = Value({k: v for k, v in top.items() if k in OF_RUNS}, path, whole.line)

    def layers(name: str) -> list[Value]:
        if name not in top:
            return [Value({}, path, whole.line)]
        for layer in top[name].items():
            for key, value in layer.mapping().items():
                if key in only_here:
                    raise value.error(f"{key} holds for the whole grid: write it at the top")
            layer.mapping([*OF_RUNS, LABEL])
        return top[name].items()

    runs = Parser(add_help=False, allow_abbrev=False)
    options.add_runs(runs)
    variants = layers(VARIANTS)
    entries = [_entry(runs, shared, one, variant) for one in layers(RUNS) for variant in variants]
    return Grid(path, tuple(entries), _given(top))


def given(path: Path) -> dict[str, Any]:
    """Return the options of the sweep command that a file sets, as `Grid.given`; read nothing else.

    Raises:
        UsageError: the file cannot be read, or a key or value is no option of the command.
    """
    return _given(yaml_values.read(path).mapping([*OF_RUNS, *OF_SWEEP, RUNS, VARIANTS]))


def _given(top: Mapping[str, Value]) -> dict[str, Any]:
    sweep = Parser(add_help=False, allow_abbrev=False)
    options.add_data_roots(options.add_where(sweep))
    found = {}
    for key, flag in OF_SWEEP.items():
        if key in top:
            args = sweep.parse_args(_words(sweep, flag, top[key]))
            found[flag.dest] = getattr(args, flag.dest)
    return found


def _words(parser: Parser, flag: Flag, value: Value) -> list[str]:
    """Return the words that a key and its value stand for.

    Raises:
        UsageError: the option does not take this value.
    """
    if isinstance(flag, Switch):
        given = value.text().lower()
        if given not in ("true", "false"):
            raise value.error(f"{flag.name} is true or false, not {value.text()!r}")
        return flag.words(given == "true")
    several = isinstance(flag, Many)
    words = [f"--{flag.name}", *(value.texts() if several else [value.text()])]
    for word in words[1:] if several else ():
        if word.startswith("--"):  # it would be taken for an option, whatever the key
            raise value.error(f"{flag.name} cannot be {word!r}")
    try:
        flag.read(getattr(parser.parse_args(words), flag.dest))
    except UsageError as error:
        raise value.error(error) from None
    return words


def _entry(parser: Parser, shared: Value, entry: Value, variant: Value) -> Entry:
    merged: dict[str, Value] = {}
    for layer in (shared, entry, variant):
        for key, value in layer.mapping().items():
            before = merged.get(key)
            if before and isinstance(before.content, dict) and isinstance(value.content, dict):
                value = Value({**before.content, **value.content}, value.path, value.line)
            merged[key] = value
    words = [w for k, v in merged.items() if k != LABEL for w in _words(parser, OF_RUNS[k], v)]
    for key, example in (("method", "mbcd"), ("dataset", "synthetic")):
        if key not in merged:
            raise entry.error(f"say which {key}, such as {key}: {example}")
    try:
        asked = request(parser.parse_args(words))
    except UsageError as error:
        raise entry.error(error) from None
    try:
        datasets.get(asked.dataset)
    except UsageError as error:
        raise merged["dataset"].error(error) from None
    return Entry((_label(entry), _label(variant)), entry, asked)


def _label(layer: Value) -> str:
    given = layer.mapping().get(LABEL)
    return given.text() if given else ""
