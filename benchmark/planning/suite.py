"""A suite: a grid whose runs a method is trained on in place of the methods that the grid names."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

import datasets
from benchmark.planning.grid import Entry, Grid
from mmdg_common import UsageError, unknown


def only(suite: Grid, names: Sequence[str]) -> Grid:
    """Return the entries of some datasets; all where none is named.

    Raises:
        UsageError: the grid has no such dataset.
    """
    there = _datasets(suite.entries)
    for name in names:
        if name not in there:
            raise unknown("dataset of the grid", name, there)
    return _without(suite, [name for name in there if names and name not in names])


def with_data(suite: Grid, given: Sequence[str], homes: Sequence[Path]) -> tuple[Grid, str]:
    """Return the entries whose data is there, and in words what is left out; '' for nothing.

    Args:
        suite: the grid.
        given: the folders of copies, `DATASET=DIR`.
        homes: where other data is looked for.

    Raises:
        UsageError: the data of no entry is there.
    """
    named = {text.partition("=")[0] for text in given}
    there = _datasets(suite.entries)
    lacking = [
        name
        for name in there
        if datasets.get(name).needs_root
        and name not in named
        and not datasets.place(name, homes).is_dir()
    ]
    if not lacking:
        return suite, ""
    told = (
        f"no data of {', '.join(lacking)} in {' or '.join(map(str, homes))}; how to get it: "
        f"python -m datasets.prepare {' '.join(lacking)}"
    )
    if len(lacking) == len(there):
        raise UsageError(told)
    return _without(suite, lacking), told


def together_with(suite: Grid, methods: Sequence[str], seeds: Sequence[int]) -> Grid:
    """Return the suite with these methods beside its own, and with other seeds if any are given."""
    return replace(
        suite, entries=tuple(_together(entry, methods, seeds) for entry in suite.entries)
    )


def _together(entry: Entry, methods: Sequence[str], seeds: Sequence[int]) -> Entry:
    asked = entry.request
    asked = replace(asked, methods=[*asked.methods, *methods], seeds=seeds or asked.seeds)
    return replace(entry, request=asked)


def _datasets(entries: Iterable[Entry]) -> list[str]:
    return list(dict.fromkeys(entry.request.dataset for entry in entries))


def _without(suite: Grid, names: Sequence[str]) -> Grid:
    kept = (entry for entry in suite.entries if entry.request.dataset not in names)
    return replace(suite, entries=tuple(kept))
