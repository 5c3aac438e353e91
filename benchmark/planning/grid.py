"""Grids: a YAML file whose keys are the options of `benchmark.run`, and the runs it stands for.

    dataset: synthetic            # what is said here holds for every entry below
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

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NoReturn

import datasets
from benchmark.planning import options, plan, yaml_values
from benchmark.planning.plan import Plan
from benchmark.planning.request import request
from benchmark.planning.yaml_values import Value
from benchmark.records.spec import RunSpec
from benchmark.settings import RunSettings
from mmdg_common import UsageError

LABEL, RUNS, VARIANTS = "label", "runs", "variants"


@dataclass(frozen=True)
class Entry:
    """The options of `benchmark.run`, and the labels of an entry and its variant, '' for none."""

    labels: tuple[str, str]
    where: Value
    args: argparse.Namespace


@dataclass(frozen=True)
class Row:
    """The runs of an entry, of one method if there is a label; '' as a label: by method."""

    label: str
    plan: Plan
    args: argparse.Namespace


@dataclass(frozen=True)
class Grid:
    """A grid file."""

    path: Path
    entries: tuple[Entry, ...]
    given: Mapping[str, Any]
    """The options of the sweep command that the file sets, by their names in a namespace."""

    def plan(self, settings: RunSettings) -> list[Row]:
        """Turn every entry into runs.

        Raises:
            UsageError: as `plan.make`, with the line of the entry.
        """
        rows = []
        for entry in self.entries:
            try:
                made = plan.make(request(entry.args), settings)
            except UsageError as error:
                raise entry.where.error(error) from None
            rows += _rows(entry, made)
        return rows


def _rows(entry: Entry, made: Plan) -> list[Row]:
    label, variant = entry.labels
    if not label and not variant:
        return [Row("", made, entry.args)]
    rows = []
    found = dict.fromkeys(spec.method for spec in made.specs)
    for method in found:
        named = [label] if label and len(found) == 1 else [method, label]
        name = ", ".join(filter(None, [*named, variant]))
        part = replace(made, specs=[spec for spec in made.specs if spec.method == method])
        rows.append(Row(name, part, entry.args))
    return rows


def specs(rows: Sequence[Row]) -> list[RunSpec]:
    """Return the runs of all rows, each once."""
    return list({spec.id: spec for row in rows for spec in row.plan.specs}.values())


def read(path: Path) -> Grid:
    """Return the grid in a file.

    Raises:
        UsageError: the file cannot be read, or something in it is no option of the command.
    """
    runs, sweep = _entry_parser(), _sweep_parser()
    whole = yaml_values.read(path)
    only_here = [*_flags(sweep), RUNS, VARIANTS]
    top = whole.mapping([*_flags(runs), *only_here])
    shared = Value({k: v for k, v in top.items() if k in _flags(runs)}, path, whole.line)

    def layers(name: str) -> list[Value]:
        if name not in top:
            return [Value({}, path, whole.line)]
        for layer in top[name].items():
            for key, value in layer.mapping().items():
                if key in only_here:
                    raise value.error(f"{key} holds for the whole grid: write it at the top")
            layer.mapping([*_flags(runs), LABEL])
        return top[name].items()

    variants = layers(VARIANTS)
    entries = [_entry(runs, shared, one, variant) for one in layers(RUNS) for variant in variants]
    given = {}
    for key, action in _flags(sweep).items():
        if key in top:
            args = sweep.parse_args(_words(sweep, key, top[key]))
            given[action.dest] = getattr(args, action.dest)
    return Grid(path, tuple(entries), given)


class _Parser(argparse.ArgumentParser):
    """A parser that raises instead of leaving."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(message)


def _entry_parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    options.add_what(parser, method_required=False)
    options.add_how(parser)
    return parser


def _sweep_parser() -> _Parser:
    parser = _Parser(add_help=False, allow_abbrev=False)
    where = options.add_where(parser)
    options.add_data_roots(where)
    return parser


def _flags(parser: argparse.ArgumentParser) -> Mapping[str, argparse.Action]:
    """Return the parser's options by name without dashes."""
    return {
        flag.removeprefix("--"): action
        for action in parser._actions
        for flag in action.option_strings[:1]
    }


def _words(parser: _Parser, key: str, value: Value) -> list[str]:
    """Return the arguments that a key and its value stand for.

    Raises:
        UsageError: the option does not take this value.
    """
    action = _flags(parser)[key]
    words = [f"--{key}"]
    if action.nargs == 0:
        given = value.text().lower()
        if given not in ("true", "false"):
            raise value.error(f"{key} is true or false, not {value.text()!r}")
        if given == "false":
            words = [f"--no-{key}"] if len(action.option_strings) > 1 else []
    elif action.nargs is None:
        words.append(value.text())
    else:
        words += value.texts()
        for word in words[1:]:
            if word.startswith("--"):  # it would be taken for an option, whatever the key
                raise value.error(f"{key} cannot be {word!r}")
    try:
        parser.parse_args(words)
    except UsageError as error:
        raise value.error(str(error).removeprefix("argument ")) from None
    return words


def _entry(parser: _Parser, shared: Value, entry: Value, variant: Value) -> Entry:
    merged: dict[str, Value] = {}
    for layer in (shared, entry, variant):
        for key, value in layer.mapping().items():
            before = merged.get(key)
            if before and isinstance(before.content, dict) and isinstance(value.content, dict):
                value = Value({**before.content, **value.content}, value.path, value.line)
            merged[key] = value
    words = [w for k, v in merged.items() if k != LABEL for w in _words(parser, k, v)]
    args = parser.parse_args(words)
    if not args.method:
        raise entry.error("say which method, such as method: mbcd")
    if not args.dataset:
        raise entry.error("say which dataset, such as dataset: synthetic")
    try:
        datasets.get(args.dataset)
    except UsageError as error:
        raise merged["dataset"].error(error) from None
    return Entry((_label(entry), _label(variant)), entry, args)


def _label(layer: Value) -> str:
    given = layer.mapping().get(LABEL)
    return given.text() if given else ""
