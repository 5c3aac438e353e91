"""The lab book of a set of committed results: who ran what, on which hardware, for how long."""

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmark.records.committed import Row
from mmdg_common import written_atomically

TITLE = "# Lab book\n\nOne part for every addition of runs; hours are those of training.\n"


def add(path: Path, rows: Sequence[Row], date: str, by: str, note: str) -> None:
    """Add a part on newly added runs.

    Args:
        path: of the lab book, which may not exist yet.
        rows: the runs.
        date: as `2026-11-29`.
        by: who ran them.
        note: in their words, such as the command and caveats.
    """
    text = path.read_text(encoding="utf-8") if path.exists() else TITLE
    text += f"\n## {date}, {by}: {len(rows)} runs\n\n" + "".join(_facts(rows))
    text += f"\n{note}\n" if note else ""
    with written_atomically(path) as file:
        file.write(text.encode())


def _facts(rows: Sequence[Row]) -> Iterable[str]:
    where = [row.result["provenance"] for row in rows]
    hours = sum(one.get("wall_s", 0.0) for one in where) / 3600
    packages = [one.get("packages", {}) for one in where]
    for name, values in (
        ("datasets", (row.spec.dataset for row in rows)),
        ("settings", (row.spec.setting for row in rows)),
        ("methods", (row.spec.method for row in rows)),
        ("seeds", (row.spec.seed for row in rows)),
        ("commit of the code", (one.get("commit") for one in where)),
        ("device", (one.get("device") for one in where)),
        ("threads per run", (one.get("threads") for one in where)),
        ("torch", (one.get("torch") for one in packages)),
    ):
        yield f"- {name}: {_counted(values)}\n"
    yield f"- training time: {hours:.1f} hours\n"


def _counted(values: Iterable[Any]) -> str:
    counts = Counter(map(str, values))
    if len(counts) == 1:
        return next(iter(counts))
    return ", ".join(f"{value} ({number})" for value, number in sorted(counts.items()))
