"""Made-up runs behind a leaderboard: several datasets, settings, sets of modalities and methods."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from support_figures import SEEDS, TARGETS, make_record, make_spec

from benchmark.records import read as reading
from benchmark.records.read import Record
from benchmark.reporting.leaderboard import page
from benchmark.reporting.request import Wanted
from benchmark.reporting.results import View

METHODS = ("erm", "joint", "late_fusion", "swad+mbcd", "mine")
"""The last is not registered."""
ONE: dict[str, Any] = {"modalities": ("m1",), "encoders": {"m1": "mlp"}, "data": "one"}
SINGLE = "single-source"


def runs(root: Path | None, methods: Sequence[str] = METHODS, **changes: Any) -> list[Record]:
    """Runs from several sources, each method a little better and dearer than the one before."""
    return [
        make_record(
            make_spec(method, target, seed, **changes),
            root,
            wall_s=4.0 * (i + 1),
            accuracy=0.5 + 0.04 * i + 0.01 * seed + 0.02 * j,
        )
        for i, method in enumerate(methods)
        for j, target in enumerate(TARGETS)
        for seed in SEEDS
    ]


def single(root: Path | None, methods: Sequence[str] = METHODS) -> list[Record]:
    """Runs from one source."""
    return [
        make_record(make_spec(m, t, s, setting=SINGLE, sources=(source,)), root, wall_s=3.0)
        for m in methods
        for t in TARGETS
        for source in TARGETS
        for s in SEEDS
        if source != t
    ]


def everything(root: Path | None) -> list[Record]:
    """Two datasets, two settings, two sets of modalities; a method that lacks a dataset."""
    return [
        *runs(root),
        *runs(root, **ONE),
        *single(root),
        *runs(root, METHODS[:3], dataset="other"),
    ]


def stored(root: Path) -> list[Record]:
    """The same, as they are read."""
    everything(root)
    return reading.read([root], "best-val").records


def rendered(records: Sequence[Record], **view: Any) -> str:
    return page.render(Wanted(records, View(**view)))
