"""The conditions of runs: only runs that agree in all of them share a table."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

from benchmark.records.read import Record
from benchmark.records.result import UNTRAINED, segments, taken_from
from benchmark.records.selection import REFERENCE
from benchmark.records.spec import MULTI_SOURCE, UPPER_BOUND, RunSpec, flat

NOT_CONDITIONS = frozenset({"method", "hyperparameters", "sources", "target", "seed", "asked"})
BY_SCRIPT = ("protocol", "recipe")
"""The fields in which public scripts differ from method to method."""

Facts = Mapping[tuple[str, str], Any]
"""The condition of a run, by field of the spec and key within it (empty for a plain field)."""


def without_setting(spec: RunSpec, rule: str) -> str:
    """Return the key of the condition of a run but for its setting."""
    found = facts(spec, rule).items()
    return key({name: value for name, value in found if name[0] not in ("setting", "domains")})


BY_MODALITIES = frozenset({"modalities", "data", "encoders", "weights"})
"""The fields that are others for every set of modalities."""


def shared(spec: RunSpec, rule: str) -> Facts:
    """Return the condition of a run but for what every set of modalities has of its own."""
    found = facts(spec, rule).items()
    # A switch by modality is told apart by its value for the modalities that there are.
    return {k: v for k, v in found if k[0] not in BY_MODALITIES and not isinstance(v, Mapping)}


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
    """Return for each condition the values in which it differs from the others, as texts.

    Sets of modalities are told apart elsewhere. What only some of them can have (an encoder of a
    modality, the data) is compared among the conditions that have the same set.
    """
    names = dict.fromkeys(name for condition in conditions for name in condition)
    told: list[list[tuple[str, str]]] = [[] for _ in conditions]
    for of_set in (False, True):
        for name in names:
            if (name[0] in BY_MODALITIES) == of_set and name[0] not in ("modalities", "data"):
                _tell(name, conditions, told, of_set)
    _tell_data(conditions, told)
    return [
        tuple(_fact(name, c[name]) for name in mine if name in c)
        for c, mine in zip(conditions, told, strict=True)
    ]


def _alike(conditions: Sequence[Facts], of_set: bool) -> list[list[int]]:
    """Return the positions of the conditions that are compared with each other."""
    sets: dict[str, list[int]] = {}
    for i, condition in enumerate(conditions):
        sets.setdefault(str(condition[("modalities", "")]) if of_set else "", []).append(i)
    return list(sets.values())


def _tell(
    name: tuple[str, str],
    conditions: Sequence[Facts],
    told: Sequence[list[tuple[str, str]]],
    of_set: bool,
) -> None:
    for members in _alike(conditions, of_set):
        values = [conditions[i].get(name) for i in members]
        if any(value != values[0] for value in values):
            for i in members:
                told[i].append(name)


def _tell_data(conditions: Sequence[Facts], told: Sequence[list[tuple[str, str]]]) -> None:
    """Name the fingerprint of the data only where nothing else tells two conditions apart.

    Other options make other data, so that it says nothing more then.
    """
    for members in _alike(conditions, of_set=True):
        texts = [
            (conditions[i].get(("fabricated", "")), *(str(conditions[i].get(n)) for n in told[i]))
            for i in members
        ]
        for i in members:
            told[i][:] = [name for name in told[i] if name != ("fabricated", "")]
        if len(set(texts)) < len(texts):
            for i in members:
                told[i].append(("data", ""))


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


def column_of(spec: RunSpec) -> str:
    """Return the name of a run's split, under which it stands in a table."""
    if spec.setting in (MULTI_SOURCE, UPPER_BOUND):
        return spec.target
    return f"{'+'.join(spec.sources)} → {spec.target}"


def settings(spec: RunSpec, rule: str) -> dict[str, Any]:
    """Return by dotted name what tells the rows of one method apart under a selection rule."""
    values = flat(spec.hyperparameters)
    if rule == REFERENCE:
        for field in BY_SCRIPT:
            values |= flat({field: spec.to_json()[field]})
    return values


Told = Callable[[Mapping[str, Any]], str]
"""Returns how a condition of a process is told; '' where that was not recorded."""

CARRIED_OUT: dict[tuple[str, str], Told] = {
    ("device", "devices"): lambda of: str(of.get("device", "unknown")),
    ("GPU driver", "GPU drivers"): lambda of: of.get("driver") or "",
    ("CPU model", "CPU models"): lambda of: of.get("cpu") or "",
    ("thread count", "thread counts"): lambda of: str(of.get("threads", "unknown")),
    ("choice of kernels", "choices of kernels"): lambda of: str(of.get("kernels", "repeatable")),
    ("torch version", "torch versions"): lambda of: of.get("packages", {}).get("torch", ""),
    ("commit", "commits"): lambda of: str(of.get("commit") or "unknown")[:10],
}
"""What may move numbers though it is no condition of a table, by its name, one and several."""


def mixtures(records: Iterable[Record]) -> tuple[str, ...]:
    """Return in what runs differ that is no condition yet may move numbers, and what they lack."""
    records = list(records)
    done = [record.result for record in records if record.result is not None]
    lines = [*_mixed(done)]
    dirty = [
        any(str(part.get("commit")).endswith("+dirty") for part in segments(result))
        for result in done
    ]
    if any(dirty):
        lines.append(
            f"{sum(dirty)} of {len(dirty)} runs come from code with uncommitted changes, so their "
            "commit does not say what ran."
        )
    if counts := [n for result in done if (n := len(result.get("left_out", ())))]:
        lines.append(
            f"{len(counts)} of {len(done)} runs leave out samples that cannot be read, up to "
            f"{max(counts)} each; result.json names them."
        )
    return (*lines, *_random_weights(records), *_reused(records))


def _mixed(done: Sequence[Mapping[str, Any]]) -> Iterator[str]:
    """Yield in what runs differ from each other, and in what a run differs from its own start."""
    inside: list[str] = []
    resumed: set[int] = set()
    for (one, several), told in CARRIED_OUT.items():
        values = [{text for part in segments(result) if (text := told(part))} for result in done]
        if len(found := sorted(set().union(*values))) > 1:
            yield f"runs come from {len(found)} {several}: {', '.join(found)}."
        if mixed := [number for number, of_run in enumerate(values) if len(of_run) > 1]:
            inside.append(f"{one} ({len(mixed)})")
            resumed.update(mixed)
    if inside:
        yield (
            f"{len(resumed)} of {len(done)} runs were interrupted and went on with another "
            f"{', '.join(inside)}."
        )


def _reused(records: Iterable[Record]) -> Iterator[str]:
    """Yield which rows were not trained here but taken from committed results."""
    counts: dict[str, Counter[str]] = {}
    for record in records:
        if name := taken_from(record.result):
            counts.setdefault(name, Counter())[record.spec.method] += 1
    for name, by_method in sorted(counts.items()):
        listed = ", ".join(f"{method} ({number})" for method, number in sorted(by_method.items()))
        yield f"taken from the committed results {name} (runs): {listed}."


def _random_weights(records: Iterable[Record]) -> Iterator[str]:
    """Yield whose encoders were not pre-trained though they might have been, on real data."""
    results = [r.result for r in records if r.result is not None and not r.spec.fabricated]
    weights = [result["provenance"].get("weights", {}) for result in results]
    found = [[k for k, origin in of_run.items() if origin == UNTRAINED] for of_run in weights]
    if modalities := dict.fromkeys(k for names in found for k in names):
        which = f" in {sum(map(bool, found))} of {len(found)} runs" if not all(found) else ""
        yield (
            f"the encoders of {' and '.join(modalities)} start from random weights{which}, "
            "although their authors distribute trained ones."
        )
