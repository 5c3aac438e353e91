"""How a table is written: the same figures and the same notes in every format."""

import csv
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table as RichTable
from rich.text import Text

from benchmark.reporting.commands import command, method_flags
from benchmark.reporting.parts import AVERAGE, Cell, Missing, Row, Table
from benchmark.selection import OWN
from benchmark.spec import NUMBERS_VERSION

CSV_COLUMNS = (
    *("dataset", "setting", "modalities", "condition", "method", "column"),
    *("mean", "std", "n", "rule", "metric", "missing_seeds"),
)
FORMATS = ("text", "markdown", "latex", "csv")
DAGGER = "†"
MARKS = {"upper bound": "‡", "ensemble": "§"}
KIND_TEXTS = {
    "upper bound": "Trained on the target's own train part less a validation fifth and tested on "
    "the target's held-out part: another test set than that of the other rows, with which it is "
    "not compared.",
    "ensemble": "The summed fused logits of all seeds of the row of that name: one figure, so "
    "without ±, and not compared with single runs.",
}
EMPTY = "—"
RULE_TEXTS = {
    "best-val": "the validation with the highest accuracy on the source domains",
    "last": "the last validation",
    "oracle": "the validation with the highest accuracy on the target domain itself; it shows "
    "what selection costs and is no result",
    "reference": "what the public script of a method reports: the validation with the highest "
    "accuracy on the source domains, the later of equals, or the last one. Rows may differ in "
    "protocol and recipe, as the scripts do",
}
LATEX = str.maketrans(
    {character: f"\\{character}" for character in "_&%#${}"}
    | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
    | {"±": r"$\pm$", "→": r"$\rightarrow$", "−": "$-$", "·": r"$\cdot$"}
    | {
        DAGGER: r"$^\dagger$",
        "‡": r"$^\ddagger$",
        "§": r"$^\S$",
        EMPTY: "---",
        "…": r"\dots{}",
        "<": "$<$",
        ">": "$>$",
    }
)


def render(tables: Sequence[Table], form: str, results: str | None = None) -> str:
    """Return the tables as text in one of `FORMATS`.

    Args:
        tables: what to write.
        form: the name of the format.
        results: what commands pass as `--results`; None for the default.
    """
    if form == "csv":
        return _csv(tables)
    write = {"text": _text, "markdown": _markdown, "latex": _latex}[form]
    return "\n\n".join(write(table, results) for table in tables) + "\n"


def show(tables: Sequence[Table], console: Console, results: str | None = None) -> None:
    """Print the tables to a terminal."""
    for table in tables:
        grid = RichTable(title=title(table), title_style="bold", title_justify="left")
        for name in ("method", *table.columns):
            grid.add_column(name)
        for row in table.rows:
            cells = [Text.from_markup(written(cell, "[bold]{}[/bold]")) for cell in row.cells]
            grid.add_row(Text(labelled(row)), *cells)
        console.print(grid)
        for line in (*notes(table, "Bold marks"), "", *_missing_lines(table, results)):
            # Soft wrapping leaves a command in one piece, to be copied.
            console.print(Text(line), soft_wrap=True)
        console.print()


def title(table: Table) -> str:
    """Return what was measured, under which condition."""
    parts = [table.dataset, table.setting, "+".join(table.modalities), *condition(table)]
    return " · ".join(parts)


def condition(table: Table) -> list[str]:
    """Return what tells the table from others, and whether its data is made up."""
    return [*table.condition, *(["fabricated data"] if table.fabricated else [])]


def labelled(row: Row) -> str:
    """Return the label of a row, with the marks of the footnotes that it has."""
    marks = (DAGGER if row.rule == OWN else "", MARKS.get(row.kind, ""))
    return " ".join(filter(None, (row.label, *marks)))


def written(cell: Cell, bold: str) -> str:
    """Return e.g. `95.12 ± 0.80 (3)`; `bold` is the pattern for the best mean of a column."""
    if not cell.n:
        return EMPTY
    mean = f"{cell.mean:.2f}"
    spread = f" ± {cell.std:.2f}" if cell.n > 1 else ""
    return f"{bold.format(mean) if cell.best else mean}{spread} ({cell.n})"


def notes(table: Table, bold: str) -> Iterator[str]:
    """Yield what the figures mean, a paragraph each; `bold` begins what the best mark says."""
    metric = {"accuracy": "accuracy", "macro_f1": "macro F1"}[table.metric]
    yield (
        f"Cells: mean ± sample standard deviation (n − 1) over seeds of the {metric} on the "
        "target domain, in percent; (n) is the number of seeds, one seed has no ±. "
        f"{bold} the best mean of a column, and those that round to the same."
    )
    yield (
        f"The {AVERAGE}: for each seed that has every column, the mean over the "
        f"{len(table.columns) - 1} columns; then mean ± sample standard deviation and (n) over "
        "those seeds."
    )
    yield f"Selection rule: {table.rule}, {RULE_TEXTS[table.rule]}."
    if any(row.rule == OWN for row in table.rows):
        yield (
            f"{DAGGER} Under the method's own rule instead: its weights exist only after training "
            "has ended."
        )
    if any(row.tried > 1 for row in table.rows):
        yield (
            "Best of n: of n settings of the hyper-parameters the one with the highest accuracy on "
            "the source domains, chosen anew for every cell and seed; a row without it has "
            "nothing to search."
        )
    for kind in dict.fromkeys(row.kind for row in table.rows if row.kind in MARKS):
        yield f"{MARKS[kind]} {KIND_TEXTS[kind]}"
    if uneven := _uneven(table):
        yield f"Means in these columns rest on different numbers of seeds: {', '.join(uneven)}."
    if table.fabricated:
        yield (
            f"Fabricated data: made-up files stand in for {table.dataset}; these figures say "
            "nothing about the real dataset."
        )
    yield from (f"Note: {line}" for line in table.mixtures)


def _uneven(table: Table) -> list[str]:
    """Return the columns whose cells differ in the number of seeds."""
    columns = zip(*(row.cells for row in table.rows if row.kind == "method"), strict=True)
    counts = [{cell.n for cell in cells if cell.n} for cells in columns]
    return [name for name, n in zip(table.columns, counts, strict=True) if len(n) > 1]


def missing_heads(table: Table) -> Iterator[str]:
    """Yield what stands above the list of missing runs; nothing where none is missing."""
    if table.missing:
        yield f"Missing: {sum(len(gap.states) for gap in table.missing)} runs."
        if table.numbers_version != NUMBERS_VERSION:
            yield (
                f"The code is at numbers version {NUMBERS_VERSION}, this table at "
                f"{table.numbers_version}: new runs will stand in a table of their own."
            )


def gap_groups(table: Table) -> list[list[Missing]]:
    """Return the gaps, those together that one command fills: they differ in the method alone."""
    groups: dict[tuple[Any, ...], list[Missing]] = {}
    for gap in table.missing:
        # What --set says might reach another method of the same command.
        alone = gap.row if method_flags(gap.run) else None
        key = (gap.column, tuple(gap.states.items()), gap.failed, alone)
        groups.setdefault(key, []).append(gap)
    return list(groups.values())


def gap_text(gaps: Sequence[Missing]) -> str:
    """Return which seeds a column lacks in which rows, and why."""
    alike: dict[str, list[str]] = {}
    for seed, state in gaps[0].states.items():
        alike.setdefault(state, []).append(str(seed))
    parts = [f"seed{'s' * (len(s) > 1)} {', '.join(s)} {state}" for state, s in alike.items()]
    return f"{', '.join(gap.row for gap in gaps)}, {gaps[0].column}: {'; '.join(parts)}"


def _missing_lines(table: Table, results: str | None) -> Iterator[str]:
    yield from missing_heads(table)
    for gaps in gap_groups(table):
        yield f"- {gap_text(gaps)}"
        yield f"  {command(gaps, results)}"


def _grid(table: Table, bold: str) -> list[list[str]]:
    """Return the cells as texts, row by row, without the header."""
    return [[labelled(row), *(written(cell, bold) for cell in row.cells)] for row in table.rows]


def _text(table: Table, results: str | None) -> str:
    grid = [["method", *table.columns], *_grid(table, "*{}*")]
    widths = [max(map(len, column)) for column in zip(*grid, strict=True)]
    grid.insert(1, ["-" * width for width in widths])
    aligned = [
        "  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip()
        for line in grid
    ]
    said = [textwrap.fill(note, 100) for note in notes(table, "Stars mark")]
    gaps = list(_missing_lines(table, results))
    return "\n".join([title(table), "", *aligned, "", *said, *(["", *gaps] if gaps else [])])


def _markdown(table: Table, results: str | None) -> str:
    def plain(text: str) -> str:
        return re.sub(r"([\\|*<`])", r"\\\1", text)

    grid = [f"| {' | '.join(map(plain, ('method', *table.columns)))} |"]
    grid.append("| --- |" + " ---: |" * len(table.columns))
    for label, *cells in _grid(table, "**{}**"):
        grid.append(f"| {' | '.join([plain(label), *cells])} |")
    lines = [f"### {plain(title(table))}", "", *grid, ""]
    lines += [f"- {plain(note)}" for note in (*notes(table, "Bold marks"), *missing_heads(table))]
    lines += [f"- {plain(gap_text(g))}: `{command(g, results)}`" for g in gap_groups(table)]
    return "\n".join(lines)


def _latex(table: Table, results: str | None) -> str:
    def plain(text: str) -> str:
        return text.translate(LATEX)

    lines = ["% needs \\usepackage{booktabs}", r"\begin{table}", r"\centering"]
    lines += [rf"\caption{{{plain(title(table))}}}"]
    lines += [rf"\begin{{tabular}}{{l{'c' * len(table.columns)}}}", r"\toprule"]
    lines += [" & ".join(map(plain, ("method", *table.columns))) + r" \\", r"\midrule"]
    for label, *cells in _grid(table, r"\textbf{{{}}}"):
        figures = [cell.replace("±", r"$\pm$").replace(EMPTY, "---") for cell in cells]
        lines.append(" & ".join([plain(label), *figures]) + r" \\")
    lines += [r"\bottomrule", r"\end{tabular}", ""]
    lines += [rf"\footnotesize {plain(note)}\par" for note in notes(table, "Bold marks")]
    lines += [r"\end{table}", *(f"% {line}" for line in _missing_lines(table, results))]
    return "\n".join(lines)


def _csv(tables: Sequence[Table]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(CSV_COLUMNS)
    for table in tables:
        conditions = "; ".join(condition(table))
        head = [table.dataset, table.setting, "+".join(table.modalities), conditions]
        for row in table.rows:
            for column, cell in zip(table.columns, row.cells, strict=True):
                mean = round(cell.mean, 6) if cell.n else ""
                std = round(cell.std, 6) if cell.n > 1 else ""
                missing = " ".join(map(str, cell.missing))
                tail = [mean, std, cell.n, row.rule, table.metric, missing]
                writer.writerow([*head, row.label, column, *tail])
    return file.getvalue()
