"""What figures of analyses share: their runs, their names, and their pages."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from benchmark.records.read import Record
from benchmark.reporting.figures.canvas import Figure
from benchmark.reporting.figures.groups import notes, precedence, slug
from benchmark.reporting.kinds.measured import Sheet, of_line

if TYPE_CHECKING:  # takes a second
    from matplotlib.figure import Figure as Canvas

T = TypeVar("T")


def members(sheet: Sheet) -> dict[str, list[Record]]:
    """Return the measured runs of each method; of several settings those that stand for it."""
    found: dict[str, list[Record]] = {}
    for line in sheet.block.lines:
        if records := of_line(line, sheet.of):
            method = records[0].spec.method
            found[method] = max(found.get(method, records), records, key=precedence)
    return dict(sorted(found.items()))


def paged(
    sheet: Sheet,
    name: str,
    title: str,
    text: str,
    pages: Sequence[T],
    draw: "Callable[[T], Callable[[Canvas], None]]",
    rule: str | None = None,
) -> list[Figure]:
    """Return a figure for each page of methods or targets.

    Args:
        sheet: what is shown.
        name: begins the names of the files.
        title: begins the titles.
        text: the caption.
        pages: what is in each figure.
        draw: makes what draws a page.
        rule: the selection rule to name in the caption.
    """
    spec = sheet.block.spec
    place = (spec.dataset, spec.setting, sheet.block.modalities, *sheet.block.told, *sheet.told)
    caption = " ".join([text, *notes(spec, rule)])
    several = len(pages) > 1
    return [
        Figure(
            f"{name}-{slug(*place)}" + f"-{i}" * several,
            f"{title}: {', '.join(place)}" + f" ({i} of {len(pages)})" * several,
            caption,
            draw(page),
        )
        for i, page in enumerate(pages, 1)
    ]
