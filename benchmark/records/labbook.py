"""The lab book of a set of committed results: who ran what, on which hardware, for how long."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmark.records.committed import Row
from benchmark.records.committed_analyses import Line
from benchmark.records.result import segments
from mmdg_common import written_atomically

TITLE = "# Lab book\n\nOne part for every addition of runs; hours are those of training.\n"
PART = "\n## "


def add(
    path: Path,
    rows: Sequence[Row],
    measures: Sequence[Line],
    lines: tuple[int, int],
    date: str,
    by: str,
    note: str,
) -> None:
    """Add a part on newly added runs and measures.

    A part on the same lines of the ledger is one whose lines were not written any more, as the
    addition was stopped; the new part takes its place.

    Args:
        path: of the lab book, which may not exist yet.
        rows: the runs.
        measures: what analyses measured.
        lines: the first and last line of the ledger that are theirs.
        date: as `2026-11-29`.
        by: who ran them.
        note: in their words, such as the command and caveats.
    """
    # People write into it as well: bytes that are no UTF-8 stay what they are.
    text = path.read_text("utf-8", "surrogateescape") if path.exists() else TITLE
    before, _, last = text.rpartition(PART)
    if f"\n- ledger: lines {lines[0]} to " in last:
        text = before
    what = [f"{len(rows)} runs"] if rows or not measures else []
    what += [f"{len(measures)} measures"] if measures else []
    text += f"{PART}{date}, {by}: {', '.join(what)}\n\n- ledger: lines {lines[0]} to {lines[1]}\n"
    text += "".join(_facts(rows)) if rows else ""
    text += "".join(_measured(measures)) if measures else ""
    text += f"\n{note}\n" if note else ""
    with written_atomically(path) as file:
        file.write(text.encode("utf-8", "surrogateescape"))


def _facts(rows: Sequence[Row]) -> Iterable[str]:
    hours = sum(row.result["provenance"].get("wall_s", 0.0) for row in rows) / 3600
    where = [segments(row.result) for row in rows]
    for name, values in (
        ("datasets", (row.spec.dataset for row in rows)),
        ("settings", (row.spec.setting for row in rows)),
        ("methods", (row.spec.method for row in rows)),
        ("seeds", (row.spec.seed for row in rows)),
        ("commit of the code", (_each(of, "commit") for of in where)),
        ("device", (_each(of, "device") for of in where)),
        ("threads per run", (_each(of, "threads") for of in where)),
        ("torch", (_each([one.get("packages", {}) for one in of], "torch") for of in where)),
    ):
        yield f"- {name}: {_counted(values)}\n"
    yield f"- training time: {hours:.1f} hours\n"


def _each(of: Iterable[Mapping[str, Any]], name: str) -> str:
    """Return what a run was trained with: several values, where it was resumed with another."""
    return ", then ".join(dict.fromkeys(str(one.get(name)) for one in of))


def _measured(measures: Sequence[Line]) -> Iterable[str]:
    where = [line.measured.provenance for line in measures]
    hours = sum(one.get("wall_s", 0.0) for one in where) / 3600
    yield f"- analyses: {_counted(line.measured.analysis for line in measures)}\n"
    yield f"- commit of their code: {_counted(one.get('commit') for one in where)}\n"
    yield f"- time of analyses: {hours:.1f} hours\n"


def _counted(values: Iterable[Any]) -> str:
    counts = Counter(map(str, values))
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({number})" for value, number in sorted(counts.items()))
