"""Tables in LaTeX, of a width that fits the text."""

import re
import unicodedata
from collections.abc import Iterator, Sequence

from benchmark.reporting.captions import (
    CLOSE,
    DAGGER,
    EMPTY,
    groups,
    header,
    labels,
    missing_lines,
    notes,
    title,
)
from benchmark.reporting.model import Cell, Score, Table, Text
from benchmark.reporting.write.cells import BOLD, PLAIN, Style, rows, written
from benchmark.reporting.write.clean import printable

STYLE = Style(r"\textbf{{{}}}", r"\underline{{{}}}", BOLD)


class _Latex(dict[int, str]):
    """Characters in LaTeX; for those that its default fonts lack, the nearest in ASCII."""

    def __missing__(self, code: int) -> str:
        if 32 <= code < 127:
            return chr(code)
        near = unicodedata.normalize("NFKD", chr(code)).encode("ascii", "ignore").decode()
        return " " if code < 32 else near.translate(self) or "?"


LATEX = _Latex(
    str.maketrans(
        {character: f"\\{character}" for character in "_&%#${}"}
        | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
        # The end of a row before would take a star or a bracket for its own.
        | {"*": "{*}", "[": "{[}", "|": r"\textbar{}", "`": "{`}", "\0": "{}"}
        | {"±": r"$\pm$", "→": r"$\rightarrow$", "−": "$-$", "·": r"$\cdot$", EMPTY: "---"}
        | {DAGGER: r"$^\dagger$", "‡": r"$^\ddagger$", "§": r"$^\S$", "²": "$^2$"}
        | {"…": r"\dots{}", CLOSE: r"$\approx$", "≥": r"$\geq$", "≤": r"$\leq$"}
        | {"×": r"$\times$", "β": r"$\beta$", "√": r"$\surd$", "<": "$<$", ">": "$>$"}
        | {"φ": r"$\varphi$", "λ": r"$\lambda$", "ρ": r"$\rho$", "₁": "$_1$", "‖": r"$\Vert$"}
    )
)
MINUS = re.compile(r"(?<!\w)-(?=\d)")
LINE_PT = 345.0
"""The width of the text in LaTeX's article, in which tables are made to fit."""
GAP_PT = 3.0
"""The space on either side of a column."""
LOOKS = (
    *((r"\small", 9.25, "", 9.25), (r"\footnotesize", 8.5, "", 8.5)),
    *((r"\scriptsize", 7.97, "", 7.97), (r"\footnotesize", 8.5, r"\scriptsize", 7.97)),
    (r"\scriptsize", 7.97, r"\tiny", 6.81),
)
"""The sizes in which a table may be set; the first that fits is taken. With a second size, spreads
stand below the means in it. The numbers are their em in points, scaled to the widths of cmr10."""
EMS = {
    c: width
    for width, characters in {
        0.28: " .,:;'|il",
        0.39: "()[]tfrs-/",
        0.5: "0123456789acegovxyz",
        0.84: "m%M",
        0.78: "±≈−+=<>",
        1.0: "→—…W",
    }.items()
    for c in characters
}
"""The widths of characters; others are taken for wide ones."""


def render(tables: Sequence[Table], results: Sequence[str]) -> str:
    """Return a table environment per table; the document needs booktabs."""
    return "\n\n".join(_table(table, results) for table in tables) + "\n"


def _table(table: Table, results: Sequence[str]) -> str:
    size, below, blocks = _layout(table)
    lines = ["% needs \\usepackage{booktabs}", r"\begin{table}", rf"\centering{size}"]
    lines += [rf"\setlength{{\tabcolsep}}{{{GAP_PT:g}pt}}"]
    lines += [rf"\caption{{{_text(title(table))}}}"]
    for block in blocks if table.rows else ():
        lines += [*_block(table, block, below), r"\par\medskip"]
    lines += [r"\raggedright\footnotesize"]
    lines += [rf"{_text(note)}\par" for note in notes(table, STYLE.says)]
    gaps = map(printable, missing_lines(table, results))  # on one line, or it is no comment
    return "\n".join([*lines, r"\end{table}", *(f"% {line}" for line in gaps)])


def _text(text: str) -> str:
    # Two hyphens in a row would become a dash.
    return re.sub("-(?=-)", "-\0", text).translate(LATEX)


def _block(table: Table, columns: slice, below: str) -> Iterator[str]:
    """Yield some columns of a table as a tabular, with the labels of the rows."""
    names = header(table)
    first = len(names) - len(table.columns)
    shown = [*names[:first], *table.columns[columns]]
    yield rf"\begin{{tabular}}{{{'l' * first}{'c' * (len(shown) - first)}}}"
    yield from (r"\toprule", " & ".join(map(_text, shown)) + r" \\")
    for group in groups(table):
        yield r"\midrule"
        for row in group:
            named = list(map(_text, labels(table, row)))
            cells = [_cell(cell, below) for cell in row.cells[columns]]
            yield " & ".join([*named, *(mean for mean, _ in cells)]) + r" \\"
            if any(spread for _, spread in cells):
                yield " & ".join([*[""] * first, *(spread for _, spread in cells)]) + r" \\[3pt]"
    yield from (r"\bottomrule", r"\end{tabular}")


def _cell(cell: Cell, below: str) -> tuple[str, str]:
    """Return what stands in a cell, and what stands below it."""
    text = written(cell, STYLE)
    if not isinstance(cell, Score):
        return _text(text if isinstance(cell, Text) else MINUS.sub("−", text)), ""
    # Braces and backslashes of the marks are LaTeX's own.
    for character in ("±", CLOSE, EMPTY):
        text = text.replace(character, LATEX[ord(character)])
    mean, space, spread = text.partition(" ")
    return (mean, f"{below} {spread}") if below and space else (text, "")


def _layout(table: Table) -> tuple[str, str, list[slice]]:
    """Return the size of a table, that of spreads below means if any, and its blocks of columns.

    What is too wide in every size goes into several blocks, one below the other.
    """
    names, count = header(table), len(table.columns)
    first = len(names) - count
    columns = list(zip(names, *rows(table, PLAIN), strict=True))
    for number in range(1, count + 1):
        step = -(-count // number)
        blocks = [slice(first + i, first + i + step) for i in range(0, count, step)]
        for size, em, below, em_below in LOOKS:
            pt = [max(_width(t, em, below, em_below) for t in column) for column in columns]
            if number == count or all(sum(pt[:first] + pt[block]) <= LINE_PT for block in blocks):
                return size, below, [slice(b.start - first, b.stop - first) for b in blocks]
    return LOOKS[0][0], "", []


def _width(text: str, em: float, below: str, em_below: float) -> float:
    """Return about how many points a column takes for a text."""
    head, space, tail = text.partition(" ± ")
    # A mean may be bold, which is wider.
    ems = sum(_ems(c) for c in head) * (1.15 if space else 1.0)
    ems_below = sum(map(_ems, space + tail))
    pt = max(ems * em, ems_below * em_below) if below else (ems + ems_below) * em
    return pt + 2 * GAP_PT


def _ems(character: str) -> float:
    return EMS.get(character, 0.75 if character.isupper() else 0.56)
