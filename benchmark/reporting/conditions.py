"""Under which conditions runs were made: only what agrees in all of them shares a table."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from benchmark.selection import REFERENCE
from benchmark.spec import MULTI_SOURCE, RunSpec

NOT_CONDITIONS = frozenset({"method", "hyperparameters", "sources", "target", "seed"})
BY_SCRIPT = ("protocol", "recipe")
"""The fields in which public scripts differ from method to method."""

Facts = Mapping[tuple[str, str], Any]
"""The condition of a run, by field of the spec and key within it (empty for a plain field)."""


def without_setting(spec: RunSpec, rule: str) -> str:
    """Return the key of the condition of a run but for its setting."""
    found = facts(spec, rule).items()
    return key({name: value for name, value in found if name[0] not in ("setting", "domains")})


def key(condition: Facts) -> str:
    """Return a text that is the same for equal conditions and no others."""
    return json.dumps([[*name, value] for name, value in sorted(condition.items())])


def facts(spec: RunSpec, rule: str) -> Facts:
    """Return the condition of a run in a table under a selection rule.

    With several sources it includes the set of domains, as fewer sources for the same target
    are another experiment.
    """
    free = NOT_CONDITIONS.union(BY_SCRIPT if rule == REFERENCE else ())
    values = {k: v for k, v in spec.to_json().items() if k not in free}
    if spec.setting == MULTI_SOURCE:
        values["domains"] = "+".join(sorted({*spec.sources, spec.target}))
    return {
        (field, key): value
        for field, entry in values.items()
        for key, value in (entry.items() if isinstance(entry, dict) else [("", entry)])
    }


def distinctions(conditions: Sequence[Facts]) -> list[tuple[str, ...]]:
    """Return for each condition the values in which it differs from the others, as texts."""
    data, fabricated = ("data", ""), ("fabricated", "")
    names = list(dict.fromkeys(name for condition in conditions for name in condition))
    differ = [n for n in names if any(c.get(n) != conditions[0].get(n) for c in conditions)]
    telling = [name for name in differ if name not in (data, fabricated)]
    told = {tuple(str(c.get(name)) for name in (*telling, fabricated)) for c in conditions}
    if len(told) < len(conditions):
        # Other options make other data, so the fingerprint is named only where nothing else
        # tells two tables apart.
        telling.append(data)
    return [tuple(_fact(name, c[name]) for name in telling if name in c) for c in conditions]


def _fact(name: tuple[str, str], value: Any) -> str:
    field, key = name
    if field == "encoders":
        return f"{key} encoder={value}"
    return f"{key or field}={value[:8] if field == 'data' else text(value)}"


def text(value: Any) -> str:
    """Return a value as a label shows it; values by modality in one word each."""
    if isinstance(value, Mapping):
        return " ".join(f"{k}:{v}" for k, v in value.items())
    return str(value)


def flat(settings: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Return hyper-parameters under `component.name`."""
    return {f"{c}.{k}": value for c, values in settings.items() for k, value in values.items()}
