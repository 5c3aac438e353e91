"""The cost of methods: parameters, passes, time and memory."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from statistics import fmean
from typing import Any

from benchmark.records.read import Record
from benchmark.records.result import conditions
from benchmark.reporting.captions import EMPTY
from benchmark.reporting.conditions import column_of
from benchmark.reporting.kinds.frame import BASELINE, frame, notes_of
from benchmark.reporting.model import NONE, Cell, Count, Form, Number, Row, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block
from benchmark.reporting.sheets import together

COLUMNS = (
    *("parameters", "forward", "backward", "time / ERM", "memory / ERM"),
    *("seconds per run", "runs"),
)
Result = Mapping[str, Any]


def build(wanted: Wanted) -> list[Table]:
    """Return a table for each condition in which a run is done, its groups the sets."""
    blocks = [
        block
        for block in wanted.blocks
        if any(record.result is not None for record in block.records)
    ]
    return [_table(of, wanted.view) for of in together(blocks, wanted.view)]


def _table(of: Sequence[Block], view: View) -> Table:
    # No rule chooses what a run costs.
    found = [
        [replace(line.row(block.modalities), rule="", tried=1) for line in block.lines]
        for block in of
    ]
    rows = [
        replace(row, cells=_cells(row, _baseline(members))) for members in found for row in members
    ]
    return replace(
        frame("cost", of, view),
        columns=COLUMNS,
        metric="",
        rows=tuple(rows),
        grouped="modalities" if len(of) > 1 else "",
        notes=(*_notes(rows, all(map(_baseline, found))), *notes_of(of)),
    )


def _baseline(rows: Sequence[Row]) -> dict[tuple[Any, ...], list[Result]]:
    """Return the results to compare with; none where the baseline was not run."""
    first = next((row for row in rows if row.records[0].spec.method == BASELINE), None)
    return results(first.records) if first else {}


def results(records: Iterable[Record]) -> dict[tuple[Any, ...], list[Result]]:
    """Return results by dataset, split, seed, and the devices and threads of the run."""
    found: dict[tuple[Any, ...], list[Result]] = {}
    for record in records:
        if record.result is not None:
            machines = conditions(record.result, "device", "threads")
            key = (record.spec.dataset, column_of(record.spec), record.spec.seed, machines)
            found.setdefault(key, []).append(record.result)
    return found


def _cells(row: Row, against: Mapping[tuple[Any, ...], list[Result]]) -> tuple[Cell, ...]:
    own = results(row.records)
    done = [result for of in own.values() for result in of]
    passes = [result["passes"] for result in done if result.get("passes")]
    return (
        _parameters(done),
        *(_mean([one[name] for one in passes]) for name in ("forward", "backward")),
        *(_ratio(own, against, name) for name in ("wall_s", "peak_memory_mb")),
        _mean(_measured(done, "wall_s")),
        Count(len(done)),
    )


def _measured(of: Sequence[Result], name: str) -> list[float]:
    found = [result["provenance"].get(name) for result in of]
    return [float(value) for value in found if value is not None]


def _mean(values: Sequence[float]) -> Cell:
    return Number(fmean(values), Form.QUANTITY) if values else NONE


def _parameters(of: Sequence[Result]) -> Cell:
    """Return the number, or the range of it: a method may have parts that depend on the split."""
    counts = sorted({result["parameters"] for result in of if result.get("parameters")})
    return Count(counts[-1], counts[0]) if counts else NONE


def relative(own: Iterable[Record], to: Iterable[Record], name: str) -> float | None:
    """Return a cost of some runs relative to that of others, over what both have made alike.

    Args:
        own: the runs whose cost it is.
        to: the others.
        name: of the cost in a result's provenance, such as `wall_s`.
    """
    found = _ratio(results(own), results(to), name).value
    return None if found is None else float(found)


def _ratio(
    own: Mapping[tuple[Any, ...], list[Result]],
    against: Mapping[tuple[Any, ...], list[Result]],
    name: str,
) -> Number:
    """Return the ratio of means over what both have, with the number of pairs."""
    pairs = []
    for key in (key for key in own if key in against):
        a, b = _measured(own[key], name), _measured(against[key], name)
        if a and b:
            pairs.append((fmean(a), fmean(b)))
    if not pairs or not (base := sum(b for _, b in pairs)):
        return NONE
    return Number(sum(a for a, _ in pairs) / base, n=len(pairs))


def _notes(rows: Sequence[Row], compared: bool) -> Iterator[str]:
    yield (
        "parameters: the trained parameters of the model, without those that a method adds to it. "
        "forward, backward: the passes of one training step through the trained stages of all "
        "encoders, where one batch through all of them is 1. Copies of the model, such as "
        "teachers, count as well. The figures are means over all steps, including those in which "
        "a method only measures. Validation and what a method does between epochs count only in "
        f"the seconds. {EMPTY}: not recorded."
    )
    lacking = "" if compared else f" Some or all have no {BASELINE} run to compare with."
    yield (
        "time / ERM, memory / ERM: ratios of mean wall time and of mean peak memory, over the "
        "splits and seeds that both methods have on the same device with the same number of "
        f"threads; (n) is their number, and {EMPTY} means that there are none.{lacking} Other work "
        "on the machine is included. Peak memory is the highest of the process so far, so runs "
        "that follow each other in one process share it."
    )
    devices = {machine for row in rows for key in results(row.records) for machine in key[-1]}
    mixed = " They ran on different devices or numbers of threads." if len(devices) > 1 else ""
    yield f"seconds per run: the mean wall time of the finished runs. runs: their number.{mixed}"
