"""The frame, notes and differences that tables of averages share."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from benchmark.reporting import conditions
from benchmark.reporting.model import NONE, Form, Missing, Number, Score, Table
from benchmark.reporting.results import View
from benchmark.reporting.rows import Block
from benchmark.reporting.sheets import subject

BASELINE = "erm"
"""The method that others are compared with."""
MARKED = "Stars or bold mark the best mean of a column; underscores or underlining mark the second."


def frame(name: str, of: Sequence[Block], view: View) -> Table:
    """Return a table without columns and rows; the set of modalities is told if all share it."""
    spec = of[0].spec
    return Table(
        name=name,
        subject=subject(of),
        columns=(),
        rows=(),
        rule=view.rule,
        metric=view.metric,
        scores=False,
        fabricated=spec.fabricated,
        numbers_version=spec.numbers_version,
        mixtures=conditions.mixtures(record for block in of for record in block.records),
    )


def difference(a: Score, b: Score) -> Number:
    """Return b minus a over the seeds of both, in points."""
    shared = sorted(a.values.keys() & b.values.keys())
    if not shared:
        return NONE
    points = Score({seed: b.values[seed] - a.values[seed] for seed in shared})
    std = points.std if points.n > 1 else None
    return Number(points.mean, Form.SIGNED, std, points.n)


def gaps(of: Mapping[str, Block]) -> tuple[Missing, ...]:
    """Return what several blocks lack, each named after what tells it from the others."""
    return tuple(
        replace(gap, column=f"{gap.column} with {name}")
        for name, block in of.items()
        for gap in block.missing
    )


def notes_of(blocks: Iterable[Block]) -> dict[str, None]:
    """Return the notes of blocks, each once."""
    return dict.fromkeys(note for block in blocks for note in block.notes)


def mean_over(splits: Sequence[str]) -> str:
    """Return e.g. `the mean over 3 splits`, as a note says it."""
    return (
        f"the mean over {len(splits)} splits" if len(splits) > 1 else "the value on the one split"
    )
