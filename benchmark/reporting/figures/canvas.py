"""A figure, and how it becomes bytes and files."""

import hashlib
import io
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

from benchmark.reporting.figures import style
from mmdg_common import written_atomically

if TYPE_CHECKING:  # takes a second
    from matplotlib.figure import Figure as Canvas

FORMATS = ("png", "pdf")
UNDATED = {"png": {"Software": None}, "pdf": {"CreationDate": None, "Producer": None}}
"""The same figure twice is the same bytes."""
LONGEST_NAME = 200
"""Bytes of a file's name without its ending, which leave room for that of an unfinished file."""


@dataclass(frozen=True)
class Figure:
    """A figure of a report, not drawn yet."""

    name: str
    """The stem of its files."""
    title: str
    caption: str
    """Says what is shown, and what its spread is."""
    draw: "Callable[[Canvas], None]"
    """Draws on an empty matplotlib figure, whose size it sets."""


def drawn(figure: Figure) -> "Canvas":
    """Return the matplotlib figure, which pyplot does not know: nothing has to close it."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure as Canvas

    with style.applied():
        canvas = Canvas()
        FigureCanvasAgg(canvas)
        figure.draw(canvas)
    return canvas


def png_bytes(figure: Figure, comment: str = "") -> bytes:
    """Return the figure as a PNG file of 150 dots per inch, with a comment that no reader sees."""
    return _bytes(drawn(figure), "png", {"Comment": comment} if comment else {})


def save(figure: Figure, folder: Path) -> list[Path]:
    """Write `<name>.png` (150 dpi) and `<name>.pdf`, each as a whole, and return their paths.

    A very long name, such as that of many modalities, is cut off.
    """
    canvas = drawn(figure)
    paths = []
    for kind in FORMATS:
        path = folder / f"{_stem(figure.name)}.{kind}"
        with written_atomically(path) as file:
            file.write(_bytes(canvas, kind))
        paths.append(path)
    return paths


def _stem(name: str) -> str:
    """Return a name, cut off and with a hash where a file system would refuse to take it all."""
    if len(name.encode()) <= LONGEST_NAME:
        return name
    start = name.encode()[: LONGEST_NAME - 13].decode(errors="ignore")
    return f"{start}-{hashlib.sha256(name.encode()).hexdigest()[:12]}"


def _bytes(canvas: "Canvas", kind: str, said: Mapping[str, str] = MappingProxyType({})) -> bytes:
    file = io.BytesIO()
    with style.applied():
        canvas.savefig(file, format=kind, dpi=style.DPI, metadata={**UNDATED[kind], **said})
    return file.getvalue()
