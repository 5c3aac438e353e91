"""The rules that select the validation whose weights are reported, as functions of its records.

A record holds `val` and, of a run that has a target, `target`: each a mapping from head to
`{"loss", "accuracy"}`.
`oracle` looks at the target: it shows how much accuracy selection costs, and tables label it.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from mmdg_common import unknown

Record = Mapping[str, Any]


def best_val(records: Sequence[Record]) -> int:
    """Return the index of the highest source-validation accuracy; ties go to the lower loss."""
    heads = [record["val"]["fused"] for record in records]
    return min(range(len(heads)), key=lambda i: (-heads[i]["accuracy"], heads[i]["loss"]))


def last(records: Sequence[Record]) -> int:
    """Return the index of the last validation."""
    return len(records) - 1


def oracle(records: Sequence[Record]) -> int:
    """Return the index of the highest target accuracy, the earliest among equals."""
    return max(range(len(records)), key=lambda i: (records[i]["target"]["fused"]["accuracy"], -i))


RULES: Mapping[str, Callable[[Sequence[Record]], int]] = {
    "best-val": best_val,
    "last": last,
    "oracle": oracle,
}

REFERENCE = "reference"
"""The rule of a method's public script: the last validation, or the best, ties to the later one."""

NAMES = (*RULES, REFERENCE)


def later_best_val(records: Sequence[Record]) -> int:
    """Return the index of the highest source-validation accuracy, the latest among equals."""
    accuracies = [record["val"]["fused"]["accuracy"] for record in records]
    return max(range(len(accuracies)), key=lambda i: (accuracies[i], i))


def rules(published: str, tested: bool = True) -> Mapping[str, Callable[[Sequence[Record]], int]]:
    """Return every rule by name.

    Args:
        published: what the public script of the method reports, `best-val` or `last`.
        tested: whether the run has a target, without which there is no `oracle`.
    """
    every = {**RULES, REFERENCE: last if published == "last" else later_best_val}
    return every if tested else {name: rule for name, rule in every.items() if rule is not oracle}


OWN = "own"
"""The only rule of methods whose weights exist once training has ended, such as `swad`."""


def rule_of(result: Mapping[str, Any], asked: str) -> str:
    """Return the rule under which a result is reported when a table asks for `asked`.

    The rule that is returned, asked for again, is returned again.
    """
    if asked not in NAMES and asked not in result["rules"]:
        raise unknown("selection rule", asked, NAMES)
    return OWN if OWN in result["rules"] else asked
