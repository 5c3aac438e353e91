"""The kinds of tables that `benchmark.report --table` makes, by name."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace

from benchmark.records.read import Record
from benchmark.records.spec import MULTI_SOURCE, SETTINGS, SINGLE_SOURCE, UPPER_BOUND
from benchmark.reporting.blocks import View
from benchmark.reporting.kinds import cost, modality_count, ranks, searches, spurious, unimodal
from benchmark.reporting.model import Table
from benchmark.reporting.request import Wanted, accuracy_tables
from mmdg_common import UsageError


def _setting(*settings: str) -> Callable[[Wanted], list[Table]]:
    return lambda wanted: accuracy_tables(wanted.of(*settings), settings[0])


def _in_domain(wanted: Wanted) -> list[Table]:
    view = replace(wanted.view, part="val", ensembles=False)
    found = accuracy_tables(replace(wanted.of(MULTI_SOURCE, SINGLE_SOURCE), view=view))
    return [replace(table, name="in-domain") for table in found]


def _labelled(name: str) -> Callable[[Wanted], list[Table]]:
    def build(wanted: Wanted) -> list[Table]:
        if wanted.plan is None:
            raise UsageError(
                f"--table {name}: a grid's labels name its rows; add --plan sweeps/{name}.yaml"
            )
        return accuracy_tables(wanted, name)

    return build


def _of_records(
    build: Callable[[Sequence[Record], View], list[Table]],
) -> Callable[[Wanted], list[Table]]:
    def wanted_ones(wanted: Wanted) -> list[Table]:
        records = wanted.records
        if wanted.plan is not None:
            planned = {spec.id for row in wanted.plan for spec in row.plan.specs}
            records = [record for record in records if record.spec.id in planned]
        # They are of the target, and ensembles have no part in them.
        return build(records, replace(wanted.view, part="target", ensembles=False))

    return wanted_ones


KINDS: Mapping[str, Callable[[Wanted], list[Table]]] = {
    MULTI_SOURCE: _setting(MULTI_SOURCE, UPPER_BOUND),
    SINGLE_SOURCE: _setting(SINGLE_SOURCE),
    "in-domain": _in_domain,
    "ablation": _labelled("ablation"),
    "dropout": _labelled("dropout"),
    "beta": _labelled("beta"),
    "ranks": ranks.build,
    "unimodal": _of_records(unimodal.build),
    "modality-count": _of_records(modality_count.build),
    "cost": _of_records(cost.build),
    "search": _of_records(searches.build),
    "spurious": _of_records(spurious.build),
}
LABELLED = ("ablation", "dropout", "beta")
"""The kinds whose rows only a grid can name."""
ALL = "all"


def build(names: Sequence[str], wanted: Wanted) -> list[Table]:
    """Return the tables of these kinds, or the accuracy tables where none is named.

    Raises:
        UsageError: a kind needs a grid, or there is no run for any of them.
    """
    if not names:
        return (
            [t for setting in SETTINGS for t in accuracy_tables(wanted.of(setting), setting)]
            if wanted.plan
            else accuracy_tables(wanted)
        )
    asked = list(KINDS) if ALL in names else list(dict.fromkeys(names))
    if ALL in names:
        asked = [name for name in asked if name not in LABELLED]
    found = [table for name in asked for table in KINDS[name](wanted)]
    if not found:
        raise UsageError(f"no run belongs to --table {' '.join(names)}")
    return found
