"""The worth of every modality by itself, within the joint model and trained alone."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from benchmark.records.read import Record
from benchmark.records.spec import RunSpec
from benchmark.reporting import conditions
from benchmark.reporting.captions import EMPTY, SPREAD, rule_notes
from benchmark.reporting.kinds.frame import BASELINE, MARKED, frame, mean_over
from benchmark.reporting.model import Cell, Row, Score, Table
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block, Line, averaged, by_split, mark_best

SCORES = ("probe", "masked", "head")
TEXT = (
    "k probe: a linear classifier fitted to the embeddings of k on the train part of the source "
    "domains; it shows what the encoder of k has learned. k masked: the fused prediction with all "
    f"other modalities zeroed. k head: the prediction of the trained head of k; {EMPTY} where a "
    "method trains none. fused: the prediction from all modalities."
)


Values = Mapping[str, float]
"""Percent by run."""


@dataclass(frozen=True)
class _Alone:
    """The score of a modality trained alone, and the method that trained it."""

    score: Score
    method: str


def build(wanted: Wanted) -> list[Table]:
    """Return a table for each condition with two or more modalities."""
    wanted = wanted.seen(metric="accuracy")  # the scores of a modality have no other
    several = [block for block in wanted.blocks if len(block.spec.modalities) > 1]
    return [_table(block, wanted) for block in several]


def _table(block: Block, wanted: Wanted) -> Table:
    modalities = block.spec.modalities
    fitting = {k: _fitting(k, block, wanted.records, wanted.view) for k in modalities}
    fused = wanted.results.percent("target", "accuracy")
    found = {
        (line.label, k): _alone(line, fitting[k], block, fused)
        for line in block.lines
        for k in modalities
    }
    heads = {
        (k, name): wanted.results.percent("target", "accuracy", f"{k} {name}")
        for k in modalities
        for name in SCORES
    }
    names = SCORES + (("alone",) if any(fitting.values()) else ())
    rows = mark_best([_row(line, block, found, heads, names) for line in block.lines])
    rows = tuple(_own_marks(row, found, names, modalities) for row in rows)
    return replace(
        frame("unimodal", [block], wanted.view),
        columns=(*(f"{k} {name}" for k in modalities for name in names), "fused"),
        rows=rows,
        missing=block.missing,
        notes=(*_notes(block, rows, wanted.view), _alone_note(block, found, "alone" in names)),
    )


def _row(
    line: Line,
    block: Block,
    alone: Mapping[tuple[str, str], _Alone],
    heads: Mapping[tuple[str, str], Values],
    names: Sequence[str],
) -> Row:
    scores = [
        alone[line.label, k].score
        if name == "alone"
        else _averaged(line.records, block, heads[k, name])
        for k in block.spec.modalities
        for name in names
    ]
    return replace(line.row(), cells=(*scores, line.average))


def _averaged(records: Iterable[Record], block: Block, values: Values) -> Score:
    return averaged(by_split(records, values), block.splits, block.seeds)


def _fitting(
    modality: str, block: Block, records: Sequence[Record], view: View
) -> Sequence[Record]:
    """Return the runs on this modality alone that are made as the block's are."""
    spec, k = block.spec, modality
    weights = {k: spec.weights[k]} if k in spec.weights else {}
    made = replace(
        spec,
        modalities=(k,),
        encoders={k: spec.encoders[k]},
        weights=weights,
        protocol=spec.protocol.on((k,), weights),
    )
    key = _but_for_data(made, view)
    alone = [record for record in records if record.spec.modalities == (k,)]
    found = [record for record in alone if _but_for_data(record.spec, view) == key]
    # Every set has a fingerprint of its own, so that of two copies of the data none is surely ours.
    return found if len({record.spec.data for record in found}) < 2 else []


def _but_for_data(spec: RunSpec, view: View) -> str:
    facts = conditions.facts(spec, view.rule)
    return conditions.key({name: value for name, value in facts.items() if name[0] != "data"})


def _alone(line: Line, fitting: Sequence[Record], block: Block, values: Values) -> _Alone:
    """Return what the row's method reaches alone, or else the baseline."""
    method = line.records[0].spec.method
    settings = [record.spec.hyperparameters for record in line.records]
    own = [r for r in fitting if r.spec.method == method and r.spec.hyperparameters in settings]
    others = [r for r in fitting if r.spec.method == BASELINE]
    for runs, by in ((own, method), (others, BASELINE)):
        score = _averaged(runs, block, values)
        if score.n:
            return _Alone(score, by)
    return _Alone(Score({}, tuple(block.seeds)), "")


def _own_marks(
    row: Row,
    alone: Mapping[tuple[str, str], _Alone],
    names: Sequence[str],
    modalities: Sequence[str],
) -> Row:
    """Take the marks from what another method reached: it is not the row's."""
    method = row.records[0].spec.method
    kinds = [(k, name) for k in modalities for name in names]
    cells: list[Cell] = [
        alone[row.label, k].score
        if name == "alone" and alone[row.label, k].method != method
        else cell
        for cell, (k, name) in zip(row.cells, kinds, strict=False)
    ]
    return replace(row, cells=(*cells, row.cells[-1]))


def _notes(block: Block, rows: Sequence[Row], view: View) -> Iterator[str]:
    yield (
        f"Each cell is an accuracy on the target domain in percent: {SPREAD}. A seed counts with "
        f"{mean_over(block.splits)}; {EMPTY} means that no seed has every split. {MARKED}"
    )
    yield TEXT
    yield from rule_notes(rows, view.rule)
    yield from block.notes


def _alone_note(block: Block, alone: Mapping[tuple[str, str], _Alone], shown: bool) -> str:
    modalities = block.spec.modalities
    if not shown:
        return (
            "There are no runs on a single modality to compare with; "
            f"--modalities {' '.join(modalities)} makes them."
        )
    of: dict[str, list[str]] = {"own": [], "baseline": []}
    for line in block.lines:
        method = line.records[0].spec.method
        by = {k: alone[line.label, k].method for k in modalities}
        for kind, is_one in (
            ("own", {k for k in by if by[k] == method}),
            ("baseline", {k for k in by if by[k] and by[k] != method}),
        ):
            which = [k for k in modalities if k in is_one]
            some = f" ({', '.join(which)})" if len(which) < len(modalities) else ""
            of[kind] += [f"{line.label}{some}"] if which else []
    said = ["k alone: trained and tested on k alone."]
    if of["own"]:
        said.append(f"By the method itself: {', '.join(of['own'])}.")
    if of["baseline"]:
        said.append(
            f"By {BASELINE}, because the method has no seed with every split on a modality alone: "
            f"{', '.join(of['baseline'])}."
        )
    if lacking := [
        k for k in modalities if any(not alone[line.label, k].method for line in block.lines)
    ]:
        said.append(f"--modalities {' '.join(lacking)} makes the missing runs.")
    return " ".join(said)
