"""Ours beside the papers' numbers, and how far papers lie apart on the same baseline."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

from benchmark.reporting import conditions, published
from benchmark.reporting.captions import RULE_TEXTS
from benchmark.reporting.conditions import column_of
from benchmark.reporting.model import (
    NONE,
    Cell,
    Count,
    Form,
    Number,
    Row,
    Score,
    Table,
    Text,
)
from benchmark.reporting.published import Difference, Figure, Ours, Spread
from benchmark.reporting.request import Wanted
from benchmark.reporting.rows import Line
from benchmark.reporting.sheets import Sheet, sheets
from mmdg_common import AVERAGE, UsageError

_SPLIT = ("setting", "split", "modalities", "method")
COMPARED = (
    *(*_SPLIT, "paper", "table", "label", "evidence"),
    *("published", "ours", "difference", "uncertainty", "inside"),
)
COMPARED_NOTES = (
    "Accuracy in percent: mean ± standard deviation over seeds and, in parentheses, the number of "
    "seeds, where they are known. Difference: ours minus published, in points.",
    "Uncertainty: half the 95 % interval of Welch's t-test for the two means. Where a paper gives "
    f"a standard deviation but no number of seeds, n = {published.ASSUMED_SEEDS} is assumed. The "
    "uncertainty covers seeds alone.",
    "Inside: whether the difference lies within the uncertainty. This cannot be told where a "
    "standard deviation is missing or probably misprinted; misprints are not shown.",
)
SPREADS = (*_SPLIT, "papers", "lowest", "highest", "range")
SPREADS_NOTE = (
    "Accuracy in percent that different papers print for the same method and cell. Range: highest "
    "minus lowest, in points. The papers use the same name for the method; code, settings and "
    "selection may differ, and a paper may have copied from another."
)
INSIDE = {True: "yes", False: "no", None: "cannot be told"}


def build(wanted: Wanted) -> list[Table]:
    """Return the comparison with every published figure, and the spread between papers.

    Raises:
        UsageError: another metric than accuracy is wanted.
    """
    if wanted.view.metric != "accuracy":
        raise UsageError("--compare published compares accuracies; leave --metric out")
    figures = published.read()
    made = (_compared(sheet, figures, wanted.view.rule) for sheet in sheets(wanted))
    found = [table for table in made if table is not None]
    if not found:
        datasets = sorted({figure.dataset for figure in figures})
        note = f"No run matches a published figure; papers have some on {', '.join(datasets)}."
        found = [Table("published", ("difference to papers",), (), (), scores=False, notes=(note,))]
    return [*found, spreads(published.spread(figures))]


def _compared(sheet: Sheet, figures: Sequence[Figure], rule: str) -> Table | None:
    """Return what a sheet has in common with the papers; None if there is nothing."""
    found = published.compare(list(_ours(sheet, figures)), figures)
    if not found:
        return None
    said = f"Our selection rule: {rule}, {RULE_TEXTS[rule]}."
    table = differences(found)
    return replace(
        table,
        subject=sheet.subject,
        fabricated=sheet.blocks[0].spec.fabricated,
        notes=(*table.notes, said),
        mixtures=conditions.mixtures(sheet.records),
    )


def differences(found: Sequence[Difference]) -> Table:
    """Return the table of differences, with notes that say how to read it."""
    rows = tuple(_difference(one) for one in found)
    notes = (*COMPARED_NOTES, *published.notes(one.figure for one in found))
    return Table("published", (), COMPARED, rows, first="dataset", scores=False, notes=notes)


def _difference(one: Difference) -> Row:
    figure, ours = one.figure, one.ours
    dataset, *where = published.where(figure)
    said = (*where, figure.method, figure.paper, ", ".join(one.tables))
    cells: tuple[Cell, ...] = (
        *map(Text, (*said, figure.label, figure.evidence)),
        Number(figure.value, std=figure.std if figure.std_usable else None, n=figure.n),
        Number(ours.mean, std=ours.std, n=ours.n),
        Number(one.difference, Form.SIGNED),
        NONE if one.uncertainty is None else Number(one.uncertainty),
        Text(INSIDE[one.inside]),
    )
    return Row(dataset, "", cells)


def spreads(found: Sequence[Spread]) -> Table:
    """Return the table of how far papers lie apart, with notes that say how to read it."""
    shown = [figure for one in found for figure in (one.lowest, one.highest)]
    return Table(
        "spread",
        ("between papers, on the same method",),
        SPREADS,
        tuple(_spread(one) for one in found),
        first="dataset",
        scores=False,
        notes=(SPREADS_NOTE, *published.notes(shown)),
    )


def _spread(one: Spread) -> Row:
    dataset, *where = published.where(one.lowest)
    ends = [Number(f.value, remark=f"{f.paper}, {f.evidence}") for f in (one.lowest, one.highest)]
    said = map(Text, (*where, one.lowest.method))
    return Row(dataset, "", (*said, Count(len(one.papers)), *ends, Number(one.range)))


def _ours(sheet: Sheet, figures: Sequence[Figure]) -> Iterator[Ours]:
    for block in sheet.blocks:
        for line in block.lines:
            if line.kind == "method":
                yield from _of_line(line, block.splits, figures)


def _of_line(line: Line, splits: Sequence[str], figures: Sequence[Figure]) -> Iterator[Ours]:
    spec = line.records[0].spec
    try:
        method = published.named(spec.method, spec.hyperparameters)
    except UsageError:  # a method that is no longer there
        return
    for split, score in zip(splits, line.scores, strict=True):
        if score.n:
            yield _one(line, split, score, method)
    targets = {f.target for f in figures if f.dataset == spec.dataset}
    # An average over other domains is another number.
    whole = {record.spec.target for record in line.records} == targets - {AVERAGE}
    if whole and line.average.n:
        yield _one(line, AVERAGE, line.average, method)


def _one(line: Line, split: str, score: Score, method: str) -> Ours:
    average = split == AVERAGE
    spec = next(r.spec for r in line.records if average or column_of(r.spec) == split)
    return Ours(
        dataset=spec.dataset,
        setting=spec.setting,
        sources=() if average else spec.sources,
        target=AVERAGE if average else spec.target,
        modalities=spec.modalities,
        method=method,
        mean=score.mean,
        std=score.std if score.n > 1 else None,
        n=score.n,
    )
