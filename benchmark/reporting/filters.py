"""The runs that a report is about: those that its filters let through and that have a target."""

import argparse
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING

from benchmark.planning.choice import FIELDS, canonical
from benchmark.records.spec import ALL_DOMAINS, WITH_TARGET
from mmdg_common import UsageError, unknown

if TYPE_CHECKING:  # a command's help must not wait for what reads records
    from benchmark.records.read import Record

FILTERS = {
    name: FIELDS[name]
    for name in ("dataset", "method", "modalities", "setting", "protocol", "seed")
}
"""The options that pick runs, and what of a run they look at."""
LISTED = tuple(name for name in FILTERS if name not in ("protocol", "seed"))
"""Those that an error tells the values of; seeds would make a line of each."""


def declare(p: argparse.ArgumentParser) -> None:
    """Add the options that pick runs."""
    add = p.add_argument
    add("--dataset", nargs="+", metavar="NAME", help="only these datasets")
    add("--method", nargs="+", metavar="NAME", help="only these methods, e.g. erm swad+mbcd")
    add("--modalities", nargs="+", metavar="A+B", help="only these sets of modalities")
    add("--setting", nargs=1, metavar="NAME", help=f"only {' or '.join(WITH_TARGET)}")
    add(
        "--protocol",
        nargs="+",
        metavar="SWITCHES",
        help="only runs with these switches: fair, or those that differ, e.g. neck=none",
    )
    add("--seed", nargs="+", metavar="N", help="only these seeds")


def chosen(
    records: "Sequence[Record]", filters: Mapping[str, Sequence[str] | None]
) -> "list[Record]":
    """Return the runs that the filters let through; at least one.

    Args:
        records: there are.
        filters: by name, one of `FILTERS`, the values that a run may have; None or empty: any.

    Raises:
        UsageError: no run has one of the values, or none matches all filters.
    """
    found = list(records)
    for name, look in FILTERS.items():
        if not (wanted := filters.get(name)):
            continue
        there = sorted({look(record.spec) for record in records})
        keys = {canonical(name, value): value for value in wanted}
        for key in keys.keys() - {canonical(name, value) for value in there}:
            raise unknown(f"{name} among the runs", keys[key], there)
        found = [record for record in found if canonical(name, look(record.spec)) in keys]
    if not found:
        raise UsageError(f"no run matches all the filters. There are:\n{_listed(records)}")
    return found


def tested(records: "Sequence[Record]") -> "tuple[list[Record], str]":
    """Return the runs that have a target, and in words how many have none; "" for none.

    Raises:
        UsageError: no run has a target.
    """
    found = [record for record in records if record.spec.target]
    if not (untested := len(records) - len(found)):
        return found, ""
    runs = f"{untested} run{'s' * (untested > 1)} of --setting {ALL_DOMAINS}, without a target"
    if not found:
        raise UsageError(
            f"there is nothing to report on but {runs}: predict new recordings with python -m "
            "benchmark.predict RUN_FOLDER, or make runs with a target: python -m benchmark.run "
            f"--method {records[0].spec.method} --dataset {records[0].spec.dataset} --all-splits"
        )
    return found, runs


def _listed(records: "Iterable[Record]") -> str:
    combinations = {tuple(FILTERS[name](r.spec) for name in LISTED) for r in records}
    return "\n".join(
        "  " + " ".join(f"--{name} {value}" for name, value in zip(LISTED, values, strict=True))
        for values in sorted(combinations)
    )
