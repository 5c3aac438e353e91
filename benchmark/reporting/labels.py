"""The rows of a condition: which runs are one row of a table, and its label."""

from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.planning import flags
from benchmark.records.read import Record
from benchmark.records.selection import REFERENCE
from benchmark.records.spec import RunSpec
from benchmark.reporting import conditions
from benchmark.reporting.group import Condition

NAMED = 3
"""Rows that a note on hidden rows names; of more it gives the number, as after a search."""

Labelled = tuple[str, Sequence[Record]]
"""The label of a row, and its runs."""


def shown(condition: Condition, rule: str, all_rows: bool) -> tuple[list[Labelled], list[str]]:
    """Return the rows to show, and the notes on rows that are not shown.

    Args:
        condition: whose runs make the rows.
        rule: the selection rule.
        all_rows: show settings of hyper-parameters beside the default, too.
    """
    rows: list[Labelled] = []
    notes = []
    for method, variants in sorted(condition.methods.items()):
        tried = sorted({record.tried for runs in variants for record in runs})
        if tried[-1] > 1:
            several = f"best of {'-'.join(map(str, dict.fromkeys((tried[0], tried[-1]))))}"
            rows.append((f"{method} ({several})", [r for runs in variants for r in runs]))
            continue
        default = [runs for runs in variants if len(variants) > 1 and is_default(runs[0].spec)]
        if not default or rule == REFERENCE:
            rows += _told(method, variants, rule)
            continue
        rows.append((method, default[0]))
        others = [pair for pair in _told(method, variants, rule) if pair[1] is not default[0]]
        if all_rows:
            rows += others
        else:
            names = ", ".join(label for label, _ in others)
            if len(others) > NAMED:
                names = f"{len(others)} other settings of {method}"
            notes.append(
                f"Not shown: {names}. --all-rows shows such rows below the default, {method}."
            )
    return rows, notes


def is_default(spec: RunSpec) -> bool:
    """Return whether a run has the default hyper-parameters of its method."""
    return not flags.method_flags(spec)


def _told(method: str, variants: Sequence[Sequence[Record]], rule: str) -> list[Labelled]:
    """Return the rows of a method's settings, labelled by the differences, in order."""
    told = _telling([conditions.settings(runs[0].spec, rule) for runs in variants])
    rows = []
    for values, runs in sorted(zip(told, variants, strict=True), key=lambda p: _order(p[0])):
        text = ", ".join(f"{name}={conditions.text(value)}" for name, value in values.items())
        rows.append((f"{method} ({text})" if text else method, runs))
    return rows


def _telling(variants: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return for each variant the settings in which they differ, under the shortest clear names."""
    names = sorted({n for v in variants for n in v if any(w.get(n) != v[n] for w in variants)})
    short = {name: name.split(".", 1)[1] for name in names}
    if len(set(short.values())) < len(names):
        short = {name: name for name in names}
    return [{short[name]: v[name] for name in names if name in v} for v in variants]


def _order(values: Mapping[str, Any]) -> list[tuple[str, Any]]:
    # The type first, as a number and a text cannot be compared; nor can mappings.
    return [
        (type(v).__name__, conditions.text(v) if isinstance(v, Mapping) else v)
        for v in values.values()
    ]
