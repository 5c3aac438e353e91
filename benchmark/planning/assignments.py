"""What words of `--set` reach: `key=value` every owner that has the key, `owner.key=value` one."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from mmdg_common import UsageError, unknown


class Reached(NamedTuple):
    """The owners that one word reaches, its key and its value."""

    owners: list[str]
    key: str
    value: str


def reached(assignment: str, keys: Mapping[str, Sequence[str]], owner: str, key: str) -> Reached:
    """Return what one word of `--set` reaches.

    Args:
        assignment: the word.
        keys: of every owner there is, the keys that it has.
        owner: what owners are, for messages, such as `method`.
        key: what keys are, such as `hyper-parameter`.

    Raises:
        UsageError: the word is malformed or reaches nothing.
    """
    label, equals, value = assignment.partition("=")
    given, dot, name = label.rpartition(".")
    if not equals or not name:
        raise UsageError(f"--set {assignment}: write key=value or {owner}.key=value")
    if dot and given not in keys:
        raise unknown(f"{owner} in --set", given, sorted(keys))
    owners = [given] if dot else list(keys)
    found = [one for one in owners if name in keys[one]]
    if not found:
        valid = sorted({k for one in owners for k in keys[one]})
        raise unknown(f"{key} in --set", name, valid)
    return Reached(found, name, value)
