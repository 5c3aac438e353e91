"""The kinds of tables that `benchmark.report --table` makes, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from benchmark.records.spec import MULTI_SOURCE, SINGLE_SOURCE, UPPER_BOUND, WITH_TARGET
from benchmark.reporting.kinds import (
    accuracy,
    cost,
    curvature,
    gains,
    measured,
    modality_count,
    ranks,
    searches,
    spurious,
    unimodal,
)
from benchmark.reporting.kinds.layouts import LAYOUTS
from benchmark.reporting.model import Table
from benchmark.reporting.request import Wanted
from mmdg_common import UsageError

Build = Callable[[Wanted], list[Table]]


def _setting(*settings: str) -> Build:
    return lambda wanted: accuracy.build(wanted, settings, settings[0])


def _in_domain(wanted: Wanted) -> list[Table]:
    wanted = wanted.seen(part="val", ensembles=False)
    found = accuracy.build(wanted, (MULTI_SOURCE, SINGLE_SOURCE))
    return [replace(table, name="in-domain") for table in found]


def _labelled(name: str) -> Build:
    def build(wanted: Wanted) -> list[Table]:
        if wanted.plan is None:
            raise UsageError(
                f"--table {name}: a grid's labels name its rows; add --plan sweeps/{name}.yaml"
            )
        return accuracy.build(wanted, name=name)

    return build


def _without_labels(build: Build) -> Build:
    # Of a grid these show the runs, by condition as everywhere, and no ensembles of them.
    return lambda wanted: build(wanted.of_plan().seen(part="target", ensembles=False))


KINDS: Mapping[str, Build] = {
    MULTI_SOURCE: _setting(MULTI_SOURCE, UPPER_BOUND),
    SINGLE_SOURCE: _setting(SINGLE_SOURCE),
    "in-domain": _in_domain,
    "ablation": _labelled("ablation"),
    "dropout": _labelled("dropout"),
    "beta": _labelled("beta"),
    "gains": lambda wanted: gains.build(wanted.of_plan()),
    "ranks": ranks.build,
    "unimodal": _without_labels(unimodal.build),
    "modality-count": _without_labels(modality_count.build),
    "cost": _without_labels(cost.build),
    "search": _without_labels(searches.build),
    "spurious": _without_labels(spurious.build),
    curvature.NAME: _without_labels(curvature.build),
    **{name: _without_labels(partial(measured.build, name)) for name in LAYOUTS},
}
LABELLED = ("ablation", "dropout", "beta")
"""The kinds whose rows only a grid can name."""
ALL = "all"


def build(names: Sequence[str], wanted: Wanted) -> list[Table]:
    """Return the tables of these kinds, or the accuracy tables where none is named.

    Raises:
        UsageError: a kind needs a grid, or there is no run for any of them.
    """
    if not names and not wanted.plan:
        return accuracy.build(wanted)
    if not names:
        found = [t for one in WITH_TARGET for t in accuracy.build(wanted, (one,), one)]
        if not found:
            raise UsageError("no run of the grid has a target to report on; leave --plan out")
        return found
    asked = list(KINDS) if ALL in names else list(dict.fromkeys(names))
    if ALL in names:
        asked = [name for name in asked if name not in LABELLED]
    found = [table for name in asked for table in KINDS[name](wanted)]
    if not found:
        raise UsageError(f"no run belongs to --table {' '.join(names)}")
    return found
