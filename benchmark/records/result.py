"""The figures of a run, `result.json` and `metrics.jsonl`: what they hold, and their reading."""

from collections.abc import Mapping, Sequence
from typing import Any, NotRequired, TypedDict

from benchmark.records import shape
from benchmark.records.shape import Amount, Count, Share, UnreadableError
from benchmark.records.spec import ALL_DOMAINS
from mmdg_common import parse_json

SCHEMA = 1
NAME = "result.json"
GIVEN, OFFICIAL, UNTRAINED = "given", "official", "random"
"""Where the weights of an encoder come from: a user's file, its official checkpoint, or random
numbers in spite of one."""


class Scores(TypedDict):
    """The scores of the fused prediction on one part of the data."""

    accuracy: Share
    macro_f1: Share
    per_class: list[Share | None]
    """None for a class of which the part has no sample."""
    n: NotRequired[Count]


class TargetScores(Scores):
    """The same on the target, and for each modality `head`, `masked` and `probe`."""

    modalities: NotRequired[dict[str, dict[str, Share | None]]]


class AtRule(TypedDict):
    """The scores at the validation that one selection rule chose."""

    epoch: Count
    step: Count
    val: Scores


class Tested(AtRule):
    """The same of a run that has a target."""

    target: TargetScores


class Passes(TypedDict):
    """The mean number of passes through the trained stages per step."""

    forward: Amount
    backward: Amount


class Conditions(TypedDict, total=False):
    """What a process trained with, as far as it is read back."""

    commit: str | None
    python: str
    packages: dict[str, str]
    device: str
    driver: str | None
    """The version of the GPU's."""
    cpu: str | None
    threads: Count
    kernels: str


class Segment(Conditions):
    """The same of one start of a run, and the steps taken before it and at its end."""

    start: Count
    end: Count


class Provenance(Conditions, total=False):
    """Where a result comes from: the process that finished the run, and what is of all of it."""

    segments: list[Segment]
    """Of a run that was resumed: every start that got further, the last of them included."""
    data_root: str | None
    data_root_given: bool
    weights: dict[str, str]
    feature_cache: bool
    """Whether features were kept, so that steps took less; younger than stored runs."""
    wall_s: Amount
    peak_memory_mb: Amount


class Facts(TypedDict):
    """What the results of all runs hold, but for the scores and what nobody reads back."""

    schema: int
    provenance: Provenance
    setting: NotRequired[str]
    """That of the spec; only runs with a target may lack it."""
    classes: NotRequired[list[str]]
    shapes: NotRequired[dict[str, list[Count]]]
    """Of one sample, by modality."""
    left_out: NotRequired[dict[str, str]]
    parameters: NotRequired[Count]
    passes: NotRequired[Passes | None]
    reused: NotRequired[str]
    """The set of committed results that the run was taken from."""


class Result(Facts):
    """The result of a run that has a target."""

    rules: dict[str, Tested]


class Untested(Facts):
    """The result of a run that has none."""

    rules: dict[str, AtRule]


class Accuracy(TypedDict):
    """The scores of one head at a validation."""

    accuracy: Share


class Heads(TypedDict):
    """The scores at a validation, by head."""

    fused: Accuracy


class Validation(TypedDict):
    """One line of `metrics.jsonl`, as far as it is read back."""

    epoch: Count
    val: Heads
    train: NotRequired[dict[str, float | None]]


class TestedValidation(Validation):
    """The same of a run that has a target."""

    target: Heads


def parse(data: bytes) -> dict[str, Any]:
    """Return the result that a `result.json` holds.

    Raises:
        UnreadableError: it cannot be reported.
    """
    result: dict[str, Any] = shape.parse(data, dict)
    require(result)
    return result


def require(result: Mapping[str, Any]) -> None:
    """Raise UnreadableError, with the reason, unless a result can be reported."""
    schema = result.get("schema")
    if schema != SCHEMA:
        number = schema if isinstance(schema, int) else "unknown"
        raise UnreadableError(f"of schema {number}, not {SCHEMA}")
    shape.require(result, Untested if result.get("setting") == ALL_DOMAINS else Result)
    if not result["rules"]:
        raise UnreadableError("rules is empty")


def taken_from(result: Mapping[str, Any] | None) -> str:
    """Return the committed results that a run was taken from; '' for one that was trained here."""
    return str((result or {}).get("reused", ""))


def in_a_commit(result: Mapping[str, Any]) -> bool:
    """Return whether all code that trained a run is in a commit, as it was."""
    commits = [one.get("commit") for one in segments(result)]
    return all(commit and not commit.endswith("+dirty") for commit in commits)


def segments(result: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    """Return the conditions of every process that trained a run, in their order."""
    where = result["provenance"]
    return where.get("segments") or [where]


def conditions(result: Mapping[str, Any], *names: str) -> tuple[tuple[Any, ...], ...]:
    """Return the values of some conditions in the order in which a run first had them."""
    found = (tuple(one.get(name) for name in names) for one in segments(result))
    return tuple(dict.fromkeys(found))


def metrics(data: bytes, tested: bool = True) -> list[dict[str, Any]]:
    """Return the lines of a `metrics.jsonl`.

    Args:
        data: what it holds.
        tested: whether the run has a target.

    Raises:
        UnreadableError: a line is damaged.
    """
    kind = TestedValidation if tested else Validation
    return [_validation(line, number, kind) for number, line in enumerate(data.splitlines(), 1)]


def _validation(line: bytes, number: int, kind: type) -> dict[str, Any]:
    values = parse_json(line)
    if values is None:
        raise UnreadableError(f"line {number} is not whole")
    try:
        shape.require(values, kind)
    except UnreadableError as error:
        raise UnreadableError(f"line {number}: {error}") from None
    return values
