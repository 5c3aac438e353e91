"""What every modality is worth by itself, within the joint model and trained alone."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from benchmark.records.read import Record
from benchmark.records.selection import rule_of
from benchmark.reporting import blocks, by_condition, captions, conditions
from benchmark.reporting.blocks import View
from benchmark.reporting.by_condition import Part
from benchmark.reporting.captions import EMPTY
from benchmark.reporting.kinds.accuracy import unmarked
from benchmark.reporting.model import Cell, Row, Table

SCORES = ("probe", "masked", "head")
BASELINE = "erm"
TEXT = (
    "k probe: a linear classifier fitted to the embeddings of k on the source domains' train part: "
    "what k's encoder has learned. k masked: the fused prediction with all other modalities "
    f"zeroed. k head: the trained prediction of k; {EMPTY} where a method trains none. fused: the "
    "prediction from all modalities."
)


@dataclass(frozen=True)
class _Alone:
    """A cell of a modality trained alone, and the method that trained it."""

    cell: Cell
    method: str


def build(records: Sequence[Record], view: View) -> list[Table]:
    """Return a table for each condition with two or more modalities."""
    view = replace(view, metric="accuracy")  # the scores of a modality have no other
    alone = [record for record in records if len(record.spec.modalities) == 1]
    return [
        _table(part, alone, view)
        for part in by_condition.parts(records, view)
        if len(part.spec.modalities) > 1
    ]


def _table(part: Part, alone: Sequence[Record], view: View) -> Table:
    modalities = part.spec.modalities
    fitting = {k: _fitting(k, part, alone, view) for k in modalities}
    found = {
        (row.label, k): _alone(row, fitting[k], part, view)
        for row in part.block.rows
        for k in modalities
    }
    names = SCORES + (("alone",) if any(fitting.values()) else ())
    rows = blocks.mark_best([_row(row, part, found, names) for row in part.block.rows])
    rows = tuple(_own_marks(row, found, names, modalities) for row in rows)
    return replace(
        by_condition.frame("unimodal", [part], view),
        columns=(*(f"{k} {name}" for k in modalities for name in names), "fused"),
        rows=rows,
        missing=part.block.missing,
        notes=(*_notes(part, rows, view), _alone_note(part, found, "alone" in names)),
    )


def _row(
    row: Row, part: Part, alone: Mapping[tuple[str, str], _Alone], names: Sequence[str]
) -> Row:
    cells = []
    for k in part.spec.modalities:
        for name in names:
            cells.append(
                alone[row.label, k].cell if name == "alone" else _scores(row, part, k, name)
            )
    return replace(row, cells=(*cells, row.cells[-1]))


def _scores(row: Row, part: Part, modality: str, name: str) -> Cell:
    def value(record: Record) -> float | None:
        assert record.result is not None
        target: Mapping[str, Any] = record.result["rules"][row.rule]["target"]
        score = target.get("modalities", {}).get(modality, {}).get(name)
        return None if score is None else 100 * float(score)

    return by_condition.averaged(row.records, part.columns, part.seeds, value)


def _fitting(modality: str, part: Part, alone: Sequence[Record], view: View) -> Sequence[Record]:
    """Return the runs on this modality alone that are made as the part's are."""
    spec, k = part.spec, modality
    weights = {k: spec.weights[k]} if k in spec.weights else {}
    wanted = replace(
        spec,
        modalities=(k,),
        encoders={k: spec.encoders[k]},
        weights=weights,
        protocol=spec.protocol.on((k,), weights),
    )
    key = _but_for_data(wanted, view)
    found = [r for r in alone if r.spec.modalities == (k,) and _but_for_data(r.spec, view) == key]
    # Every set has a fingerprint of its own, so that of two copies of the data none is surely ours.
    return found if len({r.spec.data for r in found}) < 2 else []


def _but_for_data(spec: Any, view: View) -> str:
    facts = conditions.facts(spec, view.rule)
    return conditions.key({name: value for name, value in facts.items() if name[0] != "data"})


def _alone(row: Row, fitting: Sequence[Record], part: Part, view: View) -> _Alone:
    """Return what the row's method reaches alone, or else the baseline."""
    some = row.records[0].spec
    settings = [record.spec.hyperparameters for record in row.records]
    own = [
        r for r in fitting if r.spec.method == some.method and r.spec.hyperparameters in settings
    ]
    others = [r for r in fitting if r.spec.method == BASELINE]

    def value(record: Record) -> float:
        assert record.result is not None
        return blocks.scored(record.result, rule_of(record.result, view.rule), view)

    for runs, method in ((own, some.method), (others, BASELINE)):
        cell = by_condition.averaged(runs, part.columns, part.seeds, value)
        if cell.n:
            return _Alone(cell, method)
    return _Alone(Cell({}, tuple(part.seeds)), "")


def _own_marks(
    row: Row,
    alone: Mapping[tuple[str, str], _Alone],
    names: Sequence[str],
    modalities: Sequence[str],
) -> Row:
    """Take the marks from what another method reached: it is not the row's."""
    method = row.records[0].spec.method
    kinds = [(k, name) for k in modalities for name in names]
    cells = [
        unmarked(cell) if name == "alone" and alone[row.label, k].method != method else cell
        for cell, (k, name) in zip(row.cells, kinds, strict=False)
    ]
    return replace(row, cells=(*cells, row.cells[-1]))


def _notes(part: Part, rows: Sequence[Row], view: View) -> Iterator[str]:
    yield (
        f"Cells: {by_condition.SPREAD}, of an accuracy on the target domain in percent. That of a "
        f"seed is {by_condition.splits(part.columns)}; {EMPTY}: no seed has every split. "
        f"{by_condition.MARKED}"
    )
    yield TEXT
    yield from captions.rule_notes(rows, view.rule)
    yield from part.block.notes


def _alone_note(part: Part, alone: Mapping[tuple[str, str], _Alone], shown: bool) -> str:
    modalities = part.spec.modalities
    if not shown:
        return (
            "No runs were trained on one of these modalities alone, with which to compare: "
            f"--modalities {' '.join(modalities)} makes them."
        )
    of: dict[str, list[str]] = {"own": [], "baseline": []}
    for row in part.block.rows:
        by = {k: alone[row.label, k].method for k in modalities}
        for kind, is_one in (
            ("own", {k for k in by if by[k] == row.records[0].spec.method}),
            ("baseline", {k for k in by if by[k] and by[k] != row.records[0].spec.method}),
        ):
            which = [k for k in modalities if k in is_one]
            some = f" ({', '.join(which)})" if len(which) < len(modalities) else ""
            of[kind] += [f"{row.label}{some}"] if which else []
    said = ["k alone: trained and tested on k alone."]
    if of["own"]:
        said.append(f"By the method itself: {', '.join(of['own'])}.")
    if of["baseline"]:
        said.append(
            f"By {BASELINE}, as the method has no seed with every split alone: "
            f"{', '.join(of['baseline'])}."
        )
    if lacking := [
        k for k in modalities if any(not alone[r.label, k].method for r in part.block.rows)
    ]:
        said.append(f"--modalities {' '.join(lacking)} makes the runs that are missing.")
    return " ".join(said)
