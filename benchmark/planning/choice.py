"""Which runs of a grid are wanted, and in which order they are carried out."""

import argparse
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

from benchmark.planning.flag_kinds import seconds
from benchmark.records.spec import RunSpec, switches
from mmdg_common import UsageError, unknown

if TYPE_CHECKING:  # numpy, which a command's help must not wait for
    from benchmark.records.manifest import SweepRow

FIELDS: Mapping[str, Callable[[RunSpec], str]] = {
    "dataset": lambda spec: spec.dataset,
    "method": lambda spec: spec.method,
    "target": lambda spec: spec.target,
    "sources": lambda spec: "+".join(spec.sources),
    "setting": lambda spec: spec.setting,
    "modalities": lambda spec: "+".join(spec.modalities),
    "seed": lambda spec: str(spec.seed),
    "protocol": lambda spec: switches(spec.protocol),
}
"""What runs are picked by, and what of a run each looks at."""
ROW = "row"
"""The key of the name of a row, which only a grid knows."""
KEYS = (*FIELDS, ROW)
ORDERS = ("seed", "row", "longest")


def declare(p: "argparse._ActionsContainer") -> None:
    """Add the options that pick runs of a grid and order them."""
    p.add_argument(
        "--only",
        nargs="+",
        action="extend",
        default=[],
        metavar="KEY=VALUE",
        help=f"only runs that match, e.g. seed=0 method=erm,mbcd; keys: {', '.join(KEYS)}",
    )
    p.add_argument(
        "--order",
        choices=ORDERS,
        default=ORDERS[0],
        help="seed: all rows with the first seed, then with the next, so that a table fills evenly "
        "(default); row: row after row; longest: by estimate, the longest first",
    )
    p.add_argument(
        "--budget",
        type=seconds,
        metavar="TIME",
        help="run only the next runs that together take this long by estimate, e.g. 90m, 200h, 2d; "
        "where jobs have GPUs, GPU-hours",
    )


def canonical(field: str, value: str) -> str:
    """Return a value of a field as it is compared: names that are joined stand in any order."""
    return "+".join(sorted(value.split("+"))) if field in ("sources", "modalities") else value


def matches(spec: RunSpec, when: Mapping[str, Iterable[str]]) -> bool:
    """Return whether a run has by each key, one of `FIELDS`, one of the values."""
    return all(
        canonical(key, FIELDS[key](spec)) in {canonical(key, value) for value in values}
        for key, values in when.items()
    )


def read(texts: Sequence[str]) -> dict[str, list[str]]:
    """Return by key the values that `--only` names, each as it was typed.

    Raises:
        UsageError: a text is no `key=value`, or has an unknown key.
    """
    found: dict[str, list[str]] = {}
    for text in texts:
        key, _, value = text.partition("=")
        if not key or not value:
            raise UsageError(f"--only {text}: write key=value, such as seed=0 or method=erm,mbcd")
        if key not in KEYS:
            raise unknown("key of --only", key, KEYS)
        found.setdefault(key, []).append(value)
    return found


def listed(texts: Iterable[str]) -> list[str]:
    """Return the values in texts that separate several by commas."""
    return [value.strip() for text in texts for value in text.split(",")]


def narrowed(rows: "Sequence[SweepRow]", only: Mapping[str, Sequence[str]]) -> "list[SweepRow]":
    """Return the rows with the runs that match.

    Args:
        rows: of a grid.
        only: by key, one of `KEYS`, the values that a run may have, as they were typed.

    Raises:
        UsageError: a value is that of no run, or no run matches all keys.
    """
    found = list(rows)
    for key, texts in only.items():
        there = dict.fromkeys(_value(key, row, spec) for row in rows for spec in row.specs)
        wanted = _wanted(key, texts, there)
        for i, row in enumerate(found):
            specs = tuple(s for s in row.specs if canonical(key, _value(key, row, s)) in wanted)
            found[i] = replace(row, specs=specs)
    found = [row for row in found if row.specs]
    if not found:
        raise UsageError(
            f"no run of the grid matches --only {' and '.join(only)} together; leave one of them "
            "out, or see which runs there are with --dry-run"
        )
    return found


def _value(key: str, row: "SweepRow", spec: RunSpec) -> str:
    return row.label or spec.method if key == ROW else FIELDS[key](spec)


def _wanted(key: str, texts: Iterable[str], there: Iterable[str]) -> set[str]:
    """Return the values in texts, in the form in which they are compared."""
    known = {canonical(key, value) for value in there}
    found: set[str] = set()
    for text in texts:
        # The name of a row may have commas of its own.
        for value in [text] if canonical(key, text) in known else listed([text]):
            if canonical(key, value) not in known:
                raise unknown(f"{key} of the grid", value, there)
            found.add(canonical(key, value))
    return found


def ordered(
    specs: Iterable[RunSpec],
    order: str,
    row_of: Callable[[RunSpec], Hashable],
    takes: Callable[[RunSpec], float | None],
) -> list[RunSpec]:
    """Return runs in the order in which they are to be carried out.

    Args:
        specs: the runs, as the grid has them.
        order: one of `ORDERS`. `seed`: all rows with the first seed, then with the next, so that a
            table fills evenly. `row`: row after row. `longest`: the longest first, and before them
            those of which it is not known; among equals as `seed`.
        row_of: returns the row of a run.
        takes: returns the seconds of a run; None where that is not known. Only `longest` asks.
    """
    specs = list(specs)
    rows = {row: i for i, row in enumerate(dict.fromkeys(map(row_of, specs)))}
    by_row = sorted(specs, key=lambda spec: rows[row_of(spec)])
    if order == "row":
        return by_row
    seeds = {seed: i for i, seed in enumerate(dict.fromkeys(spec.seed for spec in specs))}
    by_seed = sorted(by_row, key=lambda spec: seeds[spec.seed])
    if order == "seed":
        return by_seed

    def longest_first(spec: RunSpec) -> float:
        known = takes(spec)
        return float("-inf") if known is None else -known

    return sorted(by_seed, key=longest_first)
